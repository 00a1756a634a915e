//! The keys of what clients and scripts of Triton expect.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::Key;
use super::used::used;
use super::values::switch;
use crate::settings::ModelControl;
use crate::settings::address::{Ports, endpoint};
use crate::settings::triton::{GRPC_KEY, Place};

/// Each that sets a part of the settings.
pub(super) const USED: &[Key] = &[
    used(
        "triton",
        "false",
        "whether Triton's three addresses are open too; every model is loaded then unless some are named, \
         and one that does not load ends the start",
        |d, text| switch(text).map(|value| d.triton.enabled = value),
    ),
    used(
        "triton_http_address",
        "(none, or `http://127.0.0.1:8000` with `triton`)",
        "where Triton's clients find the inference port's paths; `off`: nowhere",
        |d, text| place(text, 8000).map(|place| d.triton.http = place),
    ),
    used(
        GRPC_KEY,
        "(none, or `http://127.0.0.1:8001` with `triton`)",
        "where they find gRPC; `off`: nowhere",
        |d, text| place(text, 8001).map(|place| d.triton.grpc = place),
    ),
    used(
        "triton_metrics_address",
        "(none, or `http://127.0.0.1:8002` with `triton`)",
        "where they find `/metrics`; `off`: nowhere",
        |d, text| place(text, 8002).map(|place| d.triton.metrics = place),
    ),
    used(
        "model_control_mode",
        "(explicit with `enable_model_api`, else none)",
        "`explicit`: clients of the Open Inference Protocol load and unload models, and none is loaded at the \
         start unless it is named; `none`: they do not",
        |d, text| {
            d.settings.model_control = match text.to_ascii_lowercase().as_str() {
                "none" => ModelControl::None,
                "explicit" => ModelControl::Explicit,
                "poll" => bail!(
                    "the model store is not polled; use explicit, and load a model once it is there"
                ),
                _ => bail!("not none or explicit"),
            };
            Ok(())
        },
    ),
    used(
        "more_model_stores",
        "(none)",
        "further folders that models are loaded from at the start, separated by commas",
        |d, text| {
            let folders = text.split(',').map(str::trim).filter(|folder| !folder.is_empty());
            d.settings.store.more = folders.map(PathBuf::from).collect();
            Ok(())
        },
    ),
];

fn place(text: &str, port: u16) -> Result<Place> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(Place::Off);
    }
    endpoint(text, Ports { http: port, https: port }).map(Place::At)
}
