//! The folder where runtimes keep what they make of models' files from one start to the next.
//!
//! What lies there is taken for what this server made, and run. So the folder is its user's own, and nobody
//! else may write to it. A server without one works, and takes longer to load its models.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Owner alone.
const MODE: u32 = 0o700;
/// The bits of a mode that let others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The folder, made where it was not there; `None` where it cannot be used, with a warning that says why.
pub(crate) fn usable(folder: &Path) -> Option<PathBuf> {
    let why = match prepared(folder) {
        Ok(None) => return Some(folder.to_owned()),
        Ok(Some(why)) => why.to_owned(),
        Err(error) => format!("cannot be written to: {error}"),
    };
    log::warn!(
        "the model cache {} {why}; nothing is kept for the next start; give a folder of your own with model_cache, or none",
        folder.display()
    );
    None
}

/// Makes the folder and tries whether it can be written to; why it is not to be trusted, if it is not.
fn prepared(folder: &Path) -> io::Result<Option<&'static str>> {
    DirBuilder::new().recursive(true).mode(MODE).create(folder)?;
    // A file that is made there is this process's own, so its owner is whom to compare with.
    let own = tempfile::tempfile_in(folder)?.metadata()?.uid();
    let about = std::fs::metadata(folder)?;
    Ok(if about.uid() != own {
        Some("belongs to somebody else")
    } else if about.mode() & WRITABLE_BY_OTHERS != 0 {
        Some("can be written to by others")
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_is_made_for_its_owner_alone_and_found_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("marserve/models");
        assert_eq!(usable(&folder), Some(folder.clone()));
        for made in [parent.path().join("marserve"), folder.clone()] {
            assert_eq!(made.metadata().unwrap().mode() & 0o777, 0o700, "{}", made.display());
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "what was tried is gone");
        assert_eq!(usable(&folder), Some(folder));
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_not_used() {
        let parent = tempfile::tempdir().unwrap();
        for mode in [0o770, 0o702, 0o777] {
            set_permissions(parent.path(), Permissions::from_mode(mode)).unwrap();
            assert_eq!(prepared(parent.path()).unwrap(), Some("can be written to by others"));
            assert_eq!(usable(parent.path()), None);
        }
        set_permissions(parent.path(), Permissions::from_mode(0o755)).unwrap();
        assert_eq!(usable(parent.path()).as_deref(), Some(parent.path()), "reading is no harm");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_none() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(usable(&file), None);
        assert_eq!(usable(&file.join("models")), None);
    }
}
