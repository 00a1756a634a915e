//! gRPC: the Open Inference Protocol, TorchServe's two services, health and reflection.
//!
//! Adapters over what REST stands on too. A call comes through `front`, which knows its key, its deadline and
//! its place in the log; the services turn messages into what the engine is asked, and back.

/// A generated service over what is shared, with the bounds and encodings of all of them. A macro, because the
/// generated types have these methods each for itself.
macro_rules! bounded {
    ($server:ident::new($service:expr), $shared:expr) => {
        $server::new($service)
            .max_decoding_message_size($shared.settings.max_request_size)
            .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
            .accept_compressed(tonic::codec::CompressionEncoding::Deflate)
            .send_compressed(tonic::codec::CompressionEncoding::Gzip)
            .send_compressed(tonic::codec::CompressionEncoding::Deflate)
    };
}

mod arrival;
mod call;
mod error;
mod front;
mod health;
mod oip;
mod ordered;
mod serve;
mod torchserve;

use std::io;
use std::net::TcpListener;

use anyhow::{Context, Result, bail};
use mar_engine::Header;
use tonic::metadata::{KeyAndValueRef, MetadataMap};

pub(crate) use serve::{Listener, answer};

use crate::rest::socket::{self, Socket};
use crate::settings::{GRPC_KEY, GrpcSite, Settings};

/// An address that is open, and that nobody answers yet.
#[derive(Debug)]
pub(crate) struct Opened {
    site: GrpcSite,
    listener: TcpListener,
}

/// Opens every address of gRPC. Needs a tokio runtime around it.
///
/// # Errors
/// Where one is taken, not this machine's, or no address of TCP; the message names it and its key.
pub(crate) fn open(settings: &Settings) -> Result<Vec<Opened>> {
    let opened = |site: &GrpcSite| -> Result<Opened> {
        let socket = socket::open(&site.endpoint).with_context(|| {
            format!(
                "gRPC needs this address; {} chooses another, and enable_grpc=false does without",
                site.key
            )
        })?;
        match socket {
            Socket::Tcp(listener) => Ok(Opened { site: site.clone(), listener }),
            Socket::Unix(..) => {
                bail!("{}: gRPC answers on TCP alone; give a host and a port", site.endpoint)
            }
        }
    };
    settings.grpc.iter().map(opened).collect()
}

impl Opened {
    /// Whether Triton's clients are expected there.
    pub(crate) fn is_tritons(&self) -> bool {
        self.site.key == GRPC_KEY
    }

    /// Host and port, with the real one where 0 was asked for.
    fn address(&self) -> io::Result<std::net::SocketAddr> {
        self.listener.local_addr()
    }
}

/// What a client says of itself beside its messages; not what gRPC says for its own ends.
fn headers(metadata: &MetadataMap) -> Vec<Header> {
    let own = |name: &str| name.starts_with("grpc-") || name == "te" || name == "content-type";
    let pairs = metadata.iter().filter_map(|pair| match pair {
        KeyAndValueRef::Ascii(name, value) => Some((name.as_str(), value.to_str().ok()?)),
        KeyAndValueRef::Binary(..) => None,
    });
    let clients = pairs.filter(|(name, _)| !own(name));
    clients.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
