//! The engine: which models there are, who runs them, and the way of one request through them.
//!
//! It knows archives and the handlers' contract. It knows no protocol and no tensor library: a server
//! crate adapts HTTP to [`Engine::predict`], and runtimes come in as [`Runtime`] values.

mod config;
mod engine;
mod events;
mod in_flight;
mod pool;
mod queue;
mod registry;
mod version;
mod work_dir;
mod worker;

pub use config::{Defaults, EngineConfig, Overrides};
pub use engine::{Admission, Answered, Engine};
pub use events::{Events, NoEvents, Outcome, Timing, VersionEvents};
pub use registry::ModelEntry;
pub use version::{ModelVersion, VersionState};
pub use worker::{WorkerInfo, WorkerState};

// The contract's types that a protocol adapter meets, so that it needs no arrow of its own to them.
pub use mar_handler::{
    Device, Error, ErrorCode, Header, Part, Registration, Request, Response, Result, Runtime,
};
