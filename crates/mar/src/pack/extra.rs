//! `--extra-files`: files, folders and patterns, resolved to names in the archive.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use glob::MatchOptions;
use walkdir::WalkDir;

use crate::Error;
use crate::pack::plan::base_name;

/// The files that one element stands for, as `(name in the archive, path)`. A pattern may match
/// nothing, which gives an empty list.
pub(super) fn resolve(element: &str) -> Result<Vec<(String, PathBuf)>, Error> {
    let literal = [element, element.trim()].into_iter().find(|text| Path::new(text).exists());
    let paths = match literal {
        Some(path) => vec![PathBuf::from(path)],
        None if is_pattern(element) => matches(element.trim())?,
        None => {
            return Err(Error::Input(format!("extra file {element:?} does not exist")));
        }
    };
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(contents(&path)?);
        } else if path.is_file() {
            found.push((base_name(&path)?, path));
        } else {
            let path = path.display();
            return Err(Error::Input(format!("extra file {path} is neither a file nor a folder")));
        }
    }
    Ok(found)
}

/// Whether the official archiver would take the text as a pattern.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?']) || (text.contains('[') && text.contains(']'))
}

/// Python's `glob.glob`: `**` is `*`, and `*` does not match a leading dot.
fn matches(pattern: &str) -> Result<Vec<PathBuf>, Error> {
    let mut single = pattern.to_owned();
    while single.contains("**") {
        single = single.replace("**", "*");
    }
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::default() };
    let wrong = |error| Error::Input(format!("extra files pattern {pattern:?}: {error}"));
    glob::glob_with(&single, options)
        .map_err(wrong)?
        .map(|path| path.map_err(|error| Error::io("read", error.path().to_owned(), error.into())))
        .collect()
}

/// A folder's contents go to the root of the archive. Links are followed, as the official archiver
/// does; hidden folders, `__MACOSX` and `__pycache__` below it are left out.
fn contents(folder: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let walk = WalkDir::new(folder).min_depth(1).follow_links(true).sort_by_file_name();
    let wanted = walk
        .into_iter()
        .filter_entry(|entry| !entry.file_type().is_dir() || !is_left_out(entry.file_name()));
    let mut found = Vec::new();
    for entry in wanted {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(folder).to_owned();
            let source = error
                .into_io_error()
                .unwrap_or_else(|| std::io::Error::other("a link leads back to a folder above it"));
            Error::io("read", path, source)
        })?;
        if entry.file_type().is_dir() {
            continue;
        }
        let path = entry.path();
        if !entry.file_type().is_file() {
            let path = path.display();
            return Err(Error::Input(format!("extra file {path} is not a plain file")));
        }
        let name = path.strip_prefix(folder).unwrap_or(path);
        let name = name.to_str().ok_or_else(|| {
            Error::Input(format!("extra file {} has a name that is not UTF-8", path.display()))
        })?;
        found.push((name.to_owned(), path.to_owned()));
    }
    Ok(found)
}

fn is_left_out(folder: &OsStr) -> bool {
    let name = folder.to_string_lossy();
    name.starts_with('.') || name == "__MACOSX" || name == "__pycache__"
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(element: &Path) -> Vec<String> {
        let found = resolve(element.to_str().unwrap()).unwrap();
        found.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn folders_give_their_contents_without_hidden_folders() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["a.txt", ".hidden", "sub/b.txt", ".git/x", "__pycache__/y", "sub/__MACOSX/z"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        assert_eq!(names(folder.path()), [".hidden", "a.txt", "sub/b.txt"]);
        // A folder that a pattern names is taken, whatever its name, as the official archiver does.
        assert_eq!(names(&folder.path().join("*")), ["y", "a.txt", "b.txt"]);
        assert_eq!(names(&folder.path().join("**/b.txt")), ["b.txt"]);
    }

    #[test]
    fn a_missing_file_is_an_error_and_a_pattern_without_matches_is_not() {
        assert!(resolve("/nowhere/at-all").unwrap_err().to_string().contains("does not exist"));
        assert_eq!(resolve("/nowhere/*.txt").unwrap(), []);
    }
}
