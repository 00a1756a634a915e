//! What the server and its models tell of themselves, as messages.

use std::collections::HashMap;

use mar_engine::{Error, Result};
use mar_oip::{
    LogChanges, LogSettings, ModelIndex, ModelMetadata, ModelStatistics, RegionStatus,
    ServerMetadata, Tally, TensorMetadata, TraceSettings, TraceValue,
};
use mar_proto::inference::log_settings_request::SettingValue as LogSent;
use mar_proto::inference::log_settings_request::setting_value::ParameterChoice as Sent;
use mar_proto::inference::log_settings_response::SettingValue as LogTold;
use mar_proto::inference::log_settings_response::setting_value::ParameterChoice as Told;
use mar_proto::inference::model_metadata_response::TensorMetadata as TensorMessage;
use mar_proto::inference::repository_index_response::ModelIndex as IndexMessage;
use mar_proto::inference::system_shared_memory_status_response::RegionStatus as RegionMessage;
use mar_proto::inference::trace_setting_response::SettingValue as TraceTold;
use mar_proto::inference::{
    InferBatchStatistics, InferStatistics, LogSettingsResponse, ModelMetadataResponse,
    ModelStatistics as StatisticsMessage, ModelStatisticsResponse, RepositoryIndexResponse,
    ServerMetadataResponse, StatisticDuration, SystemSharedMemoryRegisterRequest,
    SystemSharedMemoryStatusResponse, TraceSettingResponse,
};

pub(super) fn server(told: ServerMetadata) -> ServerMetadataResponse {
    let extensions = told.extensions.into_iter().map(str::to_owned).collect();
    ServerMetadataResponse { name: told.name, version: told.version, extensions }
}

pub(super) fn model(told: ModelMetadata) -> ModelMetadataResponse {
    ModelMetadataResponse {
        name: told.name,
        versions: told.versions,
        platform: told.platform,
        inputs: told.inputs.into_iter().map(tensor).collect(),
        outputs: told.outputs.into_iter().map(tensor).collect(),
        properties: told.properties.into_iter().collect(),
    }
}

fn tensor(told: TensorMetadata) -> TensorMessage {
    TensorMessage { name: told.name, datatype: told.datatype.to_owned(), shape: told.shape }
}

pub(super) fn statistics(told: Vec<ModelStatistics>) -> ModelStatisticsResponse {
    ModelStatisticsResponse { model_stats: told.into_iter().map(of_version).collect() }
}

fn of_version(told: ModelStatistics) -> StatisticsMessage {
    let requests = told.inference_stats;
    let batches = told.batch_stats.into_iter().map(|batches| InferBatchStatistics {
        batch_size: batches.batch_size,
        compute_input: tally(batches.of.compute_input),
        compute_infer: tally(batches.of.compute_infer),
        compute_output: tally(batches.of.compute_output),
    });
    StatisticsMessage {
        batch_stats: batches.collect(),
        name: told.name,
        version: told.version,
        last_inference: told.last_inference,
        inference_count: told.inference_count,
        execution_count: told.execution_count,
        inference_stats: Some(InferStatistics {
            success: tally(requests.success),
            fail: tally(requests.fail),
            queue: tally(requests.queue),
            compute_input: tally(requests.compute_input),
            compute_infer: tally(requests.compute_infer),
            compute_output: tally(requests.compute_output),
            cache_hit: tally(requests.cache_hit),
            cache_miss: tally(requests.cache_miss),
        }),
        memory_usage: Vec::new(),
        response_stats: HashMap::new(),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every field of the messages is optional")]
fn tally(Tally { count, ns }: Tally) -> Option<StatisticDuration> {
    Some(StatisticDuration { count, ns })
}

pub(super) fn index(told: Vec<ModelIndex>) -> RepositoryIndexResponse {
    let models = told.into_iter().map(|entry| IndexMessage {
        name: entry.name,
        version: entry.version,
        state: entry.state.to_owned(),
        reason: entry.reason,
    });
    RepositoryIndexResponse { models: models.collect() }
}

/// The model that a load or an unload is for: KServe's clients put it where Triton's put the repository.
pub(super) fn model_of(first: String, second: String) -> String {
    if second.is_empty() { first } else { second }
}

/// A region that a client registers.
pub(super) fn region(sent: SystemSharedMemoryRegisterRequest) -> RegionStatus {
    let SystemSharedMemoryRegisterRequest { name, key, offset, byte_size } = sent;
    RegionStatus { name, key, offset, byte_size }
}

pub(super) fn regions(told: Vec<RegionStatus>) -> SystemSharedMemoryStatusResponse {
    let regions = told.into_iter().map(|RegionStatus { name, key, offset, byte_size }| {
        (name.clone(), RegionMessage { name, key, offset, byte_size })
    });
    SystemSharedMemoryStatusResponse { regions: regions.collect() }
}

pub(super) fn trace(told: TraceSettings) -> TraceSettingResponse {
    let settings = told.into_iter().map(|(name, value)| {
        let value = match value {
            TraceValue::List(values) => values,
            TraceValue::Text(value) => vec![value],
        };
        (name.to_owned(), TraceTold { value })
    });
    TraceSettingResponse { settings: settings.collect() }
}

pub(super) fn log(told: LogSettings) -> LogSettingsResponse {
    let settings = [
        ("log_file", Told::StringParam(told.log_file)),
        ("log_info", Told::BoolParam(told.log_info)),
        ("log_warning", Told::BoolParam(told.log_warning)),
        ("log_error", Told::BoolParam(told.log_error)),
        ("log_verbose_level", Told::Uint32Param(told.log_verbose_level)),
        ("log_format", Told::StringParam(told.log_format)),
    ];
    let settings =
        settings.map(|(name, value)| (name.to_owned(), LogTold { parameter_choice: Some(value) }));
    LogSettingsResponse { settings: settings.into() }
}

/// What a client sets of the log; settings that there are not are not looked at, as Triton has it.
///
/// # Errors
/// Where a value is of another kind than its setting; the message names it.
pub(super) fn log_changes(sent: HashMap<String, LogSent>) -> Result<LogChanges> {
    let mut changes = LogChanges::default();
    for (name, LogSent { parameter_choice }) in sent {
        match (name.as_str(), parameter_choice) {
            ("log_file", Some(Sent::StringParam(value))) => changes.log_file = Some(value),
            ("log_info", Some(Sent::BoolParam(value))) => changes.log_info = Some(value),
            ("log_warning", Some(Sent::BoolParam(value))) => changes.log_warning = Some(value),
            ("log_error", Some(Sent::BoolParam(value))) => changes.log_error = Some(value),
            ("log_verbose_level", Some(Sent::Uint32Param(value))) => {
                changes.log_verbose_level = Some(value);
            }
            ("log_format", Some(Sent::StringParam(value))) => changes.log_format = Some(value),
            ("log_file" | "log_format", _) => return Err(kind(&name, "a string")),
            ("log_info" | "log_warning" | "log_error", _) => return Err(kind(&name, "a bool")),
            ("log_verbose_level", _) => return Err(kind(&name, "an unsigned number")),
            _ => {}
        }
    }
    Ok(changes)
}

fn kind(name: &str, kind: &str) -> Error {
    Error::invalid_input(format!("setting {name} is {kind}"))
}
