//! The Open Inference Protocol's service, as this server's settings have it.

use std::sync::Arc;

use mar_engine::Engine;
use mar_oip::triton::Repositories;
use mar_oip::{Service, ServiceConfig};

use crate::metrics::Metrics;
use crate::repository::{Archives, Models};
use crate::settings::Settings;
use crate::snapshots::Snapshots;

/// The service over an engine.
pub(crate) fn service(
    settings: &Settings,
    engine: &Arc<Engine>,
    metrics: &Arc<Metrics>,
    snapshots: &Arc<Snapshots>,
    repositories: &Arc<Repositories>,
) -> Service {
    // Triton's clients look for its name before they go on, and its own examples do.
    let name = if settings.triton.told { "triton" } else { "marserve" };
    let config = ServiceConfig {
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        explicit_control: settings.explicit_control(),
        repositories: vec![
            Arc::new(Models::new(repositories, snapshots)),
            // For every name that no repository has.
            Arc::new(Archives::new(settings, Arc::clone(snapshots))),
        ],
        figures: Some(Arc::<Metrics>::clone(metrics)),
        shared_memory: settings.shared_memory.then(|| "/dev/shm".into()),
    };
    Service::new(Arc::clone(engine), config)
}
