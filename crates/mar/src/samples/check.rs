//! What an index of known answers may say. Nothing here reads a file.

use std::collections::HashSet;

use crate::name;
use crate::samples::{
    FOLDER, KnownAnswer, KnownStage, KnownTensor, MAX_FILE_BYTES, MAX_SAMPLES, MAX_TOTAL_BYTES,
    SAMPLES_NAME, Sample, Samples, Summary,
};

/// The longest name of a sample or a stage, in bytes: they stand in reports and in tables.
const MAX_WORD_BYTES: usize = 255;
/// Answers that a sample may have: each takes a pass through the network.
const MAX_ANSWERS: usize = 32;
/// Sides of a tensor; NumPy stops at 64.
const MAX_SIDES: usize = 64;
/// The types of tensors: the name in NumPy, the bytes an element takes, and those it takes in a copy. Texts are
/// `bytes`: each takes those of its length at least, and they have no copy.
const DTYPES: [(&str, usize, usize); 14] = [
    ("bool", 1, 1),
    ("uint8", 1, 1),
    ("uint16", 2, 2),
    ("uint32", 4, 4),
    ("uint64", 8, 8),
    ("int8", 1, 1),
    ("int16", 2, 2),
    ("int32", 4, 4),
    ("int64", 8, 8),
    ("float16", 2, 2),
    ("bfloat16", 2, 2),
    ("float32", 4, 2),
    ("float64", 8, 2),
    (TEXTS, 4, 4),
];
const TEXTS: &str = "bytes";

/// Everything that is wrong with an index by itself.
pub(super) fn rules(samples: &Samples) -> Vec<String> {
    let count = samples.samples.len();
    if count > MAX_SAMPLES {
        return vec![format!("{count} samples; an archive may have {MAX_SAMPLES}")];
    }
    let mut problems = Vec::new();
    let mut names = HashSet::new();
    for sample in &samples.samples {
        let of = format!("sample {:?}", sample.name);
        if let Err(what) = word(&sample.name) {
            problems.push(format!("{of}: its name {what}"));
        }
        if !names.insert(&sample.name) {
            problems.push(format!("{of}: there is another of that name"));
        }
        problems.extend(sample_rules(sample).into_iter().map(|what| format!("{of}: {what}")));
    }
    problems
}

/// Everything that is wrong with the files which an index names, by their sizes.
pub(super) fn files(samples: &Samples, size: &dyn Fn(&str) -> Option<u64>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    let mut total = 0_u64;
    for sample in &samples.samples {
        for (file, expected) in named(sample) {
            let of = format!("sample {:?}: {file}", sample.name);
            let Some(size) = size(file) else {
                problems.push(format!("{of} is not in the archive"));
                continue;
            };
            if let Some(expected) = expected.filter(|expected| *expected != size) {
                problems
                    .push(format!("{of} has {size} bytes, and its shape and type make {expected}"));
            }
            if size > MAX_FILE_BYTES {
                problems.push(format!("{of} has {size} bytes, more than {MAX_FILE_BYTES}"));
            }
            if seen.insert(file) {
                total = total.saturating_add(size);
            }
        }
    }
    if total > MAX_TOTAL_BYTES {
        problems
            .push(format!("all files together have {total} bytes, more than {MAX_TOTAL_BYTES}"));
    }
    problems
}

/// The files that a sample names, with the size that each must have where that is known.
pub(super) fn named(sample: &Sample) -> Vec<(&str, Option<u64>)> {
    let known = &sample.known;
    let tensors = known.stages.iter().flat_map(|stage| &stage.tensors);
    let copies = tensors.filter_map(|tensor| Some((tensor.copy.as_deref()?, copy_bytes(tensor))));
    let answers = known.answers.iter().map(|answer| (answer.file.as_str(), None));
    std::iter::once((sample.input.file.as_str(), None)).chain(copies).chain(answers).collect()
}

fn copy_bytes(tensor: &KnownTensor) -> Option<u64> {
    let (_, _, each) = DTYPES.into_iter().find(|(name, ..)| *name == tensor.dtype)?;
    bytes_of(&tensor.shape, each).map(|bytes| bytes as u64)
}

fn sample_rules(sample: &Sample) -> Vec<String> {
    let mut problems = Vec::new();
    let known = &sample.known;
    problems.extend(named(sample).into_iter().filter_map(|(file, _)| file_name(file).err()));
    problems.extend(digest("the input", &sample.input.sha256).err());
    if known.stages.is_empty() && known.output.is_empty() && known.answers.is_empty() {
        problems.push("nothing is known of it".to_owned());
    }
    let answers = known.answers.len();
    if answers > MAX_ANSWERS {
        problems.push(format!("{answers} answers; a sample may have {MAX_ANSWERS}"));
    }
    let mut stages = HashSet::new();
    for stage in &known.stages {
        if !stages.insert(&stage.stage) {
            problems.push(format!("the stage {:?} is there twice", stage.stage));
        }
        problems.extend(stage_rules(stage));
    }
    problems.extend(known.output.iter().enumerate().filter_map(|(place, summary)| {
        summary_rule(summary).err().map(|what| format!("output {place}: {what}"))
    }));
    problems.extend(known.answers.iter().filter_map(|answer| answer_rule(answer).err()));
    problems
}

fn stage_rules(stage: &KnownStage) -> Vec<String> {
    let of = format!("stage {:?}", stage.stage);
    let mut problems = Vec::new();
    if let Err(what) = word(&stage.stage) {
        problems.push(format!("{of}: its name {what}"));
    }
    for (place, tensor) in stage.tensors.iter().enumerate() {
        let fits = sides(&tensor.dtype, &tensor.shape)
            .map(drop)
            .and_then(|()| digest("the tensor", &tensor.sha256))
            .and_then(|()| finite("channel_means", &tensor.channel_means))
            .and_then(|()| means(tensor))
            .and_then(|()| texts(tensor));
        problems.extend(fits.err().map(|what| format!("{of}, tensor {place}: {what}")));
    }
    problems
}

fn summary_rule(summary: &Summary) -> Result<(), String> {
    let Summary { min, max, mean, std, .. } = summary;
    let elements = sides(&summary.dtype, &summary.shape)?;
    if summary.dtype == TEXTS {
        return Err("texts have no numbers to compare; say them in an answer".to_owned());
    }
    finite("min, max, mean and std", &[*min, *max, *mean, *std])?;
    finite("values", &summary.values)?;
    let values = summary.values.len();
    if values > elements {
        return Err(format!("{values} values are kept of {elements} elements"));
    }
    Ok(())
}

fn answer_rule(answer: &KnownAnswer) -> Result<(), String> {
    let of = |what: &str, number: f64, takes: &str| {
        Err(format!("the answer {}: {what} is {number}; it takes {takes}", answer.file))
    };
    if !(answer.tolerance >= 0.0 && answer.tolerance.is_finite()) {
        return of("tolerance", answer.tolerance, "a number from 0 on");
    }
    if !(0.0..=1.0).contains(&answer.agreement) {
        return of("agreement", answer.agreement, "a share from 0 to 1");
    }
    let media_type = &answer.content_type;
    word(media_type).map_err(|what| format!("the answer {}: its type {what}", answer.file))
}

/// The elements of a tensor of these sides.
fn sides(dtype: &str, shape: &[usize]) -> Result<usize, String> {
    let Some((_, each, _)) = DTYPES.into_iter().find(|(name, ..)| *name == dtype) else {
        let known: Vec<_> = DTYPES.into_iter().map(|(name, ..)| name).collect();
        return Err(format!("no type {dtype:?}; known: {}", known.join(", ")));
    };
    if shape.len() > MAX_SIDES || bytes_of(shape, each).is_none() {
        return Err(format!("the shape {shape:?} is that of no tensor in any memory"));
    }
    Ok(shape.iter().product())
}

/// Sides beside one of 0 count as well, so that nothing overflows in whatever order they are multiplied.
fn bytes_of(shape: &[usize], each: usize) -> Option<usize> {
    let of_sides = |size: usize, side: &usize| size.checked_mul((*side).max(1));
    let most = shape.iter().try_fold(each, of_sides)?;
    isize::try_from(most).ok()?;
    Some(if shape.contains(&0) { 0 } else { most })
}

fn finite(what: &str, numbers: &[f64]) -> Result<(), String> {
    if numbers.iter().all(|number| number.is_finite()) {
        return Ok(());
    }
    Err(format!("{what}: must be finite numbers"))
}

/// As many means as there are channels, or none: another number would never be compared.
fn means(tensor: &KnownTensor) -> Result<(), String> {
    let channels = match tensor.shape[..] {
        [first, _, _] if tensor.dtype.contains("float") => first,
        [_, _, last] => last,
        _ => 0,
    };
    match tensor.channel_means.len() {
        0 => Ok(()),
        means if means == channels => Ok(()),
        means => Err(format!("{means} channel_means where the shape makes {channels}")),
    }
}

/// Texts are held against their digest alone.
fn texts(tensor: &KnownTensor) -> Result<(), String> {
    if tensor.dtype == TEXTS && tensor.copy.is_some() {
        return Err("texts have no copy; their digest tells whether they are equal".to_owned());
    }
    Ok(())
}

fn file_name(file: &str) -> Result<(), String> {
    name::check(file).map_err(|reason| format!("the file {file:?}: {reason}"))?;
    if !file.starts_with(FOLDER) || file.eq_ignore_ascii_case(SAMPLES_NAME) {
        return Err(format!("the file {file:?} is none of {FOLDER}"));
    }
    Ok(())
}

fn digest(of: &str, text: &str) -> Result<(), String> {
    if text.len() == 64 && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(());
    }
    Err(format!("the digest of {of}, {text:?}, is not 64 hexadecimal digits in lower case"))
}

fn word(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > MAX_WORD_BYTES {
        return Err("is too long");
    }
    if text.chars().any(char::is_control) {
        return Err("holds a control character");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::samples::SAMPLES_FORMAT;

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn sample() -> Value {
        json!({
            "name": "a.jpg",
            "input": { "file": "samples/1/a.jpg", "sha256": DIGEST },
            "made_by": "someone",
            "stages": [{
                "stage": "normalise",
                "tensors": [{
                    "dtype": "float32", "shape": [3, 2, 2], "sha256": DIGEST,
                    "channel_means": [0.5, 0.25, 1.0], "copy": "samples/1/normalise.f16"
                }]
            }],
            "output": [{
                "dtype": "float32", "shape": [2], "min": 0, "max": 1, "mean": 0.5, "std": 0.5,
                "values": [0, 1]
            }],
            "answers": [{ "file": "samples/1/a.json", "content_type": "application/json" }]
        })
    }

    /// What is said of an index with this sample, once something was put in its place.
    fn said(place: &str, value: Value) -> String {
        let mut sample = sample();
        *sample.pointer_mut(place).unwrap() = value;
        parse(&json!({ "format": SAMPLES_FORMAT, "samples": [sample] })).unwrap_err()
    }

    fn parse(index: &Value) -> Result<Samples, String> {
        let text = serde_json::to_vec(index).unwrap();
        Samples::parse(&text).map_err(|error| error.one_line())
    }

    #[test]
    fn a_good_index_is_read_with_its_defaults() {
        let index = parse(&json!({ "format": 1, "samples": [sample()] })).unwrap();
        let answer = &index.samples[0].known.answers[0];
        assert_eq!((answer.tolerance, answer.agreement), (1e-4, 1.0));
        assert_eq!(index.samples[0].known.stages[0].tensors[0].shape, [3, 2, 2]);
        assert_eq!(parse(&serde_json::to_value(&index).unwrap()), Ok(index));
        assert!(parse(&json!({ "format": 1, "samples": [] })).unwrap().samples.is_empty());
    }

    #[test]
    fn what_cannot_be_is_told_with_the_sample_and_the_place() {
        let copied = "samples/1/words.bytes";
        let texts = json!({ "dtype": "bytes", "shape": [2], "sha256": DIGEST, "copy": copied });
        for (place, value, words) in [
            ("/name", json!(""), &["its name is empty"][..]),
            ("/name", json!("a\u{1b}[2J"), &["its name holds a control character"]),
            ("/input/file", json!("samples/../a"), &["\"a.jpg\"", "leads out of the archive"]),
            ("/input/file", json!("/etc/passwd"), &["absolute path"]),
            ("/input/file", json!("weights.pt"), &["none of samples/"]),
            ("/input/file", json!("samples/Samples.json"), &["none of samples/"]),
            ("/answers/0/file", json!("samples\\a"), &["backslash"]),
            ("/stages/0/tensors/0/copy", json!("../a"), &["leads out"]),
            ("/input/sha256", json!("abc"), &["digest of the input", "64 hexadecimal"]),
            ("/input/sha256", json!(DIGEST.to_uppercase()), &["lower case"]),
            (
                "/stages/0/tensors/0/sha256",
                json!("zz"),
                &["stage \"normalise\", tensor 0", "digest"],
            ),
            (
                "/stages/0/tensors/0/dtype",
                json!("complex64"),
                &["no type \"complex64\"", "bfloat16"],
            ),
            ("/stages/0/tensors/0/shape", json!([u64::MAX, 2]), &["of no tensor"]),
            ("/stages/0/tensors/0/shape", json!([0, u64::MAX, 2]), &["of no tensor"]),
            ("/stages/0/tensors/0/shape", json!(vec![1; 65]), &["of no tensor"]),
            (
                "/stages/0/tensors/0/channel_means",
                json!([0.5]),
                &["tensor 0", "1 channel_means where the shape makes 3"],
            ),
            ("/stages/0/tensors/0/shape", json!([12]), &["3 channel_means", "makes 0"]),
            ("/stages/0/tensors/0/dtype", json!("uint8"), &["3 channel_means", "makes 2"]),
            ("/answers", json!(vec![sample()["answers"][0].clone(); 33]), &["may have 32"]),
            ("/stages/0/stage", json!(""), &["its name is empty"]),
            ("/output/0/shape", json!([1]), &["output 0", "2 values are kept of 1"]),
            ("/output/0/dtype", json!("text"), &["output 0", "no type"]),
            ("/output/0/dtype", json!("bytes"), &["output 0", "texts have no numbers"]),
            ("/stages/0/tensors/0", texts.clone(), &["tensor 0", "texts have no copy"]),
            ("/answers/0/content_type", json!("a\nb"), &["samples/1/a.json", "control"]),
        ] {
            let text = said(place, value);
            assert!(words.iter().all(|word| text.contains(word)), "{place}: {text}");
            assert!(text.starts_with("samples/samples.json: known answers: sample"), "{text}");
        }
    }

    #[test]
    fn tolerances_are_numbers_and_agreements_are_shares() {
        for (key, value) in [("tolerance", -1e-9), ("agreement", 1.1), ("agreement", -0.1)] {
            let mut answer = sample()["answers"][0].clone();
            answer[key] = json!(value);
            let text = said("/answers/0", answer);
            assert!(text.contains(&format!("{key} is {value}; it takes")), "{text}");
        }
        let answer = KnownAnswer {
            query: Vec::new(),
            file: "samples/a".into(),
            content_type: "text/plain".into(),
            tolerance: f64::INFINITY,
            agreement: 1.0,
        };
        assert!(answer_rule(&answer).is_err());
        assert!(
            answer_rule(&KnownAnswer { tolerance: 0.0, agreement: f64::NAN, ..answer }).is_err()
        );
    }

    #[test]
    fn other_formats_other_members_and_other_things_are_no_index() {
        for (index, words) in [
            (json!({ "format": 2, "things": [] }), "of format 2, and 1 is read here"),
            (json!({ "samples": [] }), "missing field `format`"),
            (json!([1]), "is no index of known answers"),
            (json!({ "format": 1, "samples": [], "more": 1 }), "unknown field `more`"),
            (json!({ "format": 1, "samples": [{ "name": "a" }] }), "missing field `input`"),
        ] {
            let text = parse(&index).unwrap_err();
            assert!(text.contains(words), "{text}");
        }
        let mut sample = sample();
        sample["anwsers"] = json!([]);
        let text = parse(&json!({ "format": 1, "samples": [sample] })).unwrap_err();
        assert!(text.contains("unknown field `anwsers`"), "{text}");
        let long = vec![b' '; 4 << 20 | 1];
        assert!(Samples::parse(&long).unwrap_err().to_string().contains("over 4194304 bytes"));
    }

    #[test]
    fn a_sample_of_which_nothing_is_known_proves_nothing() {
        let mut sample = sample();
        for member in ["stages", "output", "answers"] {
            sample[member] = json!([]);
        }
        let text = parse(&json!({ "format": 1, "samples": [sample] })).unwrap_err();
        assert!(text.ends_with("sample \"a.jpg\": nothing is known of it"), "{text}");
    }

    #[test]
    fn two_samples_of_one_name_and_two_stages_of_one_name_are_refused() {
        let index = json!({ "format": 1, "samples": [sample(), sample()] });
        assert!(parse(&index).unwrap_err().contains("there is another of that name"));
        let stage = sample()["stages"][0].clone();
        let text = said("/stages", json!([stage, stage]));
        assert!(text.contains("the stage \"normalise\" is there twice"), "{text}");
        let many: Vec<_> = (0..101)
            .map(|number| {
                let mut sample = sample();
                sample["name"] = json!(number.to_string());
                sample
            })
            .collect();
        let text = parse(&json!({ "format": 1, "samples": many })).unwrap_err();
        assert!(text.contains("101 samples; an archive may have 100"), "{text}");
    }

    #[test]
    fn files_must_be_there_and_of_the_size_that_is_known() {
        let index = parse(&json!({ "format": 1, "samples": [sample()] })).unwrap();
        let check = |copy: Option<u64>, rest: u64| {
            let size = |file: &str| if file.ends_with("f16") { copy } else { Some(rest) };
            files(&index, &size).join("; ")
        };
        // Twelve numbers of two bytes.
        assert_eq!(check(Some(24), 9), "");
        assert!(
            check(Some(48), 9)
                .contains("normalise.f16 has 48 bytes, and its shape and type make 24")
        );
        assert!(check(None, 9).contains("normalise.f16 is not in the archive"));
        assert!(check(Some(24), MAX_FILE_BYTES + 1).contains("more than 67108864"));
        let mut many = index.clone();
        let first = many.samples[0].known.answers[0].clone();
        let answer = |number| KnownAnswer { file: format!("samples/{number}"), ..first.clone() };
        many.samples[0].known.answers = (0..8).map(answer).collect();
        let size = |file: &str| Some(if file.ends_with("f16") { 24 } else { MAX_FILE_BYTES });
        assert!(files(&many, &size).join("; ").contains("all files together have"));
    }
}
