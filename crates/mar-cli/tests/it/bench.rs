//! What every test needs: a folder of its own and the command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A temporary folder in which commands run.
pub(crate) struct Bench {
    folder: TempDir,
}

/// What a command left behind.
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with the inputs of a small model.
    pub(crate) fn with_model() -> Self {
        let bench = Self::new();
        bench.write("weights.pt", weights(5000));
        bench.write("handler.py", "def handle(data, context):\n    return data\n");
        bench.write("net.py", "class Net:\n    pass\n");
        bench.write("labels.txt", "sky\nroad\n".repeat(100));
        bench.write("requirements.txt", "pillow\n");
        bench.write("model-config.yaml", "minWorkers: 1\nhandler:\n  labels: [sky, road]\n");
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The command, in this folder, at a fixed time.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mar"));
        command.current_dir(self.folder.path()).args(arguments);
        command.env("SOURCE_DATE_EPOCH", "1700000000");
        command
    }

    pub(crate) fn mar(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.command(arguments).output().unwrap())
    }

    /// `mar pack` with the three flags that are always needed, which must succeed.
    pub(crate) fn pack(&self, more: &[&str]) -> Ran {
        let ran = self.try_pack(more);
        assert_eq!(ran.status, 0, "{}", ran.err);
        ran
    }

    pub(crate) fn try_pack(&self, more: &[&str]) -> Ran {
        let mut arguments = vec!["pack", "--model-name", "m", "-v", "1.0"];
        if !more.contains(&"--handler") {
            arguments.extend(["--handler", "mask_segmenter"]);
        }
        arguments.extend(more);
        self.mar(&arguments)
    }

    /// Names in the folder, sorted, hidden ones too.
    pub(crate) fn names(&self) -> Vec<String> {
        list(self.folder.path())
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) fn list(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|child| child.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Bytes that do not compress, the same every time.
pub(crate) fn weights(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..count).map(|_| next()).collect()
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Everything below a folder: names with `/`, and contents.
pub(crate) fn tree(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for child in fs::read_dir(folder).unwrap() {
            let path = child.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push((name, fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}
