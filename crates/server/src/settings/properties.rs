//! Reads Java properties files, the form of `config.properties`, as text with line numbers.

use std::path::Path;

use anyhow::{Context, Result, bail};
use encoding_rs::UTF_8;
use java_properties::{LineContent, PropertiesIter};

use super::layers::Variables;

/// One entry of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Property {
    pub(crate) key: String,
    pub(crate) value: String,
    /// Where it begins, from 1.
    pub(crate) line: usize,
}

/// The entries of a file, in its order.
///
/// # Errors
/// Where it cannot be read, or is neither UTF-8 nor a properties file.
pub(crate) fn read(path: &Path) -> Result<Vec<Property>> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration file {name}"))?;
    parse(&text).with_context(|| format!("configuration file {name}"))
}

/// The entries of a file's text.
pub(crate) fn parse(text: &str) -> Result<Vec<Property>> {
    // Editors on Windows begin a file with this mark, which would become a part of the first key.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut entries = Vec::new();
    // Not the crate's default encoding, which is that of Java before version 9.
    for line in PropertiesIter::new_with_encoding(text.as_bytes(), UTF_8) {
        let line = line?;
        let number = line.line_number();
        if let LineContent::KVPair(key, value) = line.consume_content() {
            entries.push(Property { key, value: value.trim().to_owned(), line: number });
        }
    }
    Ok(entries)
}

/// Replaces each `$$NAME$$` of a value by the environment variable NAME.
///
/// # Errors
/// Where that variable is not set.
pub(crate) fn interpolate(value: &str, variables: &Variables) -> Result<String> {
    let mut filled = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("$$") {
        filled.push_str(before);
        match after.split_once("$$") {
            Some((name, left)) if is_variable(name) => {
                let Some(text) = variables.get(name) else {
                    bail!("${name} is not in the environment; set it, or take $${name}$$ out");
                };
                filled.push_str(text);
                rest = left;
            }
            _ => {
                filled.push_str("$$");
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

fn is_variable(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| letter(c) && !c.is_ascii_digit()) && name.chars().all(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str, line: usize) -> Property {
        Property { key: key.into(), value: value.into(), line }
    }

    #[test]
    fn every_form_of_the_format_is_read() {
        let text = "\u{feff}# a comment\n! another\n\nequals=1\ncolon: 2\nspace 3\n\
                    escaped\\ key=a\\u00e9b\\\\c\numlaut=\u{fc}\nnothing=\n  indented = 4  \r\nlast=5";
        let expected = [
            entry("equals", "1", 4),
            entry("colon", "2", 5),
            entry("space", "3", 6),
            entry("escaped key", "a\u{e9}b\\c", 7),
            entry("umlaut", "\u{fc}", 8),
            entry("nothing", "", 9),
            entry("indented", "4", 10),
            entry("last", "5", 11),
        ];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn a_value_of_several_lines_is_one_value_and_begins_at_the_first() {
        let text = "a=1\nmodels={\\\n  \"noop\": {\\\n    \"1.0\": {}\\\n  }\\\n}\nb=2\n";
        let expected = [
            entry("a", "1", 1),
            entry("models", "{\"noop\": {\"1.0\": {}}}", 2),
            entry("b", "2", 7),
        ];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn a_broken_escape_or_another_encoding_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.properties");
        for content in [&b"a=\\u00g0\n"[..], b"a=\xfc\n"] {
            std::fs::write(&path, content).unwrap();
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(error.contains("config.properties"), "{error}");
        }
    }

    #[test]
    fn variables_are_filled_in_and_an_unset_one_is_named() {
        let variables =
            Variables::from([("HOST".into(), "h".into()), ("PORT_1".into(), "8080".into())]);
        let fill = |value| interpolate(value, &variables);
        assert_eq!(fill("http://$$HOST$$:$$PORT_1$$").unwrap(), "http://h:8080");
        for literal in ["no", "a$$b", "$$not a name$$", "$$$$", "cost: 5$"] {
            assert_eq!(fill(literal).unwrap(), literal);
        }
        assert_eq!(fill("$$ $$HOST$$").unwrap(), "$$ h");
        let error = fill("x$$ABSENT$$").unwrap_err().to_string();
        assert!(error.contains("ABSENT") && error.contains("not in the environment"), "{error}");
    }
}
