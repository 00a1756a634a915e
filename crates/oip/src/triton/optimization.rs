//! What a configuration asks of ONNX Runtime itself: `optimization` and the parameters that belong to its
//! execution providers, as this server's options have them.
//!
//! The names are those of <https://github.com/triton-inference-server/onnxruntime_backend>.

use std::collections::BTreeMap;

use mar_engine::Result;
use mar_proto::inference::ModelConfig;
use mar_proto::inference::model_optimization_policy::execution_accelerators::Accelerator;
use serde_json::{Map, Value};

use super::text::Source;

const ACCELERATORS: &str = "execution_accelerators";
const LEVEL: &str = "graph_optimization_level";
const PROVIDERS: &str = "providers";
/// Sessions are always shared here.
const SHARES: &str = "share_session_between_instances";

/// Parameters of the CUDA provider in their old place, and the words for the numbers that Triton writes there.
const OF_CUDA: [(&str, &[&str]); 4] = [
    ("cudnn_conv_algo_search", &["EXHAUSTIVE", "HEURISTIC", "DEFAULT"]),
    ("gpu_mem_limit", &[]),
    ("arena_extend_strategy", &["kNextPowerOfTwo", "kSameAsRequested"]),
    ("do_copy_in_default_stream", &[]),
];

/// Parameters of `TensorRT` that Triton calls otherwise than ONNX Runtime.
const OF_TENSORRT: [(&str, &str); 3] = [
    ("max_workspace_size_bytes", "trt_max_workspace_size"),
    ("int8_calibration_table_name", "trt_int8_calibration_table_name"),
    ("int8_use_native_calibration_table", "trt_int8_use_native_calibration_table"),
];

/// What the runtime of an ONNX file is asked, and what of it makes no difference, in sentences. `on_gpu`: whether
/// any instance is on one.
///
/// # Errors
/// [`ErrorCode::InvalidModel`](mar_engine::ErrorCode::InvalidModel), naming file, line and key.
pub(super) fn options(
    config: &ModelConfig,
    on_gpu: bool,
    source: &Source,
) -> Result<(Map<String, Value>, Vec<String>)> {
    let mut reading = Reading { source, on_gpu, told: Vec::new() };
    let mut options: Map<String, Value> = parameters(config);
    let mut cuda = reading.parameters_of_cuda(&mut options)?;
    if options.shift_remove(SHARES).is_some() {
        reading.parameter_without_effect(SHARES, "all instances on a device share their session");
    }
    let optimization = config.optimization.as_ref();
    if let Some(graph) = optimization.and_then(|it| it.graph.as_ref()) {
        reading.exclusive(&options, LEVEL, "graph")?;
        let level = if (-1..=2).contains(&graph.level) { graph.level } else { 0 };
        if level != graph.level {
            reading.without_effect("level", "it is -1, 0, 1 or 2");
        }
        options.insert(LEVEL.to_owned(), level.to_string().into());
    }
    let (gpu, cpu) = match optimization.and_then(|it| it.execution_accelerators.as_ref()) {
        Some(of) => (&of.gpu_execution_accelerator[..], &of.cpu_execution_accelerator[..]),
        None => (&[][..], &[][..]),
    };
    let mut providers = Vec::new();
    for accelerator in gpu {
        match accelerator.name.as_str() {
            "tensorrt" => providers.push(entry("tensorrt", reading.of_tensorrt(accelerator)?)),
            // What the old place says goes before what this one says, as in Triton.
            "cuda" => {
                let own = accelerator.parameters.clone();
                cuda = own.into_iter().chain(cuda).collect();
            }
            other => return Err(reading.unknown(other, "tensorrt and cuda run on a GPU")),
        }
    }
    if !on_gpu {
        if !gpu.is_empty() {
            reading.without_effect("gpu_execution_accelerator", "no instance is on a GPU");
        }
        (providers, cuda) = (Vec::new(), BTreeMap::new());
    }
    let asks = !providers.is_empty() || !cuda.is_empty() || !cpu.is_empty();
    if asks && on_gpu {
        providers.push(entry("cuda", cuda));
    }
    for accelerator in cpu {
        match accelerator.name.as_str() {
            "openvino" => {
                let mut options: BTreeMap<String, String> =
                    accelerator.parameters.clone().into_iter().collect();
                options.entry("device_type".to_owned()).or_insert_with(|| "CPU".to_owned());
                providers.push(entry("openvino", options));
            }
            other => return Err(reading.unknown(other, "openvino runs on the processor")),
        }
    }
    if asks {
        reading.exclusive(&options, PROVIDERS, ACCELERATORS)?;
        providers.push("cpu".into());
        options.insert(PROVIDERS.to_owned(), Value::Array(providers));
    }
    Ok((options, reading.told))
}

/// `parameters`, as they are.
pub(super) fn parameters(config: &ModelConfig) -> Map<String, Value> {
    let parameters = config.parameters.iter();
    parameters.map(|(key, value)| (key.clone(), value.string_value.clone().into())).collect()
}

struct Reading<'a> {
    source: &'a Source,
    on_gpu: bool,
    told: Vec<String>,
}

impl Reading<'_> {
    /// Takes those out that belong to the CUDA provider.
    fn parameters_of_cuda(
        &mut self,
        options: &mut Map<String, Value>,
    ) -> Result<BTreeMap<String, String>> {
        let mut cuda = BTreeMap::new();
        for (key, words) in OF_CUDA {
            let Some(value) = options.shift_remove(key) else { continue };
            let value = value.as_str().unwrap_or_default().to_owned();
            if !self.on_gpu {
                self.parameter_without_effect(key, "no instance is on a GPU");
                continue;
            }
            let value = if words.is_empty() {
                value
            } else {
                let word = value.parse().ok().and_then(|place: usize| words.get(place));
                let Some(word) = word else {
                    let known = (0..words.len()).map(|n| n.to_string()).collect::<Vec<_>>();
                    let why =
                        format!("says {key} is \"{value}\"; give one of {}", known.join(", "));
                    return Err(self.source.refuse("parameters", &why));
                };
                (*word).to_owned()
            };
            cuda.insert(key.to_owned(), value);
        }
        Ok(cuda)
    }

    fn of_tensorrt(&self, accelerator: &Accelerator) -> Result<BTreeMap<String, String>> {
        let mut options = BTreeMap::new();
        for (key, value) in &accelerator.parameters {
            let renamed = OF_TENSORRT.iter().find(|(known, _)| known == key);
            let (key, value) = match (key.as_str(), renamed) {
                (_, Some((_, name))) => (*name, value.as_str()),
                ("precision_mode", _) => match value.as_str() {
                    "FP32" => continue,
                    "FP16" => ("trt_fp16_enable", "1"),
                    "BF16" => ("trt_bf16_enable", "1"),
                    "INT8" => ("trt_int8_enable", "1"),
                    other => {
                        let why = format!(
                            "says precision_mode is \"{other}\"; give FP32, FP16, BF16 or INT8"
                        );
                        return Err(self.source.refuse(ACCELERATORS, &why));
                    }
                },
                (key, _) if key.starts_with("trt_") => (key, value.as_str()),
                (key, _) => {
                    let why = format!(
                        "has \"{key}\", which is no parameter of tensorrt; known: precision_mode, max_workspace_size_bytes, int8_calibration_table_name, int8_use_native_calibration_table, and ONNX Runtime's own, which begin with trt_"
                    );
                    return Err(self.source.refuse(ACCELERATORS, &why));
                }
            };
            options.insert(key.to_owned(), value.to_owned());
        }
        Ok(options)
    }

    fn unknown(&self, name: &str, known: &str) -> mar_engine::Error {
        let why = format!("has \"{name}\", which is not known there: {known}");
        self.source.refuse(ACCELERATORS, &why)
    }

    /// Refuses what is said twice.
    fn exclusive(&self, options: &Map<String, Value>, parameter: &str, key: &str) -> Result<()> {
        if options.contains_key(parameter) {
            let why = format!("says what the parameter {parameter} says too; take one of them out");
            return Err(self.source.refuse(key, &why));
        }
        Ok(())
    }

    fn parameter_without_effect(&mut self, key: &str, why: &str) {
        let place = self.source.place("parameters");
        self.told.push(format!("{place}the parameter {key} has no effect here: {why}"));
    }

    fn without_effect(&mut self, key: &str, why: &str) {
        self.told.push(format!("{}{key} has no effect here: {why}", self.source.place(key)));
    }
}

/// A provider, with its options where there are any.
fn entry(name: &str, options: BTreeMap<String, String>) -> Value {
    if options.is_empty() {
        return name.into();
    }
    let options: Map<String, Value> =
        options.into_iter().map(|(key, value)| (key, value.into())).collect();
    Value::Object(Map::from_iter([(name.to_owned(), options.into())]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str, on_gpu: bool) -> Result<(Value, Vec<String>)> {
        let source = Source::File { path: "m/config.pbtxt".into(), text: text.to_owned() };
        let (options, told) = options(&source.read().unwrap(), on_gpu, &source)?;
        Ok((options.into(), told))
    }

    fn parameter(key: &str, value: &str) -> String {
        format!("parameters {{ key: \"{key}\" value: {{ string_value: \"{value}\" }} }}\n")
    }

    fn accelerators(gpu: &str, cpu: &str) -> String {
        format!(
            "optimization {{ execution_accelerators {{\n\
             gpu_execution_accelerator : [ {gpu} ]\ncpu_execution_accelerator : [ {cpu} ]\n}} }}\n"
        )
    }

    #[test]
    fn levels_keep_tritons_numbers() {
        let of =
            |level: i32| read(&format!("optimization {{ graph {{\nlevel: {level} }} }}"), false);
        for level in -1..=2 {
            let expected = json!({ "graph_optimization_level": level.to_string() });
            assert_eq!(of(level).unwrap(), (expected, Vec::new()));
        }
        // Triton takes any other for 0.
        let (options, told) = of(3).unwrap();
        assert_eq!(options, json!({ "graph_optimization_level": "0" }));
        assert_eq!(told, ["m/config.pbtxt:2: level has no effect here: it is -1, 0, 1 or 2"]);
        let both = format!("optimization {{ graph {{ level: 1 }} }}\n{}", parameter(LEVEL, "all"));
        let error = read(&both, false).unwrap_err();
        assert!(error.message().contains("graph says what the parameter"), "{error}");
    }

    #[test]
    fn accelerators_are_providers_with_cuda_and_the_processor_behind_them() {
        let tensorrt = "{ name: \"tensorrt\"\n\
            parameters { key: \"precision_mode\" value: \"FP16\" }\n\
            parameters { key: \"max_workspace_size_bytes\" value: \"1073741824\" }\n\
            parameters { key: \"trt_engine_cache_enable\" value: \"1\" }\n\
            parameters { key: \"trt_engine_cache_path\" value: \"/c\" } }";
        let asked = json!({ "tensorrt": {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": "/c",
            "trt_fp16_enable": "1",
            "trt_max_workspace_size": "1073741824",
        }});
        let providers = |text: &str, on_gpu| read(text, on_gpu).unwrap().0[PROVIDERS].clone();
        assert_eq!(providers(&accelerators(tensorrt, ""), true), json!([asked, "cuda", "cpu"]));
        let openvino = "{ name: \"openvino\" }";
        let of_cpu = json!({ "openvino": { "device_type": "CPU" } });
        assert_eq!(providers(&accelerators("", openvino), false), json!([of_cpu, "cpu"]));
        let cuda = "{ name: \"cuda\" parameters { key: \"gpu_mem_limit\" value: \"9\" } }";
        let both = accelerators(&format!("{cuda}, {tensorrt}"), openvino);
        let of_cuda = json!({ "cuda": { "gpu_mem_limit": "9" } });
        assert_eq!(providers(&both, true), json!([asked, of_cuda, of_cpu, "cpu"]));

        // Without a GPU there is nothing for the first list to do.
        let (options, told) = read(&accelerators(tensorrt, ""), false).unwrap();
        assert_eq!(options, json!({}));
        let words = "m/config.pbtxt:2: gpu_execution_accelerator has no effect here: no instance is on a GPU";
        assert_eq!(told, [words]);
    }

    #[test]
    fn parameters_of_cuda_in_their_old_place_are_given_to_it() {
        let text = [
            parameter("cudnn_conv_algo_search", "1"),
            parameter("arena_extend_strategy", "1"),
            parameter("gpu_mem_limit", "4294967200"),
            parameter("share_session_between_instances", "true"),
            parameter("intra_op_thread_count", "2"),
        ]
        .concat();
        let cuda = json!({ "cuda": {
            "arena_extend_strategy": "kSameAsRequested",
            "cudnn_conv_algo_search": "HEURISTIC",
            "gpu_mem_limit": "4294967200",
        }});
        let (options, told) = read(&text, true).unwrap();
        let expected = json!({ "intra_op_thread_count": "2", "providers": [cuda, "cpu"] });
        assert_eq!(options, expected);
        assert_eq!(told.len(), 1);
        assert!(
            told[0].contains("the parameter share_session_between_instances has no effect"),
            "{told:?}"
        );
        let (options, told) = read(&text, false).unwrap();
        assert_eq!(options, json!({ "intra_op_thread_count": "2" }));
        assert_eq!(told.len(), 4, "{told:?}");
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_line() {
        let named = |name: &str| format!("{{ name: \"{name}\" }}");
        let of_tensorrt = |key: &str, value: &str| {
            let parameter = format!("parameters {{ key: \"{key}\" value: \"{value}\" }}");
            accelerators(&format!("{{ name: \"tensorrt\"\n{parameter} }}"), "")
        };
        for (text, words) in [
            (accelerators(&named("gpu_io"), ""), "1: execution_accelerators has \"gpu_io\""),
            (accelerators("", &named("tensorrt")), "1: execution_accelerators has \"tensorrt\""),
            (
                of_tensorrt("precision_mode", "FP8"),
                "1: execution_accelerators says precision_mode is \"FP8\"; give FP32",
            ),
            (of_tensorrt("workspace", "1"), "has \"workspace\", which is no parameter of tensorrt"),
            (
                parameter("cudnn_conv_algo_search", "3"),
                "1: parameters says cudnn_conv_algo_search is \"3\"; give one of 0, 1, 2",
            ),
            (
                accelerators(&named("tensorrt"), "") + &parameter("providers", "cpu"),
                "1: execution_accelerators says what the parameter providers says too",
            ),
        ] {
            let error = read(&text, true).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        }
        let plain = read(&accelerators(&named("cuda"), ""), true).unwrap();
        assert_eq!(plain, (json!({}), Vec::new()), "it is what runs on a GPU anyway");
    }
}
