//! Weights that lie in files beside the network.

use std::path::Path;

use crate::element;
use crate::tensor::Tensor;

/// `TensorProto.EXTERNAL`.
const EXTERNAL: i32 = 1;

/// Where a tensor's data lie.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file, from the network's folder on.
    pub(crate) location: String,
    pub(crate) offset: u64,
    /// As the tensor states it; without one it is as long as the tensor needs.
    pub(crate) length: Option<u64>,
}

impl Tensor {
    /// Where its data lie, if that is another file.
    ///
    /// # Errors
    /// Where what is said of it cannot be used: why.
    pub(crate) fn place(&self) -> Option<Result<Place, String>> {
        (self.location == EXTERNAL).then(|| self.external_place())
    }

    fn external_place(&self) -> Result<Place, String> {
        let value = |key: &str| {
            self.external.iter().rev().find(|pair| pair.key == key).map(|pair| &*pair.value)
        };
        let number = |key: &str| {
            let parse =
                |text: &str| text.trim().parse().map_err(|_| format!("its {key} is no number"));
            value(key).map(parse).transpose()
        };
        Ok(Place {
            location: inside(value("location").unwrap_or_default())?,
            offset: number("offset")?.unwrap_or(0),
            length: number("length")?,
        })
    }

    /// How many values its shape has; `None` where a side is below zero or there are more than can be counted.
    pub(crate) fn count(&self) -> Option<u64> {
        let sides = || self.dims.iter().map(|side| u64::try_from(*side).ok());
        if sides().any(|side| side == Some(0)) && sides().all(|side| side.is_some()) {
            return Some(0);
        }
        sides().try_fold(1, |count: u64, side| count.checked_mul(side?))
    }

    /// How many bytes its values take; `None` for texts and where there is no telling.
    pub(crate) fn bytes(&self) -> Option<u64> {
        element::bytes(self.data_type, self.count()?)
    }
}

/// A file's name without what leads nowhere, if it lies in the network's folder or below it.
fn inside(location: &str) -> Result<String, String> {
    if location.is_empty() {
        return Err("it names no file".to_owned());
    }
    let drive = location.as_bytes().get(1) == Some(&b':');
    // ONNX Runtime takes a folder of that name for an address in memory.
    let memory = location.starts_with("*/");
    let parts = || location.split('/').filter(|part| !matches!(*part, "" | "."));
    let up = parts().any(|part| part == "..");
    if location.starts_with('/') || drive || memory || up || location.contains(['\\', '\0']) {
        return Err(format!(
            "{} leads out of the network's folder; weights have to lie in it or below it",
            crate::check::quoted(location)
        ));
    }
    Ok(parts().collect::<Vec<_>>().join("/"))
}

/// What tells [`Network::check`](crate::Network::check) of the files in a network's folder.
pub fn beside(file: &Path) -> impl Fn(&str) -> Option<u64> {
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    move |location| {
        let about = folder.join(location).metadata().ok()?;
        about.is_file().then_some(about.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lie_in_the_networks_folder_or_below_it() {
        for (location, is) in [
            ("w.bin", "w.bin"),
            ("./w.bin", "w.bin"),
            ("a//b/./w..bin", "a/b/w..bin"),
            ("*w", "*w"),
        ] {
            assert_eq!(inside(location).as_deref(), Ok(is));
        }
        for location in [
            "",
            "..",
            "../w",
            "a/../../w",
            "a/..",
            "/w",
            "C:w",
            "a\\w",
            "*/_ORT_MEM_ADDR_/*",
            "a\0b",
        ] {
            assert!(inside(location).is_err(), "{location}");
        }
    }
}
