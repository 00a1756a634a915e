use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::support::store::repository;

/// Every arrow that `ARCHITECTURE.md` draws between the crates.
const ARROWS: [(&str, &[&str]); 8] = [
    ("marserve", &["mar-server", "mar-runtime", "mar-handlers"]),
    ("mar-server", &["mar-engine"]),
    ("mar-engine", &["mar", "mar-handler"]),
    ("mar-runtime", &["mar-handler"]),
    ("mar-handlers", &["mar-handler", "mar-vision"]),
    ("mar", &[]),
    ("mar-handler", &[]),
    ("mar-vision", &[]),
];

/// Lines of code that one file may have; tests and comments are not counted.
const FILE_LIMIT: usize = 500;

fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(repository("Cargo.toml")).other_options(vec!["--offline".into()]);
    command.exec().unwrap()
}

fn normal(package: &Package) -> impl Iterator<Item = &str> {
    let normal = |kind| kind != DependencyKind::Development;
    package.dependencies.iter().filter(move |d| normal(d.kind)).map(|d| d.name.as_str())
}

#[test]
fn the_arrows_between_crates_are_those_of_the_architecture() {
    let metadata = metadata();
    let allowed: BTreeMap<_, _> = ARROWS.into_iter().collect();
    let ours: BTreeSet<String> =
        metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let named: BTreeSet<String> = allowed.keys().map(ToString::to_string).collect();
    assert_eq!(ours, named, "a crate that the architecture does not name");
    for package in metadata.workspace_packages() {
        for dependency in normal(package).filter(|name| ours.contains(*name)) {
            assert!(
                allowed[package.name.as_str()].contains(&dependency),
                "{} -> {dependency} is no arrow of ARCHITECTURE.md",
                package.name
            );
        }
    }
}

#[test]
fn only_the_runtime_needs_libtorch() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let direct = normal(package).any(|name| name == "tch" || name == "ort");
        assert_eq!(direct, package.name == "mar-runtime", "{}", package.name);
    }
    for root in ["mar", "mar-handler", "mar-vision", "mar-engine", "mar-handlers", "mar-server"] {
        let needed = closure(&metadata, root);
        assert!(!needed.contains("torch-sys"), "{root} needs libtorch");
        assert!(needed.contains(root));
    }
}

/// Names of everything that a workspace package is built from.
fn closure(metadata: &Metadata, root: &str) -> BTreeSet<String> {
    let graph = metadata.resolve.as_ref().unwrap();
    let nodes: BTreeMap<_, _> = graph.nodes.iter().map(|node| (&node.id, node)).collect();
    let root = metadata.workspace_packages().into_iter().find(|p| p.name == root).unwrap();
    let mut seen = BTreeSet::new();
    let mut open = vec![&root.id];
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            let normal = nodes[id].deps.iter().filter(|dependency| {
                dependency.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development)
            });
            open.extend(normal.map(|dependency| &dependency.pkg));
        }
    }
    let names: BTreeMap<_, _> = metadata.packages.iter().map(|p| (&p.id, &p.name)).collect();
    seen.into_iter().map(|id| names[id].to_string()).collect()
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
