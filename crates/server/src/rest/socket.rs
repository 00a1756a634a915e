//! Opening the addresses: TCP as TorchServe sets it up, and Unix sockets that a dead server left.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use tokio::net::TcpSocket;

use crate::settings::{Address, Endpoint};

/// Connections that may wait to be accepted, as TorchServe has it.
const BACKLOG: u32 = 1024;

/// An open address: connections queue up, and nobody answers them yet.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// A Unix socket's name in the file system, removed with this value.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Which file it is, so that one which another server has put there since stays.
    identity: (u64, u64),
}

/// Opens an address. Needs a tokio runtime around it.
///
/// # Errors
/// Where it is taken or not this machine's; the message names it.
pub(crate) fn open(endpoint: &Endpoint) -> io::Result<Socket> {
    let opened = match &endpoint.address {
        Address::Tcp(address) => tcp(*address).map(Socket::Tcp),
        Address::Unix(path) => unix(path),
    };
    opened.map_err(|error| {
        let advice = match (&endpoint.address, error.kind()) {
            (Address::Tcp(_), ErrorKind::AddrInUse) => {
                "; another process listens there: stop it, or choose another address"
            }
            (Address::Tcp(_), ErrorKind::AddrNotAvailable) => {
                "; it is no address of this machine: choose one that is, or 0.0.0.0 for all"
            }
            (Address::Tcp(_), ErrorKind::PermissionDenied) => {
                "; choose a port from 1024, or give the process the right to take lower ones"
            }
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot listen on {endpoint}: {error}{advice}"))
    })
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Taken over by every accepted connection: one whose client vanished is noticed in the end.
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

fn unix(path: &Path) -> io::Result<Socket> {
    clear(path)?;
    let listener = UnixListener::bind(path)?;
    let identity = identity(&fs::symlink_metadata(path)?);
    Ok(Socket::Unix(listener, SocketFile { path: path.to_owned(), identity }))
}

/// Removes the socket that a server left which was killed; what answers or is no socket stays.
fn clear(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let taken = |message: &str| Err(io::Error::new(ErrorKind::AddrInUse, message));
    if !found.file_type().is_socket() {
        return taken(
            "there is a file of that name that is no socket; remove it or choose another",
        );
    }
    match UnixStream::connect(path) {
        Ok(_) => taken("another server answers there"),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

fn identity(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|f| identity(&f) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &Path) -> Endpoint {
        Endpoint { address: Address::Unix(path.to_owned()), tls: false }
    }

    #[test]
    fn a_dead_servers_socket_is_replaced_and_a_live_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        // A listener that ends without removing its name, as a killed process does.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = open(&at(&path)).unwrap();
        let error = open(&at(&path)).unwrap_err().to_string();
        assert!(error.contains(&format!("unix:{}", path.display())), "{error}");
        assert!(error.contains("another server answers"), "{error}");
        drop(socket);
        assert!(!path.exists(), "removed at the end");
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        fs::write(&path, "precious").unwrap();
        let error = open(&at(&path)).unwrap_err().to_string();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn the_socket_of_the_next_server_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let first = open(&at(&path)).unwrap();
        let kept = folder.path().join("first");
        fs::rename(&path, &kept).unwrap();
        let second = open(&at(&path)).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_that_names_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let endpoint = Endpoint { address: Address::Tcp(address), tls: false };
        let error = open(&endpoint).unwrap_err().to_string();
        assert!(error.contains(&format!("cannot listen on http://{address}")), "{error}");
        assert!(error.contains("another process listens there"), "{error}");
    }
}
