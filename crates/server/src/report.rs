//! The table that a start ends with.

use comfy_table::{ContentArrangement, Table, presets};
use mar_engine::{Engine, VersionState};

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

/// A version's state in a word, with the reason where it failed.
fn state(state: &VersionState) -> String {
    match state.reason() {
        Some(reason) => format!("{}: {reason}", state.name()),
        None => state.name().to_owned(),
    }
}
