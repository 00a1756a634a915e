//! Where runtimes keep what they make of models' files.

use std::path::{Path, PathBuf};

use super::layers::Surroundings;

/// Inside the user's cache folder.
const FOLDER: &str = "marserve/models";

/// The key `model_cache`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum ModelCache {
    /// In the user's cache folder.
    #[default]
    Users,
    Nowhere,
    At(PathBuf),
}

impl ModelCache {
    /// What the key's value says.
    pub(crate) fn of(text: &str) -> Self {
        match text {
            "" | "none" => Self::Nowhere,
            folder => Self::At(folder.into()),
        }
    }

    /// The folder, where there is one. Nobody looks whether it is there.
    pub(crate) fn folder(&self, around: &Surroundings) -> Option<PathBuf> {
        match self {
            Self::Users => Some(users_cache(around)?.join(FOLDER)),
            Self::Nowhere => None,
            Self::At(folder) => Some(folder.clone()),
        }
    }
}

/// The user's cache folder by freedesktop.org's rules, by which a relative one does not count.
fn users_cache(around: &Surroundings) -> Option<PathBuf> {
    let absolute = |name| around.variable(name).map(Path::new).filter(|path| path.is_absolute());
    match absolute("XDG_CACHE_HOME") {
        Some(folder) => Some(folder.to_owned()),
        None => Some(absolute("HOME")?.join(".cache")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(value: Option<&str>, variables: &[(&str, &str)]) -> Option<String> {
        let variables = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let around = Surroundings { variables, folder: PathBuf::new() };
        let cache = value.map_or_else(ModelCache::default, ModelCache::of);
        cache.folder(&around).map(|folder| folder.display().to_string())
    }

    #[test]
    fn it_lies_in_the_users_cache_folder_unless_another_is_named_or_none() {
        let both = [("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        for (value, variables, expected) in [
            (None, &both[..], Some("/x/marserve/models")),
            (None, &both[1..], Some("/h/.cache/marserve/models")),
            (None, &[("XDG_CACHE_HOME", "x"), ("HOME", "/h")], Some("/h/.cache/marserve/models")),
            (None, &[("XDG_CACHE_HOME", ""), ("HOME", "/h")], Some("/h/.cache/marserve/models")),
            (None, &[("HOME", "h")], None),
            (None, &[], None),
            (Some("/c"), &both, Some("/c")),
            (Some("c"), &[], Some("c")),
            (Some("none"), &both, None),
            (Some(""), &both, None),
        ] {
            assert_eq!(folder(value, variables).as_deref(), expected, "{value:?} {variables:?}");
        }
    }
}
