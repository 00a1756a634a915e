//! A network that lies in no archive, such as in a model repository of Triton's layout: what whoever found it
//! says of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mar_handler::{Device, Side, Signature, Tensor};
use serde_json::{Map, Value};

/// A network and how it is to be served.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// The version it is.
    pub version: String,
    /// The weights' file; its ending says which runtime opens it.
    pub file: PathBuf,
    /// What is declared of its inputs and outputs, in the order in which it takes and gives them; it goes
    /// before what the file says. Where `max_batch_size` is above 0, the first side of each is the batch's.
    pub signature: Signature,
    /// The inputs and outputs that the network itself has with other sides than its clients: by name, the
    /// network's own sides, without the batch's. `signature` says the clients', tensors that go through
    /// [`Engine::infer`](crate::Engine::infer) have the network's.
    pub reshaped: BTreeMap<String, Vec<Side>>,
    /// What the places of an output mean, by the output's name: for clients that ask for the likeliest.
    pub labels: BTreeMap<String, Arc<[String]>>,
    /// Rows of a batch at most; 0 where the first side is no batch's.
    pub max_batch_size: usize,
    /// How requests are put together.
    pub scheduling: Scheduling,
    /// Workers, and where; one a device, on CUDA where there is any, where there is none.
    pub instances: Vec<Instances>,
    /// Requests that each worker answers before it is ready.
    pub warmup: Vec<Warmup>,
    /// What the runtime is asked, by its own names.
    pub parameters: Map<String, Value>,
}

/// How requests wait and are put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// Whether requests share batches at all.
    pub dynamic: bool,
    /// Sizes to stop at, if any are better than others.
    pub preferred_batch_sizes: Vec<usize>,
    /// How long a batch may wait to fill, from the arrival of its oldest request.
    pub max_delay: Duration,
    /// Levels of priority, from 1, which goes first; 0 where all are equal.
    pub priority_levels: u64,
    /// The level of those that name none, or one that is not there.
    pub default_priority: u64,
    /// What holds where a level has no policy of its own.
    pub policy: QueuePolicy,
    /// Policies of levels.
    pub policies: BTreeMap<u64, QueuePolicy>,
}

/// How long requests may wait, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueuePolicy {
    /// How long; no limit of its own where `None`.
    pub timeout: Option<Duration>,
    /// Whether a late request goes behind the others of its level instead of being refused.
    pub delays: bool,
    /// Whether a client's own, shorter time-out counts.
    pub allows_override: bool,
    /// How many may wait; as many as the server lets wait for any model, where `None`.
    pub max_size: Option<usize>,
}

/// Workers of one kind of device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instances {
    /// How many on each.
    pub count: usize,
    /// Where.
    pub devices: Vec<Device>,
}

/// A request that a worker answers before it is ready.
#[derive(Clone, Debug)]
pub struct Warmup {
    /// What it is called in messages.
    pub name: String,
    /// The network's inputs, in its own order, with the batch's side where there is one.
    pub inputs: Vec<Tensor>,
    /// How many times.
    pub count: usize,
}
