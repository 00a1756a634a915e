//! What the `url` of a registration stands for.
use std::path::{Path, PathBuf};

use actix_web::HttpResponse;

use crate::rest::error;
use crate::settings::ModelStore;

pub(crate) struct Resolved {
    pub(crate) path: PathBuf,
    pub(crate) url: String,
}

pub(crate) struct FetchError(String);

impl FetchError {
    pub(crate) fn response(&self) -> HttpResponse {
        error::response(&mar_engine::Error::new(
            mar_engine::ErrorCode::ModelNotFound,
            self.0.clone(),
        ))
    }
}

pub(crate) fn resolve(url: &str, store: &ModelStore) -> Result<Resolved, FetchError> {
    let name = Path::new(url).file_name().filter(|_| !url.contains("..") && !url.contains("://"));
    let path = name.map(|name| store.dir.join(name)).filter(|path| path.exists());
    path.map(|path| Resolved { path, url: url.into() })
        .ok_or_else(|| FetchError(format!("no {url} in the model store")))
}

impl Resolved {
    pub(crate) fn of(url: &str, path: &Path) -> Self {
        Self { path: path.into(), url: url.into() }
    }

    pub(crate) fn discard(&self) {}
}
