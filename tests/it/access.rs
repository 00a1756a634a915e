use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mar_engine::{Engine, NoEvents};
use mar_server::{Access, ApiKey, Metrics, Server, Settings};
use serde_json::Value;

use crate::support::http::{Answer, agent, answer};
use crate::support::server::{TestServer, settings, shared};
use crate::support::store::{Store, repository};

const INVALID: &str = "InvalidKeyException";

/// Settings that ask for tokens of this life.
fn tokens(lifetime: Duration) -> Settings {
    let access = Access { tokens: Some(lifetime), ..Access::default() };
    Settings { access, ..settings() }
}

fn api_key() -> ApiKey {
    ApiKey("correct-horse".to_owned())
}

fn serve(settings: Settings) -> (Store, TestServer) {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::fake_with(settings, &[&archive]);
    (store, server)
}

fn keys(server: &TestServer) -> Value {
    serde_json::from_slice(&std::fs::read(server.key_file()).unwrap()).unwrap()
}

fn key(server: &TestServer, name: &str) -> String {
    keys(server)[name]["key"].as_str().unwrap().to_owned()
}

/// Asks with this `Authorization` header, or none.
fn ask(url: &str, authorization: &str) -> Answer {
    let request = agent().get(url);
    let request = if authorization.is_empty() {
        request
    } else {
        request.header("authorization", authorization)
    };
    answer(request.call())
}

fn with_key(url: &str, key: &str) -> Answer {
    ask(url, &format!("Bearer {key}"))
}

/// The message of a refusal, which is a 400 as TorchServe's and holds no key.
fn refusal(server: &TestServer, answer: &Answer) -> String {
    let (status, class, message) = answer.error();
    assert_eq!((status, class.as_str()), (400, INVALID), "{message}");
    for name in ["management", "inference", "API"] {
        assert!(!message.contains(&key(server, name)), "{message}");
    }
    message
}

#[test]
fn the_key_file_is_there_while_the_server_is() {
    let (_store, server) = serve(tokens(Duration::from_hours(1)));
    let path = server.key_file();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let keys = keys(&server);
    let members: Vec<_> = keys.as_object().unwrap().keys().collect();
    assert_eq!(members, ["management", "inference", "API"]);
    for name in ["management", "inference"] {
        let members: Vec<_> = keys[name].as_object().unwrap().keys().collect();
        assert_eq!(members, ["key", "expiration time"]);
        assert!(keys[name]["expiration time"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!(keys["API"].as_object().unwrap().len(), 1);
    drop(server);
    assert!(!path.exists());
}

#[test]
fn each_surface_takes_its_own_key_and_no_other() {
    let (_store, server) = serve(tokens(Duration::from_hours(1)));
    let predict = server.inference("/predictions/m");
    let describe = server.management("/models/m");
    assert_eq!(with_key(&predict, &key(&server, "inference")).status, 200);
    assert_eq!(with_key(&describe, &key(&server, "management")).status, 200);
    for (url, wrong) in
        [(&predict, "management"), (&predict, "API"), (&describe, "inference"), (&describe, "API")]
    {
        let message = refusal(&server, &with_key(url, &key(&server, wrong)));
        assert!(message.contains("the key is wrong"), "{message}");
        assert!(message.contains(&server.key_file().display().to_string()), "{message}");
    }
    let missing = refusal(&server, &ask(&predict, ""));
    assert!(missing.contains("has no Authorization header"), "{missing}");
    assert!(missing.contains(&server.key_file().display().to_string()), "{missing}");
}

#[test]
fn the_header_is_read_as_torchserve_reads_it() {
    let (_store, server) = serve(tokens(Duration::from_hours(1)));
    let url = server.inference("/predictions/m");
    let right = key(&server, "inference");
    assert_eq!(ask(&url, &format!("Bearer    {right}")).status, 200);
    for wrong in [
        format!("bearer {right}"),
        format!("Bearer{right}"),
        format!("Bearer {right} x"),
        format!("Basic {right}"),
        right.clone(),
        "Bearer".to_owned(),
    ] {
        let message = refusal(&server, &ask(&url, &wrong));
        assert!(message.contains("not of the form Bearer KEY"), "{wrong}: {message}");
    }
    assert!(refusal(&server, &with_key(&url, &right[..7])).contains("wrong"));
}

#[test]
fn the_key_comes_before_everything_else() {
    let (_store, server) = serve(tokens(Duration::from_hours(1)));
    for path in ["/ping", "/nothing", "/", "/predictions/none"] {
        refusal(&server, &ask(&server.inference(path), ""));
    }
    refusal(&server, &ask(&server.management("/nothing"), ""));
    let options = agent().options(server.inference("/predictions/m")).call();
    refusal(&server, &answer(options));
    // With its key, the same path is what it is.
    let inference = key(&server, "inference");
    assert_eq!(with_key(&server.inference("/ping"), &inference).status, 200);
    let nothing = with_key(&server.inference("/nothing"), &inference).error();
    assert_eq!((nothing.0, nothing.1.as_str()), (404, "ResourceNotFoundException"));
    // A refusal has every answer's headers, and ends the connection as errors do.
    let refused = ask(&server.inference("/ping"), "");
    assert!(refused.header("x-request-id").is_some());
    assert_eq!(refused.header("connection"), Some("close"));
}

#[test]
fn descriptions_probes_and_figures_are_open() {
    let (_store, server) = serve(tokens(Duration::from_hours(1)));
    let open = |answer: Answer| {
        assert!(!String::from_utf8_lossy(&answer.body).contains(INVALID), "{answer:?}");
    };
    for url in [server.inference(""), server.management("")] {
        open(answer(agent().options(format!("{url}/")).call()));
        open(ask(&format!("{url}/api-description"), ""));
    }
    open(ask(&server.inference("/livez"), ""));
    open(ask(&server.inference("/readyz"), ""));
    let figures = ask(&format!("{}/metrics", server.metrics().unwrap()), "");
    assert_eq!(figures.status, 200);
}

#[test]
fn a_token_is_renewed_with_the_api_key() {
    let (_store, server) = serve(tokens(Duration::from_hours(1)));
    let before = keys(&server);
    let old = key(&server, "inference");
    let api = key(&server, "API");
    let predict = server.inference("/predictions/m");
    let renewed = with_key(&server.management("/token?type=inference"), &api);
    assert_eq!((renewed.status, renewed.text()), (200, "\n"), "the key is in the file alone");
    let after = keys(&server);
    assert_ne!(after["inference"]["key"], before["inference"]["key"]);
    assert_ne!(after["inference"]["expiration time"], before["inference"]["expiration time"]);
    assert_eq!(after["management"], before["management"]);
    assert_eq!(after["API"], before["API"]);
    refusal(&server, &with_key(&predict, &old));
    assert_eq!(with_key(&predict, &key(&server, "inference")).status, 200);

    assert_eq!(with_key(&server.management("/token?type=management"), &api).status, 200);
    assert_ne!(keys(&server)["management"], before["management"]);

    let now = keys(&server);
    let token = |query: &str, key: &str| {
        refusal(&server, &with_key(&server.management(&format!("/token{query}")), key))
    };
    for query in ["", "?type=", "?type=API", "?type=Inference"] {
        let message = token(query, &api);
        assert!(message.contains("type=inference or type=management"), "{message}");
    }
    assert!(token("?type=inference", &key(&server, "management")).contains("the API key of"));
    refusal(&server, &ask(&server.management("/token?type=inference"), ""));
    // It is the management address's; elsewhere it is a path like another.
    refusal(&server, &with_key(&server.inference("/token?type=inference"), &api));
    assert_eq!(keys(&server), now, "what was refused changed nothing");
}

#[test]
fn an_expired_token_says_so_and_the_api_key_never_expires() {
    let (_store, server) = serve(tokens(Duration::ZERO));
    let inference = key(&server, "inference");
    let message = refusal(&server, &with_key(&server.inference("/ping"), &inference));
    assert!(message.contains("the inference key expired at"), "{message}");
    assert!(message.contains("GET /token?type=inference"), "{message}");
    let management = key(&server, "management");
    let message = refusal(&server, &with_key(&server.management("/models"), &management));
    assert!(message.contains("the management key expired at"), "{message}");
    let renewed = with_key(&server.management("/token?type=inference"), &key(&server, "API"));
    assert_eq!(renewed.status, 200);
}

#[test]
fn a_key_of_ones_own_is_good_everywhere() {
    let mut settings = tokens(Duration::ZERO);
    settings.access.api_key = Some(api_key());
    let (_store, server) = serve(settings);
    for url in [server.inference("/ping"), server.management("/models")] {
        assert_eq!(with_key(&url, "correct-horse").status, 200);
        refusal(&server, &with_key(&url, "correct-hors"));
    }
    let renewal = server.management("/token?type=inference");
    assert_eq!(with_key(&renewal, "correct-horse").status, 200);
}

#[test]
fn a_key_of_ones_own_is_asked_for_without_tokens() {
    let access = Access { api_key: Some(api_key()), ..Access::default() };
    let (_store, server) = serve(Settings { access, ..settings() });
    assert!(!server.key_file().exists());
    for url in [server.inference("/ping"), server.management("/models")] {
        assert_eq!(with_key(&url, "correct-horse").status, 200);
        for wrong in ["", "Bearer wrong", "correct-horse"] {
            let (status, class, message) = ask(&url, wrong).error();
            assert_eq!((status, class.as_str()), (400, INVALID));
            assert!(message.contains("the server's API key"), "{message}");
            assert!(!message.contains("correct-horse"), "{message}");
        }
    }
    // There is no token that could be renewed.
    let renewal = server.management("/token?type=inference");
    assert_eq!(ask(&renewal, "").error().1, INVALID);
    assert_eq!(with_key(&renewal, "correct-horse").error().1, "ResourceNotFoundException");
}

#[test]
fn nothing_is_asked_for_where_nothing_is_set() {
    let (_store, server) = serve(settings());
    assert!(!server.key_file().exists());
    assert_eq!(ask(&server.inference("/ping"), "").status, 200);
    assert_eq!(ask(&server.inference("/ping"), "Bearer nonsense").status, 200);
    assert_eq!(ask(&server.management("/token"), "").error().0, 404);
}

#[test]
fn on_a_shared_address_every_path_takes_one_key() {
    let (_store, server) = serve(shared(tokens(Duration::from_hours(1)), 6181));
    let inference = key(&server, "inference");
    let management = key(&server, "management");
    for path in ["/ping", "/predictions/m", "/predictions/m/1.0"] {
        assert_eq!(with_key(&server.inference(path), &inference).status, 200, "{path}");
        refusal(&server, &with_key(&server.inference(path), &management));
    }
    // However a path is written, what is asked for is what answers.
    for path in ["/models", "/models/m", "/models/m/1.0", "/models/", "//models", "/%6dodels/m"] {
        let url = server.inference(path);
        assert_eq!(with_key(&url, &management).status, 200, "{path}");
        refusal(&server, &with_key(&url, &inference));
    }
    // The model's own: answered by inference's routes, found there or not.
    for path in ["/models/m/invoke", "/models//m/invoke"] {
        refusal(&server, &with_key(&server.inference(path), &management));
    }
    let invoked = with_key(&server.inference("/models/m/invoke"), &inference);
    assert!(!String::from_utf8_lossy(&invoked.body).contains(INVALID));
    assert_eq!(with_key(&server.inference("/nothing"), &inference).error().0, 404);
    assert_eq!(ask(&server.inference("/metrics"), "").status, 200);
    let renewal = server.inference("/token?type=management");
    assert_eq!(with_key(&renewal, &key(&server, "API")).status, 200);
    refusal(&server, &with_key(&server.inference("/models"), &management));
}

#[test]
fn an_upload_without_a_key_is_not_read_to_its_end() {
    let (_store, server) = serve(tokens(Duration::from_hours(1)));
    let mut endless = TcpStream::connect(server.inference_address()).unwrap();
    endless
        .write_all(b"POST /predictions/m HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = [&b"4000\r\n"[..], &[b'x'; 0x4000], b"\r\n"].concat();
    let deadline = Instant::now() + Duration::from_mins(1);
    while endless.write_all(&chunk).is_ok() {
        assert!(Instant::now() < deadline, "the server reads a refused body without end");
    }
}

#[test]
fn a_key_file_that_cannot_be_written_fails_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = mar_engine::EngineConfig {
        temp_dir: folder.path().into(),
        ..mar_engine::EngineConfig::default()
    };
    let engine = Arc::new(Engine::new(config, Vec::new(), Vec::new(), Arc::new(NoEvents)).unwrap());
    let settings = tokens(Duration::from_hours(1));
    let metrics = Metrics::new(&settings.measuring).unwrap();
    let gone = folder.path().join("gone");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bound =
        runtime.block_on(async { Server::bind_in(&settings, engine, metrics, &gone).map(|_| ()) });
    let message = format!("{:#}", bound.unwrap_err());
    assert!(message.contains(&gone.join("key_file.json").display().to_string()), "{message}");
    assert!(message.contains("--disable-token-auth"), "{message}");
}

/// With two providers in one build, rustls has no default and panics where one is needed.
#[test]
fn there_is_one_provider_of_cryptography() {
    // Not `cargo metadata`, which also lists what a feature that is off would need.
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--edges", "all", "--prefix", "none", "--format", "{p}"])
        .args(["--offline", "--manifest-path"])
        .arg(repository("Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let needed: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(needed.contains("rustls") && needed.contains("aws-lc-rs"), "{needed:?}");
    for other in ["ring", "openssl-sys", "native-tls"] {
        assert!(!needed.contains(other), "{other} is a second provider of cryptography");
    }
}
