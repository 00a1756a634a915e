//! `--sample` and `--expect`, and what the other commands make of them.

use std::fs;
use std::path::Path;

use mar::{Archive, Digest, read_samples};
use serde_json::{Value, json};

use crate::bench::{Bench, Ran, tree};
use crate::raw_zip::{RawEntry, model_with};

/// A picture of 3x2 pixels (width x height), as a PNG of the kind that a NumPy user writes.
const PICTURE: [u8; 18] = [255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9, 90, 90, 90, 200, 100, 50];

/// A PNG: stored, 8 bits; colour type 0 is gray, 2 is RGB.
fn png(width: u32, height: u32, colour: u8, samples: &[u8]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        file.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        file.extend([kind, data].concat());
        let mut crc = flate2::Crc::new();
        crc.update(&[kind, data].concat());
        file.extend(crc.sum().to_be_bytes());
    };
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&sides[..], &[8, colour, 0, 0, 0]].concat());
    let stride = samples.len() / height as usize;
    let rows: Vec<u8> = samples.chunks(stride).flat_map(|row| [&[0], row].concat()).collect();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(&mut zlib, &rows).unwrap();
    chunk(b"IDAT", &zlib.finish().unwrap());
    chunk(b"IEND", b"");
    file
}

/// A segmenter of 3x2 pixels, a picture and a mask.
fn bench() -> Bench {
    let bench = Bench::with_model();
    bench.write("model-config.yaml", "handler:\n  size: [2, 3]\n  labels: [sky, road]\n");
    bench.write("scene.png", png(3, 2, 2, &PICTURE));
    bench.write("mask.png", png(3, 2, 0, &[0, 1, 0, 1, 0, 1]));
    bench.write("answer.json", r#"{"labels": ["sky", "road"]}"#);
    bench
}

const MODEL: [&str; 4] = ["--serialized-file", "weights.pt", "-c", "model-config.yaml"];

fn try_pack(bench: &Bench, more: &[&str]) -> Ran {
    bench.try_pack(&[&MODEL[..], &["-f"], more].concat())
}

fn pack(bench: &Bench, more: &[&str]) -> (Ran, Archive) {
    let ran = try_pack(bench, more);
    assert_eq!(ran.status, 0, "{}", ran.err);
    (ran, Archive::open(&bench.path("m.mar")).unwrap())
}

fn index(archive: &Archive) -> Value {
    serde_json::from_slice(&archive.read("samples/samples.json", 1 << 20).unwrap()).unwrap()
}

#[test]
fn a_sample_comes_back_with_its_answer_and_every_stage() {
    let bench = bench();
    let (ran, archive) = pack(&bench, &["--sample", "scene.png", "--expect", "answer.json"]);
    assert_eq!(ran.err, "");
    let opened = archive.samples().unwrap().unwrap();
    let [sample] = &opened.samples().samples[..] else { panic!("one sample") };
    assert_eq!((sample.name.as_str(), sample.input.content_type.as_deref()), ("scene.png", None));
    assert_eq!(opened.input(sample).unwrap(), fs::read(bench.path("scene.png")).unwrap());
    let answer = &sample.known.answers[0];
    assert_eq!((answer.file.as_str(), answer.tolerance), ("samples/1/answer.json", 1e-4));
    assert_eq!(opened.read(&answer.file).unwrap(), fs::read(bench.path("answer.json")).unwrap());
    assert_eq!(sample.known.made_by.as_deref(), Some("decode, resize, normalise by mar 0.1.0"),);
    let stages: Vec<_> = sample.known.stages.iter().map(|stage| stage.stage.as_str()).collect();
    assert_eq!(stages, ["decode", "resize", "normalise"]);
    // The size is that which the network sees, so two stages have the picture itself.
    for stage in &sample.known.stages[..2] {
        assert_eq!(stage.tensors[0].sha256, Digest::of(&PICTURE).to_string());
        assert_eq!(stage.tensors[0].shape, [2, 3, 3]);
        assert_eq!(opened.read(stage.tensors[0].copy.as_deref().unwrap()).unwrap(), PICTURE);
    }
    let normalised = &sample.known.stages[2].tensors[0];
    assert_eq!((normalised.dtype.as_str(), &normalised.shape[..]), ("float32", &[3, 2, 3][..]));
    assert_eq!(opened.read("samples/1/normalise.f16").unwrap().len(), 2 * 18);
    // The first red is (1 - 0.485) / 0.229 as it is in half precision, 2.248.
    assert_eq!(opened.read("samples/1/normalise.f16").unwrap()[..2], 0x407f_u16.to_le_bytes());

    archive.extract(&bench.path("out")).unwrap();
    let unpacked = read_samples(&bench.path("out")).unwrap().unwrap();
    assert_eq!(unpacked.samples(), opened.samples());
    assert_eq!(unpacked.input(sample).unwrap(), opened.input(sample).unwrap());
}

#[test]
fn a_mask_as_an_image_becomes_the_answer_in_bytes() {
    let bench = bench();
    let (_, archive) = pack(&bench, &["--sample", "scene.png", "--expect", "mask.png"]);
    let answer = &index(&archive)["samples"][0]["answers"][0];
    let expected = json!({
        "query": [["format", "raw"]],
        "file": "samples/1/mask.png.raw",
        "content_type": "application/octet-stream",
        "tolerance": 1e-4,
        "agreement": 0.999
    });
    assert_eq!(*answer, expected);
    assert_eq!(archive.read("samples/1/mask.png.raw", 99).unwrap(), [0, 1, 0, 1, 0, 1]);
    assert!(!archive.entries().iter().any(|entry| entry.name.ends_with("mask.png")));
    bench.write("mask.png", png(1, 1, 0, &[0]));
    let ran = try_pack(&bench, &["--sample", "scene.png", "--expect", "mask.png"]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("expected answer mask.png: the mask is 1x1"), "{}", ran.err);
}

/// A record of what `scene.png` is at one stage, with a copy.
fn record(bench: &Bench, stage: &str, (dtype, shape): (&str, &[usize]), copy: &[u8]) {
    let sha256 = Digest::of(copy).to_string();
    let tensor = json!({ "dtype": dtype, "shape": shape, "sha256": sha256, "copy": "its.copy" });
    bench.write("record/its.copy", copy);
    bench.write("record/answer.json", "[]");
    let record = json!({
        "known_answers": 1,
        "made_by": "fastai 2.8.12",
        "stages": [{ "stage": stage, "tensors": [tensor] }],
        "output": [{
            "name": "logits", "dtype": "float32", "shape": [2, 2, 3], "min": -1.5, "max": 2,
            "mean": 0.25, "std": 1, "values": [0.5, 1.5]
        }],
        "answers": [
            { "file": "answer.json", "content_type": "application/json", "tolerance": 0.01 },
            { "file": "answer.json", "content_type": "text/plain", "query": [["format", "rle"]] }
        ]
    });
    bench.write("record/scene.json", record.to_string());
}

const RECORDED: [&str; 4] = ["--sample", "scene.png", "--expect", "record/scene.json"];

#[test]
fn a_record_is_taken_over_and_what_it_leaves_out_is_filled_in() {
    let bench = bench();
    record(&bench, "decode", ("uint8", &[2, 3, 3]), &PICTURE);
    let (ran, archive) = pack(&bench, &RECORDED);
    assert_eq!(ran.err, "");
    let opened = archive.samples().unwrap().unwrap();
    let known = &opened.samples().samples[0].known;
    assert_eq!(known.made_by.as_deref(), Some("fastai 2.8.12; resize, normalise by mar 0.1.0"),);
    let stages: Vec<_> = known.stages.iter().map(|stage| stage.stage.as_str()).collect();
    assert_eq!(stages, ["decode", "resize", "normalise"]);
    assert_eq!(known.stages[0].tensors[0].copy.as_deref(), Some("samples/1/its.copy"));
    assert_eq!((known.output[0].min, known.output[0].name.as_deref()), (-1.5, Some("logits")));
    assert_eq!(
        (known.answers[0].tolerance, known.answers[1].file.as_str()),
        (0.01, "samples/1/answer.json")
    );
    assert_eq!(known.answers[1].query, [("format".to_owned(), "rle".to_owned())]);
}

#[test]
fn a_stage_that_is_made_otherwise_here_is_told_when_it_is_packed() {
    let bench = bench();
    let told = |bench: &Bench| pack(bench, &RECORDED).0.err;
    let mut other = PICTURE;
    other[0] -= 3;
    record(&bench, "decode", ("uint8", &[2, 3, 3]), &other);
    let err = told(&bench);
    assert!(
        err.contains("\"scene.png\": the handler makes something else at the stage decode"),
        "{err}"
    );
    assert!(err.contains("5.56 % of it differ, by up to 3.0000"), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");

    record(&bench, "resize", ("uint8", &[1, 6, 3]), &PICTURE);
    let err = told(&bench);
    assert!(
        err.contains("at the stage resize") && err.contains("of shape [2, 3, 3] instead of"),
        "{err}"
    );

    record(&bench, "preprocess", ("uint8", &[2, 3, 3]), &PICTURE);
    assert!(told(&bench).contains("the handler has no stage \"preprocess\""));
}

#[test]
fn normalised_numbers_are_compared_as_far_as_half_precision_goes() {
    let bench = bench();
    let (_, archive) = pack(&bench, &["--sample", "scene.png", "--expect", "answer.json"]);
    let copy = archive.read("samples/1/normalise.f16", 99).unwrap();
    // The digest is that of the copy, and so not that of the tensor.
    record(&bench, "normalise", ("float32", &[3, 2, 3]), &copy);
    assert_eq!(pack(&bench, &RECORDED).0.err, "");
    bench.write("model-config.yaml", "handler:\n  size: [2, 3]\n  mean: [0.5, 0.5, 0.5]\n");
    let err = pack(&bench, &RECORDED).0.err;
    assert!(err.contains("something else at the stage normalise than is known: 100.00 %"), "{err}");
    assert!(err.contains("is model-config.yaml the model's?"), "{err}");
}

#[test]
fn a_mean_that_half_precision_hides_is_seen_in_the_channels_means() {
    let bench = bench();
    let (_, archive) = pack(&bench, &["--sample", "scene.png", "--expect", "answer.json"]);
    let copy = archive.read("samples/1/normalise.f16", 99).unwrap();
    record(&bench, "normalise", ("float32", &[3, 2, 3]), &copy);
    let path = bench.path("record/scene.json");
    let mut known: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    known["stages"][0]["tensors"][0]["channel_means"] =
        index(&archive)["samples"][0]["stages"][2]["tensors"][0]["channel_means"].clone();
    bench.write("record/scene.json", known.to_string());
    let told = |mean: &str| {
        let config = format!("handler:\n  size: [2, 3]\n  mean: [0.485, {mean}, 0.406]\n");
        bench.write("model-config.yaml", config);
        pack(&bench, &RECORDED).0.err
    };
    assert_eq!(told("0.456"), "");
    let err = told("0.4562");
    assert!(err.contains("something else at the stage normalise than is known: "), "{err}");
    assert!(err.contains("channel means"), "{err}");
}

#[test]
fn numbers_have_one_stage_and_go_under_their_type() {
    let bench = Bench::with_model();
    bench.write("row.json", "[1, 2.5]");
    bench.write("model-config.yaml", "minWorkers: 1\n");
    let more = ["--handler", "tensor", "--sample", "row.json", "--expect", "row.json"];
    let (ran, archive) = pack(&bench, &more);
    assert_eq!(ran.err, "");
    let sample = &index(&archive)["samples"][0];
    assert_eq!(sample["input"]["content_type"], "application/json");
    assert_eq!(sample["input"]["file"], "samples/1/row.json");
    // The expected answer has the input's name, and gets another.
    assert_eq!(sample["answers"][0]["file"], "samples/1/known-row.json");
    let tensor = &sample["stages"][0]["tensors"][0];
    assert_eq!(
        (&sample["stages"][0]["stage"], &tensor["shape"]),
        (&json!("preprocess"), &json!([2]))
    );
    let numbers = [1.0_f32, 2.5].map(f32::to_le_bytes).concat();
    assert_eq!(tensor["sha256"], Digest::of(&numbers).to_string());
}

#[test]
fn a_row_of_the_columns_that_an_onnx_file_declares_is_kept_with_its_texts() {
    let bench = Bench::with_model();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/sklearn");
    fs::copy(fixtures.join("people_linear.onnx"), bench.path("people.onnx")).unwrap();
    bench.write("row.json", r#"{"age": 42, "hours": null, "work": "Private", "city": "Oslo"}"#);
    bench.write("answer.json", r#"{"label": "<=50K", "probabilities": [0.5, 0.5]}"#);
    let flags = ["--serialized-file", "people.onnx", "--handler", "tensor", "-f"];
    let sample = ["--sample", "row.json", "--expect", "answer.json"];
    let ran = bench.try_pack(&[&flags[..], &sample[..]].concat());
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    let archive = Archive::open(&bench.path("m.mar")).unwrap();
    let tensors = index(&archive)["samples"][0]["stages"][0]["tensors"].clone();
    let told = |key: &str| tensors.as_array().unwrap().iter().map(|it| it[key].clone()).collect();
    assert_eq!(Value::Array(told("dtype")), json!(["int64", "float32", "bytes", "bytes"]));
    assert_eq!(tensors[3]["shape"], json!([1]));
    assert_eq!(tensors[3]["copy"], Value::Null);
    // As the protocol writes it: four bytes of length, then the text.
    assert_eq!(tensors[3]["sha256"], json!(Digest::of(b"\x04\0\0\0Oslo").to_string()));
}

#[test]
fn what_cannot_be_filled_in_is_packed_with_a_warning() {
    let bench = bench();
    let sample = ["--sample", "scene.png", "--expect", "answer.json"];
    let (ran, archive) = pack(&bench, &[&["--handler", "handler.py"], &sample[..]].concat());
    assert!(ran.err.contains("the handler \"handler.py\" is not built in"), "{}", ran.err);
    assert!(index(&archive)["samples"][0].get("stages").is_none());
    bench.write("scene.png", "no image");
    let (ran, _) = pack(&bench, &sample);
    assert!(ran.err.contains("sample \"scene.png\": the handler refuses it"), "{}", ran.err);
    bench.write("model-config.yaml", "handler:\n  size: big\n");
    let (ran, _) = pack(&bench, &sample);
    assert!(ran.err.contains("no server will load the archive: handler: in"), "{}", ran.err);
}

#[test]
fn what_proves_nothing_is_refused_and_nothing_is_written() {
    let bench = bench();
    bench.write("broken.json", "{");
    bench.write("later.json", r#"{"known_answers": 2}"#);
    bench.write("empty.json", r#"{"known_answers": 1, "made_by": "me"}"#);
    bench.write("wrong.json", r#"{"known_answers": 1, "anwsers": []}"#);
    let answer = |file: &str| {
        json!({ "known_answers": 1, "answers": [{ "file": file, "content_type": "a/b" }] })
            .to_string()
    };
    bench.write("away.json", answer("../answer.json"));
    bench.write("gone.json", answer("nowhere.json"));
    let mut tolerant: Value = serde_json::from_str(&answer("answer.json")).unwrap();
    tolerant["answers"][0]["agreement"] = json!(2);
    bench.write("tolerant.json", tolerant.to_string());
    let before = bench.names();
    for (arguments, message) in [
        (&["--sample", "scene.png"][..], "1 --sample and 0 --expect: each sample needs"),
        (&["--expect", "answer.json"], "0 --sample and 1 --expect"),
        (&["--sample", "gone.png", "--expect", "answer.json"], "sample gone.png is not a file"),
        (&["--sample", "scene.png", "--expect", "none"], "expected answer none is not a file"),
        (&["--sample", "scene.png", "--expect", "broken.json"], "broken.json: not JSON"),
        (&["--sample", "scene.png", "--expect", "later.json"], "known_answers is 2, and 1 is read"),
        (&["--sample", "scene.png", "--expect", "empty.json"], "nothing is known"),
        (&["--sample", "scene.png", "--expect", "wrong.json"], "unknown field `anwsers`"),
        (&["--sample", "scene.png", "--expect", "away.json"], "name a file beside it"),
        (
            &["--sample", "scene.png", "--expect", "gone.json"],
            "the record's file nowhere.json is not",
        ),
        (&["--sample", "scene.png", "--expect", "tolerant.json"], "agreement is 2; it takes"),
    ] {
        let ran = try_pack(&bench, arguments);
        assert_eq!(ran.status, 1, "{arguments:?}");
        assert!(ran.err.contains(message), "{arguments:?}: {}", ran.err);
        assert_eq!(bench.names(), before);
    }
}

#[test]
fn extra_files_keep_out_of_the_samples_folder_when_samples_are_given() {
    let bench = bench();
    bench.write("extra/Samples/x.txt", "x");
    let more = ["--extra-files", "extra", "--sample", "scene.png", "--expect", "answer.json"];
    let ran = try_pack(&bench, &more);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("\"Samples/x.txt\" is among the files to be packed"), "{}", ran.err);
    pack(&bench, &more[..2]);
}

#[test]
fn an_unpacked_archive_is_packed_again_with_its_samples_and_a_broken_index_is_told() {
    let bench = bench();
    let (_, first) = pack(&bench, &["--sample", "scene.png", "--expect", "answer.json"]);
    first.extract(&bench.path("out")).unwrap();
    fs::remove_dir_all(bench.path("out/MAR-INF")).unwrap();
    let (ran, second) = pack(&bench, &["--extra-files", "out"]);
    assert!(!ran.err.contains("known answers"), "{}", ran.err);
    assert_eq!(
        second.samples().unwrap().unwrap().samples(),
        first.samples().unwrap().unwrap().samples()
    );
    fs::remove_file(bench.path("out/samples/1/decode.u8")).unwrap();
    let (ran, _) = pack(&bench, &["--extra-files", "out"]);
    assert!(
        ran.err.contains(
            "warning: known answers: sample \"scene.png\": samples/1/decode.u8 is not in"
        ),
        "{}",
        ran.err
    );
}

#[test]
fn the_same_samples_give_the_same_bytes_in_every_form() {
    let bench = bench();
    record(&bench, "decode", ("uint8", &[2, 3, 3]), &PICTURE);
    let samples = [&RECORDED[..], &["--sample", "scene.png", "--expect", "mask.png"]].concat();
    let mut trees = Vec::new();
    for (form, file) in
        [("default", "m.mar"), ("zip-store", "m.mar"), ("tgz", "m.tar.gz"), ("no-archive", "m")]
    {
        let more = [&["--archive-format", form], &samples[..]].concat();
        let read = || {
            let ran = try_pack(&bench, &more);
            assert_eq!((ran.status, ran.err.as_str()), (0, ""));
            let path = bench.path(file);
            if path.is_dir() { Vec::new() } else { fs::read(path).unwrap() }
        };
        assert!(read() == read(), "{form}");
        let archive = Archive::open(&bench.path(file)).unwrap();
        let names = index(&archive)["samples"].as_array().unwrap().clone();
        assert_eq!(
            (&names[0]["name"], &names[1]["name"]),
            (&json!("scene.png"), &json!("scene.png (2)"))
        );
        assert!(archive.samples().unwrap().is_some());
        archive.extract(&bench.path(&format!("out-{form}"))).unwrap();
        trees.push(tree(&bench.path(&format!("out-{form}"))));
        let ran = bench.mar(&["verify", file]);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    }
    assert!(trees.iter().all(|other| *other == trees[0]));
}

#[test]
fn abbreviations_of_the_official_flags_stay_theirs() {
    let bench = bench();
    fs::create_dir(bench.path("store")).unwrap();
    bench.pack(&["--s", "weights.pt", "--exp", "store"]);
    assert!(bench.path("store/m.mar").exists());
}

#[test]
fn inspect_shows_the_samples() {
    let bench = bench();
    record(&bench, "decode", ("uint8", &[2, 3, 3]), &PICTURE);
    pack(&bench, &[&RECORDED[..], &["--sample", "scene.png", "--expect", "mask.png"]].concat());
    let out = bench.mar(&["inspect", "m.mar"]).out;
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let size = fs::read(bench.path("scene.png")).unwrap().len();
    let rows = [
        "sample size stages answers made by".to_owned(),
        format!(
            "scene.png {size} B decode, resize, normalise, forward application/json, format=rle fastai 2.8.12; resize, normalise by mar 0.1.0"
        ),
        format!(
            "scene.png (2) {size} B decode, resize, normalise format=raw decode, resize, normalise by mar 0.1.0"
        ),
    ];
    for row in rows {
        assert!(out.lines().any(|line| words(line) == row), "{row}: {out}");
    }
    let json: Value =
        serde_json::from_str(&bench.mar(&["inspect", "--json", "m.mar"]).out).unwrap();
    assert_eq!(json["samplesProblem"], Value::Null);
    let expected = json!({
        "name": "scene.png",
        "file": "samples/1/scene.png",
        "size": size,
        "contentType": null,
        "stages": ["decode", "resize", "normalise"],
        "outputs": 1,
        "answers": [
            { "query": "", "contentType": "application/json" },
            { "query": "format=rle", "contentType": "text/plain" }
        ],
        "madeBy": "fastai 2.8.12; resize, normalise by mar 0.1.0"
    });
    assert_eq!(json["samples"][0], expected);

    bench.write("n.mar", model_with(&[RawEntry::stored("samples/samples.json", "[]")]));
    let ran = bench.mar(&["inspect", "n.mar"]);
    assert_eq!(ran.status, 0);
    assert!(
        ran.out.contains(
            "samples: cannot be used: n.mar: known answers: samples/samples.json is no index"
        ),
        "{}",
        ran.out
    );
}

#[test]
fn verify_lists_everything_that_is_wrong_with_samples() {
    let bench = Bench::new();
    let tensor = json!({ "dtype": "uint8", "shape": [2, 2], "sha256": "0".repeat(64), "copy": "samples/1/copy" });
    let index = json!({ "format": 1, "samples": [{
        "name": "a",
        "input": { "file": "samples/1/in", "sha256": Digest::of(b"other").to_string() },
        "stages": [{ "stage": "decode", "tensors": [tensor] }],
        "answers": [{ "file": "samples/1/gone", "content_type": "text/plain", "tolerance": -1.0 }]
    }] });
    bench.write(
        "m.mar",
        model_with(&[
            RawEntry::stored("samples/samples.json", index.to_string()),
            RawEntry::stored("samples/1/in", "this"),
            RawEntry::stored("samples/1/copy", "12345"),
        ]),
    );
    let ran = bench.mar(&["verify", "m.mar"]);
    assert_eq!(ran.status, 1);
    let problems = [
        "the answer samples/1/gone: tolerance is -1",
        "samples/1/copy has 5 bytes, and its shape and type make 4",
        "samples/1/gone is not in the archive",
        "samples/1/in is not the file whose answers are known: its SHA-256 is",
    ];
    assert_eq!(ran.err.lines().count(), problems.len(), "{}", ran.err);
    for problem in problems {
        assert!(ran.err.lines().any(|line| line.contains(problem)), "{problem}: {}", ran.err);
    }
    bench.write("n.mar", model_with(&[RawEntry::stored("samples/samples.json", "{")]));
    let ran = bench.mar(&["verify", "n.mar"]);
    assert!(ran.status == 1 && ran.err.contains("is no index of known answers"), "{}", ran.err);
}
