use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Longer than anything here takes, so that a server that hangs fails a test and does not stop it.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many files the server may have open.
const FILES: usize = 120;

/// A server without models that may not open as many files as there are clients; ended with this value.
struct Process {
    child: Child,
    inference: String,
    grpc: String,
    /// What it writes to its log.
    log: Receiver<String>,
}

impl Process {
    fn start(folder: &std::path::Path) -> Self {
        let mut command = Command::new("sh");
        // Both limits, so that it cannot allow itself more.
        command.args(["-c", &format!("ulimit -n {FILES} && exec \"$0\" \"$@\"")]);
        command.arg(env!("CARGO_BIN_EXE_marserve")).current_dir(folder);
        command.args(["--foreground", "--ncs", "--model-store", "."]);
        for flag in ["--inference-address", "--management-address", "--metrics-address"] {
            command.args([flag, "http://127.0.0.1:0"]);
        }
        command.args(["--grpc-inference-port", "0", "--grpc-management-port", "0"]);
        command.env("TMPDIR", folder).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, log) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let said: Vec<String> = lines.take_while(|line| line != "Model server started.").collect();
        let address = |words| {
            let address = said.iter().find_map(|line| line.strip_prefix(words));
            address.unwrap_or_else(|| panic!("{said:?}")).to_owned()
        };
        let inference = address("predictions on http://");
        let grpc = address("gRPC predictions on ");
        Self { child, inference, grpc, log }
    }

    fn connect(&self) -> TcpStream {
        let connection = TcpStream::connect(&self.inference).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection
    }

    fn files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// The next line of the log that holds this text.
    fn told(&self, text: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap();
            if line.contains(text) {
                return line;
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Whether the server answers over this connection, which stays open.
fn answers(connection: &mut TcpStream) -> bool {
    connection.write_all(b"GET /ping HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    connection.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
    head.starts_with("http/1.1 200 ok\r\n")
}

#[test]
fn a_server_out_of_files_says_so_answers_whom_it_has_and_takes_others_later() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(folder.path());
    let mut early = server.connect();
    assert!(answers(&mut early));
    // More than fit; the system keeps the rest waiting.
    let crowd: Vec<TcpStream> = (0..FILES).map(|_| server.connect()).collect();
    server.told("Too many open files");
    let _call = TcpStream::connect(&server.grpc).unwrap();
    let told = server.told("gRPC accepts no connection");
    assert!(told.contains("ulimit -n"), "{told}");
    assert!(answers(&mut early), "who is connected is answered");
    assert!(server.files() > FILES / 2);

    let mut late = server.connect();
    drop(crowd);
    assert!(answers(&mut late), "who came while there was no room is answered once there is");
    assert!(answers(&mut server.connect()));
    assert!(answers(&mut early));
}
