//! Which models there are, loaded or not, and how clients load and unload them.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use mar_engine::{Engine, Error, ErrorCode, ModelVersion, Result, VersionState};
use parking_lot::Mutex;
use serde::Serialize;

use crate::blocking::blocking;
use crate::names::{HANDLER, has_handler};
use crate::quoted::Quoted;
use crate::{Parameter, Parameters, Service, readiness};

/// Where models lie that can be loaded by their names. Everything here may block.
pub trait Repository: std::fmt::Debug + Send + Sync {
    /// The models that lie here, loaded or not.
    fn names(&self) -> Vec<String>;

    /// Whether it is this one that loads and unloads a model of this name.
    fn has(&self, name: &str) -> bool;

    /// Loads a model, all of the versions that it is to have; anew where it is loaded. `configuration` is
    /// a model configuration as JSON, where a client gives one instead of the model's own.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`] where it does not lie here; else why it does not load.
    fn load(&self, engine: &Engine, name: &str, configuration: Option<&str>) -> Result<()>;

    /// Takes a model out, all of its versions, so that no new request reaches them; they are to be ended by
    /// [`Engine::unload`] then.
    ///
    /// # Errors
    /// Those of [`Engine::take_out`].
    fn take_out(&self, engine: &Engine, name: &str) -> Result<Vec<Arc<ModelVersion>>> {
        take_out(engine, name)
    }

    /// Why a model did not load, where it is not in the engine's list for that reason.
    fn failure(&self, _name: &str) -> Option<String> {
        None
    }

    /// The configuration of a model, where it came with one.
    fn configuration(&self, _name: &str) -> Option<mar_proto::inference::ModelConfig> {
        None
    }
}

/// A version in the repository's index; a model without versions where none was ever loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelIndex {
    /// The model.
    pub name: String,
    /// The version; nothing where it is not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// `READY`, `LOADING`, `UNLOADING` or `UNAVAILABLE`; nothing where it was never loaded.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub state: &'static str,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl ModelIndex {
    /// What stays the same while somebody loads the model.
    fn loading(self) -> Self {
        Self { state: "LOADING", reason: String::new(), ..self }
    }
}

/// What was unloaded: it stays in the index. By model and version.
pub(crate) type Unloaded = Mutex<BTreeMap<(String, String), Weak<ModelVersion>>>;

/// Takes every version of a model out of an engine, the default one last.
///
/// # Errors
/// Those of [`Engine::take_out`].
pub fn take_out(engine: &Engine, name: &str) -> Result<Vec<Arc<ModelVersion>>> {
    let mut taken = Vec::new();
    let model = engine.model(name)?;
    for version in model.versions.iter().filter(|it| !Arc::ptr_eq(it, &model.default)) {
        taken.push(engine.take_out(name, Some(version.version()))?);
    }
    taken.push(engine.take_out(name, Some(model.default.version()))?);
    Ok(taken)
}

impl Service {
    /// Every model that is or was loaded, with its versions, and where clients may load models also those
    /// that they could; those that serve alone, where `ready` says so.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] where it was cut off.
    pub async fn index(&self, ready: bool) -> Result<Vec<ModelIndex>> {
        let models = self.engine().models();
        let mut index: Vec<ModelIndex> = Vec::new();
        for version in models.iter().flat_map(|(_, model)| &model.versions) {
            index.extend(entries(version));
        }
        let now = |entry: ModelIndex| {
            if self.turns.loads(&entry.name) { entry.loading() } else { entry }
        };
        {
            let mut unloaded = self.unloaded.lock();
            unloaded.retain(|(name, _), _| models.iter().all(|(known, _)| known != name));
            for ((name, version), gone) in unloaded.iter() {
                index.push(now(left(name.clone(), version.clone(), gone)));
            }
        }
        if self.config().explicit_control {
            let repositories = self.config().repositories.clone();
            for there in blocking(move || lying(&repositories)).await? {
                if index.iter().all(|entry| entry.name != there.name) {
                    index.push(now(there));
                }
            }
        }
        if ready {
            index.retain(|entry| entry.state == "READY");
        }
        index.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(index)
    }

    /// Loads a model by its name, anew where it is loaded; returns once it serves.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`] where clients may not; [`ErrorCode::ModelNotFound`];
    /// [`ErrorCode::InvalidModel`] with the reason where it does not load.
    pub async fn load(&self, name: &str, parameters: &Parameters) -> Result<()> {
        self.refuse_if_not_explicit()?;
        let configuration = load_parameters(parameters)?;
        let name = self.changed_with(name)?;
        let Some(repository) = self.repository(name).await? else {
            let message =
                format!("failed to load \"{name}\": there is no such model in the model store");
            return Err(Error::new(ErrorCode::ModelNotFound, message));
        };
        let (engine, asked) = (Arc::clone(self.engine()), name.to_owned());
        let turn = self.turns.wait(name, true).await;
        let loaded = blocking(move || {
            // To the end of it, whether its client waits or not.
            let _turn = turn;
            repository.load(&engine, &asked, configuration.as_deref())
        });
        let loaded = loaded.await?;
        if loaded.is_err() && self.engine().model(name).is_err() {
            // Not because somebody unloaded it, as before, is it not there now.
            self.unloaded.lock().retain(|(gone, _), _| gone != name);
        }
        loaded.map_err(|error| match error.code() {
            ErrorCode::Unavailable if self.engine().is_draining() => error,
            code => {
                let told =
                    [ErrorCode::ModelNotFound, ErrorCode::InvalidInput, ErrorCode::Unsupported];
                let code = if told.contains(&code) { code } else { ErrorCode::InvalidModel };
                // Triton's clients look for the first words.
                let message = format!("failed to load \"{name}\": {}", error.message());
                Error::new(code, message).caused_by(error)
            }
        })
    }

    /// Unloads a model by its name, once a load of it that goes on is done: requests that are in are answered,
    /// new ones refused from now on. Comes back before the last of them is.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`] where clients may not. A model that is not loaded is none.
    pub async fn unload(&self, name: &str, parameters: &Parameters) -> Result<()> {
        self.refuse_if_not_explicit()?;
        unload_parameters(parameters)?;
        let Ok(name) = self.changed_with(name) else { return Ok(()) };
        let (engine, asked) = (Arc::clone(self.engine()), name.to_owned());
        let repository = self.repository(name).await?;
        // One that is being loaded is unloaded then.
        let turn = self.turns.wait(name, false).await;
        let taken = blocking(move || {
            let _turn = turn;
            match repository {
                Some(repository) => repository.take_out(&engine, &asked),
                None => take_out(&engine, &asked),
            }
        });
        let versions = match taken.await? {
            Err(error) if error.code() == ErrorCode::ModelNotFound => return Ok(()),
            taken => taken?,
        };
        {
            let mut unloaded = self.unloaded.lock();
            for version in &versions {
                let key = (version.name().to_owned(), version.version().to_owned());
                unloaded.insert(key, Arc::downgrade(version));
            }
        }
        let engine = Arc::clone(self.engine());
        // Nobody waits for the last request, as Triton's clients do not expect to.
        drop(tokio::task::spawn_blocking(move || {
            for version in versions {
                if let Err(error) = engine.unload(&version) {
                    log::warn!("{error}");
                }
            }
        }));
        Ok(())
    }

    async fn repository(&self, name: &str) -> Result<Option<Arc<dyn Repository>>> {
        let (repositories, name) = (self.config().repositories.clone(), name.to_owned());
        blocking(move || repositories.into_iter().find(|repository| repository.has(&name))).await
    }

    fn refuse_if_not_explicit(&self) -> Result<()> {
        if self.config().explicit_control {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::Unavailable,
            "explicit model load / unload is not allowed on this server; start it with --model-control-mode explicit or model_control_mode=explicit",
        ))
    }
}

/// The lines of the models that lie in repositories.
fn lying(repositories: &[Arc<dyn Repository>]) -> Vec<ModelIndex> {
    let of = |repository: &Arc<dyn Repository>| -> Vec<ModelIndex> {
        let line = |name: String| {
            let reason = repository.failure(&name).unwrap_or_default();
            let state = if reason.is_empty() { "" } else { "UNAVAILABLE" };
            ModelIndex { name, state, reason, ..ModelIndex::default() }
        };
        repository.names().into_iter().map(line).collect()
    };
    repositories.iter().flat_map(of).collect()
}

/// A version's line, and its handler's where it has one.
fn entries(version: &Arc<ModelVersion>) -> impl Iterator<Item = ModelIndex> {
    let (state, reason) = match (version.state(), readiness::hindrance(version)) {
        (VersionState::Loading, _) => ("LOADING", None),
        (VersionState::Draining, _) => ("UNLOADING", None),
        (VersionState::Ready, None) => ("READY", None),
        (_, reason) => ("UNAVAILABLE", reason),
    };
    let entry = ModelIndex {
        name: version.name().to_owned(),
        version: version.version().to_owned(),
        state,
        reason: reason.unwrap_or_default(),
    };
    let handler = has_handler(version)
        .then(|| ModelIndex { name: format!("{}{HANDLER}", entry.name), ..entry.clone() });
    std::iter::once(entry).chain(handler)
}

/// The line of a version that was unloaded.
fn left(name: String, version: String, gone: &Weak<ModelVersion>) -> ModelIndex {
    let ending = gone.upgrade().is_some_and(|version| version.state() != VersionState::Unloaded);
    let (state, reason) = if ending { ("UNLOADING", "") } else { ("UNAVAILABLE", "unloaded") };
    ModelIndex { name, version, state, reason: reason.to_owned() }
}

/// The configuration in a load's parameters.
fn load_parameters(parameters: &Parameters) -> Result<Option<String>> {
    let mut configuration = None;
    for (name, value) in parameters {
        match (name.as_str(), value) {
            ("config", Parameter::Text(text)) => configuration = Some(text.clone()),
            ("config", _) => {
                return Err(Error::invalid_input(
                    "parameter config is no string; give the model configuration as JSON in a string",
                ));
            }
            (file, _) if file.starts_with("file:") => {
                let message = format!(
                    "{}: files are not taken with a load; put them into the model store",
                    Quoted(file)
                );
                return Err(Error::new(ErrorCode::Unsupported, message));
            }
            (other, _) => return Err(unknown(other, "config")),
        }
    }
    Ok(configuration)
}

/// An unload's parameters: no model depends on another here, so they make no difference.
fn unload_parameters(parameters: &Parameters) -> Result<()> {
    for (name, value) in parameters {
        match (name.as_str(), value) {
            ("unload_dependents", Parameter::Bool(_)) => {}
            ("unload_dependents", _) => {
                return Err(Error::invalid_input(
                    "parameter unload_dependents is no boolean; give true or false",
                ));
            }
            (other, _) => return Err(unknown(other, "unload_dependents")),
        }
    }
    Ok(())
}

fn unknown(name: &str, known: &str) -> Error {
    Error::invalid_input(format!("unknown parameter {}; known: {known}", Quoted(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(name: &str, value: Parameter) -> Parameters {
        Parameters::from([(name.to_owned(), value)])
    }

    #[test]
    fn a_load_takes_a_configuration_and_nothing_else() {
        let text = |text: &str| Parameter::Text(text.to_owned());
        assert_eq!(load_parameters(&Parameters::new()).unwrap(), None);
        let config = load_parameters(&parameters("config", text("{}"))).unwrap();
        assert_eq!(config.as_deref(), Some("{}"));
        for (name, value, code) in [
            ("config", Parameter::Bool(true), ErrorCode::InvalidInput),
            ("file:1/model.pt", text("AAAA"), ErrorCode::Unsupported),
            ("confug", text("{}"), ErrorCode::InvalidInput),
        ] {
            let error = load_parameters(&parameters(name, value)).unwrap_err();
            assert_eq!(error.code(), code, "{name}");
            assert!(error.message().contains(name), "{error}");
        }
    }

    #[test]
    fn an_unload_takes_no_more_than_a_boolean() {
        unload_parameters(&parameters("unload_dependents", Parameter::Bool(true))).unwrap();
        let wrong = parameters("unload_dependents", Parameter::Int(1));
        assert!(unload_parameters(&wrong).unwrap_err().message().contains("unload_dependents"));
        let long = "é".repeat(1000);
        let error = unload_parameters(&parameters(&long, Parameter::Bool(true))).unwrap_err();
        assert!(error.message().len() < 300, "{error}");
    }
}
