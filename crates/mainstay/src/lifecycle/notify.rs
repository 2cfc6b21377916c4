//! Tells the service manager how far the process is (`sd_notify`).
//!
//! Guarantee: never waits for the manager. Without one that asks by `NOTIFY_SOCKET`, nothing
//! happens.

use super::Phase;
use std::{
    ffi::OsStr,
    io,
    os::unix::{
        ffi::OsStrExt,
        net::{SocketAddr, UnixDatagram},
    },
};

/// Tells of `phase` if the manager wants to know of it.
pub(super) fn phase(phase: Phase) {
    let message = match phase {
        Phase::Ready => "READY=1",
        Phase::LameDuck => "STOPPING=1",
        Phase::Starting | Phase::Draining | Phase::Flushing | Phase::Stopped => return,
    };
    let Some(manager) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&manager, message) {
        tracing::warn!(%error, message, "cannot tell the service manager");
    }
}

fn send(manager: &OsStr, message: &str) -> io::Result<()> {
    let manager = match manager.as_bytes() {
        [b'@', name @ ..] => abstract_address(name)?,
        _ => SocketAddr::from_pathname(manager)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up a shutdown.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), &manager)?;
    Ok(())
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_name: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received_by(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    #[test]
    fn a_manager_is_told_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        assert_eq!(received_by(&at_path), "READY=1");

        let name = format!("mainstay-{}", std::process::id());
        let address = abstract_address(name.as_bytes()).unwrap();
        let abstract_one = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), "STOPPING=1").unwrap();
        assert_eq!(received_by(&abstract_one), "STOPPING=1");
    }

    #[test]
    fn a_manager_that_does_not_read_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let full = (0..100_000).find_map(|_| send(path.as_os_str(), "READY=1").err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
