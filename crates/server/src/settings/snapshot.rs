//! Snapshots: the configuration of a server and its models, written where the next start finds them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use encoding_rs::UTF_8;
use java_properties::PropertiesWriter;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::models::{Entry, Models, Zero, from_json};

/// The end of a snapshot's name, after the digits of its time.
const ENDINGS: [Kind; 3] = [Kind::Startup, Kind::Snapshot, Kind::Shutdown];

/// `yyyyMMddHHmmssSSS`.
const DIGITS: usize = 17;

/// When a snapshot is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Once the models of the start are loaded.
    Startup,
    /// When a model was registered, unregistered or scaled, or another version is the default.
    Snapshot,
    /// At an end in good order.
    Shutdown,
}

impl Kind {
    fn ending(self) -> &'static str {
        match self {
            Self::Startup => "-startup.cfg",
            Self::Snapshot => "-snapshot.cfg",
            Self::Shutdown => "-shutdown.cfg",
        }
    }
}

/// The property `model_snapshot`, as TorchServe writes it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SnapshotModels<M> {
    #[serde(default)]
    name: String,
    #[serde(default)]
    model_count: u64,
    /// Milliseconds since 1970.
    #[serde(default)]
    created: i64,
    models: M,
}

/// Writes a snapshot and returns its path. It is whole or not there, and only its owner may read it.
///
/// # Errors
/// Where the folder or the file cannot be written.
#[cfg_attr(not(test), expect(dead_code, reason = "the server writes none yet"))]
pub(crate) fn write(
    folder: &Path,
    kind: Kind,
    effective: &[(String, String)],
    models: &Models,
) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder of snapshots {}", folder.display()))?;
    let name = format!("{:0DIGITS$}{}", next_time(folder)?, kind.ending());
    let path = folder.join(&name);
    let text = text(&name, effective, models).context("cannot write a snapshot")?;
    // A temporary file is its owner's alone from the beginning.
    let store = || -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&text)?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        Ok(())
    };
    store().with_context(|| format!("cannot write the snapshot {}", path.display()))?;
    Ok(path)
}

fn text(name: &str, effective: &[(String, String)], models: &Models) -> Result<Vec<u8>> {
    let entries: BTreeMap<_, BTreeMap<_, _>> = models
        .iter()
        .map(|(model, versions)| {
            let entries = versions.iter().map(|(version, listed)| (version, Entry::from(listed)));
            (model, entries.collect())
        })
        .collect();
    let models = SnapshotModels {
        name: name.to_owned(),
        model_count: models.len() as u64,
        created: Timestamp::now().as_millisecond(),
        models: entries,
    };
    let mut text = Vec::new();
    let mut writer = PropertiesWriter::new_with_encoding(&mut text, UTF_8);
    writer.write_comment("Written by marserve; the next start without --ncs goes on from here.")?;
    for (key, value) in effective {
        writer.write(key, value)?;
    }
    writer.write("model_snapshot", &serde_json::to_string(&models)?)?;
    writer.finish()?;
    drop(writer);
    Ok(text)
}

/// The time of the next snapshot as a number of 17 digits: now, in UTC, or later than the newest one's
/// where the clock went back or TorchServe wrote that in a time zone ahead.
fn next_time(folder: &Path) -> Result<u64> {
    let now = Timestamp::now().strftime("%Y%m%d%H%M%S%3f").to_string();
    let now = now.parse().context("the clock tells no year of four digits")?;
    let newest = newest(folder)?.and_then(|path| time(&path));
    Ok(newest.map_or(now, |newest| now.max(newest + 1)))
}

/// The newest snapshot of a folder, by its name; `None` where there is none.
///
/// # Errors
/// Where the folder is there and cannot be read.
pub(crate) fn newest(folder: &Path) -> Result<Option<PathBuf>> {
    let reading = || format!("cannot read the folder of snapshots {}", folder.display());
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(reading),
    };
    let mut newest = None;
    for entry in entries {
        let path = entry.with_context(reading)?.path();
        if let Some(time) = time(&path) {
            newest = newest.max(Some((time, path)));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// The digits of a snapshot's name; `None` where the file is no snapshot.
fn time(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let digits = ENDINGS.iter().find_map(|kind| name.strip_suffix(kind.ending()))?;
    let all = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| digits.parse().ok())?
}

/// Reads the property `model_snapshot`.
///
/// # Errors
/// Where it has another form, or says what is not known.
pub(crate) fn models(value: Value) -> Result<Models> {
    ensure!(value.is_object(), "not a JSON object with models");
    let snapshot: SnapshotModels<Value> = serde_json::from_value(value)?;
    from_json(snapshot.models, Zero::Counts)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use mar_engine::Overrides;
    use serde_json::json;

    use super::*;
    use crate::settings::Listed;
    use crate::settings::properties;

    fn one_model() -> Models {
        let overrides = Overrides {
            min_workers: Some(0),
            max_workers: Some(2),
            batch_size: Some(4),
            max_batch_delay: Some(Duration::from_millis(50)),
            response_timeout: Some(Duration::from_mins(2)),
            startup_timeout: Some(Duration::from_secs(7)),
            handler: None,
        };
        let listed =
            Listed { default_version: true, mar_name: Some("n\u{e9}t.mar".into()), overrides };
        Models::from([("net".into(), BTreeMap::from([("1.0".into(), listed)]))])
    }

    #[test]
    fn what_is_written_is_torchserves_form_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("logs/config");
        let effective = [
            ("model_store".to_owned(), "/a b\\c".to_owned()),
            ("cors_allowed_origin".to_owned(), "#\u{fc}=:!".to_owned()),
        ];
        let path = write(&folder, Kind::Startup, &effective, &one_model()).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(name.len(), "20240101000000000-startup.cfg".len());
        assert!(name.starts_with("20") && name.ends_with("-startup.cfg"), "{name}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");

        let read = properties::read(&path).unwrap();
        let read: Vec<_> = read.into_iter().map(|p| (p.key, p.value)).collect();
        assert_eq!(read[..2], effective);
        let (key, value) = &read[2];
        let mut value: Value = serde_json::from_str(value).unwrap();
        assert_eq!(key, "model_snapshot");
        assert!(value["created"].as_i64().unwrap() > 1_700_000_000_000, "milliseconds");
        value["created"] = json!(0);
        // Section 5.4's members and units.
        let expected = json!({"name": name, "modelCount": 1, "created": 0, "models": {"net": {"1.0": {
            "defaultVersion": true, "marName": "n\u{e9}t.mar", "minWorkers": 0, "maxWorkers": 2,
            "batchSize": 4, "maxBatchDelay": 50, "responseTimeout": 120, "startupTimeout": 7,
            "runtimeType": "python",
        }}}});
        assert_eq!(value, expected);
        assert_eq!(models(value).unwrap(), one_model());
    }

    #[test]
    fn the_one_written_last_is_the_newest_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(newest(&folder.path().join("absent")).unwrap(), None);
        let ahead = folder.path().join("29990101000000000-startup.cfg");
        for name in
            ["29990101000000000-startup.cfg", "notes.cfg", "1-startup.cfg", "x-shutdown.cfg"]
        {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(newest(folder.path()).unwrap(), Some(ahead));
        for kind in [Kind::Snapshot, Kind::Shutdown, Kind::Startup, Kind::Snapshot] {
            let path = write(folder.path(), kind, &[], &Models::new()).unwrap();
            assert_eq!(newest(folder.path()).unwrap(), Some(path));
        }
    }

    #[test]
    fn a_snapshot_of_torchserve_is_read() {
        // KServe's sample, which names no start-up time-out and no time.
        let value = json!({"name": "startup.cfg", "modelCount": 1, "models": {"mnist": {"1.0": {
            "defaultVersion": true, "marName": "mnist.mar", "minWorkers": 1, "maxWorkers": 5,
            "batchSize": 5, "maxBatchDelay": 200, "responseTimeout": 60,
        }}}});
        let listed = &models(value).unwrap()["mnist"]["1.0"];
        assert_eq!(listed.mar_name.as_deref(), Some("mnist.mar"));
        assert_eq!(listed.overrides.max_batch_delay, Some(Duration::from_millis(200)));
        assert_eq!(listed.overrides.startup_timeout, None);
        for wrong in [json!({"models": {}, "more": 1}), json!({}), json!([])] {
            assert!(models(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
