//! Packing a folder as it is, under a manifest that is there already.

use std::path::Path;

use walkdir::WalkDir;

use crate::manifest::{MANIFEST_NAME, Manifest};
use crate::pack::plan::Plan;
use crate::pack::{PackFormat, PackOptions, Packed, check_target, finish};
use crate::{Error, pack::input::Progress};

/// Makes an archive of every file in a folder, with this manifest in place of the folder's own. The target's ending
/// says the form: `.mar`, `.tar.gz`, or a folder.
///
/// # Errors
/// When the target exists and `force` is off, when a file cannot be packed, read or written.
pub fn repack(
    folder: &Path,
    manifest: &Manifest,
    (target, force): (&Path, bool),
    progress: &mut Progress<'_>,
) -> Result<Packed, Error> {
    let name = target.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let ends = |ending: &str| name.len() > ending.len() && name.ends_with(ending);
    let format = if name.is_empty() {
        return Err(Error::Input(format!("{} names no file", target.display())));
    } else if [".tar.gz", ".tgz"].into_iter().any(ends) {
        PackFormat::Tgz
    } else if ends(".mar") {
        PackFormat::Default
    } else {
        PackFormat::NoArchive
    };
    let model_name = manifest.model.model_name.clone();
    let options = PackOptions { model_name, format, force, ..PackOptions::default() };
    check_target(&options, target)?;
    let mut plan = Plan::default();
    for entry in WalkDir::new(folder).min_depth(1).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(folder).to_owned();
            Error::io("read", path, error.into())
        })?;
        let name = entry.path().strip_prefix(folder).unwrap_or(entry.path());
        let name = name.to_str().ok_or_else(|| {
            Error::Input(format!("{} has a name that is not UTF-8", entry.path().display()))
        })?;
        if entry.file_type().is_file() && name != MANIFEST_NAME {
            plan.add(name.to_owned(), entry.path().to_owned())?;
        }
    }
    plan.set_manifest(manifest)?;
    finish(&options, target, plan, progress)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{Archive, Format};

    #[test]
    fn everything_of_a_folder_is_packed_and_the_manifest_is_the_given_one() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("net");
        for (name, text) in
            [("net.onnx", "weights"), ("sub/labels.json", "[]"), (MANIFEST_NAME, "of before")]
        {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut manifest = Manifest::assumed(Path::new("net.mar"));
        manifest.model.serialized_file = Some("net.onnx".to_owned());
        manifest.extra.insert("note".to_owned(), "kept".into());
        for (name, format) in
            [("a.mar", Format::Zip), ("b.tar.gz", Format::Tgz), ("c", Format::Folder)]
        {
            let target = place.path().join(name);
            repack(&folder, &manifest, (&target, false), &mut |_, _| {}).unwrap();
            let archive = Archive::open(&target).unwrap();
            assert_eq!((archive.format(), archive.manifest()), (format, &manifest), "{name}");
            assert_eq!(archive.read("net.onnx", 100).unwrap(), b"weights");
            assert_eq!(archive.read("sub/labels.json", 100).unwrap(), b"[]");
            let again = repack(&folder, &manifest, (&target, false), &mut |_, _| {});
            assert!(again.unwrap_err().to_string().contains("--force"), "{name}");
            repack(&folder, &manifest, (&target, true), &mut |_, _| {}).unwrap();
        }
    }
}
