//! Which number stands for which word, as the archive has it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Component, Path};

use mar_handler::{Error, Result};
use serde::Deserialize;

use super::pickle::{Id, Node, Pickle};
use crate::section::wrong;

/// The files that are looked for, the first that is there counts: TorchServe's, then simpler ones.
const FILES: [&str; 3] = ["source_vocab.pt", "vocab.json", "vocab.txt"];
/// What torchtext calls a word that it does not know.
const UNKNOWN: &str = "<unk>";

/// What a vocabulary is made from, besides its file.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// The file, where the archive names it.
    pub(super) file: Option<String>,
    /// The number of words that are not in it.
    pub(super) unknown_index: Option<i64>,
    /// The word that stands for those.
    pub(super) unknown_token: Option<String>,
}

/// Numbers of words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vocabulary {
    words: HashMap<String, i64>,
    /// The number of whatever is not among them.
    unknown: Option<i64>,
}

impl Vocabulary {
    /// Reads an archive's vocabulary.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`](mar_handler::ErrorCode::InvalidModel) naming the file, and what is wrong
    /// with it.
    pub(super) fn load(wanted: Wanted, model_dir: &Path) -> Result<Self> {
        let named = wanted.file.as_deref();
        let is_inside =
            |file: &str| Path::new(file).components().all(|c| matches!(c, Component::Normal(_)));
        if let Some(file) = named.filter(|file| file.is_empty() || !is_inside(file)) {
            return Err(Error::invalid_model(format!(
                "the vocabulary {file:?} is not a file of the archive"
            )));
        }
        let (name, bytes) = read(named, model_dir)?;
        let mut vocabulary = parse(&name, &bytes)
            .map_err(|reason| Error::invalid_model(format!("{name}: {reason}")))?;
        if let Some(index) = wanted.unknown_index {
            vocabulary.unknown = Some(index);
        } else if let Some(token) = wanted.unknown_token {
            let index = vocabulary.words.get(&token).copied();
            let index = index.ok_or_else(|| {
                wrong(&format!("unknown_token: {token:?} is not in the vocabulary {name}"))
            })?;
            vocabulary.unknown = Some(index);
        } else if vocabulary.unknown.is_none() {
            vocabulary.unknown = vocabulary.words.get(UNKNOWN).copied();
        }
        Ok(vocabulary)
    }

    /// The number of a word.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`](mar_handler::ErrorCode::InvalidInput) where it has none, and nothing
    /// stands for such words.
    pub(super) fn index(&self, word: &str) -> Result<i64> {
        self.words.get(word).copied().or(self.unknown).ok_or_else(|| {
            Error::invalid_input(format!(
                "{word:?} is not in the model's vocabulary, which has no number for unknown words; the archive can set unknown_index or unknown_token"
            ))
        })
    }

    /// How many words it has.
    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    fn in_order(words: impl IntoIterator<Item = String>) -> std::result::Result<Self, String> {
        let mut known = HashMap::new();
        for (index, word) in (0_i64..).zip(words) {
            if let Some(before) = known.insert(word.clone(), index) {
                return Err(format!("the word {word:?} stands at {before} and again at {index}"));
            }
        }
        Ok(Self { words: known, unknown: None })
    }
}

fn read(named: Option<&str>, model_dir: &Path) -> Result<(String, Vec<u8>)> {
    let candidates = named.map_or(FILES.to_vec(), |named| vec![named]);
    for name in &candidates {
        match fs::read(model_dir.join(name)) {
            Ok(bytes) => return Ok(((*name).to_owned(), bytes)),
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => {}
            Err(reason) => {
                return Err(Error::invalid_model(format!("{name}: {reason}")).caused_by(reason));
            }
        }
    }
    Err(Error::invalid_model(format!(
        "the archive has no vocabulary; add {} with --extra-files",
        candidates.join(" or ")
    )))
}

fn parse(name: &str, bytes: &[u8]) -> std::result::Result<Vocabulary, String> {
    let extension = Path::new(name).extension().unwrap_or_default().to_ascii_lowercase();
    if extension == "json" {
        return json(bytes);
    }
    if extension == "txt" {
        let text = std::str::from_utf8(bytes).map_err(|reason| format!("not UTF-8: {reason}"))?;
        return Vocabulary::in_order(text.lines().map(str::to_owned));
    }
    let pickle = Pickle::open(bytes)?;
    pickled(&pickle, pickle.root())
}

fn json(bytes: &[u8]) -> std::result::Result<Vocabulary, String> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be a list of words, or an object from word to number")]
    enum Json {
        List(Vec<String>),
        Numbers(HashMap<String, i64>),
    }
    match serde_json::from_slice(bytes).map_err(|reason| reason.to_string())? {
        Json::List(words) => Vocabulary::in_order(words),
        Json::Numbers(words) => Ok(Vocabulary { words, unknown: None }),
    }
}

/// A vocabulary that was pickled: a dictionary or list of its own, torchtext's of before 0.10, which has
/// `stoi`, or that of since, which has an object of C++ under `vocab`.
fn pickled(pickle: &Pickle, root: Id) -> std::result::Result<Vocabulary, String> {
    let other = || {
        "holds no vocabulary that is known here: a dictionary from word to number, a list of words, or torchtext's Vocab; write it as vocab.json instead".to_owned()
    };
    if let Some(words) = listed(pickle, root) {
        return Vocabulary::in_order(words);
    }
    if let Some(words) = numbered(pickle, root) {
        return Ok(Vocabulary { words, unknown: None });
    }
    let Node::Object(object) = pickle.node(root) else { return Err(other()) };
    let state = object.state.ok_or_else(other)?;
    if let Some(words) = pickle.entry(state, "stoi").and_then(|stoi| numbered(pickle, stoi)) {
        let unknown = words.get(UNKNOWN).copied();
        return Ok(Vocabulary { words, unknown });
    }
    let inner = pickle.entry(state, "vocab").ok_or_else(other)?;
    let Node::Object(inner) = pickle.node(inner) else { return Err(other()) };
    // Its version, at most one number for unknown words, the words in order, and no tensors.
    let Some(Node::List(parts)) = inner.state.map(|state| pickle.node(state)) else {
        return Err(other());
    };
    let [_, numbers, words, _] = parts[..] else { return Err(other()) };
    let mut vocabulary = Vocabulary::in_order(listed(pickle, words).ok_or_else(other)?)?;
    if let Node::List(numbers) = pickle.node(numbers) {
        vocabulary.unknown = numbers.first().and_then(|first| pickle.int(*first));
    }
    Ok(vocabulary)
}

/// A list of texts.
fn listed(pickle: &Pickle, id: Id) -> Option<Vec<String>> {
    let Node::List(words) = pickle.node(id) else { return None };
    words.iter().map(|word| pickle.text(*word).map(str::to_owned)).collect()
}

/// A dictionary from text to whole numbers.
fn numbered(pickle: &Pickle, id: Id) -> Option<HashMap<String, i64>> {
    let entry =
        |(word, index): &(Id, Id)| Some((pickle.text(*word)?.to_owned(), pickle.int(*index)?));
    let entries = pickle.entries(id).filter(|entries| !entries.is_empty())?;
    entries.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use mar_handler::ErrorCode;

    use super::*;
    use crate::section::tests::archive;

    fn loaded(wanted: Wanted, files: &[(&str, &str)]) -> Result<Vocabulary> {
        Vocabulary::load(wanted, archive(files).path())
    }

    fn plain(files: &[(&str, &str)]) -> Result<Vocabulary> {
        loaded(Wanted::default(), files)
    }

    #[test]
    fn words_are_numbered_by_line_by_place_or_by_hand() {
        for file in [
            ("vocab.txt", "<unk>\nnew york\r\nyork\n"),
            ("vocab.json", r#"["<unk>", "new york", "york"]"#),
            ("vocab.json", r#"{"york": 2, "<unk>": 0, "new york": 1}"#),
        ] {
            let vocabulary = plain(&[file]).unwrap();
            let index = |word| vocabulary.index(word).unwrap();
            assert_eq!([index("york"), index("new york"), index("zebra")], [2, 1, 0], "{file:?}");
        }
    }

    #[test]
    fn torchserves_file_comes_first_and_the_named_one_before_it() {
        // ["a"] and {"b": 1} as protocol 2 writes them.
        let list = ("source_vocab.pt", "]X\x01\0\0\0aa.");
        let lines = ("vocab.txt", "x\na");
        assert_eq!(plain(&[list, lines]).unwrap().index("a").unwrap(), 0);
        let named = Wanted { file: Some("vocab.txt".into()), ..Wanted::default() };
        assert_eq!(loaded(named, &[list, lines]).unwrap().index("a").unwrap(), 1);
        let dict = ("source_vocab.pt", "}X\x01\0\0\0bK\x01s.");
        assert_eq!(plain(&[dict]).unwrap().index("b").unwrap(), 1);
    }

    #[test]
    fn an_unknown_word_has_the_number_that_the_archive_gives_it() {
        let file = ("vocab.txt", "a\nb\n");
        let error = plain(&[file]).unwrap().index("z").unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput);
        assert!(error.message().starts_with("\"z\" is not in the model's vocabulary"), "{error}");
        let by_index = Wanted { unknown_index: Some(7), ..Wanted::default() };
        assert_eq!(loaded(by_index, &[file]).unwrap().index("z").unwrap(), 7);
        let by_word = |word: &str| Wanted { unknown_token: Some(word.into()), ..Wanted::default() };
        assert_eq!(loaded(by_word("b"), &[file]).unwrap().index("z").unwrap(), 1);
        let error = loaded(by_word("c"), &[file]).unwrap_err();
        assert!(error.message().contains("unknown_token: \"c\""), "{error}");
    }

    #[test]
    fn a_file_that_is_no_vocabulary_is_named() {
        for (file, words) in [
            (("vocab.json", "5"), "must be a list of words"),
            (("vocab.json", r#"["a", "a"]"#), "stands at 0 and again at 1"),
            (("source_vocab.pt", "K\x01."), "holds no vocabulary"),
            (("source_vocab.pt", "]K\x01a."), "holds no vocabulary"),
            (("source_vocab.pt", "PK\x03\x04"), "not a file of torch.save"),
            (("source_vocab.pt", "\u{1}"), "opcode"),
        ] {
            let error = plain(&[file]).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidModel);
            assert!(error.message().starts_with(file.0), "{error}");
            assert!(error.message().contains(words), "{error}");
        }
        let error = plain(&[]).unwrap_err();
        assert!(error.message().contains("source_vocab.pt or vocab.json or vocab.txt"), "{error}");
        for file in ["../vocab.txt", "/etc/passwd", "", "a/../../b"] {
            let wanted = Wanted { file: Some(file.into()), ..Wanted::default() };
            let error = loaded(wanted, &[]).unwrap_err();
            assert!(error.message().contains("is not a file of the archive"), "{error}");
        }
    }

    #[test]
    fn a_vocabulary_that_holds_itself_is_refused() {
        // An object `V` with the state {"vocab": W}, where W's state is (V, V, V, V).
        let text = |word: &str| {
            [&[b'X', u8::try_from(word.len()).unwrap(), 0, 0, 0], word.as_bytes()].concat()
        };
        let parts: [&[u8]; 7] = [
            b"cm\nV\n)Rq\x00}",
            &text("vocab"),
            b"cm\nW\n)R",
            b"(h\x00h\x00h\x00h\x00t",
            b"b",
            b"s",
            b"b.",
        ];
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("source_vocab.pt"), parts.concat()).unwrap();
        let error = Vocabulary::load(Wanted::default(), dir.path()).unwrap_err();
        assert!(error.message().contains("holds no vocabulary"), "{error}");
    }

    #[test]
    fn every_form_that_torch_saves_holds_the_same_words() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/handlers");
        let table: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.join("texts.json")).unwrap()).unwrap();
        let words = table["vocabulary"].as_array().unwrap();
        let forms = table["forms"].as_object().unwrap();
        for (file, form) in forms {
            let wanted = Wanted { file: Some(file.clone()), ..Wanted::default() };
            let vocabulary = Vocabulary::load(wanted, &folder).unwrap();
            let first = usize::try_from(form["first"].as_u64().unwrap()).unwrap();
            assert_eq!(vocabulary.len(), words.len() - first, "{file}");
            for (index, word) in (0_i64..).zip(&words[first..]) {
                assert_eq!(vocabulary.index(word.as_str().unwrap()).unwrap(), index, "{file}");
            }
            // The first word is the unknown one, where it is there.
            let unknown = vocabulary.index("no such word").ok();
            assert_eq!(unknown, (first == 0).then_some(0), "{file}");
        }
        assert_eq!(forms.len(), 6);
    }
}
