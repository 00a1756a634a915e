//! Weights on a device, and what opens them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{Error, ErrorCode, Result, Signature, Tensor};

/// Where a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// The processor.
    Cpu,
    /// The CUDA device of this index, from 0, as `CUDA_VISIBLE_DEVICES` leaves them.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// What to do with a model's first output on the model's device, before it is copied to the host.
///
/// A mask of 8-bit classes crosses the bus instead of the scores of every class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// The outputs as they are.
    None,
    /// Probabilities along `dim`.
    Softmax {
        /// The dimension, counted with the batch's.
        dim: usize,
    },
    /// The index of the largest value along `dim`, which is dropped from the shape. `U8` where the
    /// dimension has at most 256 entries, else `I64`.
    ///
    /// A dimension with a single entry is one logit for "yes": the result is 1 where it is above 0,
    /// that is, where its sigmoid is above one half.
    ArgMax {
        /// The dimension, counted with the batch's.
        dim: usize,
    },
    /// What [`Self::ArgMax`] gives, and how sure the network is of it: a second tensor of `F32` with the
    /// probability of the winner, which is its softmax along `dim`, or for a single logit the sigmoid of
    /// the side it is on.
    ArgMaxWithProbability {
        /// The dimension, counted with the batch's.
        dim: usize,
    },
    /// The `k` largest values along the last dimension, descending, and their indices: two tensors.
    /// `k` above the dimension's size gives all of it.
    TopK {
        /// How many.
        k: usize,
    },
}

/// Weights on a device. A worker has one for itself, or shares it with the others on that device where
/// the model says that it may.
pub trait Model: Send + Sync {
    /// Runs the network on stacked inputs, then the epilogue on its first output. Each result's first
    /// side counts the requests. Of a dictionary the entries are tensors with its names, and `out`, where
    /// there is one, is the first.
    ///
    /// # Errors
    /// [`ErrorCode::OutOfMemory`](crate::ErrorCode::OutOfMemory) where the device has no room for the
    /// batch, else [`ErrorCode::PredictionFailed`](crate::ErrorCode::PredictionFailed) with the runtime's
    /// first cause.
    fn forward(&self, inputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>>;

    /// Runs a network that takes a list of tensors of any sizes, one a request, and gives a list of
    /// answers, one a request, as torchvision's detectors do. The entries of an answer that is a
    /// dictionary are tensors with its names.
    ///
    /// # Errors
    /// Those of [`Self::forward`]; [`ErrorCode::Unsupported`](crate::ErrorCode::Unsupported) where the
    /// runtime has no such networks.
    fn forward_list(&self, items: Vec<Tensor>) -> Result<Vec<Vec<Tensor>>> {
        Err(Error::new(
            ErrorCode::Unsupported,
            format!("this runtime runs no network that takes a list of {} tensors", items.len()),
        ))
    }

    /// Where the weights are.
    fn device(&self) -> Device;

    /// Whether several workers may run it at the same time, so that the weights are in memory once.
    fn is_shareable(&self) -> bool {
        false
    }

    /// Uses this many threads for a forward pass on the processor. Called on the worker's own thread,
    /// before its first pass and whenever its share of the cores changes.
    fn use_threads(&self, _threads: usize) {}

    /// How it runs, for people who ask: what executes it, and whatever else its runtime decided when it was
    /// opened. Nothing by default.
    fn describe(&self) -> Map<String, Value> {
        Map::new()
    }

    /// How often what [`Self::describe`] tells has changed, for those who have asked it before. Never by
    /// default.
    fn changes(&self) -> u64 {
        0
    }
}

/// What a runtime needs to know to open a file as a model.
#[derive(Clone, Debug)]
pub struct LoadSpec {
    /// The weights' file.
    pub file: PathBuf,
    /// Where they go.
    pub device: Device,
    /// How many threads one forward pass may use on the processor, as things are now; see
    /// [`Model::use_threads`].
    pub intra_op_threads: usize,
    /// What the runtime is asked beside, by its own names. One that it does not know, or cannot do, is an
    /// error that names it. Numbers and booleans may come as texts, as in Triton's configuration.
    pub options: Map<String, Value>,
    /// Where the runtime may keep what it makes of the file, so that the next load takes less time; `None`
    /// where nothing is kept.
    pub cache: Option<PathBuf>,
    /// A batch of one request as the network will get it, for a runtime that [tries](Runtime::tries_inputs) a
    /// model on it; empty where nobody knows what it takes.
    pub inputs: Vec<Tensor>,
}

impl LoadSpec {
    /// A file on the processor, on one thread, with nothing asked.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        let (file, device, options) = (file.into(), Device::Cpu, Map::new());
        Self { file, device, intra_op_threads: 1, options, cache: None, inputs: Vec::new() }
    }
}

/// A way to run a file that is worth comparing with the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// What a table calls it, such as the runtime's name.
    pub name: String,
    /// The options that make the difference; they go over those of the archive.
    pub options: Map<String, Value>,
}

/// A network that was rewritten for its runtime, ahead of any load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Optimised {
    /// Files that were written, that of the network first; they are used together, from one folder.
    pub files: Vec<PathBuf>,
    /// Files beside the network that it needed before and does not need any more, from its folder on.
    pub unused: Vec<PathBuf>,
    /// What made it: the runtime, and whatever else says where it can be used.
    pub made_by: Map<String, Value>,
    /// What whoever asked for it should know.
    pub warnings: Vec<String>,
}

/// A library that runs networks: libtorch, ONNX Runtime, or a test's fake.
pub trait Runtime: Send + Sync + 'static {
    /// Its name, as logs and errors show it.
    fn name(&self) -> &'static str;

    /// The file name endings it opens, without the dot.
    fn extensions(&self) -> &'static [&'static str];

    /// The section of `model-config.yaml` with its options; `None` where archives have none for it.
    fn section(&self) -> Option<&'static str> {
        None
    }

    /// Says whether it understands what a model's options ask, without opening the file. Asked once a version and
    /// device, before any worker loads it.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`](crate::ErrorCode::InvalidModel), naming the option.
    fn check_options(&self, _spec: &LoadSpec) -> Result<()> {
        Ok(())
    }

    /// Whether it tries a model on inputs when it opens it, such as to find out how it runs best; see
    /// [`LoadSpec::inputs`].
    fn tries_inputs(&self) -> bool {
        false
    }

    /// The ways in which it can run a file; the first is what the others are compared with.
    fn variants(&self) -> Vec<Variant> {
        vec![Variant { name: self.name().to_owned(), options: Map::new() }]
    }

    /// Whether it makes something of files that is worth keeping; see [`LoadSpec::cache`].
    fn keeps_files(&self) -> bool {
        false
    }

    /// How many CUDA devices it can use.
    fn cuda_devices(&self) -> usize;

    /// Opens a file as a model. Called on the thread of the worker that needs it.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`](crate::ErrorCode::InvalidModel) with the first cause in one line.
    fn load(&self, spec: &LoadSpec) -> Result<Arc<dyn Model>>;

    /// What the network in a file takes and gives, as far as the file says; asked for once a version, before
    /// any worker opens it.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`](crate::ErrorCode::InvalidModel) where the file says that it cannot be run.
    fn signature(&self, _file: &Path) -> Result<Signature> {
        Ok(Signature::default())
    }

    /// Writes what it makes of the network in a file into a folder, under the file's name, so that it need not
    /// make it at every load.
    ///
    /// # Errors
    /// [`ErrorCode::Unsupported`](crate::ErrorCode::Unsupported) where the runtime has no such files;
    /// [`ErrorCode::InvalidModel`](crate::ErrorCode::InvalidModel) where the network does not open.
    fn optimise(&self, _spec: &LoadSpec, _folder: &Path) -> Result<Optimised> {
        Err(Error::new(
            ErrorCode::Unsupported,
            format!("{} has no files of networks that are optimised", self.name()),
        ))
    }

    /// Gives memory that unloaded models left back to the system, where the library keeps it.
    fn release_memory(&self) {}
}
