use std::collections::HashMap;
use std::net::TcpListener;
use std::time::Duration;

use mar_proto::inference::infer_parameter::ParameterChoice;
use mar_proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use mar_proto::inference::{
    InferParameter, InferTensorContents, LogSettingsRequest, ModelInferRequest, ModelInferResponse,
    ModelMetadataRequest, ModelReadyRequest, ModelStatisticsRequest, RepositoryIndexRequest,
    RepositoryModelLoadRequest, RepositoryModelUnloadRequest, ServerLiveRequest,
    ServerMetadataRequest, ServerReadyRequest, TraceSettingRequest, log_settings_request,
    trace_setting_request,
};
use mar_server::{Address, Endpoint, GrpcService, GrpcSite, Settings};
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request};

use crate::support::fake;
use crate::support::grpc::Client;
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

/// A server of a network that doubles floats, one that echoes, and one that waits to be let through.
fn serve() -> (Store, TestServer, fake::Control, Client) {
    let store = Store::new();
    let archives = [
        store.fake("double", "1.0", "times 2"),
        store.fake("echo", "1.0", "echo"),
        store.fake("gated", "1.0", "gated"),
    ];
    let (server, control) = TestServer::fake(&archives.each_ref().map(|path| &**path));
    let client = Client::of(server.grpc_inference());
    (store, server, control, client)
}

fn input(datatype: &str, shape: &[i64], contents: InferTensorContents) -> InferInputTensor {
    InferInputTensor {
        name: "x".into(),
        datatype: datatype.into(),
        shape: shape.to_vec(),
        parameters: HashMap::new(),
        contents: Some(contents),
    }
}

fn floats(values: &[f32]) -> InferInputTensor {
    let contents = InferTensorContents { fp32_contents: values.to_vec(), ..Default::default() };
    input("FP32", &[1, values.len().try_into().unwrap()], contents)
}

fn ask(model: &str, input: InferInputTensor) -> ModelInferRequest {
    ModelInferRequest { model_name: model.into(), inputs: vec![input], ..Default::default() }
}

fn text(value: &str) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::StringParam(value.into())) }
}

/// The floats of an answer's one output.
fn answered(response: &ModelInferResponse) -> Vec<f32> {
    assert_eq!(response.outputs.len(), 1);
    assert_eq!(response.outputs[0].datatype, "FP32");
    assert_eq!(response.raw_output_contents.len(), 1);
    let bytes = response.raw_output_contents[0].chunks(4);
    bytes.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[test]
fn tensors_come_typed_or_raw_and_go_raw() {
    let (_store, _server, _control, client) = serve();
    let typed = ModelInferRequest { id: "7".into(), ..ask("double", floats(&[1.5, -2.0])) };
    let response = client.ask(client.oip().model_infer(typed)).unwrap();
    assert_eq!((&*response.model_name, &*response.id), ("double", "7"));
    assert_eq!(response.model_version, "1.0");
    assert_eq!(response.outputs[0].shape, [1, 2]);
    assert_eq!(answered(&response), [3.0, -4.0]);

    let bare = InferInputTensor { contents: None, ..floats(&[0.0, 0.0]) };
    let bytes: Vec<u8> = [0.25_f32, 8.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let raw = ModelInferRequest { raw_input_contents: vec![bytes.into()], ..ask("double", bare) };
    let response = client.ask(client.oip().model_infer(raw)).unwrap();
    assert_eq!(answered(&response), [0.5, 16.0]);
    assert_eq!(response.id, "");
}

#[test]
fn every_type_that_has_contents_keeps_its_elements() {
    let (_store, _server, _control, client) = serve();
    let none = InferTensorContents::default;
    for (datatype, contents, bytes) in [
        ("BOOL", InferTensorContents { bool_contents: vec![true, false], ..none() }, vec![1, 0]),
        ("INT8", InferTensorContents { int_contents: vec![-1, 2], ..none() }, vec![255, 2]),
        (
            "INT16",
            InferTensorContents { int_contents: vec![-2, 1], ..none() },
            vec![254, 255, 1, 0],
        ),
        (
            "INT32",
            InferTensorContents { int_contents: vec![-1, 1], ..none() },
            vec![255, 255, 255, 255, 1, 0, 0, 0],
        ),
        (
            "INT64",
            InferTensorContents { int64_contents: vec![-1, 3], ..none() },
            [[255; 8], 3_u64.to_le_bytes()].concat(),
        ),
        ("UINT8", InferTensorContents { uint_contents: vec![255, 2], ..none() }, vec![255, 2]),
        ("UINT16", InferTensorContents { uint_contents: vec![258, 3], ..none() }, vec![2, 1, 3, 0]),
        (
            "UINT32",
            InferTensorContents { uint_contents: vec![1, u32::MAX], ..none() },
            vec![1, 0, 0, 0, 255, 255, 255, 255],
        ),
        (
            "UINT64",
            InferTensorContents { uint64_contents: vec![1, u64::MAX], ..none() },
            [1_u64.to_le_bytes(), [255; 8]].concat(),
        ),
        (
            "FP32",
            InferTensorContents { fp32_contents: vec![1.0, -2.5], ..none() },
            [1.0_f32.to_le_bytes(), (-2.5_f32).to_le_bytes()].concat(),
        ),
        (
            "FP64",
            InferTensorContents { fp64_contents: vec![1.0, -2.5], ..none() },
            [1.0_f64.to_le_bytes(), (-2.5_f64).to_le_bytes()].concat(),
        ),
        (
            "BYTES",
            InferTensorContents { bytes_contents: vec!["a".into(), "".into()], ..none() },
            vec![1, 0, 0, 0, b'a', 0, 0, 0, 0],
        ),
    ] {
        let request = ask("echo", input(datatype, &[1, 2], contents));
        let response = client.ask(client.oip().model_infer(request)).unwrap();
        assert_eq!(response.outputs[0].datatype, datatype);
        assert_eq!(response.raw_output_contents[0], bytes, "{datatype}");
    }
    // Empty, and the halves that come raw alone.
    let empty = ask("echo", input("FP32", &[1, 0], InferTensorContents::default()));
    let response = client.ask(client.oip().model_infer(empty)).unwrap();
    assert_eq!((&response.outputs[0].shape[..], answered(&response).len()), (&[1, 0][..], 0));
    for datatype in ["FP16", "BF16"] {
        let bare = InferInputTensor { contents: None, ..input(datatype, &[1, 1], none()) };
        let raw =
            ModelInferRequest { raw_input_contents: vec![vec![1, 2].into()], ..ask("echo", bare) };
        let response = client.ask(client.oip().model_infer(raw)).unwrap();
        assert_eq!(response.raw_output_contents[0], &[1, 2][..], "{datatype}");
    }
}

#[test]
fn what_is_malformed_is_refused_with_the_field_and_harms_nobody() {
    let (_store, _server, _control, client) = serve();
    let good = || ask("double", floats(&[1.0, 2.0]));
    let with = |change: &dyn Fn(&mut ModelInferRequest)| {
        let mut request = good();
        change(&mut request);
        request
    };
    let ints = InferTensorContents { int_contents: vec![1, 300], ..Default::default() };
    let long = "n".repeat(50_000);
    for (request, code, words) in [
        (with(&|r| r.model_name = "none".into()), Code::NotFound, "none"),
        (with(&|r| r.model_version = "9".into()), Code::NotFound, "9"),
        (with(&|r| r.inputs[0].datatype = "FP99".into()), Code::InvalidArgument, "FP99"),
        (with(&|r| r.inputs[0].datatype = String::new()), Code::InvalidArgument, "datatype"),
        (with(&|r| r.inputs[0].shape = vec![1, -1]), Code::InvalidArgument, "the side -1"),
        (with(&|r| r.inputs[0].shape = vec![1, 3]), Code::InvalidArgument, "x"),
        (with(&|r| r.inputs[0].shape = vec![i64::MAX, 8]), Code::InvalidArgument, "x"),
        (with(&|r| r.inputs[0].contents = None), Code::InvalidArgument, "has no contents"),
        (
            with(&|r| r.inputs[0].contents = Some(ints.clone())),
            Code::InvalidArgument,
            "fp32_contents",
        ),
        (
            with(&|r| r.inputs[0] = input("INT8", &[1, 2], ints.clone())),
            Code::InvalidArgument,
            "element 300 is out of the range of INT8",
        ),
        (
            with(&|r| r.inputs[0] = input("FP16", &[1, 2], ints.clone())),
            Code::InvalidArgument,
            "send raw_input_contents",
        ),
        (
            with(&|r| r.raw_input_contents = vec![vec![0; 8].into()]),
            Code::InvalidArgument,
            "beside raw_input_contents",
        ),
        (
            with(&|r| r.raw_input_contents = vec![vec![0; 8].into(); 2]),
            Code::InvalidArgument,
            "raw_input_contents has 2 entries, and 1 inputs",
        ),
        (
            with(&|r| {
                r.inputs[0].contents = None;
                r.raw_input_contents = vec![vec![0; 7].into()];
            }),
            Code::InvalidArgument,
            "x",
        ),
        (with(&|r| r.inputs.push(r.inputs[0].clone())), Code::InvalidArgument, "twice"),
        (with(&|r| r.inputs.clear()), Code::InvalidArgument, "input"),
        (
            with(&|r| {
                r.inputs[0].parameters.insert("shared_memory_region".into(), text("r"));
            }),
            Code::InvalidArgument,
            "shared memory and has contents",
        ),
        (
            with(&|r| {
                r.parameters.insert("triton_anything".into(), text("v"));
            }),
            Code::InvalidArgument,
            "triton_",
        ),
        (
            with(&|r| {
                r.parameters.insert("p".into(), InferParameter::default());
            }),
            Code::InvalidArgument,
            "\"p\" has no value",
        ),
        (
            with(&|r| {
                let output = InferRequestedOutputTensor { name: "o".into(), ..Default::default() };
                r.outputs = vec![output.clone(), output];
            }),
            Code::InvalidArgument,
            "\"o\"",
        ),
        (with(&|r| r.inputs[0].datatype = long.clone()), Code::InvalidArgument, "datatype"),
    ] {
        let refused = client.ask(client.oip().model_infer(request)).unwrap_err();
        assert_eq!(refused.0, code, "{refused:?}");
        assert!(refused.1.contains(words), "no {words} in {}", refused.1);
        assert!(refused.1.len() < 2100, "{} bytes", refused.1.len());
        if code == Code::InvalidArgument {
            assert!(refused.1.starts_with("[request id: <id_unknown>] "), "{}", refused.1);
        }
    }
    let response = client.ask(client.oip().model_infer(good())).unwrap();
    assert_eq!(answered(&response), [2.0, 4.0]);
}

#[test]
fn the_server_and_its_models_tell_of_themselves() {
    let (_store, _server, _control, client) = serve();
    let mut oip = client.oip();
    assert!(client.ask(oip.server_live(ServerLiveRequest {})).unwrap().live);
    assert!(client.ask(oip.server_ready(ServerReadyRequest {})).unwrap().ready);
    let ready = |name: &str, version: &str| {
        let asked = ModelReadyRequest { name: name.into(), version: version.into() };
        client.ask(client.oip().model_ready(asked)).unwrap().ready
    };
    assert!(ready("echo", "") && ready("echo", "1.0"));
    assert!(!ready("echo", "2.0") && !ready("none", ""));

    let server = client.ask(oip.server_metadata(ServerMetadataRequest {})).unwrap();
    assert_eq!(server.name, "marserve");
    assert!(server.extensions.iter().any(|extension| extension == "statistics"));
    let model = |name: &str| {
        let asked = ModelMetadataRequest { name: name.into(), ..Default::default() };
        client.ask(client.oip().model_metadata(asked))
    };
    assert_eq!(model("echo").unwrap().versions, ["1.0"]);
    assert_eq!(model("none").unwrap_err().0, Code::NotFound);

    let index = client.ask(oip.repository_index(RepositoryIndexRequest::default())).unwrap();
    let echo = index.models.iter().find(|entry| entry.name == "echo").unwrap();
    assert_eq!((&*echo.version, &*echo.state), ("1.0", "READY"));
    let unknown = ModelStatisticsRequest { name: "none".into(), ..Default::default() };
    let refused = client.ask(oip.model_statistics(unknown)).unwrap_err();
    assert_eq!(refused.0, Code::InvalidArgument);
    let all = client.ask(oip.model_statistics(ModelStatisticsRequest::default())).unwrap();
    assert_eq!(all.model_stats.len(), 3);
}

#[test]
fn a_model_is_loaded_and_unloaded_by_either_clients_field() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::managed(&store);
    server.engine.load(None, &archive).unwrap();
    let client = Client::of(server.grpc_inference());
    let mut oip = client.oip();
    for (repository_name, model_name) in [("none", ""), ("somewhere", "none")] {
        let load = RepositoryModelLoadRequest {
            repository_name: repository_name.into(),
            model_name: model_name.into(),
            ..Default::default()
        };
        let (code, message) = client.ask(oip.repository_model_load(load)).unwrap_err();
        assert_eq!(code, Code::NotFound, "{message}");
        assert!(message.contains("\"none\""), "{message}");
    }
    let unload = RepositoryModelUnloadRequest { repository_name: "m".into(), ..Default::default() };
    let told = client.ask(oip.repository_model_unload(unload)).unwrap();
    assert_eq!((&*told.model_name, told.is_unloaded), ("m", true));
    let (code, _) = client.ask(oip.model_infer(ask("m", floats(&[1.0])))).unwrap_err();
    assert_eq!(code, Code::NotFound);

    // Where nobody allowed it at the start, nobody may.
    let (closed, _control) = TestServer::fake(&[]);
    let client = Client::of(closed.grpc_inference());
    let unload = RepositoryModelUnloadRequest { model_name: "m".into(), ..Default::default() };
    let (code, message) = client.ask(client.oip().repository_model_unload(unload)).unwrap_err();
    assert_eq!(code, Code::Unavailable);
    assert!(message.contains("not allowed"), "{message}");
}

#[test]
fn settings_of_log_and_traces_are_told_and_wrong_ones_refused() {
    let (_store, _server, _control, client) = serve();
    let mut oip = client.oip();
    let told = client.ask(oip.log_settings(LogSettingsRequest::default())).unwrap();
    assert_eq!(told.settings.len(), 6);
    let choice = log_settings_request::setting_value::ParameterChoice::StringParam("yes".into());
    let value = log_settings_request::SettingValue { parameter_choice: Some(choice) };
    let wrong = LogSettingsRequest { settings: HashMap::from([("log_info".into(), value)]) };
    let refused = client.ask(oip.log_settings(wrong)).unwrap_err();
    assert_eq!(refused, (Code::InvalidArgument, "setting log_info is a bool".into()));

    let told = client.ask(oip.trace_setting(TraceSettingRequest::default())).unwrap();
    assert_eq!(told.settings["trace_level"].value, ["OFF"]);
    let value = trace_setting_request::SettingValue { value: vec!["TIMESTAMPS".into()] };
    let settings = HashMap::from([("trace_level".to_owned(), value)]);
    let wrong = TraceSettingRequest { settings, ..Default::default() };
    assert_eq!(client.ask(oip.trace_setting(wrong)).unwrap_err().0, Code::Unimplemented);
}

#[test]
fn torchserves_name_of_the_protocol_leads_to_the_same() {
    let (_store, _server, _control, client) = serve();
    let mut grpc = tonic::client::Grpc::new(client.channel.clone());
    let path = "/org.pytorch.serve.grpc.openinference.GRPCInferenceService/ModelInfer";
    let codec = tonic_codec();
    let response: ModelInferResponse = client
        .ask(async {
            grpc.ready().await.unwrap();
            let request = Request::new(ask("double", floats(&[21.0])));
            grpc.unary(request, path.parse().unwrap(), codec).await
        })
        .unwrap();
    assert_eq!(answered(&response), [42.0]);
}

/// Messages as gRPC has them.
fn tonic_codec() -> tonic_prost::ProstCodec<ModelInferRequest, ModelInferResponse> {
    tonic_prost::ProstCodec::default()
}

#[test]
fn what_is_too_large_is_exhausted_in_either_direction() {
    let store = Store::new();
    let archive = store.fake("echo", "1.0", "echo");
    let mut settings = settings();
    settings.max_request_size = 50_000;
    settings.max_response_size = 20_000;
    let (server, _control) = TestServer::fake_with(settings, &[&archive]);
    let client = Client::of(server.grpc_inference());
    let of_bytes = |bytes: u32| {
        let bare = InferInputTensor {
            contents: None,
            ..input("UINT8", &[1, bytes.into()], InferTensorContents::default())
        };
        let raw = vec![vec![7; usize::try_from(bytes).unwrap()].into()];
        ModelInferRequest { raw_input_contents: raw, ..ask("echo", bare) }
    };
    let asked = |bytes| client.ask(client.oip().model_infer(of_bytes(bytes)));
    let (code, message) = asked(60_000).unwrap_err();
    assert_eq!(code, Code::ResourceExhausted, "{message}");
    assert!(message.contains("max_request_size") && message.contains("50000"), "{message}");
    let (_, message) = asked(30_000).unwrap_err();
    assert!(message.contains("max_response_size"), "{message}");
    assert_eq!(asked(10_000).unwrap().raw_output_contents[0].len(), 10_000);
}

#[test]
fn a_message_has_no_more_fields_than_any_request_means() {
    let store = Store::new();
    let settings = Settings { max_request_size: 1 << 20, ..settings() };
    let (server, _) = TestServer::fake_with(settings, &[&store.fake("double", "1.0", "times 2")]);
    let client = Client::of(server.grpc_inference());
    let of = |count| ModelInferRequest {
        model_name: "double".into(),
        inputs: vec![InferInputTensor::default(); count],
        ..Default::default()
    };
    let (code, message) = client.ask(client.oip().model_infer(of(70_000))).unwrap_err();
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("more than 65536 fields"), "{message}");
    let (_, message) = client.ask(client.oip().model_infer(of(60_000))).unwrap_err();
    assert!(message.contains("no datatype"), "{message}");
}

#[test]
fn messages_are_compressed_both_ways_where_the_client_asks() {
    let (_store, _server, _control, client) = serve();
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
        let mut oip = client.oip().send_compressed(encoding).accept_compressed(encoding);
        let response = client.wait(oip.model_infer(ask("double", floats(&[4.0; 500])))).unwrap();
        let sent = response.metadata().get("grpc-encoding").unwrap();
        assert_eq!(
            sent.to_str().unwrap(),
            if encoding == CompressionEncoding::Gzip { "gzip" } else { "deflate" }
        );
        assert_eq!(answered(response.get_ref()), [8.0; 500]);
    }
    // Python's clients always say that they take what is compressed; only those that compress want it.
    let mut oip = client.oip().accept_compressed(CompressionEncoding::Gzip);
    let response = client.wait(oip.model_infer(ask("double", floats(&[4.0; 500])))).unwrap();
    assert_eq!(response.metadata().get("grpc-encoding"), None);
}

#[test]
fn a_clients_deadline_ends_its_request_and_what_waits_for_it() {
    let (_store, server, control, client) = serve();
    let request = |timeout: Duration| {
        let mut request = Request::new(ask("gated", floats(&[1.0])));
        request.set_timeout(timeout);
        request
    };
    let first = std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let mut patient = client.oip();
            client.ask(patient.model_infer(request(Duration::from_secs(50))))
        });
        control.entered.recv().unwrap();
        // The one worker is busy with the first, so that the second waits. Its own side of the deadline may
        // come first, and says so by another code.
        let mut hasty = client.oip();
        let hasty = client.ask(hasty.model_infer(request(Duration::from_millis(50))));
        let (code, message) = hasty.unwrap_err();
        assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&code), "{message}");
        while server.engine.in_flight() > 1 {
            std::thread::yield_now();
        }
        control.release_one();
        first.join().unwrap()
    });
    assert_eq!(answered(&first.unwrap()), [1.0]);
    // What nobody waits for is not worked on.
    assert_eq!(control.take_batches(), [1]);
}

#[test]
fn an_address_that_is_taken_or_no_tcp_fails_the_start_by_name() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let start = |address: Address| {
        let mut settings = settings();
        settings.grpc = vec![GrpcSite::inference(Endpoint { address, tls: false })];
        let started = TestServer::try_start(settings, fake::handlers(), fake::runtime().0);
        format!("{:#}", started.map(|_| ()).unwrap_err())
    };
    let error = start(Address::Tcp(address));
    for words in [&format!("{address}"), "grpc_inference_port", "enable_grpc=false"] {
        assert!(error.contains(words), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let error = start(Address::Unix(folder.path().join("s")));
    assert!(error.contains("TCP alone"), "{error}");
}

#[test]
fn without_addresses_there_is_no_grpc() {
    let mut settings = settings();
    settings.grpc = Vec::new();
    let (server, _control) = TestServer::fake_with(settings, &[]);
    assert_eq!(server.grpc(GrpcService::OpenInference), None);
    assert_eq!(server.grpc(GrpcService::Management), None);
}
