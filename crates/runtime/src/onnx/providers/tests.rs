//! What a model may ask of execution providers, and what becomes of it on the library that is here.

use std::path::Path;
use std::sync::Arc;

use mar_handler::{Epilogue, Model, Runtime, Tensor};
use serde_json::json;

use super::super::Onnx;
use super::*;

fn spec(providers: Value, device: Device) -> LoadSpec {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/onnx");
    let options = [("providers".to_owned(), providers)].into_iter().collect();
    let file = folder.join("simple.onnx");
    LoadSpec { device, options, intra_op_threads: 3, ..LoadSpec::new(file) }
}

fn read(providers: Value, device: Device) -> Result<Providers> {
    // An unknown name is refused with what the library offers, so it has to be open.
    let _ = Onnx::start();
    Providers::read(&spec(providers, device))
}

fn load(providers: Value, device: Device) -> Result<Arc<dyn Model>> {
    Onnx::start().load(&spec(providers, device))
}

fn options_of(providers: Value, device: Device) -> Vec<(String, String)> {
    read(providers, device).unwrap().asked.remove(0).options
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn without_a_word_it_is_the_processor_or_the_device_with_its_help() {
    let plain = |device| Providers::read(&LoadSpec { device, ..LoadSpec::new("x.onnx") }).unwrap();
    assert_eq!(plain(Device::Cpu).names(), ["cpu"]);
    let cuda = plain(Device::Cuda(1));
    assert_eq!(cuda.names(), ["cuda", "cpu"]);
    assert!(!cuda.may_fall_back(), "a worker on a device is never moved to the processor");
    assert_eq!(cuda.asked[0].options, pairs(&[("device_id", "1")]));
}

#[test]
fn the_list_is_the_order_of_preference_and_options_are_passed_on() {
    let asked = json!([{"tensorrt": {"trt_fp16_enable": true, "trt_max_workspace_size": 1024}}, "cuda", "cpu"]);
    let providers = read(asked.clone(), Device::Cuda(0)).unwrap();
    assert_eq!(providers.names(), ["tensorrt", "cuda", "cpu"]);
    let expected =
        [("trt_fp16_enable", "true"), ("trt_max_workspace_size", "1024"), ("device_id", "0")];
    assert_eq!(providers.asked[0].options, pairs(&expected));
    let text = read(json!("tensorrt, cuda,cpu"), Device::Cuda(0)).unwrap();
    assert_eq!(text.names(), providers.names(), "as Triton's parameters would spell it");
    let own = read(json!(["OpenVINOExecutionProvider"]), Device::Cpu).unwrap();
    assert_eq!(own.names(), ["openvino"]);
}

#[test]
fn threads_are_the_workers_unless_the_model_says_otherwise() {
    assert_eq!(options_of(json!(["openvino"]), Device::Cpu), pairs(&[("num_of_threads", "3")]));
    let own = json!([{"openvino": {"num_of_threads": 1, "device_type": "CPU"}}]);
    let expected = pairs(&[("num_of_threads", "1"), ("device_type", "CPU")]);
    assert_eq!(options_of(own, Device::Cpu), expected);
    let xnnpack = pairs(&[("intra_op_num_threads", "3")]);
    assert_eq!(options_of(json!(["xnnpack"]), Device::Cpu), xnnpack);
}

#[test]
fn what_is_not_known_or_contradicts_itself_is_refused_by_name() {
    for (providers, says) in [
        (json!(["cudaa"]), "\"cudaa\" is not known; known: cpu, cuda, tensorrt"),
        (json!(["cudaa"]), "it offers cpu"),
        (json!([]), "has to be a list"),
        (json!(7), "has to be a list"),
        (json!([7]), "has to be a list"),
        (json!([{"cuda": {}, "cpu": {}}]), "has to be a list"),
        (json!([{"cuda": "fast"}]), "cuda is followed by no mapping"),
        (
            json!([{"cuda": {"arena_extend_strategy": [1]}}]),
            "cuda: arena_extend_strategy has to be",
        ),
        (json!(["cuda", "cuda"]), "cuda is named twice"),
        (json!(["cpu", "cuda"]), "cuda stands behind cpu"),
        (json!([{"cpu": {"use_arena": 1}}]), "cpu takes no options, and here it has use_arena"),
        (
            json!([{"cuda": {"device_id": 1}}]),
            "device_id is 1 and follows the worker's device, cuda:0",
        ),
        (
            json!([{"cuda": {"user_compute_stream": 1}}]),
            "user_compute_stream is not for an archive",
        ),
        (
            json!([{"tensorrt": {"trt_extra_plugin_lib_paths": "x.so"}}]),
            "trt_extra_plugin_lib_paths is not",
        ),
        (
            json!([{"tensorrt": {"trt_engine_decryption_lib_path": "x.so"}}]),
            "trt_engine_decryption_lib_path is not",
        ),
        (json!([{"dnnl": {"threadpool_args": "4096"}}]), "threadpool_args is not"),
        (json!([{"cuda": {"enable_cuda_graph": true}}]), "enable_cuda_graph needs inputs that lie"),
        (json!([{"cuda": {"a\u{0}": 1}}]), "a zero byte"),
    ] {
        let error = read(providers, Device::Cuda(0)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidModel);
        assert!(error.message().starts_with("providers: "), "{error}");
        assert!(error.message().contains(says), "{error}");
    }
    let off = json!([{"cuda": {"enable_cuda_graph": 0, "device_id": 0}}]);
    assert_eq!(
        options_of(off, Device::Cuda(0)),
        pairs(&[("enable_cuda_graph", "0"), ("device_id", "0")])
    );
}

#[test]
fn what_is_wrong_is_told_before_there_is_a_worker() {
    let check = |providers: Value, device| Onnx::start().check_options(&spec(providers, device));
    check(json!([{"cuda": {"device_id": 1}}, "cpu"]), Device::Cuda(1)).unwrap();
    check(json!("openvino,cpu"), Device::Cpu).unwrap();
    let error = check(json!(["cudaa"]), Device::Cpu).unwrap_err();
    assert!(error.message().contains("\"cudaa\" is not known"), "{error}");
    let absent = Onnx(Err("it is not here".to_owned()));
    absent.check_options(&spec(json!(["cudaa"]), Device::Cpu)).unwrap();
}

#[test]
fn the_processor_says_that_it_runs_every_node() {
    let described = load(json!(["cpu"]), Device::Cpu).unwrap().describe();
    assert_eq!(described["providers"], json!([{"name": "cpu", "nodes": 2}]));
    assert_eq!(described["asked"], json!(["cpu"]));
    assert!(described["version"].as_str().unwrap().starts_with("1."), "{described:?}");
    assert!(!described.contains_key("missing"));
}

/// The library that is fetched for the tests has the processor alone.
#[test]
fn a_provider_that_is_not_here_falls_back_where_that_is_asked_for_and_is_refused_elsewhere() {
    let model = load(json!(["cuda", "openvino", "cpu"]), Device::Cpu).unwrap();
    let row = |value: i32| Tensor::from_vec(&[1, 16], vec![value; 16]).unwrap();
    let answer = model.forward(vec![row(5), row(3)], Epilogue::None).unwrap();
    assert_eq!(answer[0].as_slice::<i32>().unwrap(), [8; 16]);
    let described = model.describe();
    assert_eq!(described["asked"], json!(["cuda", "openvino", "cpu"]));
    assert_eq!(described["providers"], json!([{"name": "cpu", "nodes": 2}]));
    for missing in ["cuda", "openvino"] {
        let reason = described["missing"][missing].as_str().unwrap();
        assert!(reason.contains("was built without it (it offers cpu)"), "{reason}");
    }
    for (asked, device) in [
        (json!(["cuda"]), Device::Cpu),
        (json!(["openvino"]), Device::Cpu),
        (json!(["cuda", "cpu"]), Device::Cuda(0)),
        (json!(["openvino", "cpu"]), Device::Cuda(0)),
    ] {
        let Err(error) = load(asked.clone(), device) else { panic!("{asked} loads on {device}") };
        assert_eq!(error.code(), ErrorCode::Unsupported);
        assert!(error.message().starts_with("providers: "), "{error}");
        assert!(
            error.message().contains("cuda") || error.message().contains("openvino"),
            "{error}"
        );
    }
}
