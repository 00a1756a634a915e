//! The names of a network's classes, wherever an archive has them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::Path;

use mar_handler::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::section::wrong;

/// TorchServe's file of names.
const MAPPING: &str = "index_to_name.json";
/// FastAI's vocabulary, written out by whoever packs the archive.
const VOCABULARY: [&str; 2] = ["vocab.json", "vocab.txt"];
/// The most classes that may have names: `describe` lists all up to the last.
const MAX_CLASSES: usize = 1 << 20;

/// The value of the key `labels`: one name a class, or names by index.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "labels must be a list of names, or names by index")]
pub(crate) enum Written {
    /// In the order of the network's classes.
    List(Vec<String>),
    /// By index.
    ByIndex(BTreeMap<String, String>),
}

/// Names by class; a class without one is called by its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels(BTreeMap<usize, String>);

impl Labels {
    /// The names that an archive gives its classes: those `written` under `labels:`, else those of
    /// `index_to_name.json` in TorchServe's forms, else those of a vocabulary, `vocab.json` or `vocab.txt`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`](mar_handler::ErrorCode::InvalidModel) naming the file and the entry
    /// that is of no such form.
    pub(crate) fn find(written: Option<Written>, model_dir: &Path) -> Result<Self> {
        if let Some(labels) = Self::find_mapping(written, model_dir)? {
            return Ok(labels);
        }
        let [json, text] = VOCABULARY;
        if let Some(list) = read(model_dir, json)? {
            let names = serde_json::from_str::<Vec<String>>(&list);
            return names.map(Self::in_order).map_err(|reason| {
                Error::invalid_model(format!("{json} is not a list of names: {reason}"))
                    .caused_by(reason)
            });
        }
        let lines = read(model_dir, text)?;
        Ok(lines.map_or_else(Self::default, |lines| {
            Self::in_order(lines.lines().map(|line| line.trim_end().to_owned()))
        }))
    }

    /// As [`Self::find`], for a handler to which a vocabulary means something else.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(crate) fn find_mapping(written: Option<Written>, model_dir: &Path) -> Result<Option<Self>> {
        match written {
            Some(Written::List(names)) => return Ok(Some(Self::in_order(names))),
            Some(Written::ByIndex(names)) => {
                let entry = |(key, name): (String, String)| match index(&key) {
                    Some(index) if index < MAX_CLASSES => Ok((index, name)),
                    Some(_) => Err(wrong(&format!("labels: {}", too_high(&key)))),
                    None => Err(wrong(&format!("labels: {key:?} is not the index of a class"))),
                };
                return names.into_iter().map(entry).collect::<Result<_>>().map(Self).map(Some);
            }
            None => {}
        }
        read(model_dir, MAPPING)?.map(|text| mapping(&text)).transpose()
    }

    fn in_order(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().enumerate().collect())
    }

    /// A class's name, else its number.
    pub(crate) fn name(&self, class: usize) -> Cow<'_, str> {
        self.0.get(&class).map_or_else(|| class.to_string().into(), Into::into)
    }

    /// Values by name. Of classes of one name the last one's counts, at the place of the first, as in a
    /// Python dictionary.
    pub(crate) fn named<T>(
        &self,
        classes: impl IntoIterator<Item = (usize, T)>,
    ) -> Vec<(Cow<'_, str>, T)> {
        let mut named: Vec<(Cow<'_, str>, T)> = Vec::new();
        let mut places = HashMap::new();
        for (class, value) in classes {
            let name = self.name(class);
            let place = *places.entry(name.clone()).or_insert(named.len());
            match named.get_mut(place) {
                Some(known) => known.1 = value,
                None => named.push((name, value)),
            }
        }
        named
    }

    /// Whether the archive names no class.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of all classes up to the last that has one.
    pub(crate) fn list(&self) -> Vec<Cow<'_, str>> {
        let classes = self.0.last_key_value().map_or(0, |(last, _)| last + 1);
        (0..classes).map(|class| self.name(class)).collect()
    }
}

/// A file of the archive, where it has one of this name.
fn read(model_dir: &Path, name: &str) -> Result<Option<String>> {
    match fs::read_to_string(model_dir.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(Error::invalid_model(format!("{name}: {reason}")).caused_by(reason)),
    }
}

/// TorchServe's file: an object from index to name, or to a list whose last entry is the name; or an
/// object with a list under `object_type_names`.
fn mapping(text: &str) -> Result<Labels> {
    let wrong = |reason: String| Error::invalid_model(format!("{MAPPING}: {reason}"));
    let value: Value = serde_json::from_str(text).map_err(|reason| wrong(reason.to_string()))?;
    let Value::Object(entries) = value else {
        return Err(wrong("must be an object such as {\"0\": \"cat\", \"1\": \"dog\"}".into()));
    };
    if let Some(Value::Array(names)) = entries.get("object_type_names") {
        let named = |(index, name): (usize, &Value)| match name {
            Value::String(name) => Ok(name.clone()),
            _ => Err(wrong(format!("object_type_names: entry {index} is not a name"))),
        };
        let names = names.iter().enumerate().map(named).collect::<Result<Vec<_>>>()?;
        return Ok(Labels::in_order(names));
    }
    let mut labels = BTreeMap::new();
    for (key, value) in &entries {
        let name = if let Value::Array(names) = value { names.last() } else { Some(value) };
        let Some(Value::String(name)) = name else {
            return Err(wrong(format!(
                "the entry {key:?} is neither a name nor a list that ends with one"
            )));
        };
        // TorchServe never looks up a key that is no index, so files may hold some.
        if let Some(index) = index(key) {
            if index >= MAX_CLASSES {
                return Err(wrong(too_high(key)));
            }
            labels.insert(index, name.clone());
        }
    }
    match entries.keys().next() {
        Some(key) if labels.is_empty() => Err(wrong(format!(
            "the entry {key:?} is not the index of a class, and no other is; write {{\"0\": \"cat\"}}"
        ))),
        _ => Ok(Labels(labels)),
    }
}

fn too_high(key: &str) -> String {
    format!("there is no class {key}; names end at {}", MAX_CLASSES - 1)
}

/// The class that a key means: a number as Python writes it.
fn index(key: &str) -> Option<usize> {
    key.parse().ok().filter(|index: &usize| index.to_string() == key)
}

#[cfg(test)]
mod tests {
    use mar_handler::ErrorCode;
    use serde_json::json;

    use super::*;
    use crate::section::tests::archive;

    fn found(written: Value, files: &[(&str, &str)]) -> Result<Vec<String>> {
        let written = serde_json::from_value(written).unwrap();
        let labels = Labels::find(written, archive(files).path())?;
        Ok(labels.list().into_iter().map(Cow::into_owned).collect())
    }

    #[test]
    fn every_form_of_torchserves_file_is_read() {
        for (text, names) in [
            (r#"{"0": "cat", "1": "dog"}"#, vec!["cat", "dog"]),
            (r#"{"0": ["n01", "cat"], "1": ["dog"]}"#, vec!["cat", "dog"]),
            (r#"{"object_type_names": ["cat", "dog"], "x": 1}"#, vec!["cat", "dog"]),
            (r#"{"2": "owl", "0": "cat"}"#, vec!["cat", "1", "owl"]),
            (r#"{"0": "cat", "note": "by hand", "01": "dog"}"#, vec!["cat"]),
            ("{}", vec![]),
        ] {
            assert_eq!(found(Value::Null, &[(MAPPING, text)]).unwrap(), names, "{text}");
        }
    }

    #[test]
    fn a_class_without_a_name_is_called_by_its_number() {
        let dir = archive(&[(MAPPING, r#"{"1": "dog"}"#)]);
        let labels = Labels::find(None, dir.path()).unwrap();
        assert_eq!([labels.name(0), labels.name(1), labels.name(7)], ["0", "dog", "7"]);
        assert!(Labels::find(None, archive(&[]).path()).unwrap().is_empty());
    }

    #[test]
    fn a_file_of_another_form_is_named_with_its_entry() {
        for (file, text, words) in [
            (MAPPING, r#"["cat"]"#, "must be an object"),
            (MAPPING, r#"{"0": 5}"#, "\"0\""),
            (MAPPING, r#"{"0": "a", "1": []}"#, "\"1\""),
            (MAPPING, r#"{"cat": "0"}"#, "\"cat\" is not the index"),
            (MAPPING, r#"{"object_type_names": ["a", 5]}"#, "entry 1"),
            (MAPPING, "{", "EOF"),
            (
                MAPPING,
                r#"{"0": "a", "18446744073709551615": "b"}"#,
                "no class 18446744073709551615",
            ),
            ("vocab.json", r#"{"cat": 0}"#, "not a list of names"),
        ] {
            let error = found(Value::Null, &[(file, text)]).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidModel);
            assert!(error.message().starts_with(file), "{error}");
            assert!(error.message().contains(words), "{error}");
        }
        let error = found(json!({ "zero": "cat" }), &[]).unwrap_err();
        assert!(error.message().contains("labels: \"zero\""), "{error}");
        let error = found(json!({ "1048576": "cat" }), &[]).unwrap_err();
        assert!(error.message().contains("labels: there is no class 1048576"), "{error}");
    }

    #[test]
    fn what_the_configuration_says_comes_before_any_file() {
        let mapping = (MAPPING, r#"{"0": "mapped"}"#);
        let json_list = ("vocab.json", r#"["listed"]"#);
        let lines = ("vocab.txt", "line\r\nsecond line\n");
        let of = |written: Value, files: &[(&str, &str)]| found(written, files).unwrap();
        assert_eq!(of(json!(["a", "b"]), &[mapping]), ["a", "b"]);
        assert_eq!(of(json!({ "1": "b" }), &[mapping]), ["0", "b"]);
        assert_eq!(of(Value::Null, &[lines, json_list, mapping]), ["mapped"]);
        assert_eq!(of(Value::Null, &[lines, json_list]), ["listed"]);
        assert_eq!(of(Value::Null, &[lines]), ["line", "second line"]);
    }
}
