use std::time::Duration;

use mar_proto::inference::log_settings_request::SettingValue;
use mar_proto::inference::{
    LogSettingsRequest, RepositoryModelLoadRequest, ServerLiveRequest, ServerMetadataRequest,
};
use mar_proto::torchserve::management::ListModelsRequest;
use mar_server::{Access, ApiKey, Settings, Tls};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::Value;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1alpha;

use crate::support::grpc::{Client, Oip};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

fn serve(settings: Settings) -> (Store, TestServer) {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::fake_with(settings, &[&archive]);
    (store, server)
}

fn health(client: &Client, service: &str) -> Result<i32, (Code, String)> {
    let mut health = HealthClient::new(client.channel.clone());
    let asked = HealthCheckRequest { service: service.into() };
    client.ask(health.check(asked)).map(|response| response.status)
}

#[test]
fn health_is_readiness_of_every_service_that_there_is() {
    let (store, server) = serve(settings());
    for address in [server.grpc_inference(), server.grpc_management()] {
        let client = Client::of(address);
        let serving = Ok(ServingStatus::Serving as i32);
        assert_eq!(health(&client, ""), serving);
        assert_eq!(health(&client, "inference.GRPCInferenceService"), serving);
        let (code, message) = health(&client, "none").unwrap_err();
        assert_eq!((code, message.contains("\"none\"")), (Code::NotFound, true));
    }
    let client = Client::of(server.grpc_inference());
    let mut watching = HealthClient::new(client.channel.clone());
    let watch = watching.watch(HealthCheckRequest::default());
    let mut changes = client.wait(watch).unwrap().into_inner();
    let mut next = || client.wait(changes.message()).unwrap().unwrap().status;
    assert_eq!(next(), ServingStatus::Serving as i32);
    // A model that should serve and does not.
    let broken = store.fake("broken", "1.0", "broken");
    server.engine.load(None, &broken).unwrap();
    assert_eq!(next(), ServingStatus::NotServing as i32);
    assert_eq!(health(&client, ""), Ok(ServingStatus::NotServing as i32));
}

#[test]
fn each_port_describes_its_own_services_in_both_versions_of_reflection() {
    let (_store, server) = serve(settings());
    let described = |client: &Client| -> Vec<String> {
        let mut reflection = ServerReflectionClient::new(client.channel.clone());
        let list = MessageRequest::ListServices(String::new());
        let asked = ServerReflectionRequest { message_request: Some(list), ..Default::default() };
        let answer = reflection.server_reflection_info(tokio_stream::iter([asked]));
        let mut answers = client.wait(answer).unwrap().into_inner();
        let answer = client.wait(answers.message()).unwrap().unwrap().message_response;
        let Some(MessageResponse::ListServicesResponse(list)) = answer else {
            panic!("{answer:?}")
        };
        list.service.into_iter().map(|service| service.name).collect()
    };
    let inference = Client::of(server.grpc_inference());
    let names = described(&inference);
    for name in [
        "inference.GRPCInferenceService",
        "org.pytorch.serve.grpc.inference.InferenceAPIsService",
        "grpc.health.v1.Health",
    ] {
        assert!(names.iter().any(|known| known == name), "{names:?}");
    }
    let management = "org.pytorch.serve.grpc.management.ManagementAPIsService".to_owned();
    assert!(!names.contains(&management), "{names:?}");
    assert!(described(&Client::of(server.grpc_management())).contains(&management));

    let mut older =
        v1alpha::server_reflection_client::ServerReflectionClient::new(inference.channel.clone());
    let symbol = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
        "inference.ModelInferRequest".into(),
    );
    let asked =
        v1alpha::ServerReflectionRequest { message_request: Some(symbol), ..Default::default() };
    let answer = older.server_reflection_info(tokio_stream::iter([asked]));
    let mut answers = inference.wait(answer).unwrap().into_inner();
    let answer = inference.wait(answers.message()).unwrap().unwrap().message_response;
    let file = v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse;
    assert!(answer.is_some_and(|answer| {
        std::mem::discriminant(&answer)
            == std::mem::discriminant(&file(v1alpha::FileDescriptorResponse::default()))
    }));
}

/// A request with this `authorization`, or none.
fn with<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !key.is_empty() {
        request.metadata_mut().insert("authorization", key.parse().unwrap());
    }
    request
}

#[test]
fn every_service_asks_for_its_key() {
    let access = Access { tokens: Some(Duration::from_mins(5)), ..Access::default() };
    let (_store, server) = serve(Settings { access, ..settings() });
    let keys: Value = serde_json::from_slice(&std::fs::read(server.key_file()).unwrap()).unwrap();
    let key = |name: &str| format!("Bearer {}", keys[name]["key"].as_str().unwrap());
    let client = Client::of(server.grpc_inference());
    let managing = Client::of(server.grpc_management());
    let live = |key: &str| {
        let answer = client.ask(client.oip().server_live(with(key, ServerLiveRequest {})));
        answer.map(|answer| answer.live)
    };
    let metadata = |key: &str| {
        let asked = with(key, ServerMetadataRequest {});
        client.ask(client.oip().server_metadata(asked)).map(drop)
    };
    let ping = |key: &str| client.ask(client.predictions().ping(with(key, ()))).map(drop);
    let list = |key: &str| {
        let asked = with(key, ListModelsRequest::default());
        managing.ask(managing.management().list_models(asked)).map(drop)
    };
    let load = |key: &str| {
        let asked = with(key, RepositoryModelLoadRequest::default());
        client.ask(client.oip().repository_model_load(asked)).map(drop)
    };
    let log = |key: &str| {
        let asked = with(key, LogSettingsRequest::default());
        client.ask(client.oip().log_settings(asked)).map(drop)
    };
    let set_log = |key: &str| {
        let settings = [("log_nothing".to_owned(), SettingValue::default())].into();
        let asked = with(key, LogSettingsRequest { settings });
        client.ask(client.oip().log_settings(asked)).map(drop)
    };
    assert_eq!(metadata(&key("inference")), Ok(()));
    assert_eq!(ping(&key("inference")), Ok(()));
    assert_eq!(list(&key("management")), Ok(()));
    assert_eq!((log(&key("inference")), log(&key("management"))), (Ok(()), Ok(())));
    assert_eq!(set_log(&key("management")), Ok(()));
    // Whoever may load is told about the model, not about the key.
    assert_ne!(load(&key("management")).unwrap_err().0, Code::Unauthenticated);
    for wrong in [String::new(), "Bearer wrong".into(), key("management"), key("API")] {
        let (code, message) = metadata(&wrong).unwrap_err();
        assert_eq!(code, Code::Unauthenticated, "{message}");
        assert!(message.contains("inference key"), "{message}");
        let (code, message) = ping(&wrong).unwrap_err();
        assert_eq!(code, Code::PermissionDenied);
        assert!(message.ends_with("\norg.pytorch.serve.http.InvalidKeyException"), "{message}");
    }
    for wrong in ["", &key("inference")] {
        assert_eq!(list(wrong).unwrap_err().0, Code::PermissionDenied);
        assert_eq!(load(wrong).unwrap_err().0, Code::Unauthenticated);
        assert_eq!(set_log(wrong).unwrap_err().0, Code::Unauthenticated);
    }
    assert_eq!(health(&client, ""), Ok(ServingStatus::Serving as i32), "probes have no key");
    assert_eq!(live(""), Ok(true), "nor have these, over REST neither");

    let access = Access { api_key: Some(ApiKey("always".into())), ..Access::default() };
    let (_store, server) = serve(Settings { access, ..settings() });
    let client = Client::of(server.grpc_inference());
    let asked = with("Bearer always", ServerMetadataRequest {});
    assert!(client.ask(client.oip().server_metadata(asked)).is_ok());
}

#[test]
fn tls_is_spoken_where_it_is_asked_for() {
    let files = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate_file, private_key_file) =
        (files.path().join("cert.pem"), files.path().join("key.pem"));
    std::fs::write(&certificate_file, cert.pem()).unwrap();
    std::fs::write(&private_key_file, signing_key.serialize_pem()).unwrap();
    let mut settings = settings();
    settings.tls = Some(Tls { certificate_file, private_key_file });
    settings.grpc[0].endpoint.tls = true;
    let (_store, server) = serve(settings);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let trust = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(cert.pem()))
            .domain_name("localhost");
        let address = server.grpc_inference();
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
        let channel = endpoint.tls_config(trust).unwrap().connect().await.unwrap();
        assert!(Oip::new(channel).server_live(ServerLiveRequest {}).await.unwrap().get_ref().live);
        let plain = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let refused = match plain.connect().await {
            Ok(channel) => Oip::new(channel).server_live(ServerLiveRequest {}).await.is_err(),
            Err(_) => true,
        };
        assert!(refused, "plain text where TLS is spoken");
    });
}
