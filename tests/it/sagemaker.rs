use serde_json::json;
use ureq::unversioned::multipart::{Form, Part};

use crate::support::http::{Answer, agent, answer, get, post};
use crate::support::server::TestServer;
use crate::support::store::Store;

fn two() -> (Store, TestServer) {
    let store = Store::new();
    let a = store.fake_with("a", "1.0", "echo", "handler: {prefix: a-}\n");
    let b = store.fake_with("b", "1.0", "echo", "handler: {prefix: b-}\n");
    let (server, _control) = TestServer::fake(&[&a, &b]);
    (store, server)
}

fn typed(url: &str, content_type: &str, body: &str) -> Answer {
    answer(agent().post(url).header("content-type", content_type).send(body))
}

#[test]
fn the_only_model_needs_no_name() {
    let store = Store::new();
    let (server, _control) = TestServer::fake(&[&store.fake("m", "1.0", "echo")]);
    for path in ["/invocations", "/invocations/", "/invocations?model_name="] {
        let told = post(&server.inference(path), b"x");
        assert_eq!((told.status, told.text()), (200, "x"), "{path}");
    }
    assert_eq!(get(&server.inference("/ping")).status, 200);
}

#[test]
fn one_of_several_is_named_by_the_query_a_field_or_a_member() {
    let (_store, server) = two();
    let url = server.inference("/invocations");
    assert_eq!(post(&format!("{url}?model_name=b"), b"x").text(), "b-x");
    let form = typed(&url, "application/x-www-form-urlencoded", "data=x&model_name=a");
    assert_eq!(form.text(), "a-x");
    let parts = Form::new().text("model_name", "b").part("data", Part::text("y"));
    assert_eq!(answer(agent().post(&url).send(parts)).text(), "b-y");
    let body = r#"{"model_name": "a", "x": 1}"#;
    assert_eq!(typed(&url, "application/json", body).text(), format!("a-{body}"));
    let query_wins = typed(&format!("{url}?model_name=b"), "application/json", body);
    assert_eq!(query_wins.text(), format!("b-{body}"));
}

#[test]
fn without_a_name_it_is_400_and_with_a_wrong_one_404() {
    let (_store, server) = two();
    for body in ["x", "", "{\"data\": 1}"] {
        let (code, class, message) =
            post(&server.inference("/invocations"), body.as_bytes()).error();
        assert_eq!((code, class.as_str()), (400, "BadRequestException"), "{body}");
        assert!(message.starts_with("model_name is required"), "{message}");
    }
    let gone = post(&server.inference("/invocations?model_name=c"), b"x").error();
    assert_eq!((gone.0, gone.1.as_str()), (404, "ModelNotFoundException"));
    let named =
        typed(&server.inference("/invocations"), "application/json", r#"{"model_name":"c"}"#);
    assert_eq!(named.error().1, "ModelNotFoundException");
}

#[test]
fn a_multi_model_endpoint_names_the_model_in_the_path() {
    let (_store, server) = two();
    assert_eq!(post(&server.inference("/models/b/invoke"), b"x").text(), "b-x");
    let gone = post(&server.inference("/models/c/invoke"), b"x").error();
    assert_eq!((gone.0, gone.1.as_str()), (404, "ModelNotFoundException"));
    // TorchServe has no such path.
    let none = post(&server.inference("/models/b/invocations"), b"x").error();
    assert_eq!((none.0, none.1.as_str()), (404, "ResourceNotFoundException"));
}

#[test]
fn no_memory_is_507_so_that_the_platform_unloads_a_model() {
    let (_store, server) = two();
    for path in ["/models/a/invoke", "/invocations?model_name=a"] {
        let full = post(&server.inference(path), b"run out of memory in forward").error();
        assert_eq!((full.0, full.1.as_str()), (507, "InternalServerException"), "{path}");
    }
}

#[test]
fn the_query_comes_before_the_body_and_no_header_is_added() {
    let (_store, server) = two();
    let told = answer(
        agent()
            .post(server.inference("/models/a/invoke?top%20k=a+b&top%20k=5"))
            .header("x-describe", "1")
            .header("x-amzn-sagemaker-custom-attributes", "c=1")
            .send(&b"x"[..]),
    )
    .json();
    assert_eq!(
        told["parts"],
        json!([["top k", null, "a b"], ["top k", null, "5"], ["body", null, "x"]])
    );
    let headers = told["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["x-amzn-sagemaker-custom-attributes", "c=1"])));
    assert!(!headers.iter().any(|header| header[0] == "explain" || header[0] == "url_path"));
}
