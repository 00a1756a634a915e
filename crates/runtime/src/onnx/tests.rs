//! ONNX Runtime on the networks of `tests/parity/onnx`, whose answers its own Python package gave.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use mar_handler::{
    DType, Device, Epilogue, ErrorCode, LoadSpec, Model, Result, Runtime, Signature, Tensor,
};
use serde_json::{Map, Value};

use super::Onnx;

mod following;
mod kept;

fn fixture(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/onnx").join(file)
}

fn load_file(file: PathBuf) -> Result<Arc<dyn Model>> {
    Onnx::start().load(&spec(file, Device::Cpu))
}

fn spec(file: PathBuf, device: Device) -> LoadSpec {
    LoadSpec { device, ..LoadSpec::new(file) }
}

fn load(name: &str) -> Arc<dyn Model> {
    load_file(fixture(&format!("{name}.onnx"))).unwrap()
}

fn table() -> Value {
    serde_json::from_str(&fs::read_to_string(fixture("expected.json")).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn dtype(name: &str) -> DType {
    match name {
        "BOOL" => DType::Bool,
        "UINT8" => DType::U8,
        "UINT16" => DType::U16,
        "UINT32" => DType::U32,
        "UINT64" => DType::U64,
        "INT8" => DType::I8,
        "INT16" => DType::I16,
        "INT32" => DType::I32,
        "INT64" => DType::I64,
        "FP16" => DType::F16,
        "BF16" => DType::BF16,
        "FP32" => DType::F32,
        "FP64" => DType::F64,
        "BYTES" => DType::Bytes,
        other => panic!("{other} is no type of the table"),
    }
}

/// A tensor of the table: its bytes in hex, or a number for each of a picture's planes.
fn tensor(entry: &Value) -> Tensor {
    let side = |side: &Value| usize::try_from(side.as_u64().unwrap()).unwrap();
    let shape: Vec<usize> = list(&entry["shape"]).iter().map(side).collect();
    if let Some(planes) = entry["planes"].as_array() {
        let plane = shape[2] * shape[3];
        #[expect(clippy::cast_possible_truncation, reason = "the table has single precision")]
        let one = |level: &Value| vec![level.as_f64().unwrap() as f32; plane];
        return Tensor::from_vec(&shape, planes.iter().flat_map(one).collect()).unwrap();
    }
    let hex = entry["hex"].as_str().unwrap().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes: Vec<u8> = hex.chunks_exact(2).map(byte).collect();
    Tensor::from_bytes(dtype(entry["datatype"].as_str().unwrap()), &shape, bytes.into()).unwrap()
}

#[test]
fn every_network_answers_as_onnx_runtimes_own_python_does() {
    let asked = ask_all(|name| load(name));
    assert!(asked >= 14 * 4, "the table holds four cases of every type and more, not {asked}");
}

/// Compares what all models answer with the table; gives how many answers it compared.
fn ask_all(load: impl Fn(&str) -> Arc<dyn Model>) -> usize {
    let table = table();
    let names = table["networks"].as_object().unwrap().keys().map(String::as_str);
    ask_all_of(&names.filter(|name| *name != "zipmap").collect::<Vec<_>>(), load)
}

fn ask_all_of(names: &[&str], load: impl Fn(&str) -> Arc<dyn Model>) -> usize {
    let table = table();
    let mut asked = 0;
    for name in names {
        let network = &table["networks"][name];
        let model = load(name);
        for case in list(&network["cases"]) {
            let inputs = list(&network["inputs"]).iter();
            let inputs = inputs.map(|port| tensor(&case["inputs"][port["name"].as_str().unwrap()]));
            let outputs = model.forward(inputs.collect(), Epilogue::None).unwrap();
            let ports = list(&network["outputs"]);
            assert_eq!(outputs.len(), ports.len(), "{name}");
            for (output, port) in outputs.into_iter().zip(ports) {
                let port = port["name"].as_str().unwrap();
                let expected = tensor(&case["outputs"][port]).named(port);
                match network["tolerance"].as_f64() {
                    None => assert_eq!(output, expected, "{name}, output {port}"),
                    Some(tolerance) => assert_near(&output, &expected, tolerance),
                }
                asked += 1;
            }
        }
    }
    asked
}

/// `tolerance` is a part of the largest number.
fn assert_near(output: &Tensor, expected: &Tensor, tolerance: f64) {
    let about = |tensor: &Tensor| {
        (tensor.name().map(str::to_owned), tensor.dtype(), tensor.shape().to_vec())
    };
    assert_eq!(about(output), about(expected));
    let numbers = |tensor: &Tensor| tensor.numbers().iter().collect::<Vec<f64>>();
    let (output, expected) = (numbers(output), numbers(expected));
    let largest = expected.iter().fold(0_f64, |largest, number| largest.max(number.abs()));
    for (is, should) in output.iter().zip(&expected) {
        assert!((is - should).abs() <= tolerance * largest, "{output:?} for {expected:?}");
    }
}

#[test]
fn numbers_of_half_the_size_and_bytes_answer_the_same_however_their_graph_is_treated() {
    for level in ["disable", "basic", "extended", "layout", "all"] {
        let options: Map<_, _> =
            [("graph_optimization_level".to_owned(), level.into())].into_iter().collect();
        ask_all_of(&["half", "half_within", "bytes_dynamic", "bytes_static"], |name| {
            let spec = LoadSpec::new(fixture(&format!("{name}.onnx")));
            Onnx::start().load(&LoadSpec { options: options.clone(), ..spec }).unwrap()
        });
    }
}

#[test]
fn the_signature_is_what_the_file_declares_in_its_order() {
    let table = table();
    for (name, network) in table["networks"].as_object().unwrap() {
        let signature = Onnx::start().signature(&fixture(&format!("{name}.onnx"))).unwrap();
        let inputs = signature.inputs.unwrap();
        let mut outputs = signature.outputs.unwrap();
        if name == "zipmap" {
            let zipped = outputs.pop().unwrap();
            let shape = Some(vec![None, None]);
            let expected = ("probabilities", Some(DType::F32), shape);
            assert_eq!((&*zipped.name, zipped.dtype, zipped.shape), expected);
        }
        for (found, expected) in [(inputs, &network["inputs"]), (outputs, &network["outputs"])] {
            assert_eq!(found.len(), list(expected).len(), "{name}");
            for (spec, port) in found.into_iter().zip(list(expected)) {
                assert_eq!(spec.name, port["name"].as_str().unwrap(), "{name}");
                assert_eq!(spec.dtype, Some(dtype(port["datatype"].as_str().unwrap())), "{name}");
                let side = |side: &Value| side.as_u64().map(|side| usize::try_from(side).unwrap());
                let sides = list(&port["shape"]).iter().map(side).collect::<Vec<_>>();
                assert_eq!(spec.shape, Some(sides), "{name}");
            }
        }
    }
}

#[test]
fn what_is_no_network_has_no_signature_and_what_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.onnx");
    fs::write(&file, "no network at all").unwrap();
    assert_eq!(Onnx::start().signature(&file).unwrap(), Signature::default());
    let error = Onnx::start().signature(&fixture("missing.onnx")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidModel);
    assert!(error.message().starts_with("missing.onnx cannot be read"), "{error}");
}

#[test]
fn a_file_that_is_broken_is_named_with_the_first_cause() {
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read(fixture("external.onnx")).unwrap();
    for (name, bytes, cause) in [
        ("empty.onnx", &[][..], "it is empty"),
        ("text.onnx", b"no network at all", "it is no ONNX file"),
        ("cut.onnx", &good[..good.len() - 20], "(Protobuf parsing failed)"),
        ("alone.onnx", &good, "\"external.weights\""),
        ("later.onnx", &fs::read(fixture("later.onnx")).unwrap(), "Opset 999"),
    ] {
        let file = folder.path().join(name);
        fs::write(&file, bytes).unwrap();
        let Err(error) = load_file(file) else { panic!("{name} opened") };
        assert_eq!(error.code(), ErrorCode::InvalidModel, "{error}");
        assert!(error.message().starts_with(&format!("{name} does not open as ONNX: ")), "{error}");
        assert!(error.message().contains(cause), "{error}");
        assert!(!error.message().contains(['\n', '/']), "{error}");
    }
    let Err(error) = load_file(folder.path().join("missing.onnx")) else { panic!("it opened") };
    assert_eq!(error.code(), ErrorCode::InvalidModel);
    assert!(load("simple").is_shareable(), "the next one opens all the same");
}

#[test]
fn weights_in_a_file_of_their_own_may_be_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("external.onnx");
    fs::copy(fixture("external.onnx"), &file).unwrap();
    fs::write(folder.path().join("external.weights"), b"short").unwrap();
    let Err(error) = load_file(file) else { panic!("it opened") };
    assert_eq!(error.code(), ErrorCode::InvalidModel);
    assert!(error.message().contains("it has 5 of 16 bytes"), "{error}");
}

#[test]
fn a_tensor_that_does_not_fit_is_told_by_its_inputs_name() {
    let model = load("add_fp32");
    let fits = || Tensor::from_vec(&[1, 3], vec![1_f32, 2.0, 3.0]).unwrap();
    let refused = |inputs: Vec<Tensor>| {
        let error = model.forward(inputs, Epilogue::None).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput);
        error.message().to_owned()
    };
    let long = Tensor::from_vec(&[1, 4], vec![0_f32; 4]).unwrap();
    assert_eq!(
        refused(vec![fits(), long]),
        "input \"y\" is float32[1, 4], the network takes float32[-1, 3]"
    );
    let flat = Tensor::from_vec(&[3], vec![0_f32; 3]).unwrap();
    assert!(refused(vec![flat, fits()]).starts_with("input \"x\" is float32[3]"));
    let double = Tensor::from_vec(&[1, 3], vec![0_f64; 3]).unwrap();
    assert!(refused(vec![fits(), double]).starts_with("input \"y\" is float64[1, 3]"));
    assert_eq!(refused(vec![fits()]), "1 tensors for a network of 2 inputs (x, y)");
    assert_eq!(refused(Vec::new()), "0 tensors for a network of 2 inputs (x, y)");
    assert!(model.forward(vec![fits(), fits()], Epilogue::None).is_ok());

    let rows = |n: usize| Tensor::from_vec(&[n, 2], vec![0_f32; n * 2]).unwrap();
    let fixed = load("fixed_batch");
    let error = fixed.forward(vec![rows(3)], Epilogue::None).unwrap_err();
    assert!(error.message().contains("batchSize"), "{error}");
    assert!(fixed.forward(vec![rows(4)], Epilogue::None).is_ok());
}

#[test]
fn what_fails_while_it_runs_says_why_in_one_line() {
    let model = load("add_fp32");
    let rows = |n: usize| Tensor::from_vec(&[n, 3], vec![0_f32; n * 3]).unwrap();
    let error = model.forward(vec![rows(2), rows(5)], Epilogue::None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::PredictionFailed);
    assert!(error.message().contains("2 by 5"), "{error}");
    assert!(!error.message().contains(['\n', '/']), "{error}");
    assert!(model.forward(vec![rows(2), rows(2)], Epilogue::None).is_ok());
}

/// A file with one sum, whose node has this name, in the bytes of protobuf.
fn sum_called(name: &str) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| -> Vec<u8> {
        let length = u8::try_from(bytes.len()).ok().filter(|length| *length < 128).unwrap();
        [&[number << 3 | 2, length], bytes].concat()
    };
    let floats = field(2, &field(1, &[8, 1]));
    let port = |name: &[u8]| [field(1, name), floats.clone()].concat();
    let node = [(1, "a"), (1, "b"), (2, "y"), (3, name), (4, "Add")];
    let node = node.map(|(number, text)| field(number, text.as_bytes())).concat();
    let ports =
        [(11, b"a"), (11, b"b"), (12, b"y")].map(|(number, name)| field(number, &port(name)));
    let graph = [field(1, &node), field(2, b"g"), ports.concat()].concat();
    [vec![8, 8], field(7, &graph), field(8, &[16, 17])].concat()
}

#[test]
fn a_node_with_the_name_of_a_failure_does_not_lose_the_processor() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, sum_called("misaligned address")).unwrap();
    let model = Onnx::start().load(&LoadSpec::new(file)).unwrap();
    let row = |n: usize| Tensor::from_vec(&[n], vec![1_f32; n]).unwrap();
    let error = model.forward(vec![row(2), row(5)], Epilogue::None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::PredictionFailed);
    assert!(error.message().contains("misaligned address"), "{error}");
    let sum = model.forward(vec![row(2), row(2)], Epilogue::None).unwrap();
    assert_eq!(sum[0].as_slice::<f32>().unwrap(), [2.0; 2]);
}

#[test]
fn texts_are_of_any_length_and_of_utf8() {
    let model = load("identity_string");
    let texts = Tensor::from_strings(&[2, 1], ["nul\0 within", ""]).unwrap();
    let answer = model.forward(vec![texts.clone()], Epilogue::None).unwrap();
    assert_eq!(answer[0].bytes(), texts.bytes());
    let bytes = Tensor::from_strings(&[1, 2], [&b"fine"[..], b"\xff\xd8"]).unwrap();
    let error = model.forward(vec![bytes], Epilogue::None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    assert!(error.message().starts_with("input \"INPUT0\": element 1 is no UTF-8"), "{error}");
}

#[test]
fn a_bool_is_0_or_1() {
    let tensor = Tensor::from_bytes(DType::Bool, &[1, 2], Bytes::from_static(&[1, 2])).unwrap();
    let error = load("identity_bool").forward(vec![tensor], Epilogue::None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    assert!(error.message().contains("\"INPUT0\""), "{error}");
}

#[test]
fn a_map_a_row_is_a_tensor_with_labels() {
    let model = load("zipmap");
    let x = Tensor::from_vec(&[2, 2], vec![1_f32, 2.0, 0.0, 0.0]).unwrap();
    let outputs = model.forward(vec![x.clone()], Epilogue::None).unwrap();
    let [label, probabilities] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(label.as_slice::<i64>().unwrap()[0], 8);
    assert_eq!((probabilities.name(), probabilities.shape()), (Some("probabilities"), &[2, 2][..]));
    assert_eq!(**probabilities.labels().unwrap(), ["3".to_owned(), "8".to_owned()]);
    // A softmax of 1 and 2, and one of two equal numbers.
    let second = 1.0 / (1.0 + (-1_f32).exp());
    for (got, expected) in
        probabilities.as_slice::<f32>().unwrap().iter().zip([1.0 - second, second, 0.5, 0.5])
    {
        assert!((got - expected).abs() < 1e-6, "{probabilities:?}");
    }
    let best = model.forward(vec![x], Epilogue::TopK { k: 1 }).unwrap();
    assert_eq!(best[0].as_slice::<i64>().unwrap()[0], 8, "an epilogue is about the label");
}

#[test]
fn maps_with_texts_for_keys_or_other_keys_a_row_and_lists_of_tensors() {
    let x = || vec![Tensor::from_vec(&[2, 2], vec![1_f32, 2.0, 0.0, 3.0]).unwrap()];
    let named = load("zipmap_texts").forward(x(), Epilogue::None).unwrap().remove(0);
    assert_eq!(**named.labels().unwrap(), ["d\u{e9}j\u{e0}".to_owned(), "no".to_owned()]);
    // ONNX Runtime's maps are sorted by key: "no" is the first column.
    assert_eq!(named.as_slice::<f32>().unwrap(), [2.0, 1.0, 3.0, 0.0]);
    let error = load("sequence_output").forward(x(), Epilogue::None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::PredictionFailed);
    assert!(error.message().starts_with("output \"rows\" is a Sequence"), "{error}");
}

#[test]
fn inputs_are_borrowed_and_outputs_outlive_the_model() {
    let model = load("identity_fp32");
    let input = Tensor::from_vec(&[1, 2], vec![1.5_f32, -2.0]).unwrap();
    let output = model.forward(vec![input.clone()], Epilogue::None).unwrap().remove(0);
    assert!(!input.bytes().as_ptr_range().contains(&output.bytes().as_ptr()));
    drop((model, input));
    assert_eq!(output.as_slice::<f32>().unwrap(), [1.5, -2.0]);
}

#[test]
fn an_epilogue_is_applied_to_the_first_output() {
    let pixels = vec![1_f32, 0., 0., 0., 0., 1., 0., 0., 0., 0., 1., 0.];
    let pixels = Tensor::from_vec(&[1, 3, 2, 2], pixels).unwrap();
    let mask = load("segmenter").forward(vec![pixels], Epilogue::ArgMax { dim: 1 }).unwrap();
    assert_eq!(mask[0].shape(), [1, 2, 2]);
    // The fourth class is a quarter of all three and a tenth: it wins where there is nothing.
    assert_eq!(mask[0].as_slice::<u8>().unwrap(), [0, 1, 2, 3]);
}

#[test]
fn many_threads_run_one_model() {
    const THREADS: u8 = 8;
    let model = load("simple");
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let model = &model;
            scope.spawn(move || {
                for round in 0..200_i32 {
                    let x = i32::from(thread) * 1000 + round;
                    let row = |value| Tensor::from_vec(&[1, 16], vec![value; 16]).unwrap();
                    let answer = model.forward(vec![row(x), row(7)], Epilogue::None).unwrap();
                    assert_eq!(answer[0].as_slice::<i32>().unwrap(), [x + 7; 16]);
                    assert_eq!(answer[1].as_slice::<i32>().unwrap(), [x - 7; 16]);
                }
            });
        }
    });
}

#[test]
fn cuda_is_refused_rather_than_the_processor_used() {
    assert_eq!(Onnx::start().cuda_devices(), 0);
    let Err(error) = Onnx::start().load(&spec(fixture("simple.onnx"), Device::Cuda(0))) else {
        panic!("it loads")
    };
    assert_eq!(error.code(), ErrorCode::Unsupported);
    assert!(error.message().starts_with("providers: on cuda:0 it needs CUDA"), "{error}");
    assert!(error.message().contains("built without it (it offers cpu)"), "{error}");
    assert!(error.message().contains("deviceType: cpu"), "{error}");
}

#[test]
fn without_the_library_a_model_says_what_to_do() {
    let absent = Onnx(Err("it is not here: scripts/setup fetches it".to_owned()));
    let Err(error) = absent.load(&spec(fixture("simple.onnx"), Device::Cpu)) else {
        panic!("it loads")
    };
    assert_eq!(error.code(), ErrorCode::Unsupported);
    assert_eq!(
        error.message(),
        "simple.onnx needs ONNX Runtime: it is not here: scripts/setup fetches it"
    );
    assert!(absent.signature(&fixture("simple.onnx")).unwrap().inputs.is_some());
}

#[test]
fn an_input_that_no_client_can_send_is_refused_when_it_is_loaded() {
    let Err(error) = load_file(fixture("sequence_input.onnx")) else { panic!("it loads") };
    assert_eq!(error.code(), ErrorCode::InvalidModel);
    assert!(error.message().contains("its input \"tensors\" is a Sequence"), "{error}");
}

#[test]
fn tritons_parameters_reach_the_session_and_unknown_ones_are_refused() {
    let with = |options: &[(&str, &str)]| {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), Value::from(*value));
        let options = options.iter().map(pair).collect();
        Onnx::start().load(&LoadSpec { options, ..spec(fixture("simple.onnx"), Device::Cpu) })
    };
    let model = with(&[
        ("execution_mode", "1"),
        ("inter_op_thread_count", "2"),
        ("enable_mem_arena", "0"),
        ("enable_mem_pattern", "0"),
    ]);
    let row = |value: i32| Tensor::from_vec(&[1, 16], vec![value; 16]).unwrap();
    let answer = model.unwrap().forward(vec![row(5), row(3)], Epilogue::None).unwrap();
    assert_eq!(answer[1].as_slice::<i32>().unwrap(), [2; 16]);
    let Err(error) = with(&[("trt_max_workspace_size", "1")]) else { panic!("it loads") };
    assert_eq!(error.code(), ErrorCode::InvalidModel);
    assert!(error.message().contains("\"trt_max_workspace_size\""), "{error}");
}

#[test]
fn a_model_says_how_its_graph_was_treated_and_each_variant_loads() {
    let onnx = Onnx::start();
    let variants = onnx.variants();
    let levels = variants.iter().map(|variant| {
        let options = variant.options.clone();
        let model = onnx.load(&LoadSpec { options, ..LoadSpec::new(fixture("simple.onnx")) });
        model.unwrap().describe()["graph_optimization_level"].clone()
    });
    assert_eq!(levels.collect::<Vec<_>>(), ["all", "disable"]);
}

/// The reader of `crates/onnx` knows versions by number; the library of `scripts/setup` is where the numbers come from.
#[test]
fn the_newest_versions_that_the_reader_takes_are_those_of_the_library() {
    let later = fs::read(fixture("later.onnx")).unwrap();
    // The version of the operators is the only 999 in it, and that of the form the second byte.
    let at = later.windows(2).position(|two| two == [0xe7, 0x07]).unwrap();
    assert_eq!(later[..2], [0x08, 10]);
    for (form, operators, fits) in [(13, 26, true), (14, 26, false), (13, 27, false)] {
        let mut bytes = later.clone();
        bytes[1] = form;
        bytes[at..at + 2].copy_from_slice(&[operators | 0x80, 0]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("versions.onnx");
        fs::write(&file, bytes).unwrap();
        let taken = mar_onnx::Network::open(&file).unwrap().check(&|_| None).problems.is_empty();
        assert_eq!(taken, fits, "form {form}, operators {operators}");
        assert_eq!(load_file(file).is_ok(), fits, "form {form}, operators {operators}");
    }
}
