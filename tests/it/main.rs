//! What the project does as a whole, tested from outside: one binary, a module a capability.
//!
//! Every test starts a server of its own on free ports, with a model store of its own. Most run on a
//! fake runtime, so that the engine and the protocols are tested where there is no libtorch; `torch` and
//! `process` run the real thing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

/// What the server is told, and by whom: files, flags, variables.
mod configuration;
/// What a request is answered: bodies, forms, versions, headers, errors.
mod inference;
/// Start-up, health, draining, recovery of a worker that went down.
mod life_cycle;
/// What the management port tells.
mod management;
/// The program itself: start, stop, signals, kills. Needs libtorch for a model that serves.
#[cfg(feature = "torch")]
mod process;
/// Which crate may know which, and how large a file may be.
mod tidy;
/// The example on libtorch: equal to FastAI, and unharmed by broken images.
#[cfg(feature = "torch")]
mod torch;
