//! The hooks of one kind of model.

use std::fmt;

use serde_json::{Map, Value};

use crate::{Batch, Context, Epilogue, Model, Request, Response, Result, Signature, Tensor};

/// Pre- and postprocessing of one kind of model. One value per model version, shared by its workers.
///
/// `preprocess` and `postprocess` run on the CPU pool, one request at a time, unless they are brief; `inference` runs on a
/// worker's thread, one batch at a time. So a corrupt image fails alone.
pub trait Handler: Send + Sync + 'static {
    /// Reads labels, sizes and constants from the archive.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`](crate::ErrorCode::InvalidModel), naming the key or file that is wrong.
    fn initialize(context: &Context) -> Result<Self>
    where
        Self: Sized;

    /// One request to the model's inputs, each without a batch dimension.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`](crate::ErrorCode::InvalidInput) where the request is at fault.
    fn preprocess(&self, request: &Request) -> Result<Vec<Tensor>>;

    /// What [`Self::preprocess`] makes of a request, and what it had on the way: the last stage's tensors are
    /// those that `preprocess` gives and the network sees. A handler of images has three, under the names in [`Stage`]. Known
    /// answers are held against them; requests that are served do not come here.
    ///
    /// # Errors
    /// Those of [`Self::preprocess`].
    fn stages(&self, request: &Request) -> Result<Vec<Stage>> {
        Ok(vec![Stage { name: Stage::PREPROCESS, tensors: self.preprocess(request)? }])
    }

    /// A batch through the model, to the outputs of each request in it. The default is a plain forward
    /// pass, split. A handler whose requests get outputs of different sizes makes the lists itself.
    ///
    /// # Errors
    /// Whatever the model reports; it fails the batch, not the worker.
    fn inference(&self, model: &dyn Model, batch: Batch) -> Result<Vec<Vec<Tensor>>> {
        batch.through(model, Epilogue::None)
    }

    /// One request's outputs, each without the batch dimension, to its response.
    ///
    /// # Errors
    /// [`ErrorCode::PredictionFailed`](crate::ErrorCode::PredictionFailed) where the model's answer is
    /// not what this kind of model gives.
    fn postprocess(&self, outputs: Vec<Tensor>, request: &Request) -> Result<Response>;

    /// What this handler knows of its network: what `preprocess` gives it, and what it is to answer. For
    /// clients that bring the network's own input, where the network's file says less.
    fn signature(&self) -> Signature {
        Signature::default()
    }

    /// Whether each request is one row of every input of the network, so that clients who bring the network's
    /// own input may bring several rows, and share batches. Not so where [`Self::inference`] gives the network
    /// something else than stacked requests.
    fn stacks(&self) -> bool {
        true
    }

    /// Whether `preprocess` of a request of so many bytes takes less than it takes to hand work to another thread,
    /// which is some 20 µs, and never waits for anything. It then runs where requests arrive, and holds up those
    /// behind it for as long. By default it does not.
    fn preprocess_is_brief(&self, bytes: usize) -> bool {
        let _ = bytes;
        false
    }

    /// The same of `postprocess`, of outputs of so many bytes.
    fn postprocess_is_brief(&self, bytes: usize) -> bool {
        let _ = bytes;
        false
    }

    /// What the handler tells of its model to those who ask for it (`customized=true`): labels, sizes,
    /// whatever a client needs. Nothing by default.
    fn describe(&self) -> Map<String, Value> {
        Map::new()
    }
}

/// One step of preprocessing, with what it made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The step's name.
    pub name: &'static str,
    /// What it made, without a batch dimension.
    pub tensors: Vec<Tensor>,
}

impl Stage {
    /// The image as it was sent, in the colour mode that is declared: `uint8`, height, width, channels.
    pub const DECODE: &'static str = "decode";
    /// The image in the size that the network sees: `uint8`, height, width, channels.
    pub const RESIZE: &'static str = "resize";
    /// What the network sees of an image.
    pub const NORMALISE: &'static str = "normalise";
    /// What the network sees of anything else.
    pub const PREPROCESS: &'static str = "preprocess";
}

/// A handler under the name that archives know it by. Servers are given a list of these.
#[derive(Clone, Copy)]
pub struct Registration {
    name: &'static str,
    initialize: fn(&Context) -> Result<Box<dyn Handler>>,
}

impl Registration {
    /// Handler `H` under this name.
    pub fn of<H: Handler>(name: &'static str) -> Self {
        Self { name, initialize: |context| Ok(Box::new(H::initialize(context)?)) }
    }

    /// The name that archives know it by.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Makes the handler of one model version.
    ///
    /// # Errors
    /// Those of [`Handler::initialize`].
    pub fn initialize(&self, context: &Context) -> Result<Box<dyn Handler>> {
        (self.initialize)(context)
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registration").field(&self.name).finish()
    }
}
