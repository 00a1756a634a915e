//! The Open Inference Protocol's service, as this server's settings have it.

use std::sync::Arc;

use mar_engine::Engine;
use mar_oip::{Service, ServiceConfig};

use crate::metrics::Metrics;
use crate::repository::Archives;
use crate::settings::Settings;
use crate::snapshots::Snapshots;

/// The service over an engine.
pub(crate) fn service(
    settings: &Settings,
    engine: &Arc<Engine>,
    metrics: &Arc<Metrics>,
    snapshots: &Arc<Snapshots>,
) -> Service {
    let config = ServiceConfig {
        name: "marserve".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        explicit_control: settings.access.model_api,
        repositories: vec![Arc::new(Archives::new(settings, Arc::clone(snapshots)))],
        figures: Some(Arc::<Metrics>::clone(metrics)),
        shared_memory: settings.shared_memory.then(|| "/dev/shm".into()),
    };
    Service::new(Arc::clone(engine), config)
}
