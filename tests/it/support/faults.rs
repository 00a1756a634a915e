//! Faults put into an archive whose known answers are reproduced, each of which one stage must show.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mar_engine::{CheckRequest, Checked, Device, check};
use serde_json::{Map, Value, json};

/// What is wrong with the archive, and the stage that has to be named for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The mean of one channel is a little off.
    WrongMean,
    /// Red and blue have changed places.
    SwappedChannels,
    /// Images are scaled another way.
    OtherFilter,
    /// Labels have moved by one.
    ShuffledLabels,
    /// One of the network's tensors is a tenth larger.
    OtherWeights,
}

/// An archive's known answers, replayed on the processor.
fn checked(archive: &Path) -> Checked {
    let temp = tempfile::tempdir().unwrap();
    let request = CheckRequest {
        archive: archive.to_owned(),
        device: Some(Device::Cpu),
        threads: 1,
        temp_dir: temp.path().to_owned(),
        ..CheckRequest::default()
    };
    let runtime = Arc::new(mar_runtime::Torch::start());
    check(&request, mar_handlers::all(), vec![runtime]).unwrap()
}

/// Puts each fault into a copy of an archive that has none, and wants it named at its stage.
pub(crate) fn every_fault_is_named(archive: &Path) {
    let checked_good = checked(archive);
    assert!(checked_good.first_difference().is_none(), "{checked_good:?}");
    let within = tempfile::tempdir().unwrap();
    for fault in Fault::ALL {
        let first = checked(&fault.in_copy_of(archive, within.path())).first_difference();
        let first =
            first.unwrap_or_else(|| panic!("{fault:?} in {} is not seen", archive.display()));
        assert_eq!(first.stage, fault.stage(), "{fault:?} in {}: {first}", archive.display());
    }
}

impl Fault {
    pub(crate) const ALL: [Self; 5] = [
        Self::WrongMean,
        Self::SwappedChannels,
        Self::OtherFilter,
        Self::ShuffledLabels,
        Self::OtherWeights,
    ];

    /// The stage that differs first.
    pub(crate) fn stage(self) -> &'static str {
        match self {
            Self::WrongMean | Self::SwappedChannels => "normalise",
            Self::OtherFilter => "resize",
            Self::ShuffledLabels => "answer",
            Self::OtherWeights => "forward",
        }
    }

    /// A folder archive in `within` that is this one but for the fault.
    pub(crate) fn in_copy_of(self, archive: &Path, within: &Path) -> PathBuf {
        let archive = mar::Archive::open(archive).unwrap();
        let folder = within.join(format!("{self:?}"));
        archive.extract(&folder).unwrap();
        let model = &archive.manifest().model;
        let config = folder.join(model.config_file.as_ref().unwrap());
        let weights = folder.join(model.serialized_file.as_ref().unwrap());
        match self {
            Self::OtherWeights => scale_largest_tensor(&weights),
            Self::ShuffledLabels => shuffle_labels(&folder, &config),
            _ => configure(&config, |handler| self.change(handler)),
        }
        folder
    }

    fn change(self, handler: &mut Map<String, Value>) {
        match self {
            Self::WrongMean => {
                // One number for all channels, or one a channel.
                let mean = match &mut handler["mean"] {
                    Value::Array(channels) => &mut channels[1],
                    all => all,
                };
                *mean = json!(mean.as_f64().unwrap() + 0.001);
            }
            Self::SwappedChannels => {
                let is_bgr = handler.get("channel_order").is_some_and(|order| order == "bgr");
                handler.insert("channel_order".into(), if is_bgr { "rgb" } else { "bgr" }.into());
            }
            _ => {
                let is_box = handler.get("filter").is_some_and(|filter| filter == "box");
                handler.insert("filter".into(), if is_box { "nearest" } else { "box" }.into());
            }
        }
    }
}

/// Changes the section `handler:`; JSON is YAML too.
fn configure(file: &Path, change: impl FnOnce(&mut Map<String, Value>)) {
    let mut config = mar::read_config(file).unwrap();
    change(config["handler"].as_object_mut().unwrap());
    fs::write(file, Value::Object(config).to_string()).unwrap();
}

/// In the configuration where that has them, else in `index_to_name.json`.
fn shuffle_labels(folder: &Path, config: &Path) {
    let file = folder.join("index_to_name.json");
    if !file.exists() {
        return configure(config, |handler| {
            handler["labels"].as_array_mut().unwrap().rotate_left(1);
        });
    }
    let mut names: Map<String, Value> = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let mut values: Vec<Value> = names.values().cloned().collect();
    values.rotate_left(1);
    names.values_mut().zip(values).for_each(|(name, value)| *name = value);
    fs::write(file, Value::Object(names).to_string()).unwrap();
}

/// Makes the largest tensor of a TorchScript file, which is a zip of stored entries, a tenth larger. The
/// checksums are left as they are: libtorch does not look at them.
fn scale_largest_tensor(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let number = |at: usize, size: usize| {
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(&bytes[at..at + size]);
        usize::try_from(u64::from_le_bytes(wide)).unwrap()
    };
    // The central directory, which has an entry a file: APPNOTE 4.3.12 and 4.3.16.
    let end = bytes.windows(4).rposition(|window| window == b"PK\x05\x06").unwrap();
    let (entries, mut at) = (number(end + 10, 2), number(end + 16, 4));
    let mut largest = (0, 0);
    for _ in 0..entries {
        assert_eq!(&bytes[at..at + 4], b"PK\x01\x02");
        let [name, extra, comment] = [28, 30, 32].map(|place| number(at + place, 2));
        let is_tensor = String::from_utf8_lossy(&bytes[at + 46..at + 46 + name]).contains("/data/");
        let (size, local) = (number(at + 24, 4), number(at + 42, 4));
        if is_tensor && size > largest.0 {
            largest = (size, local + 30 + number(local + 26, 2) + number(local + 28, 2));
        }
        at += 46 + name + extra + comment;
    }
    let (size, from) = largest;
    assert!(size >= 4, "{} has a tensor", file.display());
    for value in bytes[from..from + size].as_chunks_mut::<4>().0 {
        *value = (1.1 * f32::from_le_bytes(*value)).to_le_bytes();
    }
    fs::write(file, bytes).unwrap();
}
