use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mar_engine::{
    DType, Device, Instances, Network, NetworkFile, QueuePolicy, Result, Signature, Tensor,
    TensorSpec,
};
use mar_proto::inference::ModelConfig;
use mar_proto::inference::model_config::SchedulingChoice;
use tempfile::TempDir;

use super::*;

/// A repository with one model, `m`.
struct Repository(TempDir);

const BOTH: &str = "input [ { name: \"x\" data_type: TYPE_FP32 dims: [ 4 ] } ]\n\
                    output [ { name: \"y\" data_type: TYPE_FP32 dims: [ 2 ] } ]\n";

impl Repository {
    /// Of version 1, a file of TorchScript, with this configuration.
    fn new(config: &str) -> Self {
        Self::empty().file("1/model.pt", "").file("config.pbtxt", config)
    }

    fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.model().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn model(&self) -> PathBuf {
        self.0.path().join("m")
    }

    fn read(&self, file: &NetworkFile) -> Result<Model> {
        Model::read(&self.model(), None, &|_| Ok(file.clone()))
    }

    /// Of the one version that there is.
    fn network(&self, file: &NetworkFile) -> Result<(Network, ModelConfig)> {
        let mut model = self.read(file)?;
        assert_eq!(model.versions.len(), 1);
        Ok((model.versions.remove(0).1?, model.config))
    }

    fn refusal(&self) -> String {
        self.network(&NetworkFile::default()).unwrap_err().to_string()
    }
}

fn spec(name: &str, dtype: DType, shape: &[i64]) -> TensorSpec {
    let sides = shape.iter().map(|side| usize::try_from(*side).ok());
    TensorSpec { name: name.into(), dtype: Some(dtype), shape: Some(sides.collect()) }
}

/// A file that says all of this.
fn file(inputs: &[TensorSpec], outputs: &[TensorSpec]) -> NetworkFile {
    let signature = Signature { inputs: Some(inputs.into()), outputs: Some(outputs.into()) };
    NetworkFile { signature, ..NetworkFile::default() }
}

fn names(specs: Option<&Vec<TensorSpec>>) -> Vec<&str> {
    specs.unwrap().iter().map(|spec| spec.name.as_str()).collect()
}

#[test]
fn a_whole_configuration_reaches_the_network() {
    let text = format!(
        "# A comment.\nname: \"m\"\nplatform: \"pytorch_libtorch\"\nmax_batch_size: 8\n{BOTH}\
         instance_group [ {{ kind: KIND_GPU count: 2 gpus: [ 1 ] }}, {{ kind: KIND_CPU count: 3 }} ]\n\
         dynamic_batching {{\n preferred_batch_size: [ 4, 8 ]\n max_queue_delay_microseconds: 100\n\
         priority_levels: 2 default_priority_level: 2\n\
         default_queue_policy {{ default_timeout_microseconds: 5 max_queue_size: 6 }}\n\
         priority_queue_policy {{ key: 1 value: {{ timeout_action: DELAY allow_timeout_override: true }} }}\n}}\n\
         parameters {{ key: \"INFERENCE_MODE\" value: {{ string_value: \"true\" }} }}\n"
    );
    let file = NetworkFile { cuda_devices: 2, ..NetworkFile::default() };
    let (network, config) = Repository::new(&text).network(&file).unwrap();
    assert_eq!(network.version, "1");
    assert!(network.file.ends_with("m/1/model.pt"), "{:?}", network.file);
    assert_eq!(network.signature.inputs, Some(vec![spec("x", DType::F32, &[-1, 4])]));
    assert_eq!(network.signature.outputs, Some(vec![spec("y", DType::F32, &[-1, 2])]));
    assert_eq!(network.max_batch_size, 8);
    let cuda = Instances { count: 2, devices: vec![Device::Cuda(1)] };
    assert_eq!(network.instances, [cuda, Instances { count: 3, devices: vec![Device::Cpu] }]);
    let scheduling = &network.scheduling;
    assert!(scheduling.dynamic);
    assert_eq!(scheduling.preferred_batch_sizes, [4, 8]);
    assert_eq!(scheduling.max_delay, Duration::from_micros(100));
    assert_eq!((scheduling.priority_levels, scheduling.default_priority), (2, 2));
    let timeout = Some(Duration::from_micros(5));
    let default = QueuePolicy { timeout, max_size: Some(6), ..QueuePolicy::default() };
    assert_eq!(scheduling.policy, default);
    let first = QueuePolicy { delays: true, allows_override: true, ..QueuePolicy::default() };
    assert_eq!(scheduling.policies, [(1, first)].into());
    assert_eq!(network.parameters["INFERENCE_MODE"], "true");
    assert_eq!(config.backend, "pytorch");
    assert_eq!(config.default_model_filename, "model.pt");
    assert_eq!(config.instance_group[1].name, "m_1");
}

#[test]
fn what_is_not_honoured_is_refused_by_file_line_and_key() {
    for (line, words) in [
        ("no_such_key: 1", "field 'no_such_key' not found for message 'ModelConfig'"),
        ("max_batch_size: many", "expected"),
        ("max_batch_size: -1", "max_batch_size is below 0"),
        ("name: \"other\"", "name is \"other\"; it has to be its folder's, \"m\""),
        ("platform: \"tensorrt_plan\"", "platform \"tensorrt_plan\" is not served"),
        ("platform: \"ensemble\"", "platform \"ensemble\" is not served"),
        ("backend: \"python\"", "backend \"python\" is not served"),
        ("backend: \"onnxruntime\" default_model_filename: \"model.pt\"", "is no file of backend"),
        ("default_model_filename: \"../model.pt\"", "default_model_filename is a path"),
        ("sequence_batching { }", "sequence_batching is not served"),
        ("ensemble_scheduling { step [ ] }", "ensemble_scheduling is not served"),
        ("model_transaction_policy { decoupled: true }", "decoupled is not served"),
        ("batch_input [ { kind: BATCH_ELEMENT_COUNT } ]", "batch_input is not served"),
        ("batch_output [ { target_name: \"y\" } ]", "batch_output is not served"),
        ("cc_model_filenames { key: \"7.5\" value: \"a\" }", "cc_model_filenames is not served"),
        ("model_operations { op_library_filename: \"a\" }", "model_operations is not served"),
        ("model_repository_agents { }", "model_repository_agents is not served"),
        ("runtime: \"x\"", "runtime is not served"),
        ("instance_group [ { kind: KIND_GPU } ]", "kind asks for a GPU, and none is here"),
        ("instance_group [ { gpus: [ 0 ] } ]", "gpus asks for a GPU, and none is here"),
        ("instance_group [ { kind: KIND_CPU gpus: [ 0 ] } ]", "gpus is for KIND_GPU"),
        ("instance_group [ { profile: \"0\" } ]", "profile is not served"),
        ("instance_group [ { passive: true } ]", "passive is not served"),
        ("instance_group [ { secondary_devices [ { } ] } ]", "secondary_devices is not served"),
        ("instance_group [ { count: -1 } ]", "count of an instance_group is below 0"),
        ("instance_group [ { count: 1001 } ]", "count of an instance_group is above 1000"),
        (
            "optimization { execution_accelerators { gpu_execution_accelerator: [ { name: \"tensorrt\" } ] } }",
            "execution_accelerators is not served but for ONNX files",
        ),
        ("version_policy { latest { } }", "latest has no num_versions"),
        ("version_policy { specific { versions: [ 7 ] } }", "specific names no version"),
        ("dynamic_batching { preferred_batch_size: 1 }", "preferred_batch_size has 1"),
        (
            "dynamic_batching { priority_levels: 2 }",
            "priority_levels needs a default_priority_level",
        ),
        (
            "dynamic_batching { priority_levels: 2 default_priority_level: 3 }",
            "default_priority_level is 3",
        ),
        (
            "dynamic_batching { priority_queue_policy { key: 1 value: { } } }",
            "priority_queue_policy has a level 1",
        ),
        ("model_warmup [ { name: \"w\" } ]", "model_warmup \"w\" has no input \"x\""),
    ] {
        let error = Repository::new(&format!("{BOTH}{line}\n")).refusal();
        assert!(error.contains("m/config.pbtxt:3: "), "{line}: {error}");
        assert!(error.contains(words), "{line}: {error}");
        assert!(!error.contains('\n'), "{line}: {error}");
    }
    for (input, words) in [
        ("name: \"x\" data_type: TYPE_FP32", "dims of input \"x\" is empty"),
        ("name: \"x\" dims: [ 1 ] data_type: TYPE_INVALID", "data_type of input \"x\" is missing"),
        ("data_type: TYPE_FP32 dims: [ 1 ]", "input has one without a name"),
        ("name: \"x\" data_type: TYPE_FP32 dims: [ -2 ]", "dims of input \"x\" has a side of -2"),
        ("name: \"x\" data_type: TYPE_FP33 dims: [ 1 ]", "value 'TYPE_FP33' was not found"),
        ("name: \"x\" data_type: TYPE_FP32 dims: [ 1 ] optional: true", "optional is not served"),
        (
            "name: \"x\" data_type: TYPE_FP32 dims: [ 1 ] allow_ragged_batch: true",
            "allow_ragged_batch is not served",
        ),
        (
            "name: \"x\" data_type: TYPE_FP32 dims: [ 1 ] is_shape_tensor: true",
            "is_shape_tensor is not served",
        ),
        (
            "name: \"x\" data_type: TYPE_FP32 dims: [ 4 ] reshape: { shape: [ 3 ] }",
            "reshape of input \"x\" has another number of elements",
        ),
    ] {
        let output = "output [ { name: \"y\" data_type: TYPE_FP32 dims: [ 2 ] } ]";
        let error = Repository::new(&format!("{output}\ninput [ {{ {input} }} ]\n")).refusal();
        assert!(error.contains(words), "{input}: {error}");
    }
}

#[test]
fn what_makes_no_difference_is_told() {
    let text = format!(
        "{BOTH}metric_tags {{ key: \"a\" value: \"b\" }}\nresponse_cache {{ enable: true }}\n\
         optimization {{ graph {{ level: 1 }} cuda {{ graphs: true }} }}\n\
         instance_group [ {{ rate_limiter {{ }} host_policy: \"h\" }} ]\n"
    );
    let model = Repository::new(&text).read(&NetworkFile::default()).unwrap();
    let told = model.warnings.join("\n");
    for (line, key) in [
        (3, "metric_tags"),
        (4, "response_cache"),
        (5, "graph"),
        (5, "cuda"),
        (6, "rate_limiter"),
        (6, "host_policy"),
    ] {
        let warning = format!("m/config.pbtxt:{line}: {key} has no effect here");
        assert!(told.contains(&warning), "{warning} is not in {told}");
    }
    assert_eq!(model.warnings.len(), 6, "{told}");
    assert_eq!(Repository::new(BOTH).read(&NetworkFile::default()).unwrap().warnings, [""; 0]);
}

#[test]
fn what_an_onnx_file_is_to_run_with_reaches_its_runtime() {
    let text = "optimization { graph { level: -1 } priority: PRIORITY_MAX\n\
                execution_accelerators { cpu_execution_accelerator: [ { name: \"openvino\" } ] } }\n\
                parameters { key: \"intra_op_thread_count\" value: { string_value: \"3\" } }\n";
    let of_file = file(&[spec("x", DType::F32, &[-1, 4])], &[spec("y", DType::F32, &[-1, 2])]);
    let repository = Repository::empty().file("1/model.onnx", "").file("config.pbtxt", text);
    let model = repository.read(&of_file).unwrap();
    let asked = serde_json::json!({
        "intra_op_thread_count": "3",
        "graph_optimization_level": "-1",
        "providers": [{ "openvino": { "device_type": "CPU" } }, "cpu"],
    });
    let network = model.versions[0].1.as_ref().unwrap();
    assert_eq!(serde_json::Value::from(network.parameters.clone()), asked);
    let [told] = &model.warnings[..] else { panic!("{:?}", model.warnings) };
    assert!(told.ends_with("priority has no effect here"), "{told}");
    assert!(model.config.optimization.is_some(), "and clients are shown what was written");
}

#[test]
fn versions_are_folders_that_are_numbers_and_the_policy_chooses() {
    let versions = |policy: &str| {
        let mut repository = Repository::new(&format!("{BOTH}{policy}"));
        for folder in ["2", "10", "03", "0", "1a", "latest"] {
            repository = repository.file(&format!("{folder}/model.pt"), "");
        }
        let repository = repository.file("7", "a file");
        let model = repository.read(&NetworkFile::default()).unwrap();
        let numbers = model.versions.iter().map(|(number, _)| number.clone());
        (numbers.collect::<Vec<_>>().join(" "), model.warnings)
    };
    assert_eq!(versions("").0, "10");
    assert_eq!(versions("version_policy { latest { num_versions: 2 } }").0, "2 10");
    assert_eq!(versions("version_policy: { all { } }").0, "1 2 10");
    let (specific, warnings) = versions("version_policy { specific { versions: [ 2, 1, 5 ] } }");
    assert_eq!(specific, "1 2");
    assert_eq!(warnings, ["version_policy names version 5, which is not there"]);
}

#[test]
fn a_folder_is_a_model_by_its_versions_or_its_configuration_and_no_archive_is() {
    let repository = Repository::new("");
    assert!(is_model(&repository.model()));
    assert!(!is_model(repository.0.path()));
    let archive = repository.file("MAR-INF/MANIFEST.json", "{}");
    assert!(!is_model(&archive.model()));
    assert!(is_model(&Repository::empty().file("config.pbtxt", "").model()));
    assert!(is_model(&Repository::empty().file("1/model.onnx", "").model()));
    assert!(!is_model(&Repository::empty().file("01/model.onnx", "").model()));
}

#[test]
fn a_version_whose_file_is_missing_or_broken_fails_alone() {
    let policy = "version_policy { all { } }";
    let repository = Repository::new(&format!("{BOTH}{policy}")).file("2/other.pt", "");
    let repository = repository.file("3/model.pt", "broken");
    let model = Model::read(&repository.model(), None, &|file| {
        if fs::read_to_string(file).unwrap() == "broken" {
            return Err(mar_engine::Error::invalid_model("it is broken"));
        }
        Ok(NetworkFile::default())
    });
    let versions = model.unwrap().versions;
    assert!(versions[0].1.is_ok());
    let message = |index: usize| versions[index].1.as_ref().unwrap_err().to_string();
    assert!(message(1).ends_with("m/2/model.pt"), "{}", message(1));
    assert_eq!(message(2), "it is broken");
}

#[test]
fn what_is_left_out_comes_from_the_file() {
    let f32s = |name: &str, shape: &[i64]| spec(name, DType::F32, shape);
    let free = file(&[f32s("x", &[-1, 3, -1])], &[f32s("y", &[-1])]);
    let onnx = || Repository::empty().file("1/model.onnx", "");
    let (network, config) = onnx().network(&free).unwrap();
    assert_eq!((config.name.as_str(), config.platform.as_str()), ("m", "onnxruntime_onnx"));
    assert_eq!(config.max_batch_size, 4);
    let Some(SchedulingChoice::DynamicBatching(batching)) = &config.scheduling_choice else {
        panic!("{config:?}")
    };
    assert_eq!(batching.preferred_batch_size, [4]);
    assert!(network.scheduling.dynamic);
    assert_eq!(config.input[0].dims, [3, -1]);
    // A row of the output has no side at all, which clients see as one of 1.
    assert_eq!(config.output[0].dims, [1]);
    assert_eq!(config.output[0].reshape.as_ref().unwrap().shape, [0_i64; 0]);
    assert_eq!(network.signature.outputs, Some(vec![f32s("y", &[-1, 1])]));
    assert_eq!(network.reshaped, [("y".to_owned(), vec![])].into());
    // Two workers, as Triton has it for ONNX Runtime on a processor.
    assert_eq!(network.instances, [Instances { count: 2, devices: vec![Device::Cpu] }]);

    // A first side that is fixed is no batch's.
    let fixed = file(&[f32s("x", &[2, 3])], &[f32s("y", &[-1, 3])]);
    let (network, config) = onnx().network(&fixed).unwrap();
    assert_eq!((config.max_batch_size, network.max_batch_size), (0, 0));
    assert_eq!(config.input[0].dims, [2, 3]);
    assert!(!network.scheduling.dynamic);
    let error = onnx().file("config.pbtxt", "max_batch_size: 2").network(&fixed).unwrap_err();
    assert!(error.to_string().contains("config.pbtxt:1: max_batch_size is above 0"), "{error}");

    // What is declared stays, and says whether it counts the batch's side.
    let one = |dims: &str| format!("input [ {{ name: \"x\" data_type: TYPE_FP32 dims: {dims} }} ]");
    for (dims, size, output) in [("[ 3, 8 ]", 4, vec![1]), ("[ -1, 3, 8 ]", 0, vec![-1])] {
        let (_, config) = onnx().file("config.pbtxt", &one(dims)).network(&free).unwrap();
        assert_eq!((config.max_batch_size, &config.output[0].dims), (size, &output), "{dims}");
        assert_eq!(config.input[0].dims.last(), Some(&8));
    }
    let sized = "max_batch_size: 16 dynamic_batching { max_queue_delay_microseconds: 7 }";
    let (network, config) = onnx().file("config.pbtxt", sized).network(&free).unwrap();
    assert_eq!((config.max_batch_size, network.max_batch_size), (16, 16));
    assert_eq!(network.scheduling.max_delay, Duration::from_micros(7));
}

#[test]
fn a_file_that_says_nothing_asks_for_a_configuration() {
    let torch = Repository::empty().file("1/model.pt", "");
    let signature = Signature { inputs: Some(vec![TensorSpec::named("x")]), outputs: None };
    let error = torch.network(&NetworkFile { signature, ..NetworkFile::default() }).unwrap_err();
    assert!(error.to_string().contains("write input [ { name: \"INPUT__0\""), "{error}");
    let error = Repository::empty().file("1/model.py", "").refusal();
    assert!(error.contains("m/1 has neither model.onnx nor model.pt"), "{error}");
    let error = Repository::empty().file("config.pbtxt", BOTH).refusal();
    assert!(error.contains("has no version"), "{error}");
}

#[test]
fn inputs_come_in_the_networks_order() {
    let declared = |names: &[&str]| {
        let one = |name: &&str| format!("{{ name: \"{name}\" data_type: TYPE_FP32 dims: [ 1 ] }}");
        let all: Vec<String> = names.iter().map(one).collect();
        let output = "output [ { name: \"y\" data_type: TYPE_FP32 dims: [ 1 ] } ]";
        Repository::new(&format!("input [ {} ]\n{output}", all.join(", ")))
    };
    let order = |repository: &Repository, file: &NetworkFile| {
        let (network, _) = repository.network(file).unwrap();
        names(network.signature.inputs.as_ref()).join(" ")
    };
    let unknown = NetworkFile::default();
    assert_eq!(order(&declared(&["IN__1", "IN__0"]), &unknown), "IN__0 IN__1");
    assert_eq!(order(&declared(&["b", "a"]), &unknown), "b a");
    assert_eq!(order(&declared(&["b__1", "a"]), &unknown), "b__1 a", "mixed: as they are");
    let arguments = vec![TensorSpec::named("a"), TensorSpec::named("b")];
    let signature = Signature { inputs: Some(arguments), outputs: None };
    let named = NetworkFile { signature, ..NetworkFile::default() };
    assert_eq!(order(&declared(&["b", "a"]), &named), "a b");
    assert_eq!(order(&declared(&["IN__1", "IN__0"]), &named), "IN__0 IN__1");
    let error = declared(&["a"]).network(&named).unwrap_err().to_string();
    assert!(error.contains("input is declared 1 times; the model has: a, b"), "{error}");
    let error = declared(&["a", "a"]).network(&unknown).unwrap_err().to_string();
    assert!(error.contains("\"a\" is declared twice"), "{error}");

    // A graph's names are what counts, and its outputs keep their places.
    let f32s = |name: &str| spec(name, DType::F32, &[1]);
    let graph = file(&[f32s("a"), f32s("b")], &[f32s("w"), f32s("y")]);
    let onnx = |repository: Repository| repository.file("1/model.onnx", "");
    let config = "backend: \"onnxruntime\"";
    let repository = onnx(declared(&["b", "a"]));
    let text = fs::read_to_string(repository.model().join("config.pbtxt")).unwrap();
    let repository = repository.file("config.pbtxt", &format!("{text}\n{config}"));
    let (network, _) = repository.network(&graph).unwrap();
    assert_eq!(names(network.signature.inputs.as_ref()), ["a", "b"]);
    assert_eq!(names(network.signature.outputs.as_ref()), ["w", "y"]);
    let other = file(&[f32s("a"), f32s("c")], &[f32s("y")]);
    let error = repository.network(&other).unwrap_err().to_string();
    assert!(error.contains("input \"b\" is none of the model's: a, c"), "{error}");
    let text = text.replace("name: \"b\"", "name: \"a\"");
    let repository = repository.file("config.pbtxt", &format!("{text}\n{config}"));
    let error = repository.network(&graph).unwrap_err().to_string();
    assert!(error.contains("input \"a\" is declared twice"), "{error}");
    // Nor is it told that TorchScript says nothing, where the file is cut off.
    let repository = onnx(Repository::empty());
    let error = repository.network(&NetworkFile::default()).unwrap_err().to_string();
    assert!(error.contains("model.onnx does not say its inputs"), "{error}");
}

#[test]
fn a_version_that_is_cut_off_takes_no_other_with_it() {
    let f32s = |name: &str| spec(name, DType::F32, &[-1, 2]);
    let whole = file(&[f32s("x")], &[f32s("y")]);
    let repository = Repository::empty()
        .file("1/model.onnx", "")
        .file("2/model.onnx", "")
        .file("config.pbtxt", "version_policy: { all { } }");
    let look = |path: &Path| {
        let cut_off = path.ends_with("2/model.onnx");
        Ok(if cut_off { NetworkFile::default() } else { whole.clone() })
    };
    let model = Model::read(&repository.model(), None, &look).unwrap();
    let first = model.versions[0].1.as_ref().unwrap();
    assert_eq!(names(first.signature.inputs.as_ref()), ["x"]);
    assert_eq!(model.versions.len(), 2, "the other says why when it is opened");
}

#[test]
fn what_contradicts_the_file_is_refused() {
    for (shape, dtype, words) in [
        (&[-1, 4][..], DType::F64, "data_type of input \"x\" is not the model's, TYPE_FP64"),
        (
            &[-1, 5],
            DType::F32,
            "dims of input \"x\" makes it [-1, 4], the batch's side included; the model has [-1, 5]",
        ),
        (&[4], DType::F32, "the model has [4]"),
    ] {
        let file = file(&[spec("x", dtype, shape)], &[spec("y", DType::F32, &[-1, 2])]);
        let repository = Repository::new(&format!("max_batch_size: 2\n{BOTH}"));
        let error = repository.network(&file).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn labels_are_lines_of_a_file_within_the_model() {
    let output = |file: &str| {
        format!(
            "input [ {{ name: \"x\" data_type: TYPE_FP32 dims: [ 4 ] }} ]\n\
             output [ {{ name: \"y\" data_type: TYPE_FP32 dims: [ 2 ] label_filename: \"{file}\" }} ]"
        )
    };
    let repository = Repository::new(&output("labels.txt")).file("labels.txt", "a cat\r\na dog\n");
    let (network, _) = repository.network(&NetworkFile::default()).unwrap();
    assert_eq!(network.labels["y"][..], ["a cat", "a dog"]);
    for file in ["none.txt", "../m/labels.txt", "/etc/hostname"] {
        let error = Repository::new(&output(file)).refusal();
        assert!(error.contains("label_filename of output \"y\""), "{error}");
    }
}

#[test]
fn warm_up_requests_are_tensors_of_the_network() {
    let warmup = |input: &str| {
        format!(
            "max_batch_size: 2\n{BOTH}model_warmup [ {{ name: \"w\" batch_size: 2 count: 3\n\
             inputs {{ key: \"x\" value: {{ data_type: TYPE_FP32 dims: [ 4 ] {input} }} }} }} ]"
        )
    };
    let of = |input: &str| Repository::new(&warmup(input)).network(&NetworkFile::default());
    let (network, _) = of("zero_data: true").unwrap();
    let [first] = &network.warmup[..] else { panic!("{network:?}") };
    assert_eq!((first.name.as_str(), first.count), ("w", 3));
    assert_eq!(first.inputs, [Tensor::from_vec(&[2, 4], vec![0.0_f32; 8]).unwrap().named("x")]);
    let (network, _) = of("random_data: true").unwrap();
    let numbers = network.warmup[0].inputs[0].as_slice::<f32>().unwrap().to_vec();
    assert!(numbers.iter().all(|n| (0.0..1.0).contains(n)), "{numbers:?}");
    assert!((numbers[0] - numbers[1]).abs() > 0.0, "{numbers:?}");

    let repository = Repository::new(&warmup("input_data_file: \"data\""));
    let repository = repository.file("warmup/data", &"\0\0\u{80}?".repeat(8));
    let error = repository.network(&NetworkFile::default()).unwrap_err().to_string();
    assert!(error.contains("has 40 bytes of data, which its dims do not"), "{error}");
    let ones: Vec<u8> = 1.0_f32.to_le_bytes().repeat(8);
    fs::write(repository.model().join("warmup/data"), ones).unwrap();
    let (network, _) = repository.network(&NetworkFile::default()).unwrap();
    assert_eq!(network.warmup[0].inputs[0].as_slice::<f32>().unwrap(), [1.0; 8]);

    for (input, words) in [
        ("", "input \"x\" has no data"),
        ("input_data_file: \"none\"", "warmup/none"),
        ("input_data_file: \"../1/model.pt\"", "is no file within"),
    ] {
        let error = of(input).unwrap_err().to_string();
        assert!(error.contains(words), "{input}: {error}");
    }
    let large = warmup("zero_data: true").replace("batch_size: 2 count", "batch_size: 3 count");
    let error = Repository::new(&large).refusal();
    assert!(error.contains("has a batch_size of 3; max_batch_size is 2"), "{error}");
}

#[test]
fn tensors_get_the_networks_sides_and_clients_their_own() {
    let text = "max_batch_size: 4\n\
        input [ { name: \"x\" data_type: TYPE_FP32 dims: [ 1 ] reshape: { shape: [ ] } } ]\n\
        output [ { name: \"y\" data_type: TYPE_FP32 dims: [ 6 ] reshape: { shape: [ 2, 3 ] } } ]";
    let (network, _) = Repository::new(text).network(&NetworkFile::default()).unwrap();
    assert_eq!(network.signature.inputs, Some(vec![spec("x", DType::F32, &[-1, 1])]));
    let zeros =
        |shape: &[usize]| Tensor::from_vec(shape, vec![0.0_f32; shape.iter().product()]).unwrap();
    let shape = |tensors: &[Tensor]| tensors[0].shape().to_vec();
    assert_eq!(shape(&to_network(&network, vec![zeros(&[3, 1])]).unwrap()), [3]);
    assert_eq!(shape(&to_client(&network, vec![zeros(&[3, 2, 3])]).unwrap()), [3, 6]);
    let error = to_client(&network, vec![zeros(&[3, 2, 2])]).unwrap_err();
    assert_eq!(error.code(), mar_engine::ErrorCode::PredictionFailed);
    assert!(error.message().contains("output \"y\" of shape [3, 2, 2]"), "{error}");
}

#[test]
fn a_load_may_bring_a_configuration_of_its_own() {
    let repository = Repository::new("this is not read");
    let read = |config: &str| {
        let look = |_: &Path| Ok(NetworkFile::default());
        Model::read(&repository.model(), Some(config.to_owned()), &look)
    };
    let side =
        |name: &str| format!(r#"[{{"name": "{name}", "data_type": "TYPE_FP32", "dims": [4]}}]"#);
    let config = format!(
        r#"{{"max_batch_size": 3, "input": {}, "output": {}, "instance_group": [{{"kind": "KIND_CPU", "count": 2}}]}}"#,
        side("x"),
        side("y")
    );
    let model = read(&config).unwrap();
    assert_eq!(model.config.max_batch_size, 3);
    assert_eq!(model.versions[0].1.as_ref().unwrap().instances[0].count, 2);
    for (config, words) in [
        ("{", "the parameter \"config\": "),
        ("{\"max_batch\": 3}", "max_batch"),
        ("{\"backend\": \"python\"}", "the parameter \"config\": backend \"python\""),
        ("{} {}", "trailing characters"),
    ] {
        let error = read(config).unwrap_err().to_string();
        assert!(error.contains(words), "{config}: {error}");
    }
}
