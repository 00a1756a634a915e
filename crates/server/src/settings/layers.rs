//! Which value of a key holds: environment before command line before file before default, as in
//! TorchServe, and where it was found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::keys::{self, Action, Key};
use super::properties::{self, Property, interpolate};
use super::snapshot;

/// The environment's variables.
pub(crate) type Variables = BTreeMap<String, String>;

/// What surrounds a start: tests give their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) variables: Variables,
    /// The folder that a `config.properties` is looked for in, and that `LOG_LOCATION` is relative to;
    /// the current one where it is empty.
    pub(crate) folder: PathBuf,
}

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommandLine {
    /// `--ts-config`.
    pub(crate) config_file: Option<PathBuf>,
    /// `--ncs`.
    pub(crate) no_snapshots: bool,
    /// The flags that set a key.
    pub(crate) flags: Vec<Flag>,
}

/// A flag that sets a key.
#[derive(Clone, Debug)]
pub(crate) struct Flag {
    /// As it is typed, with its dashes.
    pub(crate) name: &'static str,
    pub(crate) key: &'static str,
    pub(crate) value: String,
}

/// Where a value was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file's line.
    File(PathBuf, usize),
    Flag(&'static str),
    Variable(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// A value that somebody set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) value: String,
    pub(crate) source: Source,
}

/// All that was set, by key, the value that holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    pub(crate) given: BTreeMap<&'static str, Given>,
    /// What the person who starts the server should know, in full sentences.
    pub(crate) warnings: Vec<String>,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn of_this_process() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Self { variables: variables.collect(), folder: PathBuf::new() }
    }

    /// A variable's value; an empty one counts as not set.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Where snapshots lie.
    pub(crate) fn snapshots(&self) -> PathBuf {
        self.folder.join(self.variable("LOG_LOCATION").unwrap_or("logs")).join("config")
    }
}

/// The file that configures this start: the one that `TS_CONFIG_FILE` names, else that of `--ts-config`,
/// else the newest snapshot, else `config.properties` in the current folder.
pub(crate) fn config_file(asked: &CommandLine, around: &Surroundings) -> Result<Option<PathBuf>> {
    if let Some(path) = around.variable("TS_CONFIG_FILE") {
        return existing("TS_CONFIG_FILE", Path::new(path)).map(Some);
    }
    if let Some(path) = &asked.config_file {
        return existing("--ts-config", path).map(Some);
    }
    if !asked.no_snapshots
        && let Some(path) = snapshot::newest(&around.snapshots())?
    {
        return Ok(Some(path));
    }
    let here = around.folder.join("config.properties");
    Ok(here.is_file().then_some(here))
}

fn existing(source: &str, path: &Path) -> Result<PathBuf> {
    ensure!(path.is_file(), "{source}: the configuration file {} does not exist", path.display());
    Ok(path.to_owned())
}

/// Reads the file, and puts command line and environment above it.
///
/// # Errors
/// Where the file cannot be read, or has a key that nobody knows.
pub(crate) fn merge(
    file: Option<&Path>,
    asked: &CommandLine,
    around: &Surroundings,
) -> Result<Layers> {
    let mut layers = Layers::default();
    if let Some(path) = file {
        for Property { key, value, line } in properties::read(path)? {
            let source = Source::File(path.to_owned(), line);
            let known = known(&key).with_context(|| source.to_string())?;
            let value = interpolate(&value, &around.variables)
                .with_context(|| format!("{key} ({source})"))?;
            layers.set(known, value, source);
        }
    }
    let environment_counts = layers.is_true("enable_envvars_config");
    for Flag { name, key, value } in &asked.flags {
        layers
            .given
            .insert(known(key)?.name, Given { value: value.clone(), source: Source::Flag(name) });
    }
    let does_nothing = |key: &Key| matches!(key.action, Action::Ignore) && !key.by_variable;
    for key in keys::all().filter(|key| !does_nothing(key)) {
        let variable = key.variable();
        if let Some(value) = around.variable(&variable) {
            match why_not(key, environment_counts, layers.is_true("use_env_allowed_urls")) {
                None => {
                    let source = Source::Variable(variable);
                    layers.given.insert(key.name, Given { value: value.to_owned(), source });
                }
                Some(why) => layers.warnings.push(format!("{variable} has no effect: {why}")),
            }
        }
    }
    layers.tell_what_is_ignored();
    layers.refuse()?;
    Ok(layers)
}

/// Why a key's environment variable does not count; `None` where it does.
fn why_not(key: &Key, environment_counts: bool, allowed_urls: bool) -> Option<String> {
    if key.name == "ts_open_inference_protocol" {
        // TorchServe reads this one without being told to.
        None
    } else if !key.by_variable {
        Some(format!("{} is read from the configuration file alone", key.name))
    } else if !environment_counts {
        Some("enable_envvars_config=true is not in the configuration file".into())
    } else if key.name == "allowed_urls" && !allowed_urls {
        Some("use_env_allowed_urls=true is not in the configuration file".into())
    } else {
        None
    }
}

fn known(name: &str) -> Result<&'static Key> {
    if let Some(key) = keys::find(name) {
        return Ok(key);
    }
    match keys::nearest(name) {
        Some(nearest) => bail!("no key is called {name}; did you mean {nearest}?"),
        None => bail!("no key is called {name}; docs/configuration.md lists them; take it out"),
    }
}

// === impl Layers ===

impl Layers {
    fn set(&mut self, key: &Key, value: String, source: Source) {
        if let Some(Given { source: before, .. }) = self.given.get(key.name) {
            let name = key.name;
            self.warnings.push(format!("{name} stands twice: {source} holds, {before} does not"));
        }
        self.given.insert(key.name, Given { value, source });
    }

    pub(crate) fn is_true(&self, key: &str) -> bool {
        self.given.get(key).is_some_and(|given| given.value.eq_ignore_ascii_case("true"))
    }

    /// One warning a reason, which names every key that is set and does nothing.
    fn tell_what_is_ignored(&mut self) {
        let mut reasons: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for key in keys::IGNORED.iter().filter(|key| matches!(key.action, Action::Ignore)) {
            if let Some(given) = self.given.get(key.name) {
                let place = format!("{} ({})", key.name, given.source);
                reasons.entry(key.meaning).or_default().insert(place);
            }
        }
        for (why, places) in reasons {
            let places: Vec<String> = places.into_iter().collect();
            self.warnings.push(format!("not used: {}: {why}", places.join(", ")));
        }
    }

    /// Ends the start where a key is set that nothing can be done with.
    fn refuse(&self) -> Result<()> {
        for key in keys::IGNORED {
            if let Action::RefuseUnless(instead) = key.action
                && let Some(given) = self.given.get(key.name)
                && !self.given.contains_key(instead)
            {
                bail!("{} ({}): {}", key.name, given.source, key.meaning);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A folder with a `config.properties` of these lines, and these variables.
    fn around(file: &str, variables: &[(&str, &str)]) -> (TempDir, Surroundings) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.properties"), file).unwrap();
        let variables = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let around = Surroundings { variables, folder: folder.path().to_owned() };
        (folder, around)
    }

    fn read(asked: &CommandLine, around: &Surroundings) -> Result<Layers> {
        merge(config_file(asked, around)?.as_deref(), asked, around)
    }

    fn flag(flag: &'static str, key: &'static str, value: &str) -> CommandLine {
        let flag = Flag { name: flag, key, value: value.into() };
        CommandLine { flags: vec![flag], ..CommandLine::default() }
    }

    #[test]
    fn the_environment_holds_before_the_command_line_before_the_file() {
        let asked = flag("--job-queue-size", "job_queue_size", "20");
        let variable = [("TS_JOB_QUEUE_SIZE", "30")];
        for (file, variables, value, source) in [
            ("", &[][..], "20", "--job-queue-size"),
            ("job_queue_size=10", &[], "20", "--job-queue-size"),
            ("enable_envvars_config=true\njob_queue_size=10", &variable, "30", "TS_JOB_QUEUE_SIZE"),
            // An empty variable is none.
            ("enable_envvars_config=true", &[("TS_JOB_QUEUE_SIZE", "")], "20", "--job-queue-size"),
        ] {
            let (_folder, around) = around(file, variables);
            let layers = read(&asked, &around).unwrap();
            let given = &layers.given["job_queue_size"];
            assert_eq!((given.value.as_str(), given.source.to_string().as_str()), (value, source));
            assert_eq!(layers.warnings, [""; 0]);
        }
        let (_folder, around) = around("\njob_queue_size=10", &[]);
        let layers = read(&CommandLine::default(), &around).unwrap();
        let source = layers.given["job_queue_size"].source.to_string();
        assert!(source.ends_with("config.properties:2"), "{source}");
    }

    #[test]
    fn a_variable_that_does_not_count_is_told_with_the_reason() {
        for (file, variable, words) in [
            ("", "TS_JOB_QUEUE_SIZE", "enable_envvars_config=true is not"),
            (
                "enable_envvars_config=false",
                "TS_JOB_QUEUE_SIZE",
                "enable_envvars_config=true is not",
            ),
            ("enable_envvars_config=true", "TS_MODELS", "configuration file alone"),
            ("enable_envvars_config=true", "TS_ALLOWED_URLS", "use_env_allowed_urls=true is not"),
        ] {
            let (_folder, around) = around(file, &[(variable, "1")]);
            let layers = read(&CommandLine::default(), &around).unwrap();
            assert!(layers.given.values().all(|given| given.value != "1"));
            let [warning] = &layers.warnings[..] else { panic!("{:?}", layers.warnings) };
            assert!(warning.contains(variable) && warning.contains(words), "{warning}");
        }
        // Neither counts nor could do anything.
        let (_folder, without) = around("", &[("TS_VERSION", "2"), ("TS_NO_KEY", "3")]);
        assert_eq!(read(&CommandLine::default(), &without).unwrap().warnings, [""; 0]);
        // TorchServe reads this one whatever the file says.
        let (_folder, protocol) = around("", &[("TS_OPEN_INFERENCE_PROTOCOL", "oip")]);
        let warnings = read(&CommandLine::default(), &protocol).unwrap().warnings;
        assert!(warnings[0].contains("not used: ts_open_inference_protocol"), "{warnings:?}");
        let both = "enable_envvars_config=true\nuse_env_allowed_urls=true";
        let (_folder, around) = around(both, &[("TS_ALLOWED_URLS", "https://a/.*")]);
        let layers = read(&CommandLine::default(), &around).unwrap();
        assert_eq!(layers.given["allowed_urls"].value, "https://a/.*");
    }

    #[test]
    fn the_file_is_the_variables_then_the_flags_then_the_newest_snapshot_then_the_one_here() {
        let (folder, mut around) = around("", &[]);
        let path = |name: &str| folder.path().join(name);
        let logs = path("logs/config");
        std::fs::create_dir_all(&logs).unwrap();
        for name in ["20240101000000000-startup.cfg", "20240102000000000-shutdown.cfg"] {
            std::fs::write(logs.join(name), "").unwrap();
        }
        for name in ["variable", "flag"] {
            std::fs::write(path(name), "").unwrap();
        }
        let nothing = CommandLine::default();
        let no_snapshots = CommandLine { no_snapshots: true, ..CommandLine::default() };
        let named = CommandLine { config_file: Some(path("flag")), ..CommandLine::default() };

        let found = |asked, around: &Surroundings| config_file(asked, around).unwrap().unwrap();
        assert_eq!(found(&no_snapshots, &around), path("config.properties"));
        assert_eq!(found(&nothing, &around), logs.join("20240102000000000-shutdown.cfg"));
        assert_eq!(found(&named, &around), path("flag"));
        let variable = path("variable").display().to_string();
        around.variables.insert("TS_CONFIG_FILE".into(), variable);
        assert_eq!(found(&named, &around), path("variable"));

        around.variables.insert("TS_CONFIG_FILE".into(), "/absent.properties".into());
        let error = config_file(&named, &around).unwrap_err().to_string();
        assert!(
            error.contains("TS_CONFIG_FILE") && error.contains("/absent.properties"),
            "{error}"
        );

        around.variables.clear();
        let absent = CommandLine { config_file: Some("absent".into()), ..CommandLine::default() };
        let error = config_file(&absent, &around).unwrap_err().to_string();
        assert!(error.contains("--ts-config") && error.contains("absent"), "{error}");
        std::fs::remove_file(path("config.properties")).unwrap();
        assert_eq!(config_file(&no_snapshots, &around).unwrap(), None);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_one() {
        let (_folder, around) = around("model_store=s\njob_queue_sise=1\n", &[]);
        let error = format!("{:#}", read(&CommandLine::default(), &around).unwrap_err());
        for words in ["config.properties:2", "job_queue_sise", "did you mean job_queue_size?"] {
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_is_ignored_is_told_once_by_name_and_with_the_reason() {
        let file = "ipex_enable=true\nipex_gpu_enable=true\nvmargs=-Xmx1g\njob_queue_size=1\n";
        let (_folder, around) = around(file, &[]);
        let layers = read(&CommandLine::default(), &around).unwrap();
        let about = |words: &str| layers.warnings.iter().filter(|w| w.contains(words)).count();
        assert_eq!((about("ipex_enable"), about("ipex_gpu_enable")), (1, 1));
        assert_eq!((about("ipex_enable"), about("vmargs"), about("job_queue_size")), (1, 1, 0));
        assert!(!layers.warnings.concat().contains("-Xmx1g"), "values may be secrets");
    }

    #[test]
    fn a_key_that_stands_twice_is_told_and_the_last_holds() {
        let (_folder, around) = around("job_queue_size=1\njob_queue_size=2\n", &[]);
        let layers = read(&CommandLine::default(), &around).unwrap();
        assert_eq!(layers.given["job_queue_size"].value, "2");
        assert!(layers.warnings[0].contains("stands twice"), "{:?}", layers.warnings);
    }

    #[test]
    fn an_unset_variable_in_a_value_is_named_with_key_and_line() {
        let (_folder, around) = around("model_store=$$ABSENT$$/store\n", &[]);
        let error = format!("{:#}", read(&CommandLine::default(), &around).unwrap_err());
        for words in ["model_store", "config.properties:1", "$ABSENT"] {
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_keystore_is_refused_unless_a_pem_key_is_there_too() {
        let (_folder, alone) = around("keystore=k.p12\nkeystore_pass=changeit\n", &[]);
        let error = read(&CommandLine::default(), &alone).unwrap_err().to_string();
        assert!(
            error.contains("openssl pkcs12") && error.contains("config.properties:1"),
            "{error}"
        );
        let (_folder, both) = around("keystore=k.p12\nprivate_key_file=k.pem\n", &[]);
        assert!(read(&CommandLine::default(), &both).is_ok());
    }
}
