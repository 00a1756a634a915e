use std::fmt::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

use mar_vision::{DecodeLimits, RgbImage8, decode};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(crate) static TABLE: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_slice(&read("golden.json")).unwrap());

pub(crate) fn rows(name: &str) -> &'static [Value] {
    TABLE[name].as_array().unwrap()
}

pub(crate) fn read(name: &str) -> Vec<u8> {
    read_in("pixels", name)
}

/// A file of a folder in `tests/parity`.
pub(crate) fn read_in(folder: &str, name: &str) -> Vec<u8> {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../../tests/parity", folder, name].iter().collect();
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn load(name: &str) -> RgbImage8 {
    decode(&read(name), &DecodeLimits::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(crate) fn digest(image: &RgbImage8) -> String {
    digest_of(image.data())
}

pub(crate) fn digest_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

pub(crate) fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

/// The noise that `make.py` draws for a size is stored by NumPy's generator, so it comes as a file.
pub(crate) fn noise(source: &Value) -> Vec<u8> {
    read(&format!("noise_{}x{}.png", source[0], source[1]))
}
