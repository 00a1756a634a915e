use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::http::{agent, get, post};
use crate::support::store::{Store, repository};

/// A place of its own for one test's servers: temporary folder, log, model store.
struct Place {
    temp: TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let store = Store::new();
        let config = store.path().join(".config.yaml");
        fs::write(&config, "handler: {labels: [left, right]}\n").unwrap();
        let weights = repository("crates/runtime/tests/fixtures/convolution.pt");
        store.segmenter("net", &weights, &config);
        Self { temp: tempfile::tempdir().unwrap(), store }
    }

    fn marserve(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marserve"));
        command
            .args(arguments)
            .env("TMPDIR", self.temp.path())
            .env("XDG_CACHE_HOME", self.temp.path())
            .env("LOG_LOCATION", self.temp.path().join("logs"))
            .stdin(Stdio::null());
        command
    }

    /// A start on free ports.
    fn start(&self, more: &[&str]) -> Command {
        let store = self.store.path().display().to_string();
        let free = "http://127.0.0.1:0";
        let mut arguments = vec!["--start", "--ncs", "--model-store", &store];
        for port in ["--inference-address", "--management-address", "--metrics-address"] {
            arguments.extend([port, free]);
        }
        arguments.extend(FREE_GRPC);
        arguments.extend(more);
        self.marserve(&arguments)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.temp.path().join("logs/marserve.log")).unwrap()
    }

    /// What lies there for unpacked archives now: folders, and the files that lock them.
    fn work_dirs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.temp.path()).unwrap().map(|entry| entry.unwrap().path());
        let ours =
            |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("marserve-");
        entries.filter(ours).collect()
    }

    fn pid_file(&self) -> PathBuf {
        self.temp.path().join(format!(".marserve-{}.pid", rustix::process::getuid().as_raw()))
    }

    /// A server in the foreground, once it has said that it started.
    fn foreground(&self, more: &[&str]) -> Foreground {
        Foreground::start(self.start(more).arg("--foreground"))
    }
}

/// Any free ports for gRPC.
const FREE_GRPC: [&str; 4] = ["--grpc-inference-port", "0", "--grpc-management-port", "0"];

struct Foreground {
    child: Child,
    said: Vec<String>,
}

/// The address of predictions in what a start printed.
fn address(said: &[String]) -> String {
    address_of("predictions", said)
}

fn address_of(port: &str, said: &[String]) -> String {
    let words = format!("{port} on ");
    let line = said.iter().find_map(|line| line.strip_prefix(&words));
    line.unwrap_or_else(|| panic!("no address in {said:?}")).to_owned()
}

impl Foreground {
    /// Runs the command until it says that it started.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        loop {
            match lines.next() {
                Some(line) => said.push(line.unwrap()),
                None => panic!("ended: {said:?} {:?}", child.wait_with_output().unwrap()),
            }
            if said.last().unwrap() == "Model server started." {
                return Self { child, said };
            }
        }
    }

    fn management(&self, path: &str) -> String {
        format!("{}{path}", address_of("management", &self.said))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", address(&self.said))
    }

    /// Blocks until the server says that it takes no more requests.
    fn wait_until_draining(&self) {
        while get(&self.url("/ping")).status == 200 {
            thread::yield_now();
        }
    }

    /// A request whose body is half sent: on its way, for as long as the test likes.
    fn half_sent(&self, body: &[u8]) -> (TcpStream, Vec<u8>) {
        let mut stream =
            TcpStream::connect(address(&self.said).trim_start_matches("http://")).unwrap();
        write!(
            stream,
            "POST /predictions/net HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .unwrap();
        // The go-ahead is sent once the server has taken the request in.
        let mut go_ahead = [0; 25];
        stream.read_exact(&mut go_ahead).unwrap();
        assert_eq!(&go_ahead, b"HTTP/1.1 100 Continue\r\n\r\n");
        let (first, rest) = body.split_at(body.len() / 2);
        stream.write_all(first).unwrap();
        (stream, rest.to_vec())
    }

    /// How long a thread of this name has computed, in the system's ticks of a hundredth of a second.
    fn ticks_of(&self, name: &str) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let stat = |task: PathBuf| fs::read_to_string(task.join("stat")).unwrap_or_default();
        let stats = tasks.map(|task| stat(task.unwrap().path()));
        let named = format!("({name})");
        // The 14th field is the time in user mode; the name, the second, holds no space here. The threads
        // that libtorch makes for the worker inherit its name.
        let time = |stat: String| -> u64 { stat.split(' ').nth(13).unwrap().parse().unwrap() };
        stats.filter(|stat| stat.contains(&named)).map(time).max().unwrap_or(0)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn text(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// What the C library is told of memory.
const MEMORY: &str = "GLIBC_TUNABLES=glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=134217728:glibc.malloc.top_pad=16777216:glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1";

/// Whether a process was started with that. Some releases of glibc cut the variable at its colons, where it lies.
fn keeps_memory(environment: &[u8]) -> bool {
    String::from_utf8_lossy(environment).replace('\0', ":").contains(MEMORY)
}

/// One red and one green pixel: classes 0 and 1 of the fixture's network.
fn two_pixels() -> Vec<u8> {
    let image = mar_vision::RgbImage8::new(2, 1, vec![255, 0, 0, 0, 255, 0]).unwrap();
    mar_vision::rgb_png(&image).unwrap()
}

#[test]
fn it_starts_in_the_background_serves_and_stops() {
    let place = Place::new();
    let (code, out, err) = text(&place.start(&["--models", "net.mar"]).output().unwrap());
    assert_eq!(code, Some(0), "{out}{err}");
    for words in ["│ net", "1.0", "cpu", "READY", "Model server started."] {
        assert!(out.contains(words), "no {words} in {out}");
    }
    let pid = fs::read_to_string(place.pid_file()).unwrap();
    assert!(out.contains(&format!("pid {pid}, log in ")), "{out}");
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    for variable in
        ["OMP_WAIT_POLICY=PASSIVE", "ORT_DISABLE_TELEMETRY=1", "MIMALLOC_PURGE_DELAY=20"]
    {
        let is_set = environment.split(|byte| *byte == 0).any(|set| set == variable.as_bytes());
        assert!(is_set, "{variable}");
    }
    assert!(keeps_memory(&environment), "memory goes back to the system after each pass");

    let said: Vec<String> = out.lines().map(str::to_owned).collect();
    let address = address(&said);
    assert_eq!(get(&format!("{address}/ping")).status, 200);
    let answer = post(&format!("{address}/predictions/net"), &two_pixels()).json();
    assert_eq!(answer["base64_prediction"], "AAE=");
    assert_eq!(answer["shape"], serde_json::json!([1, 2]));

    let (code, _, err) = text(&place.start(&[]).output().unwrap());
    assert_eq!(code, Some(1));
    assert!(err.contains("already running with pid"), "{err}");

    let (code, out, _) = text(&place.marserve(&["--stop"]).output().unwrap());
    assert_eq!((code, out.as_str()), (Some(0), "marserve has stopped\n"));
    assert!(TcpStream::connect(address.trim_start_matches("http://")).is_err());
    assert!(!place.pid_file().exists());
    assert_eq!(place.work_dirs(), Vec::<PathBuf>::new());
    assert!(place.log().contains("POST /predictions/net"), "{}", place.log());

    let (code, out, _) = text(&place.marserve(&["--stop"]).output().unwrap());
    assert_eq!((code, out.as_str()), (Some(0), "marserve is not running\n"));
}

/// What glibc's loader tells of a run of the program.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn loader_of(command: &mut Command) -> String {
    let output = command.arg("--version").env("LD_DEBUG", "files").output().unwrap();
    let (code, out, told) = text(&output);
    assert_eq!(code, Some(0), "{told}");
    assert!(out.starts_with("marserve "), "{out}");
    told
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn libraries_read_their_variables_when_they_are_started_for_the_first_time() {
    let place = Place::new();
    let lines = |told: &str, words: &str| told.lines().filter(|line| line.contains(words)).count();
    let told = loader_of(&mut place.marserve(&[]));
    assert_eq!(lines(&told, "calling preinit:"), 2, "it does not begin anew: {told}");
    let started = |told: &str, library: &str| {
        let init = |line: &&str| line.contains("calling init:") && line.contains(library);
        told.lines().filter(init).count()
    };
    assert_eq!(started(&told, "/libc10.so"), 1, "libtorch is started twice: {told}");

    let set =
        ["OMP_WAIT_POLICY", "ORT_DISABLE_TELEMETRY", "MIMALLOC_PURGE_DELAY", "MALLOC_ARENA_MAX"];
    let told = loader_of(place.marserve(&[]).envs(set.map(|name| (name, "1"))));
    assert_eq!(lines(&told, "calling preinit:"), 1, "nothing is to be set: {told}");
}

#[test]
fn a_start_that_is_interrupted_leaves_a_server_that_serves() {
    let place = Place::new();
    let mut start = place.start(&["--models", "net.mar"]).stdout(Stdio::piped()).spawn().unwrap();
    while !place.pid_file().exists() {
        thread::yield_now();
    }
    // Nobody reads what the server says from here on.
    start.kill().unwrap();
    start.wait_with_output().unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while !place.log().contains(" started\n") {
        assert!(Instant::now() < deadline, "it did not survive: {}", place.log());
        thread::yield_now();
    }
    let log = place.log();
    let address = log.split("predictions on ").nth(1).unwrap().lines().next().unwrap();
    assert_eq!(post(&format!("{address}/predictions/net"), &two_pixels()).status, 200);
    let (code, out, _) = text(&place.marserve(&["--stop"]).output().unwrap());
    assert_eq!((code, out.as_str()), (Some(0), "marserve has stopped\n"));
}

#[test]
fn a_model_that_does_not_load_is_in_the_table_and_ends_a_strict_start() {
    let place = Place::new();
    fs::write(place.store.path().join("bad.mar"), "no archive").unwrap();
    let (code, out, err) = text(&place.start(&["--models", "all", "--strict"]).output().unwrap());
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("FAILED") && out.contains("bad"), "{out}");
    assert!(!out.contains("Model server started."), "{out}");
    assert!(err.contains("strict"), "{err}");
    assert_eq!(place.work_dirs(), Vec::<PathBuf>::new());
    assert!(!place.pid_file().exists());

    // Without --strict the good model serves, under the name it is given.
    let mut server = place.foreground(&["--models", "bad.mar,other=net.mar"]);
    let environment = fs::read(format!("/proc/{}/environ", server.child.id())).unwrap();
    assert!(keeps_memory(&environment), "memory goes back to the system after each pass");
    let environment = String::from_utf8_lossy(&environment);
    assert!(environment.contains("OMP_WAIT_POLICY=PASSIVE"), "libtorch's threads spin");
    assert!(environment.contains("ORT_DISABLE_TELEMETRY=1"), "ONNX Runtime may report");
    assert!(server.said.iter().any(|line| line.contains("other") && line.contains("READY")));
    assert_eq!(post(&server.url("/predictions/other"), &two_pixels()).status, 200);
    let (code, _, message) = post(&server.url("/predictions/bad"), b"x").error();
    assert_eq!(code, 503);
    assert!(message.contains("bad.mar"), "{message}");
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_signal_lets_requests_finish_and_exits_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::new();
        let mut server = place.foreground(&["--models", "net.mar"]);
        let (mut stream, rest) = server.half_sent(&two_pixels());
        server.signal(signal);
        server.wait_until_draining();
        stream.write_all(&rest).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("AAE="), "{answer}");
        assert_eq!(server.wait(), Some(0));
        assert_eq!(place.work_dirs(), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_second_signal_ends_it() {
    let place = Place::new();
    let mut server = place.foreground(&["--models", "net.mar"]);
    let (_stream, _rest) = server.half_sent(&two_pixels());
    server.signal(Signal::TERM);
    server.wait_until_draining();
    assert_eq!(server.child.try_wait().unwrap(), None, "the half request holds it");
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(1));
    assert_eq!(place.work_dirs(), Vec::<PathBuf>::new());
    assert!(!place.pid_file().exists());
}

#[test]
fn a_forward_pass_that_is_cut_off_does_not_crash_the_end() {
    let place = Place::new();
    let busy = repository("crates/runtime/tests/fixtures/busy.pt");
    place.store.segmenter("busy", &busy, &place.store.path().join(".config.yaml"));
    let mut server = place.foreground(&["--models", "busy.mar"]);
    let url = server.url("/predictions/busy");
    let client = thread::spawn(move || agent().post(&url).send(&two_pixels()[..]).is_ok());
    // A tenth of a second of its own time: more than the worker needs for anything but the forward pass.
    while server.ticks_of("busy-1.0-cpu-0") < 10 {
        assert_eq!(server.child.try_wait().unwrap(), None, "it ended by itself");
        thread::yield_now();
    }
    server.signal(Signal::TERM);
    server.wait_until_draining();
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(1));
    assert!(!client.join().unwrap(), "the request was cut off");
    assert!(!place.pid_file().exists());
}

#[test]
fn a_kill_leaves_nothing_that_stops_the_next_start() {
    // Killed when the pid file is there, when the archive's folder is, and when it serves.
    for stage in 0..3 {
        let place = Place::new();
        if stage == 2 {
            drop(place.foreground(&["--models", "net.mar"]));
        } else {
            let mut command = place.start(&["--models", "net.mar", "--foreground"]);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let reached = || {
                if stage == 0 { place.pid_file().exists() } else { !place.work_dirs().is_empty() }
            };
            while !reached() {
                assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
                thread::yield_now();
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(place.pid_file().exists(), "stage {stage}: the kill left its traces");

        let mut next = place.foreground(&["--models", "net.mar"]);
        let dirs: Vec<_> = place.work_dirs().into_iter().filter(|path| path.is_dir()).collect();
        assert_eq!(dirs.len(), 1, "stage {stage}: only the new server's folder");
        assert_eq!(post(&next.url("/predictions/net"), &two_pixels()).status, 200);
        next.signal(Signal::TERM);
        assert_eq!(next.wait(), Some(0));
        assert_eq!(place.work_dirs(), Vec::<PathBuf>::new());
    }
}

#[test]
fn what_is_wrong_on_the_command_line_is_said_at_once() {
    let place = Place::new();
    let store = place.store.path().display().to_string();
    let file = place.store.path().join("net.mar").display().to_string();
    for (arguments, words) in [
        (vec!["--start"], "--model-store"),
        (vec!["--model-store", &file], "is not a folder"),
        (vec!["--model-store", &store, "--models", "http://example.org/m.mar"], "allowed_urls"),
        (
            vec!["--model-store", &store, "--inference-address", "http://0.0.0.0:0"],
            "--disable-token-auth",
        ),
        (vec!["--model-store", &store, "--management-address", "nowhere"], "nowhere"),
        (vec!["--model-store", &store, "--job-queue-size", "0"], "--job-queue-size"),
        (vec!["--model-store", &store, "--nonsense"], "--nonsense"),
    ] {
        let (code, _, err) = text(&place.marserve(&arguments).output().unwrap());
        assert!(matches!(code, Some(1 | 2)), "{arguments:?}: {code:?}");
        assert!(err.contains(words), "{arguments:?}: {err}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, out, err) = text(
        &place
            .marserve(&["--model-store", &store, "--inference-address", &address])
            .output()
            .unwrap(),
    );
    assert_eq!(code, Some(1), "{out}");
    assert!(err.contains(&format!("cannot listen on http://{address}")), "{err}");
}

#[test]
fn the_models_of_the_last_run_are_those_of_the_next_unless_told_otherwise() {
    let place = Place::new();
    let store = place.store.path().display().to_string();
    let run = |more: &[&str]| {
        let mut arguments = vec!["--foreground", "--model-store", &store];
        for port in ["--inference-address", "--management-address", "--metrics-address"] {
            arguments.extend([port, "http://127.0.0.1:0"]);
        }
        arguments.extend(FREE_GRPC);
        arguments.extend(more);
        let mut command = place.marserve(&arguments);
        // Nothing of the folder that the tests run in.
        Foreground::start(command.current_dir(place.temp.path()))
    };
    let mut first = run(&["--models", "other=net.mar", "--enable-model-api"]);
    let url = first.management("/models/other?min_worker=3&synchronous=true");
    assert_eq!(crate::support::http::put(&url).status, 200);
    first.signal(Signal::TERM);
    assert_eq!(first.wait(), Some(0));

    let mut again = run(&[]);
    let described = get(&again.management("/models/other")).json();
    assert_eq!(described[0]["workers"].as_array().unwrap().len(), 3);
    again.signal(Signal::TERM);
    assert_eq!(again.wait(), Some(0));

    let mut fresh = run(&["--ncs"]);
    assert_eq!(get(&fresh.management("/models")).json()["models"], serde_json::json!([]));
    fresh.signal(Signal::TERM);
    assert_eq!(fresh.wait(), Some(0));
}

#[test]
fn memory_comes_back_when_models_are_unloaded() {
    const MODELS: usize = 8;
    const MEGABYTE: u64 = 1 << 20;
    let place = Place::new();
    let example = repository("examples/street_scenes");
    place.store.segmenter("unet", &example.join("fastunet.pt"), &example.join("model-config.yaml"));
    let server = place.foreground(&["--enable-model-api", "--max-request-size", "10000000"]);
    let scene = fs::read(example.join("sample/scene.jpg")).unwrap();
    let resident = || {
        let text = fs::read_to_string(format!("/proc/{}/statm", server.child.id())).unwrap();
        let pages: u64 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
        pages * rustix::param::page_size() as u64 / MEGABYTE
    };
    // What comes and goes with one round of models, each asked once.
    let round = || {
        for i in 0..MODELS {
            let path = format!("/models?url=unet.mar&model_name=m{i}&initial_workers=2");
            assert_eq!(post(&server.management(&path), b"").status, 200);
            assert_eq!(post(&server.url(&format!("/predictions/m{i}")), &scene).status, 200);
        }
        let loaded = resident();
        for i in 0..MODELS {
            let gone = crate::support::http::delete(&server.management(&format!("/models/m{i}")));
            assert_eq!(gone.status, 200);
        }
        (loaded, resident())
    };
    // The first round brings what libtorch keeps for good.
    let (_, level) = round();
    let after: Vec<_> = (0..3).map(|_| round()).collect();
    println!("{level} MB before; loaded and unloaded: {after:?} MB");
    for (loaded, unloaded) in after {
        assert!(
            loaded > level + 8 * MODELS as u64,
            "the models take memory: {loaded} MB of {level}"
        );
        // Were weights kept, each round would leave 8.5 MB a model.
        assert!(unloaded < level + 4 * MODELS as u64, "{unloaded} MB are left of {level}");
    }
}
