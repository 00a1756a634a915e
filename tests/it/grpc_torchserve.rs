use std::time::{Duration, Instant};

use bytes::Bytes;
use mar_proto::torchserve::inference::{PredictionResponse, PredictionsRequest};
use mar_proto::torchserve::management::{
    DescribeModelRequest, ListModelsRequest, ManagementResponse, RegisterModelRequest,
    ScaleWorkerRequest, SetDefaultRequest, UnregisterModelRequest,
};
use serde_json::{Value, json};
use tonic::{Code, Request};

use crate::support::grpc::Client;
use crate::support::http::get;
use crate::support::server::TestServer;
use crate::support::store::Store;

fn serve() -> (Store, TestServer, Client) {
    let store = Store::new();
    let archives = [store.fake("m", "1.0", "echo"), store.fake("m", "2.0", "echo")];
    let (server, _control) = TestServer::fake(&archives.each_ref().map(|path| &**path));
    let client = Client::of(server.grpc_inference());
    (store, server, client)
}

fn ask(model: &str, parts: &[(&str, &'static str)]) -> PredictionsRequest {
    let part = |(name, data): &(&str, &'static str)| {
        ((*name).to_owned(), Bytes::from_static(data.as_bytes()))
    };
    PredictionsRequest {
        model_name: model.into(),
        input: parts.iter().map(part).collect(),
        ..Default::default()
    }
}

#[test]
fn a_prediction_is_what_the_handler_answers() {
    let (_store, _server, client) = serve();
    let mut predictions = client.predictions();
    let request = ask("m", &[("data", "hello")]);
    let response = client.ask(predictions.predictions(request.clone())).unwrap();
    assert_eq!(response.prediction, "hello");
    assert_eq!((response.sequence_id, response.status), (None, None));
    let request = PredictionsRequest { model_version: "2.0".into(), ..request };
    assert_eq!(client.ask(predictions.predictions(request)).unwrap().prediction, "hello");

    let mut request = Request::new(ask("m", &[("b", "2"), ("data", "3"), ("a", "1")]));
    request.metadata_mut().insert("x-describe", "yes".parse().unwrap());
    request.metadata_mut().insert("x-test", "of metadata".parse().unwrap());
    let response = client.ask(predictions.predictions(request)).unwrap();
    let told: Value = serde_json::from_slice(&response.prediction).unwrap();
    let parts = json!([["a", null, "1"], ["b", null, "2"], ["data", null, "3"]]);
    assert_eq!((&told["parts"], &told["x-test"]), (&parts, &json!("of metadata")));
    let headers = told["headers"].to_string();
    assert!(!headers.contains("grpc") || headers.contains("user-agent"), "{headers}");
    assert!(!headers.contains("content-type"), "{headers}");

    let stream = client.wait(predictions.stream_predictions(ask("m", &[("data", "one")])));
    let mut stream = stream.unwrap().into_inner();
    assert_eq!(client.wait(stream.message()).unwrap().unwrap().prediction, "one");
    assert_eq!(client.wait(stream.message()).unwrap(), None);

    let health = client.ask(predictions.ping(())).unwrap().health;
    assert_eq!(health, "{\n  \"status\": \"Healthy\"\n}");
}

#[test]
fn failures_have_torchserves_codes_and_classes() {
    let (_store, _server, client) = serve();
    let failed = |request: PredictionsRequest| {
        client.ask(client.predictions().predictions(request)).unwrap_err()
    };
    let data = |text| ask("m", &[("data", text)]);
    let version = PredictionsRequest { model_version: "9".into(), ..data("x") };
    for (request, code, words, class) in [
        (ask("none", &[]), Code::Internal, "none", "model.ModelNotFoundException"),
        (version, Code::Internal, "9", "model.ModelVersionNotFoundException"),
        (ask("", &[]), Code::Internal, "model_name is required", "\nBadRequestException.()"),
        (ask("m", &[("k", "v")]), Code::InvalidArgument, "found: k", "InternalServerException"),
        (data("refuse this"), Code::InvalidArgument, "refused", "InternalServerException"),
        (data("fail in forward"), Code::Unavailable, "as asked", "InternalServerException"),
        (data("panic in preprocess"), Code::Unavailable, "panicked", "InternalServerException"),
        (
            data("be a teapot"),
            Code::FailedPrecondition,
            "short and stout",
            "InternalServerException",
        ),
    ] {
        let (found, message) = failed(request);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(words) && message.ends_with(class), "{message}");
    }
    assert_eq!(
        client.ask(client.predictions().predictions(data("fine"))).unwrap().prediction,
        "fine"
    );
}

#[test]
fn a_stream_of_requests_is_answered_in_order_with_failures_inside() {
    let (_store, _server, client) = serve();
    let request = |sequence: &str, text| PredictionsRequest {
        sequence_id: Some(sequence.into()),
        ..ask("m", &[("data", text)])
    };
    let requests =
        vec![request("1", "a"), request("2", "refuse"), ask("none", &[]), request("3", "b")];
    let requests = tokio_stream::iter(requests);
    let mut answers =
        client.wait(client.predictions().stream_predictions2(requests)).unwrap().into_inner();
    let mut next = || client.wait(answers.message()).unwrap();
    let first = next().unwrap();
    let sequence = |answer: &PredictionResponse| answer.sequence_id.clone();
    assert_eq!((sequence(&first).as_deref(), &first.prediction[..]), (Some("1"), &b"a"[..]));
    assert_eq!(first.status, None);
    let refused = next().unwrap();
    assert_eq!(sequence(&refused).as_deref(), Some("2"));
    let status = refused.status.unwrap();
    assert_eq!(status.code, Code::InvalidArgument as i32);
    assert_eq!(status.message, "the body asks to be refused");
    assert_eq!(status.details[0].type_url, "type.googleapis.com/google.rpc.ErrorInfo");
    let unknown = next().unwrap();
    assert_eq!(unknown.status.unwrap().code, Code::Internal as i32);
    let last = next().unwrap();
    assert_eq!((sequence(&last).as_deref(), &last.prediction[..]), (Some("3"), &b"b"[..]));
    assert_eq!(next(), None);
}

#[test]
fn models_come_grow_and_go_with_rests_sentences() {
    let store = Store::new();
    store.fake("m", "1.0", "echo");
    store.fake("m", "2.0", "echo");
    let (server, _control) = TestServer::managed(&store);
    let client = Client::of(server.grpc_management());
    let mut management = client.management();
    let said = |answer: Result<ManagementResponse, (Code, String)>| answer.unwrap().msg;

    let register = |url: &str| RegisterModelRequest {
        url: url.into(),
        initial_workers: 1,
        synchronous: true,
        ..Default::default()
    };
    let told = said(client.ask(management.register_model(register("m-1.0"))));
    assert_eq!(told, "Model \"m\" Version: 1.0 registered with 1 initial workers");
    said(client.ask(management.register_model(register("m-2.0"))));

    let describe = |version: &str| DescribeModelRequest {
        model_name: "m".into(),
        model_version: version.into(),
        ..Default::default()
    };
    let text = said(client.ask(management.describe_model(describe(""))));
    let described: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(described[0]["modelVersion"], "1.0");
    let same = get(&server.management("/models/m")).json();
    assert_eq!(described[0]["workers"][0]["id"], same[0]["workers"][0]["id"]);
    assert_eq!(described[0]["execution"], serde_json::json!({ "runtime": "fake" }));
    let all: Value =
        serde_json::from_str(&said(client.ask(management.describe_model(describe("all")))))
            .unwrap();
    assert_eq!(all.as_array().unwrap().len(), 2);
    let customized = DescribeModelRequest { customized: true, ..describe("") };
    let text = said(client.ask(management.describe_model(customized)));
    let described: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(described[0]["customizedMetadata"]["prefix"], "");

    let list = |limit| ListModelsRequest { limit, ..Default::default() };
    let none: Value =
        serde_json::from_str(&said(client.ask(management.list_models(list(0))))).unwrap();
    assert_eq!(none, json!({"nextPageToken": "0", "models": []}));
    let text = said(client.ask(management.list_models(list(9))));
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["models"][0]["modelName"], "m");

    let scale = |min_worker, max_worker| ScaleWorkerRequest {
        model_name: "m".into(),
        min_worker,
        max_worker,
        synchronous: true,
        ..Default::default()
    };
    let told = said(client.ask(management.scale_worker(scale(2, 3))));
    assert_eq!(told, "Workers scaled to 2 for model: m");
    let told = said(client.ask(management.scale_worker(scale(0, 0))));
    assert_eq!(told, "Workers scaled to 1 for model: m");

    let other = SetDefaultRequest { model_name: "m".into(), model_version: "2.0".into() };
    let told = said(client.ask(management.set_default(other)));
    assert_eq!(told, "Default version successfully updated for model \"m\" to \"2.0\"");
    let unregister = |version: &str| UnregisterModelRequest {
        model_name: "m".into(),
        model_version: version.into(),
    };
    let refused = client.ask(management.unregister_model(unregister("2.0"))).unwrap_err();
    assert_eq!(refused.0, Code::FailedPrecondition, "{refused:?}");
    let told = said(client.ask(management.unregister_model(unregister("1.0"))));
    assert_eq!(told, "Model \"m\" unregistered");
    said(client.ask(management.unregister_model(unregister(""))));
    let gone = client.ask(management.describe_model(describe(""))).unwrap_err();
    assert_eq!(gone.0, Code::NotFound);
}

#[test]
fn what_management_refuses_says_why_with_a_code() {
    let store = Store::new();
    store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::managed(&store);
    let client = Client::of(server.grpc_management());
    let mut management = client.management();
    let register = |url: &str| RegisterModelRequest { url: url.into(), ..Default::default() };
    let mut registered = |request| client.ask(management.register_model(request)).map(|it| it.msg);
    assert_eq!(registered(register("m-1.0")).unwrap(), "Processing worker updates...");
    let (code, message) = registered(register("m-1.0")).unwrap_err();
    assert_eq!(code, Code::AlreadyExists, "{message}");
    assert!(message.ends_with("http.ConflictStatusException"), "{message}");
    let (code, message) = registered(register("")).unwrap_err();
    assert_eq!(code, Code::InvalidArgument);
    let words = "Parameter url is required.\norg.pytorch.serve.http.BadRequestException";
    assert_eq!(message, words);
    assert_eq!(registered(register("none.mar")).unwrap_err().0, Code::NotFound);
    let odd = RegisterModelRequest { runtime: "cobol".into(), ..register("m-1.0") };
    assert_eq!(registered(odd).unwrap_err().0, Code::InvalidArgument);

    let scale = ScaleWorkerRequest { model_name: "none".into(), ..Default::default() };
    let unknown = client.ask(management.scale_worker(scale)).unwrap_err();
    assert_eq!(unknown.0, Code::NotFound);
    assert!(unknown.1.ends_with("model.ModelNotFoundException"), "{}", unknown.1);
    let scale = ScaleWorkerRequest {
        model_name: "m".into(),
        min_worker: 3,
        max_worker: 2,
        ..Default::default()
    };
    assert_eq!(client.ask(management.scale_worker(scale)).unwrap_err().0, Code::InvalidArgument);
    let nobody = client.ask(management.unregister_model(UnregisterModelRequest::default()));
    assert_eq!(nobody.unwrap_err().0, Code::InvalidArgument);

    // Where nobody allowed it at the start, nothing comes or goes.
    let (closed, _control) = TestServer::fake(&[]);
    let client = Client::of(closed.grpc_management());
    let refused = client.ask(client.management().register_model(register("m-1.0"))).unwrap_err();
    assert_eq!(refused.0, Code::PermissionDenied);
    assert!(refused.1.contains("enable_model_api"), "{}", refused.1);
}

#[test]
fn calls_are_counted_as_rests_requests_are() {
    let (_store, server, client) = serve();
    let answer = |text| client.ask(client.predictions().predictions(ask("m", &[("data", text)])));
    answer("x").unwrap();
    answer("refuse").unwrap_err();
    answer("fail in forward").unwrap_err();
    let page = format!("{}/metrics", server.metrics().unwrap());
    let counted = |name: &str, number: &str| {
        let page = get(&page);
        page.text().lines().any(|line| line.starts_with(name) && line.ends_with(number))
    };
    // A call is counted once its answer is on its way.
    let deadline = Instant::now() + Duration::from_mins(1);
    while !["Requests2XX{", "Requests4XX{", "Requests5XX{"].iter().all(|n| counted(n, "} 1.0")) {
        assert!(Instant::now() < deadline, "{}", get(&page).text());
        std::thread::yield_now();
    }
    assert!(counted("ts_inference_requests_total{model_name=\"m\"", "} 3.0"));
}

#[test]
fn the_services_have_ports_of_their_own() {
    let (_store, server, client) = serve();
    let elsewhere = client.ask(client.management().list_models(ListModelsRequest::default()));
    assert_eq!(elsewhere.unwrap_err().0, Code::Unimplemented);
    let managing = Client::of(server.grpc_management());
    let elsewhere = managing.ask(managing.predictions().predictions(ask("m", &[])));
    assert_eq!(elsewhere.unwrap_err().0, Code::Unimplemented);
}
