//! What was asked for, key by key, before it is checked as a whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::address::{check_reach, is_local, tls};
use super::grpc::GrpcDraft;
use super::model_cache::ModelCache;
use super::models::{self, Models};
use super::triton::TritonDraft;
use super::{ApiKey, Listed, ModelControl, Settings};
use crate::fetch;

/// Settings in the making. What depends on more than one key waits here for the others.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) settings: Settings,
    pub(crate) model_store: Option<PathBuf>,
    pub(crate) load_models: String,
    /// The property `models`.
    pub(crate) listed: Models,
    /// The property `model_snapshot`.
    pub(crate) snapshot: Option<Models>,
    pub(crate) grpc: GrpcDraft,
    pub(crate) triton: TritonDraft,
    pub(crate) strict: Option<bool>,
    pub(crate) certificate_file: Option<PathBuf>,
    pub(crate) private_key_file: Option<PathBuf>,
    /// The key `disable_token_authorization`: tokens are made only where it is set, and false.
    pub(crate) disable_tokens: Option<bool>,
    /// Whether clients may share memory; where nobody can be on another machine, if nothing is said.
    pub(crate) shared_memory: Option<bool>,
    pub(crate) token_life: Duration,
    pub(crate) api_key_file: Option<PathBuf>,
    pub(crate) model_cache: ModelCache,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            model_store: None,
            load_models: String::new(),
            listed: Models::new(),
            snapshot: None,
            grpc: GrpcDraft::default(),
            triton: TritonDraft::default(),
            strict: None,
            certificate_file: None,
            private_key_file: None,
            disable_tokens: None,
            shared_memory: None,
            token_life: Duration::from_hours(1),
            api_key_file: None,
            model_cache: ModelCache::default(),
        }
    }
}

impl Draft {
    /// The settings, checked as a whole. Binds nothing and loads nothing.
    ///
    /// # Errors
    /// Where something is missing, is not there, or would be open to everybody without being meant to.
    pub(crate) fn finish(self, api_key: Option<&str>) -> Result<Settings> {
        let mut settings = self.settings;
        let store = self.model_store.context(
            "no model store: give --model-store DIR, or model_store in the configuration file",
        )?;
        for store in settings.store.more.iter().chain([&store]) {
            ensure!(store.is_dir(), "the model store {} is not a folder", store.display());
        }

        let keyed = |key: &str| key_from_variable(key).map(Some);
        settings.access.api_key = match (api_key, &self.api_key_file) {
            (Some(key), _) => keyed(key)?,
            (None, Some(file)) => Some(key_from_file(file)?),
            (None, None) => None,
        };
        settings.access.tokens = (self.disable_tokens == Some(false)).then_some(self.token_life);
        settings.grpc = self.grpc.sites()?;
        self.triton.finish(&mut settings);
        settings.strict = self.strict.unwrap_or(self.triton.enabled);
        let triton_http = settings.triton.http.iter().map(|it| ("triton_http_address", it));
        let triton_metrics = settings.triton.metrics.iter();
        let triton_metrics = triton_metrics.map(|it| ("triton_metrics_address", it));
        let grpc = settings.grpc.iter().map(|site| (site.key, &site.endpoint));
        let guarded = [
            ("inference_address", &settings.inference),
            ("management_address", &settings.management),
        ];
        let guarded: Vec<_> = guarded.into_iter().chain(grpc).chain(triton_http).collect();
        let metrics = [("metrics_address", &settings.metrics)].into_iter().chain(triton_metrics);
        let endpoints: Vec<_> = guarded.iter().copied().chain(metrics).collect();
        settings.tls = tls(self.certificate_file, self.private_key_file, &endpoints)?;
        // Not the metrics: they change nothing and tell no input, TorchServe's tokens never guard them,
        // and they are local unless somebody wrote another address down.
        // Who shares memory with the server is on its machine, and others would read and write what lies there.
        let all_local = guarded.iter().all(|(_, endpoint)| is_local(endpoint));
        settings.shared_memory = self.shared_memory.unwrap_or(all_local);
        for (key, endpoint) in guarded {
            check_reach(key, endpoint, &settings.access, self.disable_tokens == Some(true))?;
        }

        settings.models = match &self.snapshot {
            Some(snapshot) => models::of_snapshot(snapshot, (&store, &settings.store.more))?,
            // As Triton does; whoever names models, or leaves it to clients, is not given all.
            None if self.triton.enabled
                && self.load_models.is_empty()
                && settings.model_control == ModelControl::None =>
            {
                models::sources("all", (&store, &settings.store.more))?
            }
            None => models::sources(&self.load_models, (&store, &settings.store.more))?,
        };
        for url in settings.models.iter().filter_map(|source| source.url.as_deref()) {
            fetch::check_allowed(url, &settings.store).context("load_models")?;
        }
        settings.store.listed = self.listed;
        for (name, versions) in self.snapshot.into_iter().flatten() {
            settings.store.listed.entry(name).or_default().extend(versions);
        }
        let overrides = |listed: &BTreeMap<String, Listed>| {
            listed.iter().map(|(version, it)| (version.clone(), it.overrides.clone())).collect()
        };
        settings.engine.listed = settings
            .store
            .listed
            .iter()
            .map(|(name, listed)| (name.clone(), overrides(listed)))
            .collect();
        settings.store.dir = store;
        Ok(settings)
    }
}

fn key_from_variable(text: &str) -> Result<ApiKey> {
    api_key(text).context("MARSERVE_API_KEY")
}

fn key_from_file(file: &Path) -> Result<ApiKey> {
    let name = || format!("api_key_file {}", file.display());
    let text =
        std::fs::read_to_string(file).with_context(|| format!("{}: cannot read it", name()))?;
    api_key(text.trim()).with_context(name)
}

/// A key travels in a header, which no other characters fit into.
fn api_key(text: &str) -> Result<ApiKey> {
    let fits = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    ensure!(fits, "the key is empty or has other characters than visible ASCII ones");
    Ok(ApiKey(text.to_owned()))
}
