//! The one question of Kafka's protocol that tells whether a broker serves: who is in the cluster.
//!
//! A `Metadata` request, version 4: <https://kafka.apache.org/protocol#The_Messages_Metadata>. It
//! takes milliseconds, where Kafka's own tools take a JVM's start.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

/// Size; key 3, version 4; correlation 0; no client's name; no topics; make none.
const REQUEST: [u8; 19] = [0, 0, 0, 15, 0, 3, 0, 4, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0];

/// The brokers that the one on this port names as alive; none while it does not serve.
pub(super) fn brokers(port: u16) -> Vec<i32> {
    answer(port).ok().and_then(|answer| nodes(&answer)).unwrap_or_default()
}

fn answer(port: u16) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(&REQUEST)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut answer = Vec::new();
    stream.take(u32::from_be_bytes(size).into()).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Correlation and throttle time, then each broker: id, host, port, rack.
fn nodes(answer: &[u8]) -> Option<Vec<i32>> {
    let mut rest = answer.get(8..)?;
    let count = number(&mut rest)?;
    (0..count)
        .map(|_| {
            let id = number(&mut rest)?;
            skip_text(&mut rest)?;
            number(&mut rest)?;
            skip_text(&mut rest)?;
            Some(id)
        })
        .collect()
}

fn number(from: &mut &[u8]) -> Option<i32> {
    let (number, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(i32::from_be_bytes(*number))
}

/// A text behind its length, which is -1 for none.
fn skip_text(from: &mut &[u8]) -> Option<()> {
    let (length, rest) = from.split_first_chunk()?;
    let length = usize::try_from(i16::from_be_bytes(*length)).unwrap_or(0);
    *from = rest.get(length..)?;
    Some(())
}
