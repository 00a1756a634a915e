//! `mar optimize` hands over to the server that lies beside it, or is on the PATH.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// `mar` in a folder of its own. It is linked and not copied: a program that was written a moment ago may still be
/// open in a process that another test is starting, and is not run then.
fn optimize(folder: &Path, path: &Path) -> Output {
    let mar = folder.join("mar");
    if !mar.exists() {
        fs::hard_link(env!("CARGO_BIN_EXE_mar"), &mar).unwrap();
    }
    let mut command = Command::new(mar);
    command.args(["optimize", "a b.mar", "--out", "c.mar", "--level", "all"]).env("PATH", path);
    command.output().unwrap()
}

/// A server that says what it was asked, and ends with a status of its own.
fn server(folder: &Path, name: &str) {
    let script = format!("#!/bin/sh\nprintf '%s|' {name} \"$@\"\necho oh >&2\nexit 7\n");
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("marserve"), script).unwrap();
    fs::set_permissions(folder.join("marserve"), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_server_beside_it_is_asked_else_that_on_the_path_else_it_says_what_to_do() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (here, path) = (place.path().join("here"), place.path().join("path"));
    fs::create_dir(&here).unwrap();
    let none = optimize(&here, &path);
    assert_eq!(none.status.code(), Some(1));
    let told = String::from_utf8(none.stderr).unwrap();
    assert!(told.starts_with("mar: marserve, which has ONNX Runtime, is neither beside"), "{told}");

    server(&path, "path");
    let on_path = optimize(&here, &path);
    assert_eq!(on_path.status.code(), Some(7));
    let asked = "optimize|a b.mar|--out|c.mar|--level|all|";
    assert_eq!(String::from_utf8(on_path.stdout).unwrap(), format!("path|{asked}"));
    assert_eq!(on_path.stderr, b"oh\n");

    server(&here, "beside");
    let beside = optimize(&here, &path);
    assert_eq!(beside.status.code(), Some(7));
    assert_eq!(String::from_utf8(beside.stdout).unwrap(), format!("beside|{asked}"));
}
