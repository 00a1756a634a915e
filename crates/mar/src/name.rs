//! Which entry names are taken from an archive. Nothing here touches the disk.

use std::collections::{HashMap, HashSet};

use crate::Refusal;

/// The longest entry name taken, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 1024;
/// The longest file name that common file systems hold, in bytes.
const MAX_COMPONENT_BYTES: usize = 255;
/// Folders above a file. Bounds the memory spent on hostile names as well.
const MAX_DEPTH: usize = 64;

/// Checks one name, without the trailing `/` that marks a folder.
pub(crate) fn check(name: &str) -> Result<(), Refusal> {
    if name.chars().any(char::is_control) {
        return Err(Refusal::Control);
    }
    if name.contains('\\') {
        return Err(Refusal::Backslash);
    }
    let mut characters = name.chars();
    let drive = characters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && characters.next() == Some(':');
    if name.starts_with('/') || drive {
        return Err(Refusal::Absolute);
    }
    let mut depth = 0;
    for component in name.split('/') {
        depth += 1;
        match component {
            ".." => return Err(Refusal::ParentFolder),
            "" | "." => return Err(Refusal::EmptyComponent),
            _ if component.len() > MAX_COMPONENT_BYTES => return Err(Refusal::TooLong),
            _ => {}
        }
    }
    if depth > MAX_DEPTH || name.len() > MAX_NAME_BYTES {
        return Err(Refusal::TooLong);
    }
    Ok(())
}

/// The names of one archive, which must not hide or overwrite each other on any file system.
#[derive(Debug, Default)]
pub(crate) struct Names {
    files: HashMap<String, String>,
    folders: HashSet<String>,
}

impl Names {
    /// Checks a file's name and remembers it.
    pub(crate) fn add_file(&mut self, name: &str) -> Result<(), Refusal> {
        check(name)?;
        let key = name.to_lowercase();
        if let Some(other) = self.files.get(&key) {
            return Err(if other == name {
                Refusal::Duplicate
            } else {
                Refusal::CaseDuplicate(other.clone())
            });
        }
        if self.folders.contains(&key) {
            return Err(Refusal::FileAndFolder);
        }
        if let Some((parent, _)) = key.rsplit_once('/') {
            self.add_ancestors(parent)?;
        }
        self.files.insert(key, name.to_owned());
        Ok(())
    }

    /// Checks a folder's name and remembers it; a folder may be named more than once.
    pub(crate) fn add_folder(&mut self, name: &str) -> Result<(), Refusal> {
        check(name)?;
        self.add_ancestors(&name.to_lowercase())
    }

    fn add_ancestors(&mut self, key: &str) -> Result<(), Refusal> {
        let ends = key.match_indices('/').map(|(end, _)| end).chain([key.len()]);
        for folder in ends.map(|end| &key[..end]) {
            if self.files.contains_key(folder) {
                return Err(Refusal::FileAndFolder);
            }
            if !self.folders.contains(folder) {
                self.folders.insert(folder.to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_taken() {
        for name in ["model.pt", "a/b/c.txt", ".hidden", "ünïcode.txt", "a..b", "with space"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn each_kind_of_bad_name_is_refused_for_its_own_reason() {
        let long = "a/".repeat(70) + "b";
        for (name, reason) in [
            ("../x", Refusal::ParentFolder),
            ("a/../../x", Refusal::ParentFolder),
            ("..", Refusal::ParentFolder),
            ("/etc/passwd", Refusal::Absolute),
            ("C:x", Refusal::Absolute),
            ("a\\..\\x", Refusal::Backslash),
            ("a\0b", Refusal::Control),
            ("a\nb", Refusal::Control),
            ("", Refusal::EmptyComponent),
            ("a//b", Refusal::EmptyComponent),
            ("./a", Refusal::EmptyComponent),
            (long.as_str(), Refusal::TooLong),
            ("x".repeat(300).as_str(), Refusal::TooLong),
        ] {
            assert_eq!(check(name), Err(reason), "{name:?}");
        }
    }

    #[test]
    fn names_may_not_hide_each_other() {
        let mut names = Names::default();
        names.add_file("a/b").unwrap();
        assert_eq!(names.add_file("a/b"), Err(Refusal::Duplicate));
        assert_eq!(names.add_file("A/B"), Err(Refusal::CaseDuplicate("a/b".to_owned())));
        assert_eq!(names.add_file("a"), Err(Refusal::FileAndFolder));
        assert_eq!(names.add_file("a/b/c"), Err(Refusal::FileAndFolder));
        assert_eq!(names.add_folder("a/b"), Err(Refusal::FileAndFolder));
        assert_eq!(names.add_folder("a"), Ok(()));
        assert_eq!(names.add_folder("a"), Ok(()));
    }
}
