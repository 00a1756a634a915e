//! Same inputs, same bytes.

use std::fs::{self, File};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::bench::{Bench, list, tree};

const FILES: [(&str, &str); 5] = [
    ("weights.pt", "weights"),
    ("extra/b.txt", "second second second"),
    ("extra/a.txt", "first"),
    ("extra/sub/c.txt", "third"),
    ("h.py", "def handle(data, context): ..."),
];

/// Packs the same files, made in another order, at another time and under another umask.
fn packed(form: &str, reversed: bool) -> Bench {
    let bench = Bench::new();
    let mut files = FILES.to_vec();
    if reversed {
        files.reverse();
    }
    for (name, content) in files {
        let path = bench.write(name, content);
        let days = if reversed { 400 } else { 3 };
        let time = SystemTime::now() - Duration::from_secs(days * 86_400);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
    let umask = if reversed { "077" } else { "022" };
    let pack = bench.command(&[
        "pack",
        "--model-name",
        "m",
        "-v",
        "1",
        "--handler",
        "h.py",
        "--serialized-file",
        "weights.pt",
        "--extra-files",
        "extra",
        "--archive-format",
        form,
    ]);
    let status = Command::new("sh")
        .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
        .arg(pack.get_program())
        .args(pack.get_args())
        .current_dir(pack.get_current_dir().unwrap())
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .env("TZ", if reversed { "Asia/Tokyo" } else { "UTC" })
        .status();
    assert!(status.unwrap().success());
    bench
}

#[test]
fn packing_twice_gives_the_same_bytes() {
    for (form, file) in [("default", "m.mar"), ("zip-store", "m.mar"), ("tgz", "m.tar.gz")] {
        let read = |reversed| fs::read(packed(form, reversed).path(file)).unwrap();
        assert!(read(false) == read(true), "{form}");
    }
    let folders = [packed("no-archive", false), packed("no-archive", true)];
    assert_eq!(tree(&folders[0].path("m")), tree(&folders[1].path("m")));
}

/// The digests pin the format: they change only when the bytes are meant to change.
#[test]
fn the_bytes_are_these_on_every_machine() {
    let digest = |form, file: &str| {
        let bench = packed(form, false);
        let sum = bench.mar(&["verify", bench.path(file).to_str().unwrap()]);
        assert_eq!(sum.status, 0, "{}", sum.err);
        let bytes = fs::read(bench.path(file)).unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(&bytes);
        (bytes.len(), crc.sum())
    };
    assert_eq!(digest("default", "m.mar"), (871, 1_019_769_150));
    assert_eq!(digest("tgz", "m.tar.gz"), (414, 329_719_271));
}

#[test]
fn without_source_date_epoch_only_the_time_differs() {
    let bench = Bench::with_model();
    let mut command =
        bench.command(&["pack", "--model-name", "m", "-v", "1", "--handler", "tensor"]);
    assert!(command.env_remove("SOURCE_DATE_EPOCH").status().unwrap().success());
    let archive = mar::Archive::open(&bench.path("m.mar")).unwrap();
    let created = archive.manifest().created_on.clone().unwrap();
    let digits = |c: char| if c.is_ascii_digit() { 'd' } else { c };
    let shape: String = created.chars().map(digits).collect();
    assert_eq!(shape, "dd/dd/dddd dd:dd:dd");
    assert!(list(&bench.path("")).contains(&"m.mar".to_owned()));
}

#[test]
fn a_source_date_epoch_that_is_no_number_is_an_error() {
    let bench = Bench::with_model();
    let arguments = ["pack", "--model-name", "m", "-v", "1", "--handler", "tensor"];
    let output = bench.command(&arguments).env("SOURCE_DATE_EPOCH", "noon").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("SOURCE_DATE_EPOCH is \"noon\"; give whole seconds"), "{text}");
}
