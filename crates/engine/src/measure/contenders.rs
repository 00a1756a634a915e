//! The files of an archive that a runtime here opens, each in every way that its runtime has.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mar::Archive;
use mar_handler::{Device, Handler, LoadSpec, Model, Result, Runtime, Signature, Variant};
use serde_json::{Map, Value};

use super::MeasureRequest;
use crate::check::device;
use crate::infer::Interface;
use crate::interface::known;
use crate::open::{Opener, context, invalid, options, weights};

/// One file, run in one way.
pub(super) struct Contender {
    /// The file's name in the archive.
    pub(super) file: String,
    pub(super) variant: Variant,
    path: PathBuf,
    runtime: Arc<dyn Runtime>,
    options: Map<String, Value>,
    /// What its file says of the network, over what the archive declares.
    pub(super) signature: Signature,
}

/// A file that cannot be measured, and why.
pub(super) struct Unopened {
    pub(super) file: String,
    pub(super) reason: String,
}

/// An archive that is unpacked, as far as measuring needs it.
pub(super) struct Opened {
    pub(super) contenders: Vec<Contender>,
    pub(super) unopened: Vec<Unopened>,
    /// The handler, or why there is none.
    pub(super) handler: Result<Box<dyn Handler>>,
    /// What the network takes and gives, as far as the first file, the archive and the handler say.
    pub(super) signature: Signature,
    pub(super) device: Device,
}

impl Opened {
    /// Unpacks an archive into a folder, and looks at what is in it.
    ///
    /// # Errors
    /// Where the archive cannot be read, names no weights, or the device is not there.
    pub(super) fn open(
        request: &MeasureRequest,
        opener: &Opener,
        archive: &Archive,
        model_dir: &Path,
    ) -> Result<Self> {
        let manifest = archive.manifest();
        let first = weights(manifest)?;
        archive.extract(model_dir).map_err(|error| invalid(&error))?;
        let settings = archive.config().map_err(|error| invalid(&error))?.unwrap_or_default();

        let others = archive.entries().iter().map(|entry| entry.name.as_str());
        let others = others.filter(|name| *name != first && !name.starts_with("samples/"));
        let opened = others.filter(|name| opener.runtime(name).is_ok());
        let (mut contenders, mut unopened) = (Vec::new(), Vec::new());
        for file in std::iter::once(first).chain(opened) {
            match contenders_of(file, model_dir, opener, &settings) {
                Ok(of_file) => contenders.extend(of_file),
                Err(error) => {
                    let (file, reason) = (file.to_owned(), error.message().to_owned());
                    unopened.push(Unopened { file, reason });
                }
            }
        }

        let device = match contenders.first() {
            Some(first) => device(request.device, first.runtime.as_ref(), &settings)?,
            None => request.device.unwrap_or(Device::Cpu),
        };
        let signature = contenders.first().map(|first| first.signature.clone()).unwrap_or_default();
        let model = &manifest.model;
        let context = context(model, model_dir, settings, signature);
        let named = request.handler.as_deref().or(model.handler.as_deref());
        let handler = opener.handler(named).and_then(|handler| handler.initialize(&context));
        let signature = match &handler {
            Ok(handler) => Interface::of_archive(context.signature, handler.as_ref()).signature,
            Err(_) => context.signature,
        };
        Ok(Self { contenders, unopened, handler, signature, device })
    }
}

fn contenders_of(
    file: &str,
    model_dir: &Path,
    opener: &Opener,
    settings: &Map<String, Value>,
) -> Result<Vec<Contender>> {
    let runtime = opener.runtime(file)?;
    let path = model_dir.join(file);
    let signature = known(settings, runtime.signature(&path)?)?;
    let asked = options(runtime.as_ref(), settings)?;
    let one = |variant: Variant| {
        let mut options = asked.clone();
        options.extend(variant.options.clone());
        Contender {
            file: file.to_owned(),
            variant,
            path: path.clone(),
            runtime: Arc::clone(&runtime),
            options,
            signature: signature.clone(),
        }
    };
    Ok(runtime.variants().into_iter().map(one).collect())
}

impl Contender {
    /// Opens it for so many threads, afresh.
    pub(super) fn load(&self, device: Device, threads: usize) -> Result<Arc<dyn Model>> {
        self.runtime.load(&LoadSpec {
            file: self.path.clone(),
            device,
            intra_op_threads: threads,
            options: self.options.clone(),
            cache: None,
            // Each way is measured as it is, and none chosen here.
            inputs: Vec::new(),
        })
    }

    /// The only size of a batch that it takes; `None` where it takes any.
    pub(super) fn only_size(&self) -> Option<usize> {
        let inputs = self.signature.inputs.as_deref().unwrap_or_default();
        inputs.iter().find_map(|input| *input.shape.as_deref()?.first()?)
    }
}
