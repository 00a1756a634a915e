//! What is to be loaded: the words of `--models`, and the JSON of `models` and `model_snapshot`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mar_engine::Overrides;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Listed, ModelSource};

/// The model store, and the further ones.
pub(crate) type Stores<'a> = (&'a Path, &'a [PathBuf]);

/// Versions by model and number.
pub(crate) type Models = BTreeMap<String, BTreeMap<String, Listed>>;

/// Reads `--models` and `load_models`: `all`, or files and folders of the model store or URLs, each as `file`
/// or `name=file`, separated by commas.
///
/// # Errors
/// Where a word names something outside the store.
pub(crate) fn sources(words: &str, stores: Stores<'_>) -> Result<Vec<ModelSource>> {
    let (store, more) = stores;
    let mut sources = Vec::new();
    for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if word.eq_ignore_ascii_case("all") {
            sources.extend(everything(store)?);
            for store in more {
                sources.extend(everything(store)?);
            }
        } else if word == "standalone" && !store.join(word).exists() {
            // TorchServe's word for none.
        } else {
            let (name, file) = match word.split_once('=') {
                // The sign may be the URL's own.
                Some((name, file)) if !name.contains("://") => {
                    (Some(name.trim().to_owned()), file.trim())
                }
                _ => (None, word),
            };
            ensure!(name.as_deref() != Some(""), "model {word}: the name before = is empty");
            let mut source = ModelSource { name, ..ModelSource::default() };
            if file.contains("://") {
                source.url = Some(file.to_owned());
            } else {
                source.path = in_stores(file, stores)?;
            }
            sources.push(source);
        }
    }
    Ok(sources)
}

/// The archives that a snapshot lists.
///
/// # Errors
/// Where one of them is not in the store any more.
pub(crate) fn of_snapshot(models: &Models, stores: Stores<'_>) -> Result<Vec<ModelSource>> {
    let mut sources = Vec::new();
    for (name, versions) in models {
        for (version, listed) in versions {
            let of = || format!("model_snapshot: model {name}, version {version}");
            let file = listed.mar_name.as_deref().with_context(|| {
                format!("{}: marName is missing; name its file in the model store", of())
            })?;
            let path = in_stores(file, stores).with_context(of)?;
            ensure!(
                path.exists(),
                "{}: {file} is not in the model store {}; put it there, or start with --ncs",
                of(),
                stores.0.display()
            );
            sources.push(ModelSource {
                name: Some(name.clone()),
                path,
                restored: Some(listed.clone()),
                ..ModelSource::default()
            });
        }
    }
    Ok(sources)
}

/// A file or folder of one of the stores; of the first where none has it.
fn in_stores(file: &str, (store, more): Stores<'_>) -> Result<PathBuf> {
    let elsewhere = more.iter().filter_map(|store| in_store(file, store).ok());
    match in_store(file, store) {
        Ok(path) if path.exists() => Ok(path),
        first => elsewhere.into_iter().find(|path| path.exists()).map_or(first, Ok),
    }
}

/// A file or folder of the store, by name or by a path that leads there.
fn in_store(file: &str, store: &Path) -> Result<PathBuf> {
    let path = Path::new(file);
    let name = path.file_name().with_context(|| format!("model {file}: not a file name"))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let same = |folder: &Path| matches!((folder.canonicalize(), store.canonicalize()), (Ok(a), Ok(b)) if a == b);
    ensure!(
        folder.as_os_str().is_empty() || same(folder),
        "model {file} is not in the model store; put it into {}",
        store.display()
    );
    Ok(store.join(name))
}

/// Every archive of the store: folders, `.mar`, `.model` and `.tar.gz`, hidden ones left out.
pub(crate) fn everything(store: &Path) -> Result<Vec<ModelSource>> {
    let entries = std::fs::read_dir(store)
        .with_context(|| format!("cannot read the model store {}", store.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let archive = [".mar", ".model", ".tar.gz"].iter().any(|ending| name.ends_with(ending));
        if !name.starts_with('.') && (archive || path.is_dir()) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths.into_iter().map(|path| ModelSource { path, ..ModelSource::default() }).collect())
}

/// What both JSON forms say of a version. Times are in milliseconds for the delay, in seconds else.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Entry {
    default_version: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    mar_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_workers: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_workers: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_size: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_batch_delay: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_timeout: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    startup_timeout: Option<i32>,
    /// TorchServe's kind of worker, of which there is one here; the same goes for `parallel_level`.
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_level: Option<i32>,
    /// The handler, where it is not the manifest's. TorchServe has no such member, and reads over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    handler: Option<String>,
}

/// Whether a zero is a number of workers or of milliseconds, or says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zero {
    /// In a list that a person wrote, as TorchServe reads it.
    SaysNothing,
    /// In a snapshot, which states what was.
    Counts,
}

/// Reads the property `models`, or the member `models` of a snapshot.
///
/// # Errors
/// Where a version has a member that is not known or of another type.
pub(crate) fn from_json(value: Value, zero: Zero) -> Result<Models> {
    let form = "not {\"MODEL\": {\"VERSION\": {...}}}";
    let models: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_value(value).context(form)?;
    let mut read = Models::new();
    for (name, versions) in models {
        for (version, value) in versions {
            let entry = match serde_json::from_value::<Entry>(value) {
                Ok(entry) => entry,
                Err(error) => bail!("model {name}, version {version}: {error}"),
            };
            let versions = read.entry(name.clone()).or_default();
            versions.insert(version, listed(entry, zero));
        }
    }
    Ok(read)
}

fn listed(entry: Entry, zero: Zero) -> Listed {
    let positive =
        |number: Option<i32>| number.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
    let counted = |number: Option<i32>| match number {
        Some(0) if zero == Zero::Counts => Some(0),
        other => positive(other),
    };
    let size = |number: Option<u64>| number.and_then(|n| usize::try_from(n).ok());
    Listed {
        default_version: entry.default_version,
        mar_name: entry.mar_name,
        overrides: Overrides {
            handler: entry.handler,
            min_workers: size(counted(entry.min_workers)),
            max_workers: size(counted(entry.max_workers)),
            batch_size: size(positive(entry.batch_size)),
            max_batch_delay: counted(entry.max_batch_delay).map(Duration::from_millis),
            response_timeout: positive(entry.response_timeout).map(Duration::from_secs),
            startup_timeout: positive(entry.startup_timeout).map(Duration::from_secs),
        },
    }
}

impl From<&Listed> for Entry {
    fn from(listed: &Listed) -> Self {
        let Overrides { min_workers, max_workers, batch_size, .. } = listed.overrides;
        let Overrides { max_batch_delay, response_timeout, startup_timeout, .. } = listed.overrides;
        let number = |n: Option<usize>| n.map(|n| i32::try_from(n).unwrap_or(i32::MAX));
        // Rounded up, because a time-out of no seconds would say nothing.
        let seconds = |time: Option<Duration>| {
            time.map(|time| i32::try_from(time.as_millis().div_ceil(1000)).unwrap_or(i32::MAX))
        };
        Self {
            default_version: listed.default_version,
            mar_name: listed.mar_name.clone(),
            min_workers: number(min_workers),
            max_workers: number(max_workers),
            batch_size: number(batch_size),
            max_batch_delay: max_batch_delay
                .map(|delay| i32::try_from(delay.as_millis()).unwrap_or(i32::MAX)),
            response_timeout: seconds(response_timeout),
            startup_timeout: seconds(startup_timeout),
            runtime_type: Some("python".into()),
            parallel_level: None,
            handler: listed.overrides.handler.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sources(words: &str, store: &Path) -> Result<Vec<ModelSource>> {
        super::sources(words, (store, &[]))
    }

    fn of_snapshot(models: &Models, store: &Path) -> Result<Vec<ModelSource>> {
        super::of_snapshot(models, (store, &[]))
    }

    #[test]
    fn models_of_further_stores_are_found_after_those_of_the_first() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (store, file) in
            [(&first, "a.mar"), (&first, "b.mar"), (&second, "b.mar"), (&second, "c.mar")]
        {
            std::fs::write(store.path().join(file), "").unwrap();
        }
        let more = [second.path().to_owned()];
        let found = |words: &str| {
            let found = super::sources(words, (first.path(), &more)).unwrap();
            found.into_iter().map(|source| source.path).collect::<Vec<_>>()
        };
        let [one, two] = [first.path(), second.path()];
        assert_eq!(
            found("b.mar,c.mar,none.mar"),
            [one.join("b.mar"), two.join("c.mar"), one.join("none.mar")]
        );
        let all = [one.join("a.mar"), one.join("b.mar"), two.join("b.mar"), two.join("c.mar")];
        assert_eq!(found("all"), all);
    }

    #[test]
    fn words_are_separated_by_commas_and_trimmed() {
        let store = tempfile::tempdir().unwrap();
        let found = sources("a=x.mar, b=y.mar,z.tar.gz,", store.path()).unwrap();
        let got: Vec<_> = found
            .iter()
            .map(|s| (s.name.as_deref(), s.path.file_name().unwrap().to_str().unwrap()))
            .collect();
        assert_eq!(got, [(Some("a"), "x.mar"), (Some("b"), "y.mar"), (None, "z.tar.gz")]);
        assert_eq!(sources("standalone", store.path()).unwrap(), []);
    }

    #[test]
    fn all_is_every_archive_and_no_other_file() {
        let store = tempfile::tempdir().unwrap();
        for file in ["b.mar", "a.tar.gz", "README.md", ".b.mar.tmp"] {
            std::fs::write(store.path().join(file), "").unwrap();
        }
        std::fs::create_dir(store.path().join("folder")).unwrap();
        let found = sources("ALL", store.path()).unwrap();
        let names: Vec<_> = found.iter().map(|s| s.path.file_name().unwrap()).collect();
        assert_eq!(names, ["a.tar.gz", "b.mar", "folder"]);
    }

    #[test]
    fn what_is_not_in_the_store_is_refused_by_name() {
        let parent = tempfile::tempdir().unwrap();
        let store = parent.path().join("store");
        std::fs::create_dir(&store).unwrap();
        let inside = store.join("m.mar").display().to_string();
        assert_eq!(sources(&inside, &store).unwrap()[0].path, store.join("m.mar"));
        for outside in ["../m.mar", "/etc/m.mar", "..", "=m.mar"] {
            let error = sources(outside, &store).unwrap_err().to_string();
            assert!(error.contains(outside), "{error}");
        }
    }

    #[test]
    fn a_url_may_stand_where_a_file_may() {
        let store = tempfile::tempdir().unwrap();
        let words = "https://a.org/m.mar?key=1, near=file:///m.mar";
        let got: Vec<_> =
            sources(words, store.path()).unwrap().into_iter().map(|s| (s.name, s.url)).collect();
        let url = |url: &str| Some(url.to_owned());
        assert_eq!(
            got,
            [(None, url("https://a.org/m.mar?key=1")), (Some("near".into()), url("file:///m.mar"))]
        );
    }

    #[test]
    fn the_list_of_models_says_what_torchserve_lets_it_say() {
        // The example of TorchServe's documentation, with every member.
        let models = from_json(
            json!({"noop": {"1.0": {
                "defaultVersion": true, "marName": "noop.mar", "minWorkers": 1, "maxWorkers": 2,
                "batchSize": 4, "maxBatchDelay": 100, "responseTimeout": 120, "startupTimeout": 60,
                "runtimeType": "LSP",
            }}}),
            Zero::SaysNothing,
        )
        .unwrap();
        let expected = Listed {
            default_version: true,
            mar_name: Some("noop.mar".into()),
            overrides: Overrides {
                handler: None,
                min_workers: Some(1),
                max_workers: Some(2),
                batch_size: Some(4),
                max_batch_delay: Some(Duration::from_millis(100)),
                response_timeout: Some(Duration::from_mins(2)),
                startup_timeout: Some(Duration::from_mins(1)),
            },
        };
        assert_eq!(models["noop"]["1.0"], expected);
    }

    #[test]
    fn numbers_below_one_say_nothing_except_where_a_snapshot_states_them() {
        let value = json!({"m": {"1": {
            "minWorkers": 0, "maxWorkers": 0, "batchSize": 0, "maxBatchDelay": 0, "responseTimeout": -1,
        }}});
        let read = |zero| from_json(value.clone(), zero).unwrap()["m"]["1"].clone();
        assert_eq!(read(Zero::SaysNothing), Listed::default());
        let overrides = Overrides {
            min_workers: Some(0),
            max_workers: Some(0),
            max_batch_delay: Some(Duration::ZERO),
            ..Overrides::default()
        };
        assert_eq!(read(Zero::Counts), Listed { overrides, ..Listed::default() });
    }

    #[test]
    fn what_is_wrong_in_the_list_is_named() {
        for (value, words) in [
            (
                json!({"m": {"1": {"batchsize": 4}}}),
                "model m, version 1: unknown field `batchsize`",
            ),
            (json!({"m": {"1": {"batchSize": "4"}}}), "model m, version 1: invalid type: string"),
            (json!({"m": {"1": {"responseTimeout": 3_000_000_000_u32}}}), "3000000000"),
            (json!({"m": 4}), "not {\"MODEL\""),
            (json!([]), "not {\"MODEL\""),
        ] {
            let error = format!("{:#}", from_json(value, Zero::SaysNothing).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_snapshot_with_an_archive_that_is_gone_names_it() {
        let store = tempfile::tempdir().unwrap();
        std::fs::write(store.path().join("here.mar"), "").unwrap();
        let models = |mar: Option<&str>| {
            let listed = Listed { mar_name: mar.map(str::to_owned), ..Listed::default() };
            Models::from([("m".to_owned(), BTreeMap::from([("2.0".to_owned(), listed)]))])
        };
        let found = of_snapshot(&models(Some("here.mar")), store.path()).unwrap();
        let path = store.path().join("here.mar");
        let restored = Some(models(Some("here.mar"))["m"]["2.0"].clone());
        assert_eq!(found, [ModelSource { name: Some("m".into()), path, restored, url: None }]);
        for (mar, words) in [
            (Some("gone.mar"), "gone.mar is not in the model store"),
            (Some("../out.mar"), "../out.mar is not in the model store"),
            (None, "marName is missing"),
        ] {
            let error = format!("{:#}", of_snapshot(&models(mar), store.path()).unwrap_err());
            assert!(error.contains(words) && error.contains("model m, version 2.0"), "{error}");
        }
    }
}
