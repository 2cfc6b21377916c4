//! One connection through the proxy: a pump each way, and the ways it ends.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy, sink},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::sleep,
};

use super::{
    Shared, Way,
    rules::{At, Cut, How, Lane, Rules},
};
use crate::Stream;

const BUFFER: usize = 16 * 1024;

/// Passes the bytes of one client on until the connection has ended.
pub(super) async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let before = shared.rules.borrow().clone();
    let number = shared.connections.fetch_add(1, Ordering::Relaxed);
    if let Ok(server) = TcpStream::connect(shared.upstream).await {
        between(client, server, Start { number, before, shared: &shared }).await;
    } else {
        reset(client);
        shared.count_reset();
    }
}

async fn between(mut client: TcpStream, mut server: TcpStream, start: Start<'_>) {
    let shared = start.shared;
    match pass(&mut client, &mut server, &start).await {
        Ok(()) => {}
        Err(End::Cut(_, How::Close)) => {
            tokio::join!(finish(client), finish(server));
        }
        // The server surely acts on all that passed: it gets the end in order, and its answer is lost.
        Err(End::Cut(Way::ToServer, How::Reset)) => {
            reset(client);
            shared.count_reset();
            finish(server).await;
        }
        Err(End::Cut(Way::ToClient, How::Reset) | End::Broken) => {
            reset(client);
            reset(server);
            shared.count_reset();
        }
    }
}

async fn pass(
    client: &mut TcpStream,
    server: &mut TcpStream,
    start: &Start<'_>,
) -> Result<(), End> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let mut rules = start.shared.rules.subscribe();
    let to_server = Pump::new(start, Way::ToServer, from_client, to_server);
    let to_client = Pump::new(start, Way::ToClient, from_server, to_client);
    tokio::select! {
        biased;
        _ = rules.wait_for(|rules| rules.resets != start.before.resets) => Err(End::Broken),
        ended = async { tokio::try_join!(to_server.run(), to_client.run()) } => ended.map(|_| ()),
    }
}

/// What a connection begins with.
struct Start<'a> {
    number: u64,
    /// The rules when it was taken.
    before: Rules,
    shared: &'a Shared,
}

/// Why a connection ends before both peers are done.
enum End {
    /// It was to be reset, or a peer is gone.
    Broken,
    /// What a fault waited for has passed.
    Cut(Way, How),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

impl From<watch::error::RecvError> for End {
    fn from(_: watch::error::RecvError) -> Self {
        Self::Broken
    }
}

/// One way of a connection.
struct Pump<'a> {
    way: Way,
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    rules: watch::Receiver<Rules>,
    shared: &'a Shared,
    draws: Stream,
    /// How often connections had been half-closed when this one was taken.
    half_closes: u64,
    /// The receiver was told that no more comes.
    closed: bool,
    progress: Progress,
}

/// How far one cut has come on this connection.
#[derive(Default)]
struct Progress {
    cut: u64,
    bytes: u64,
    /// The end of what passed, where the bytes to look for may begin.
    tail: Vec<u8>,
}

impl<'a> Pump<'a> {
    fn new(start: &Start<'a>, way: Way, from: ReadHalf<'a>, to: WriteHalf<'a>) -> Self {
        let component = start.number * 2 + u64::from(way == Way::ToClient);
        Self {
            way,
            from,
            to,
            half_closes: start.before.lane(way).half_closes,
            rules: start.shared.rules.subscribe(),
            shared: start.shared,
            draws: Stream::new(start.shared.seed, component),
            closed: false,
            progress: Progress::default(),
        }
    }

    async fn run(mut self) -> Result<(), End> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let lane = self.rules.borrow_and_update().lane(self.way).clone();
            self.half_close(&lane).await?;
            let count = tokio::select! {
                biased;
                changed = self.rules.changed() => { changed?; continue }
                count = self.from.read(&mut buffer[..room(&lane)]), if !lane.paused => count?,
            };
            // Faults that were set while it was reading hold too.
            if count == 0 {
                let lane = self.lane_once(|lane| !lane.paused && !lane.blackhole).await?;
                self.half_close(&lane).await?;
                self.close().await?;
                return Ok(());
            }
            let lane = self.lane_once(|lane| !lane.paused).await?;
            self.half_close(&lane).await?;
            self.pass(&buffer[..count], &lane).await?;
        }
    }

    async fn pass(&mut self, bytes: &[u8], lane: &Lane) -> Result<(), End> {
        if let Some((delay, jitter)) = lane.latency {
            let jitter = u64::try_from(jitter.as_micros()).unwrap_or(u64::MAX);
            sleep(delay + Duration::from_micros(self.draws.range(0, jitter))).await;
        }
        if self.closed || lane.blackhole {
            self.shared.count_lost(bytes.len());
            return Ok(());
        }
        let (count, end) = match &lane.cut {
            Some(cut) => self.up_to(cut, bytes),
            None => (bytes.len(), None),
        };
        self.to.write_all(&bytes[..count]).await?;
        self.shared.count_passed(self.way, count);
        if let Some(how) = end {
            return Err(End::Cut(self.way, how));
        }
        if let Some(rate) = lane.bytes_per_second {
            let micros = (count as u64).saturating_mul(1_000_000) / rate.max(1);
            sleep(Duration::from_micros(micros)).await;
        }
        Ok(())
    }

    /// How many of these bytes pass, and how the connection ends after them.
    fn up_to(&mut self, cut: &Cut, bytes: &[u8]) -> (usize, Option<How>) {
        if self.progress.cut != cut.number {
            self.progress = Progress { cut: cut.number, ..Progress::default() };
        }
        let Progress { bytes: passed, tail, .. } = &mut self.progress;
        let reached = match &cut.at {
            At::Bytes(limit) => {
                let left = limit.saturating_sub(*passed);
                *passed += bytes.len() as u64;
                usize::try_from(left).ok().filter(|left| *left <= bytes.len())
            }
            At::Seen(wanted) => {
                tail.extend_from_slice(bytes);
                let seen = tail.windows(wanted.len()).any(|window| *window == **wanted);
                tail.drain(..(tail.len() + 1).saturating_sub(wanted.len()));
                seen.then_some(bytes.len())
            }
        };
        match reached {
            Some(count) if self.shared.spend(self.way, cut.number) => (count, Some(cut.how)),
            _ => (bytes.len(), None),
        }
    }

    async fn lane_once(&mut self, mut holds: impl FnMut(&Lane) -> bool) -> Result<Lane, End> {
        let way = self.way;
        let rules = self.rules.wait_for(|rules| holds(rules.lane(way))).await?;
        Ok(rules.lane(way).clone())
    }

    async fn half_close(&mut self, lane: &Lane) -> io::Result<()> {
        if lane.half_closes == self.half_closes { Ok(()) } else { self.close().await }
    }

    async fn close(&mut self) -> io::Result<()> {
        if !self.closed {
            self.closed = true;
            self.to.shutdown().await?;
        }
        Ok(())
    }
}

/// How much to read at once: little where the rate is low, so that it is even.
fn room(lane: &Lane) -> usize {
    lane.bytes_per_second
        .and_then(|rate| usize::try_from(rate / 20).ok())
        .map_or(BUFFER, |bytes| bytes.clamp(1, BUFFER))
}

/// Closes a connection so that its peer sees a reset.
fn reset(stream: TcpStream) {
    // Without this, which fails for no socket that is open, the peer sees an end in order.
    stream.set_zero_linger().expect("an open socket");
    drop(stream);
}

/// Tells the peer that no more comes, and waits until it has ended too.
async fn finish(mut stream: TcpStream) {
    // Errors say that it has ended already.
    if stream.shutdown().await.is_ok() {
        drop(copy(&mut stream, &mut sink()).await);
    }
}
