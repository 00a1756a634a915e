use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mar_proto::inference::infer_parameter::ParameterChoice;
use mar_proto::inference::model_infer_request::InferInputTensor;
use mar_proto::inference::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelStreamInferResponse,
    ServerLiveRequest,
};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use crate::support::fake::Control;
use crate::support::grpc::{Client, connected};
use crate::support::server::TestServer;
use crate::support::store::Store;

/// Streams that are opened and dropped.
const MANY: usize = 1000;

fn serve() -> (Store, TestServer, Control, Client) {
    let store = Store::new();
    let archives = [store.fake("double", "1.0", "times 2"), store.fake("gated", "1.0", "gated")];
    let (server, control) = TestServer::fake(&archives.each_ref().map(|path| &**path));
    let client = Client::of(server.grpc_inference());
    (store, server, control, client)
}

fn ask(model: &str, id: &str, value: f32) -> ModelInferRequest {
    let contents = InferTensorContents { fp32_contents: vec![value], ..Default::default() };
    let input = InferInputTensor {
        name: "x".into(),
        datatype: "FP32".into(),
        shape: vec![1, 1],
        parameters: HashMap::new(),
        contents: Some(contents),
    };
    ModelInferRequest {
        model_name: model.into(),
        id: id.into(),
        inputs: vec![input],
        ..Default::default()
    }
}

/// The identifier of an answer, and its value or what went wrong.
fn told(answer: &ModelStreamInferResponse) -> (String, Result<f32, String>) {
    let response = answer.infer_response.as_ref().unwrap();
    if !answer.error_message.is_empty() {
        return (response.id.clone(), Err(answer.error_message.clone()));
    }
    let last = response.parameters["triton_final_response"].parameter_choice.clone();
    assert_eq!(last, Some(ParameterChoice::BoolParam(true)));
    let bytes = response.raw_output_contents[0][..].try_into().unwrap();
    (response.id.clone(), Ok(f32::from_le_bytes(bytes)))
}

async fn all(
    mut answers: Streaming<ModelStreamInferResponse>,
) -> (Vec<ModelStreamInferResponse>, Option<Status>) {
    let mut found = Vec::new();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => found.push(answer),
            Ok(None) => return (found, None),
            Err(status) => return (found, Some(status)),
        }
    }
}

/// Waits until something is so, which it has to become.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::yield_now();
    }
}

#[test]
fn answers_come_in_order_and_a_failure_ends_nothing() {
    let (_store, _server, _control, client) = serve();
    let mut requests: Vec<_> =
        (0..200_u8).map(|n| ask("double", &n.to_string(), f32::from(n))).collect();
    requests[7].model_name = "none".into();
    requests[9].inputs[0].datatype = "FP99".into();
    let mut oip = client.oip();
    let answers = oip.model_stream_infer(tokio_stream::iter(requests));
    let answers = client.wait(answers).unwrap().into_inner();
    let (answers, status) = client.wait(all(answers));
    assert!(status.is_none(), "{status:?}");
    assert_eq!(answers.len(), 200);
    for (n, answer) in (0..200_u8).zip(&answers) {
        let (id, value) = told(answer);
        assert_eq!(id, n.to_string());
        match n {
            7 => assert!(value.unwrap_err().contains("none")),
            9 => assert!(value.unwrap_err().contains("FP99")),
            _ => assert_eq!(value, Ok(2.0 * f32::from(n))),
        }
    }
}

#[test]
fn a_mistake_of_any_length_has_a_short_answer() {
    let (_store, _server, _control, client) = serve();
    let long = "x".repeat(1 << 16);
    let mut requests = vec![ask("double", "1", 1.0); 5];
    requests[0].id.clone_from(&long);
    requests[0].inputs[0].shape = vec![-1];
    requests[1].inputs[0].shape = vec![0; 1 << 16];
    requests[1].inputs[0].shape.push(-1);
    requests[2].inputs[0].datatype.clone_from(&long);
    requests[3].inputs[0].name.clone_from(&long);
    requests[3].inputs[0].shape = vec![-1];
    requests[4].parameters.insert(long, InferParameter::default());
    let words = ["the side -1", "the side -1", "no datatype", "the side -1", "no value"];
    let sizes: Vec<usize> = requests.iter().map(Message::encoded_len).collect();
    let mut oip = client.oip();
    let answers = oip.model_stream_infer(tokio_stream::iter(requests));
    let (answers, status) = client.wait(all(client.wait(answers).unwrap().into_inner()));
    assert!(status.is_none(), "{status:?}");
    assert_eq!(answers.len(), 5);
    for ((answer, size), words) in answers.iter().zip(sizes).zip(words) {
        let (_, value) = told(answer);
        let error = value.unwrap_err();
        assert!(error.contains(words) && error.len() < 500, "{error}");
        assert!(answer.encoded_len() < size + 500, "{} for {size}", answer.encoded_len());
    }
}

#[test]
fn the_first_failure_ends_a_stream_whose_client_asks_for_that() {
    let (_store, _server, _control, client) = serve();
    let requests = [ask("double", "1", 1.0), ask("none", "2", 1.0), ask("double", "3", 1.0)];
    let mut request = Request::new(tokio_stream::iter(requests));
    request.metadata_mut().insert("triton_grpc_error", "true".parse().unwrap());
    let answers = client.wait(client.oip().model_stream_infer(request)).unwrap().into_inner();
    let (answers, status) = client.wait(all(answers));
    assert_eq!(answers.iter().map(told).collect::<Vec<_>>(), [("1".into(), Ok(2.0))]);
    assert_eq!(status.unwrap().code(), Code::NotFound);
}

#[test]
fn what_is_under_way_is_answered_at_the_end_and_streams_are_told() {
    let (_store, mut server, control, client) = serve();
    let (send, requests) = mpsc::channel(4);
    client.wait(send.send(ask("gated", "1", 3.0))).unwrap();
    let mut oip = client.oip();
    let answers = oip.model_stream_infer(ReceiverStream::new(requests));
    let mut answers = client.wait(answers).unwrap().into_inner();
    let unary = thread::scope(|scope| {
        let unary = scope.spawn(|| {
            let mut oip = client.oip();
            client.wait(oip.model_infer(ask("gated", "2", 4.0)))
        });
        control.entered.recv().unwrap();
        until("both are in", || server.engine.in_flight() == 2);
        server.begin_stop();
        until("it drains", || server.engine.is_draining());
        control.release_all();
        let first = client.wait(answers.message()).unwrap().unwrap();
        assert_eq!(told(&first), ("1".into(), Ok(3.0)));
        let status = client.wait(answers.message()).unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(status.message().contains("shutting down"), "{status:?}");
        unary.join().unwrap()
    });
    assert_eq!(unary.unwrap().get_ref().id, "2");
    drop(send);
    assert_eq!(server.join(), Ok(()));
}

/// Opens streams over some connections, has each ask for something, reads an answer of half of them, and
/// drops them all.
async fn open_and_drop(address: SocketAddr, streams: usize, models: [&'static str; 2]) {
    const CONNECTIONS: usize = 10;
    for _ in 0..CONNECTIONS {
        let mut oip = connected(address).await;
        let mut open = Vec::new();
        for n in 0..streams / CONNECTIONS {
            let (send, requests) = mpsc::channel(4);
            send.try_send(ask(models[n % 2], "1", 1.0)).unwrap();
            send.try_send(ask(models[0], "2", 1.0)).unwrap();
            let answers = oip.model_stream_infer(ReceiverStream::new(requests));
            open.push((send, answers.await.unwrap().into_inner()));
        }
        for (_, answers) in open.iter_mut().step_by(2) {
            assert!(answers.message().await.unwrap().is_some());
        }
    }
}

/// Connections to an address that this machine still has.
fn connections(address: SocketAddr) -> usize {
    let local = format!(":{:04X}", address.port());
    let open = fs::read_to_string("/proc/net/tcp").unwrap();
    let of_server = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Established, or closed by the client alone.
        fields[1].ends_with(&local) && ["01", "08"].contains(&fields[3])
    };
    open.lines().skip(1).filter(of_server).count()
}

#[test]
fn a_thousand_streams_that_are_dropped_leave_nothing_behind() {
    let (_store, server, control, client) = serve();
    let address = server.grpc_inference();
    // One is at work, so that what comes after it waits.
    let mut busy = client.oip();
    let (done, finished) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            done.send(client.wait(busy.model_infer(ask("gated", "0", 5.0)))).unwrap();
        });
        control.entered.recv().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(open_and_drop(address, MANY, ["double", "gated"]));
        drop(runtime);
        until("nothing is in but the first", || server.engine.in_flight() == 1);
        until("no connection but the first one's", || connections(address) == 1);
        control.release_all();
    });
    assert_eq!(finished.recv().unwrap().unwrap().get_ref().id, "0");
    let after = client.ask(client.oip().model_infer(ask("double", "9", 4.0))).unwrap();
    assert_eq!(after.raw_output_contents[0], 8.0_f32.to_le_bytes()[..]);
    assert_eq!(server.engine.in_flight(), 0);
    // The worker that came back found nobody who still waits.
    until("the queue is empty", || {
        server.engine.version("gated", None).unwrap().queue_load().0 == 0
    });
}

/// A server in a process of its own, without models, ended with this value.
struct Process(Child);

impl Process {
    fn start(folder: &std::path::Path) -> (Self, SocketAddr) {
        // Fewer files than a thousand streams need.
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "ulimit -Sn 100 && exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_marserve"),
        ]);
        command.args(["--foreground", "--ncs", "--model-store", "."]).current_dir(folder);
        for flag in ["--inference-address", "--management-address", "--metrics-address"] {
            command.args([flag, "http://127.0.0.1:0"]);
        }
        command.args(["--grpc-inference-port", "0", "--grpc-management-port", "0"]);
        command.env("TMPDIR", folder).env("RUST_LOG", "error");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let said = lines.by_ref().take_while(|line| line != "Model server started.");
        let said: Vec<String> = said.collect();
        let words = "gRPC predictions on ";
        let address = said.iter().find_map(|line| line.strip_prefix(words));
        let address = address.unwrap_or_else(|| panic!("{said:?}")).parse().unwrap();
        (Self(child), address)
    }

    fn files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0.id())).unwrap().count()
    }

    /// How many it may have open, and how many it may allow itself.
    fn limits(&self) -> [u64; 2] {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.0.id())).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        [0, 1].map(|place| line.split_whitespace().nth(place).unwrap().parse().unwrap())
    }

    /// Megabytes that it has in memory.
    fn megabytes(&self) -> usize {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.0.id())).unwrap();
        let pages: usize = text.split_whitespace().nth(1).unwrap().parse().unwrap();
        (pages * rustix::param::page_size()) >> 20
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn dropped_streams_hold_neither_files_nor_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (server, address) = Process::start(folder.path());
    let [files, most] = server.limits();
    assert_eq!(files, most, "it has what the system lets it have, not what the shell does");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let round = || runtime.block_on(open_and_drop(address, MANY, ["none", "neither"]));
    let idle = server.files();
    round();
    until("its files are closed", || server.files() == idle);
    let before = server.megabytes();
    for _ in 0..3 {
        round();
    }
    until("its files are closed", || server.files() == idle);
    let grown = server.megabytes().saturating_sub(before);
    assert!(grown < 16, "{grown} MB more after three thousand streams than after one");
    let live = runtime.block_on(async {
        let mut oip = connected(address).await;
        oip.server_live(ServerLiveRequest {}).await.unwrap().into_inner().live
    });
    assert!(live);
}
