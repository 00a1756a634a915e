//! Model stores made for one test.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

/// A folder of archives, removed with this value.
pub(crate) struct Store(TempDir);

impl Store {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A folder archive of a fake model that does what `behaviour` says.
    pub(crate) fn fake(&self, name: &str, version: &str, behaviour: &str) -> PathBuf {
        self.fake_with(name, version, behaviour, "handler: {}\n")
    }

    pub(crate) fn fake_with(
        &self,
        name: &str,
        version: &str,
        behaviour: &str,
        config: &str,
    ) -> PathBuf {
        let folder = self.path().join(format!("{name}-{version}"));
        fs::create_dir_all(folder.join("MAR-INF")).unwrap();
        let manifest = json!({
            "createdOn": "01/01/1980 00:00:00",
            "runtime": "python",
            "model": {
                "modelName": name,
                "serializedFile": "weights.fake",
                "handler": "echo",
                "modelVersion": version,
                "configFile": "model-config.yaml",
            },
            "archiverVersion": "0.12.0",
        });
        fs::write(folder.join("MAR-INF/MANIFEST.json"), manifest.to_string()).unwrap();
        fs::write(folder.join("weights.fake"), behaviour).unwrap();
        fs::write(folder.join("model-config.yaml"), config).unwrap();
        folder
    }

    /// A `.mar` of a TorchScript file behind `mask_segmenter`.
    #[cfg(feature = "torch")]
    pub(crate) fn segmenter(&self, name: &str, weights: &Path, config: &Path) -> PathBuf {
        self.packed(mar::PackOptions {
            model_name: name.into(),
            handler: "mask_segmenter".into(),
            serialized_file: Some(weights.into()),
            config_file: Some(config.into()),
            ..mar::PackOptions::default()
        })
    }

    /// A `.mar` of version 1.0 in this store.
    #[cfg(any(feature = "torch", feature = "onnx"))]
    pub(crate) fn packed(&self, what: mar::PackOptions) -> PathBuf {
        let options = mar::PackOptions {
            version: "1.0".into(),
            runtime: "python".into(),
            export_path: self.path().into(),
            ..what
        };
        mar::pack(&options, &mut |_, _| ()).unwrap().path
    }

    /// A `.mar` called `m` of a TorchScript file behind a handler, with this configuration.
    #[cfg(feature = "torch")]
    pub(crate) fn network(
        &self,
        handler: &str,
        weights: PathBuf,
        config: &str,
        extra_files: &[PathBuf],
    ) -> PathBuf {
        let file = self.path().join("model-config.yaml");
        fs::write(&file, config).unwrap();
        let name = |file: &PathBuf| file.to_str().unwrap().to_owned();
        self.packed(mar::PackOptions {
            model_name: "m".into(),
            handler: handler.into(),
            serialized_file: Some(weights),
            config_file: Some(file),
            extra_files: extra_files.iter().map(name).collect(),
            ..mar::PackOptions::default()
        })
    }
}

/// A file of this repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
