//! A connection as it was accepted: when, and from whom.

use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use http::Extensions;
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::server::{Connected, TlsConnectInfo};

/// How long nothing is accepted after that failed, as where every file descriptor is in use.
const PAUSE: Duration = Duration::from_millis(100);

/// What is known of a connection.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    /// The client's address and port.
    pub(super) peer: Arc<str>,
    pub(super) at: Instant,
}

impl Arrival {
    /// That of a call, from what the connection put there.
    pub(super) fn of(extensions: &Extensions) -> Self {
        let plain = extensions.get::<Self>().cloned();
        let tls = || extensions.get::<TlsConnectInfo<Self>>().map(|info| info.get_ref().clone());
        plain.or_else(tls).unwrap_or_else(|| Self { peer: "-".into(), at: Instant::now() })
    }
}

/// The connections to an open address, as they come.
pub(super) fn connections(
    listener: TcpListener,
) -> io::Result<impl Stream<Item = io::Result<Connection>> + Send + Unpin> {
    listener.set_nonblocking(true)?;
    let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
    let full = Arc::new(AtomicBool::new(false));
    Ok(Box::pin(incoming.then(move |accepted| {
        let full = Arc::clone(&full);
        async move {
            match &accepted {
                Ok(_) => full.store(false, Relaxed),
                Err(error) => {
                    tell(error, &full);
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Connection::new(accepted?)
        }
    })))
}

/// Why no connection is accepted. Where every file descriptor is in use that is an error, told once until one is
/// accepted again; what a client may cause at will is none.
fn tell(error: &io::Error, full: &AtomicBool) {
    let out_of_files = matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE));
    if out_of_files && !full.swap(true, Relaxed) {
        log::error!(
            "gRPC accepts no connection until others are closed: {error}; let the server have more open files (ulimit -n, LimitNOFILE)"
        );
    } else {
        log::debug!("a connection was not accepted: {error}");
    }
}

/// An accepted connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    arrival: Arrival,
}

impl Connection {
    fn new(stream: TcpStream) -> io::Result<Self> {
        // Messages are written whole; waiting for more only delays them.
        stream.set_nodelay(true)?;
        let peer = stream.peer_addr()?.to_string().into();
        Ok(Self { stream, arrival: Arrival { peer, at: Instant::now() } })
    }
}

impl Connected for Connection {
    type ConnectInfo = Arrival;

    fn connect_info(&self) -> Arrival {
        self.arrival.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
