//! The engine: which models there are, who runs them, and the way of one request through them.
//!
//! It knows archives and the handlers' contract. It knows no protocol and no tensor library: a server
//! crate adapts HTTP to [`Engine::predict`], and runtimes come in as [`Runtime`] values.

mod batch;
mod check;
mod config;
mod crew;
mod engine;
mod events;
mod execution;
mod fixed;
mod forward;
mod in_flight;
mod infer;
mod interface;
mod job;
mod measure;
mod model_cache;
mod network;
mod open;
mod optimise;
mod plan;
mod pool;
mod probe;
mod queue;
mod registry;
mod samples;
mod seat;
mod version;
mod wait;
mod weights;
mod work_dir;
mod worker;
mod workshop;

pub use check::{CheckRequest, Checked, check};
pub use config::{Defaults, EngineConfig, Overrides};
pub use crew::Scaling;
pub use engine::{Admission, Answered, Engine, LoadRequest, NetworkFile, Registered};
pub use events::{BatchTiming, Events, Failure, NoEvents, Outcome, Timing, VersionEvents};
pub use execution::Execution;
pub use fixed::FixedBatch;
pub use infer::{Interface, TensorAnswer, TensorRequest};
pub use measure::{MeasureRequest, Measured, MeasuredRow, Parity, Spread, Unmeasured, measure};
pub use network::{Instances, Network, QueuePolicy, Scheduling, Warmup};
pub use optimise::{OptimiseRequest, OptimisedArchive, optimise};
pub use plan::{BatchLimit, Plan};
pub use registry::ModelEntry;
pub use samples::{
    FirstDifference, SampleReport, SamplesReport, SamplesVerdict, StageReport, StageVerdict,
    VerifySamples,
};
pub use seat::{WorkerInfo, WorkerState};
pub use version::{ModelVersion, VersionState};

// The contract's types that a protocol adapter meets, so that it needs no arrow of its own to them.
pub use mar_handler::{
    DType, Device, Element, Error, ErrorCode, Header, Part, Registration, Request, Response,
    Result, Runtime, Side, Signature, Tensor, TensorSpec,
};
