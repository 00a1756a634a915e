//! The table that a start ends with.

use comfy_table::{ContentArrangement, Table, presets};
use mar_engine::{Engine, VersionState};

use crate::server::TritonUrls;

/// Models, versions, devices, workers and READY, or the reason why not, a row each.
pub(crate) fn table(engine: &Engine) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["model", "version", "device", "workers", "state"]);
    for (name, model) in engine.models() {
        for version in &model.versions {
            let workers = version.workers();
            let mut devices: Vec<String> = workers.iter().map(|w| w.device.to_string()).collect();
            devices.dedup();
            table.add_row([
                name.clone(),
                version.version().to_owned(),
                if devices.is_empty() { "-".into() } else { devices.join(", ") },
                workers.len().to_string(),
                state(&version.state()),
            ]);
        }
    }
    table.to_string()
}

/// What Triton's log says at the end of a start, line by line: scripts look for it.
pub(crate) fn in_tritons_words(engine: &Engine, urls: TritonUrls<'_>) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::ASCII_FULL_CONDENSED).set_header(["Model", "Version", "Status"]);
    for (name, model) in engine.models() {
        for version in &model.versions {
            let status = match version.state() {
                VersionState::Ready => "READY".to_owned(),
                other => format!("UNAVAILABLE: {}", other.reason().unwrap_or(other.name())),
            };
            table.add_row([name.clone(), version.version().to_owned(), status]);
        }
    }
    let mut lines: Vec<String> = table.to_string().lines().map(str::to_owned).collect();
    let place = |url: &str| url.split_once("://").map_or(url, |(_, place)| place).to_owned();
    let started = [
        ("GRPCInferenceService", urls.grpc.map(|address| address.to_string())),
        ("HTTPService", urls.http.map(place)),
        ("Metrics Service", urls.metrics.map(place)),
    ];
    for (service, place) in started {
        lines.extend(place.map(|place| format!("Started {service} at {place}")));
    }
    lines
}

/// A version's state in a word, with the reason where it failed.
fn state(state: &VersionState) -> String {
    match state.reason() {
        Some(reason) => format!("{}: {reason}", state.name()),
        None => state.name().to_owned(),
    }
}
