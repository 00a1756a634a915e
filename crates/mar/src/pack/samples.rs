//! `--sample` and `--expect`: inputs and their known answers, as files of an archive.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::archive::Digest;
use crate::pack::plan::{Content, Plan, base_name};
use crate::samples::{FOLDER, MAX_FILE_BYTES, MAX_INDEX_BYTES};
use crate::{Error, Input, Known, KnownAnswer, SAMPLES_FORMAT, SAMPLES_NAME, Sample, Samples};

/// The member that makes a JSON file a record of what is known, and the version of records.
const RECORD: (&str, u64) = ("known_answers", 1);

/// One input, with what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct PackSample {
    /// The input's file name, by which it is known in reports too.
    pub name: String,
    /// The type that a client declares it as; none where the handler tells what it is from the bytes.
    pub content_type: Option<String>,
    /// What a client sends.
    pub input: Vec<u8>,
    /// What is known of it. The files that it names are those of `files`.
    pub known: Known,
    /// Names, without folders, and contents.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// A file of JSON that says what is known, and where the parts are that are not JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    #[serde(rename = "known_answers")]
    _version: u64,
    #[serde(flatten)]
    known: Known,
}

impl PackSample {
    /// Reads an input and what is expected of it: the body of an answer, or a record, which is JSON with
    /// the member `"known_answers": 1` beside those of [`Known`], and whose files lie beside it.
    ///
    /// # Errors
    /// Where a file is missing, is over 64 MiB, or says what no server could hold an answer against.
    pub fn read(input: &Path, expect: &Path) -> Result<Self, Error> {
        let name = base_name(input)?;
        let bytes = contents("sample", input)?;
        let content_type = declared(&name).map(str::to_owned);
        let mut sample = Self {
            name,
            content_type,
            input: bytes,
            known: Known::default(),
            files: BTreeMap::new(),
        };
        let wrong = |what| Error::Input(format!("expected answer {}: {what}", expect.display()));
        let expected = contents("expected answer", expect)?;
        let media_type = media_type(&base_name(expect)?);
        if media_type == "application/json" {
            let json: Value = serde_json::from_slice(&expected)
                .map_err(|error| wrong(format!("not JSON: {error}")))?;
            if let Some(version) = json.get(RECORD.0) {
                if version.as_u64() != Some(RECORD.1) {
                    let (member, known) = RECORD;
                    return Err(wrong(format!("{member} is {version}, and {known} is read here")));
                }
                let record: Record =
                    serde_json::from_value(json).map_err(|error| wrong(error.to_string()))?;
                sample.known = record.known;
                sample.read_files(expect.parent().unwrap_or(Path::new("")), &wrong)?;
                return Ok(sample);
            }
        }
        sample.take_answer(base_name(expect)?, media_type, expected);
        Ok(sample)
    }

    /// A body is all that is known.
    fn take_answer(&mut self, name: String, media_type: &str, body: Vec<u8>) {
        let query = match media_type {
            NPY => vec![("format".to_owned(), "npy".to_owned())],
            _ => Vec::new(),
        };
        self.known.answers.push(KnownAnswer {
            query,
            file: name.clone(),
            content_type: media_type.to_owned(),
            tolerance: KnownAnswer::default_tolerance(),
            agreement: KnownAnswer::default_agreement(),
        });
        self.files.insert(name, body);
    }

    /// The files that a record names, from its own folder.
    fn read_files(&mut self, folder: &Path, wrong: &dyn Fn(String) -> Error) -> Result<(), Error> {
        let known = &self.known;
        if known.stages.is_empty() && known.output.is_empty() && known.answers.is_empty() {
            let what = "nothing is known: it has neither stages, nor output, nor answers";
            return Err(wrong(what.to_owned()));
        }
        let mut names = Vec::new();
        each_file(&mut self.known, &mut |name| names.push(name.clone()));
        for name in names {
            if Path::new(&name).file_name().is_none_or(|only| only != name.as_str()) {
                return Err(wrong(format!(
                    "it names {name:?}; name a file beside it, without a folder"
                )));
            }
            let bytes = contents("the record's file", &folder.join(&name))?;
            self.files.insert(name, bytes);
        }
        Ok(())
    }
}

/// Adds samples to what is packed: an index, and a numbered folder for the files of each.
pub(super) fn add(plan: &mut Plan, samples: &[PackSample]) -> Result<(), Error> {
    if samples.is_empty() {
        let problem = among_extra_files(plan);
        plan.warnings
            .extend(problem.map(|what| format!("known answers: {what}; none are replayed")));
        return Ok(());
    }
    if let Some(name) = plan.files.keys().find(|name| name.to_lowercase().starts_with(FOLDER)) {
        return Err(Error::Input(format!(
            "{name:?} is among the files to be packed, and {FOLDER} is where samples go; rename its folder"
        )));
    }
    let mut index = Samples { format: SAMPLES_FORMAT, samples: Vec::new() };
    let mut names = HashSet::new();
    for (place, sample) in samples.iter().enumerate() {
        let folder = format!("{FOLDER}{}", place + 1);
        index.samples.push(placed(plan, sample, &folder, unlike(&sample.name, &mut names)));
    }
    let size = |file: &str| plan.files.get(file).map(|planned| planned.size);
    if let Some(what) = index.problem(&size) {
        return Err(Error::Input(what));
    }
    let mut text = serde_json::to_string_pretty(&index)
        .map_err(|error| Error::Input(format!("{SAMPLES_NAME} cannot be written: {error}")))?;
    text.push('\n');
    if text.len() as u64 > MAX_INDEX_BYTES {
        return Err(Error::Input(format!(
            "what is known of the samples takes {} bytes; an index may have {MAX_INDEX_BYTES}",
            text.len()
        )));
    }
    plan.add_made(SAMPLES_NAME.to_owned(), text.into_bytes());
    Ok(())
}

/// What is wrong with an index that is packed like any other file, as that of an archive which was unpacked.
fn among_extra_files(plan: &Plan) -> Option<String> {
    let Content::File(path) = &plan.files.get(SAMPLES_NAME)?.content else { return None };
    let parsed = contents("index", path).and_then(|bytes| Samples::parse_at(&bytes, path));
    match parsed {
        Ok(index) => index.problem(&|file| plan.files.get(file).map(|planned| planned.size)),
        Err(error) => Some(error.one_line()),
    }
}

/// A sample whose files lie in `folder`. The input keeps its name; what else has that name gets another.
fn placed(plan: &mut Plan, sample: &PackSample, folder: &str, name: String) -> Sample {
    let mut known = sample.known.clone();
    let input = format!("{folder}/{}", sample.name);
    let mut taken = HashSet::from([sample.name.to_lowercase()]);
    let mut moved = BTreeMap::new();
    for (old, bytes) in &sample.files {
        let mut new = old.clone();
        while !taken.insert(new.to_lowercase()) {
            new.insert_str(0, "known-");
        }
        let new = format!("{folder}/{new}");
        moved.insert(old.clone(), new.clone());
        plan.add_made(new, bytes.clone());
    }
    each_file(&mut known, &mut |file| {
        if let Some(new) = moved.get(file) {
            file.clone_from(new);
        }
    });
    let sha256 = Digest::of(&sample.input).to_string();
    plan.add_made(input.clone(), sample.input.clone());
    let input = Input { file: input, content_type: sample.content_type.clone(), sha256 };
    Sample { name, input, known }
}

/// The name, or with a number where another sample has it.
fn unlike(name: &str, names: &mut HashSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name} ({number})"));
    let mut all = std::iter::once(name.to_owned()).chain(numbered);
    all.find(|name| names.insert(name.clone())).unwrap_or_default()
}

/// Calls for every name of a file in what is known.
fn each_file(known: &mut Known, visit: &mut dyn FnMut(&mut String)) {
    let tensors = known.stages.iter_mut().flat_map(|stage| &mut stage.tensors);
    tensors.filter_map(|tensor| tensor.copy.as_mut()).for_each(&mut *visit);
    known.answers.iter_mut().for_each(|answer| visit(&mut answer.file));
}

fn contents(what: &str, path: &Path) -> Result<Vec<u8>, Error> {
    if !path.is_file() {
        return Err(Error::Input(format!("{what} {} is not a file", path.display())));
    }
    let fail = |error| Error::io("read", path, error);
    let file = File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::Input(format!(
            "{what} {} has more than {MAX_FILE_BYTES} bytes",
            path.display()
        )));
    }
    Ok(bytes)
}

const NPY: &str = "application/x-npy";

/// The type of an answer's body, by its name.
fn media_type(name: &str) -> &'static str {
    match ending(name).as_str() {
        "json" => "application/json",
        "npy" => NPY,
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "txt" => "text/plain",
        "csv" => "text/csv",
        _ => "application/octet-stream",
    }
}

/// The type that an input is sent under, by its name: that of images is told from their bytes.
fn declared(name: &str) -> Option<&'static str> {
    match ending(name).as_str() {
        "json" | "npy" | "txt" | "csv" => Some(media_type(name)),
        _ => None,
    }
}

fn ending(name: &str) -> String {
    let ending = Path::new(name).extension().unwrap_or_default();
    ending.to_string_lossy().to_ascii_lowercase()
}
