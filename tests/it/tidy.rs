use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::store::repository;

/// Every arrow that `ARCHITECTURE.md` draws between the crates.
const ARROWS: [(&str, &[&str]); 12] = [
    ("marserve", &["mar-server", "mar-runtime", "mar-handlers"]),
    ("mar-server", &["mar-engine", "mar-oip", "mar-proto"]),
    ("mar-oip", &["mar-engine", "mar-proto"]),
    ("mar-proto", &[]),
    ("mar-engine", &["mar", "mar-handler"]),
    ("mar-runtime", &["mar-handler", "mar-onnx"]),
    ("mar-onnx", &["mar-handler"]),
    ("mar-handlers", &["mar-handler", "mar-vision"]),
    ("mar-cli", &["mar", "mar-handlers", "mar-onnx"]),
    ("mar", &[]),
    ("mar-handler", &[]),
    ("mar-vision", &[]),
];

/// Lines of code that one file may have; tests and comments are not counted.
const FILE_LIMIT: usize = 500;

/// What cargo knows of the workspace; the members of the JSON are those of `cargo metadata`.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(repository("Cargo.toml"))
        // What other platforms need was not fetched for the build.
        .args(["--filter-platform", &format!("{}-unknown-linux-gnu", std::env::consts::ARCH)])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// The packages of this workspace.
fn members(metadata: &Value) -> Vec<&Value> {
    let members = list(metadata, "workspace_members");
    list(metadata, "packages").iter().filter(|package| members.contains(&package["id"])).collect()
}

/// What a package needs to be built, tests aside.
fn normal(package: &Value) -> impl Iterator<Item = &str> {
    let built = list(package, "dependencies").iter().filter(|d| d["kind"] != "dev");
    built.map(|dependency| text(dependency, "name"))
}

#[test]
fn the_arrows_between_crates_are_those_of_the_architecture() {
    let metadata = metadata();
    let allowed: BTreeMap<_, _> = ARROWS.into_iter().collect();
    let ours: BTreeSet<&str> = members(&metadata).iter().map(|p| text(p, "name")).collect();
    let named: BTreeSet<&str> = allowed.keys().copied().collect();
    assert_eq!(ours, named, "a crate that the architecture does not name");
    for package in members(&metadata) {
        let name = text(package, "name");
        for dependency in normal(package).filter(|name| ours.contains(*name)) {
            assert!(
                allowed[name].contains(&dependency),
                "{name} -> {dependency} is no arrow of ARCHITECTURE.md"
            );
        }
    }
}

#[test]
fn only_the_runtime_needs_libtorch() {
    let metadata = metadata();
    for package in members(&metadata) {
        let direct = normal(package).any(|name| name == "tch" || name == "ort");
        assert_eq!(direct, package["name"] == "mar-runtime", "{}", package["name"]);
    }
    for root in
        ["mar", "mar-cli", "mar-handler", "mar-vision", "mar-engine", "mar-handlers", "mar-server"]
    {
        let needed = closure(&metadata, root);
        assert!(!needed.contains("torch-sys"), "{root} needs libtorch");
        assert!(needed.contains(root));
    }
    assert!(closure(&metadata, "mar-runtime").contains("torch-sys"), "the search finds nothing");
}

/// Names of everything that a workspace package is built from.
fn closure<'a>(metadata: &'a Value, root: &str) -> BTreeSet<&'a str> {
    let by_id = |values: &'a [Value]| -> BTreeMap<&'a str, &'a Value> {
        values.iter().map(|value| (text(value, "id"), value)).collect()
    };
    let packages = by_id(list(metadata, "packages"));
    let nodes = by_id(list(&metadata["resolve"], "nodes"));
    let root = members(metadata).into_iter().find(|package| package["name"] == root).unwrap();
    let mut seen = BTreeSet::new();
    let mut open = vec![text(root, "id")];
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            let built = |dependency: &&Value| {
                list(dependency, "dep_kinds").iter().any(|kind| kind["kind"] != "dev")
            };
            let needed = list(nodes[id], "deps").iter().filter(built);
            open.extend(needed.map(|dependency| text(dependency, "pkg")));
        }
    }
    seen.into_iter().map(|id| text(packages[id], "name")).collect()
}

#[test]
fn no_file_outgrows_one_reading() {
    let mut read = 0;
    for folder in ["crates", "handlers", "examples"] {
        for file in rust_files(&repository(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = code.lines().map(str::trim);
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
            assert!(lines <= FILE_LIMIT, "{} has {lines} lines of code", file.display());
            assert!(!text.contains("#[ignore"), "{} ignores a test", file.display());
            read += 1;
        }
    }
    assert!(read > 40, "only {read} files were read");
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn the_reference_has_a_row_for_every_flag() {
    let help = Command::new(env!("CARGO_BIN_EXE_marserve")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let reference = fs::read_to_string(repository("docs/configuration.md")).unwrap();
    let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
    let flags: BTreeSet<&str> = help
        .split("--")
        .skip(1)
        .filter_map(|rest| rest.split(|c| !is_name(c)).next())
        .filter(|name| !name.is_empty())
        .collect();
    assert!(flags.len() > 10, "{flags:?}");
    for flag in flags {
        let named = reference
            .lines()
            .any(|line| line.starts_with('|') && line.contains(&format!("`--{flag}")));
        assert!(named, "--{flag} has no row in docs/configuration.md");
    }
}
