//! `model-config.yaml` as JSON values, read the way `PyYAML` reads it.
//!
//! Which keys exist and what they mean is the engine's business, not this crate's.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use crate::Error;

/// The most bytes of YAML read: a configuration is written by hand.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// Reads a `model-config.yaml`.
///
/// `yes`, `no`, `on` and `off` are booleans and `010` is octal, as in YAML 1.1, which `PyYAML` and
/// so TorchServe read. Keys that are not strings become strings. Unlike in `PyYAML` a key given twice is an
/// error. An empty file is an empty map.
///
/// # Errors
/// When the file cannot be read, is over 1 MiB, is not YAML or is no mapping at its top; the text
/// holds line and column.
pub fn read_config(path: &Path) -> Result<Map<String, Value>, Error> {
    let size = std::fs::metadata(path).map_err(|error| Error::io("read", path, error))?.len();
    if size > MAX_BYTES {
        let message = format!("{size} bytes of configuration; at most {MAX_BYTES} are read");
        return Err(Error::Config { path: path.to_owned(), message });
    }
    let bytes = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
    parse_config(&bytes, path)
}

/// Reads a `model-config.yaml` from memory; `path` only names it in errors.
///
/// # Errors
/// As [`read_config`].
pub fn parse_config(bytes: &[u8], path: &Path) -> Result<Map<String, Value>, Error> {
    let fail = |message: String| Error::Config { path: path.to_owned(), message };
    let text = std::str::from_utf8(bytes).map_err(|error| fail(format!("not UTF-8: {error}")))?;
    let options = serde_saphyr::options! {
        with_snippet: false,
        legacy_octal_numbers: true,
        budget: serde_saphyr::budget! { max_nodes: 100_000, max_depth: 64 },
    };
    let node: Spanned<Node> = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| fail(format!("not valid YAML: {error}")))?;
    match into_value(node, text) {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err(fail("the top of the file must be a mapping, `key: value`".to_owned())),
    }
}

/// A YAML node, with the places of the nodes in it.
enum Node {
    Plain(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(String, Spanned<Node>)>),
}

/// The parser also takes a plain `y` or `n` for a boolean, which `PyYAML` does not: it is the name of
/// an axis or a class. Such a boolean is known by its length of one character.
fn into_value(node: Spanned<Node>, text: &str) -> Value {
    let span = node.defined.span();
    match node.value {
        Node::Plain(Value::Bool(_)) if span.len() == 1 => {
            let place = usize::try_from(span.offset()).unwrap_or(usize::MAX);
            text.chars().skip(place).take(1).collect::<String>().into()
        }
        Node::Plain(value) => value,
        Node::List(nodes) => nodes.into_iter().map(|node| into_value(node, text)).collect(),
        Node::Map(nodes) => {
            let value = |(key, node)| (key, into_value(node, text));
            Value::Object(nodes.into_iter().map(value).collect())
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, number, boolean, list or mapping")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Plain(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_entry()? {
            nodes.push(node);
        }
        Ok(Node::Map(nodes))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Value, String> {
        parse_config(text.as_bytes(), Path::new("model-config.yaml"))
            .map(Value::Object)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn yaml_1_1_words_are_booleans_as_in_pyyaml() {
        let text = "ü: yes\nb: Off\nc: \"yes\"\nd: y\ne: 010\nf: -1.5\ng: ~\nh: [N, no]\n";
        let expected = json!({
            "ü": true, "b": false, "c": "yes", "d": "y", "e": 8, "f": -1.5, "g": null,
            "h": ["N", false]
        });
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn nested_maps_lists_and_number_keys_are_read() {
        let text =
            "minWorkers: 1\nhandler:\n  labels: [sky, &r road, *r]\n  mapping: {0: cat, 1: dog}\n";
        let expected = json!({
            "minWorkers": 1,
            "handler": {"labels": ["sky", "road", "road"], "mapping": {"0": "cat", "1": "dog"}}
        });
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn errors_have_line_and_column() {
        let error = parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(error.contains("line 3") && error.contains("column"), "{error}");
        let error = parse("a: 1\na: 2\n").unwrap_err();
        assert!(error.contains("line 2") && error.contains("duplicate"), "{error}");
    }

    #[test]
    fn an_empty_file_is_an_empty_map_and_a_list_is_an_error() {
        assert_eq!(parse("").unwrap(), json!({}));
        assert_eq!(parse("# nothing\n").unwrap(), json!({}));
        assert!(parse("- 1\n").unwrap_err().contains("must be a mapping"));
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let previous = format!("*a{}", level - 1);
            let list = vec![previous; 9].join(", ");
            text = format!("{text}a{level}: &a{level} [{list}]\n");
        }
        assert!(parse(&text).is_err());
    }
}
