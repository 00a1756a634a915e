//! The keys of gRPC: where it answers, and how long its connections live.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Key;
use super::used::used;
use super::values::switch;
use crate::settings::grpc::{PortDraft, resolve};

/// Each that sets a part of the settings.
pub(super) const USED: &[Key] = &[
    used("enable_grpc", "true", "whether gRPC answers at all", |d, text| {
        switch(text).map(|value| d.grpc.enabled = value)
    }),
    used(
        "grpc_inference_address",
        "127.0.0.1",
        "the host where gRPC answers predictions and the Open Inference Protocol",
        |d, text| host(&mut d.grpc.inference, text),
    ),
    used("grpc_inference_port", "7070", "its port; 0 takes any free one", |d, text| {
        port(&mut d.grpc.inference, text)
    }),
    used(
        "grpc_management_address",
        "127.0.0.1",
        "the host where gRPC answers management",
        |d, text| host(&mut d.grpc.management, text),
    ),
    used("grpc_management_port", "7071", "its port; 0 takes any free one", |d, text| {
        port(&mut d.grpc.management, text)
    }),
    used(
        "enable_grpc_ssl",
        "false",
        "whether gRPC speaks TLS, with `certificate_file` and `private_key_file`",
        |d, text| switch(text).map(|value| d.grpc.tls = value),
    ),
    used(
        "grpc_inference_max_connection_age_ms",
        "(unlimited)",
        "milliseconds after which a connection is asked to end, once its calls have",
        |d, text| milliseconds(text, 1).map(|value| d.grpc.inference.max_connection_age = value),
    ),
    used(
        "grpc_inference_max_connection_age_grace_ms",
        "(unlimited)",
        "milliseconds that calls may go on then; those that do are ended",
        |d, text| {
            let value = milliseconds(text, 0)?;
            d.grpc.inference.max_connection_age_grace = value;
            Ok(())
        },
    ),
    used(
        "grpc_management_max_connection_age_ms",
        "(unlimited)",
        "the same for the connections of management",
        |d, text| milliseconds(text, 1).map(|value| d.grpc.management.max_connection_age = value),
    ),
    used(
        "grpc_management_max_connection_age_grace_ms",
        "(unlimited)",
        "the same for the calls of management",
        |d, text| {
            let value = milliseconds(text, 0)?;
            d.grpc.management.max_connection_age_grace = value;
            Ok(())
        },
    ),
];

fn host(draft: &mut PortDraft, text: &str) -> Result<()> {
    resolve(text, 0)?;
    text.clone_into(&mut draft.host);
    Ok(())
}

fn port(draft: &mut PortDraft, text: &str) -> Result<()> {
    draft.port = text.parse().ok().context("not a port, a whole number from 0 to 65535")?;
    Ok(())
}

/// A time as TorchServe writes it, a whole number of 64 bits; one that no process outlives is none.
fn milliseconds(text: &str, least: i64) -> Result<Option<Duration>> {
    const CENTURY: i64 = 100 * 365 * 24 * 3600 * 1000;
    let number = text.parse().ok().filter(|number: &i64| *number >= least);
    let number =
        number.with_context(|| format!("not a whole number of milliseconds from {least}"))?;
    Ok(u64::try_from(number).ok().filter(|_| number < CENTURY).map(Duration::from_millis))
}
