//! What the tests share: a fake model, a server on free ports, and a client.

pub(crate) mod fake;
#[cfg(feature = "torch")]
pub(crate) mod faults;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod picture;
pub(crate) mod server;
pub(crate) mod store;
