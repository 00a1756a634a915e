//! `GET /models`: the models, a page at a time.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use mar_engine::Engine;
use serde::Serialize;

use super::json;
use super::parameters::Parameters;
use crate::rest::Shared;

/// Models a page of the list holds at most.
const PAGE: usize = 100;

/// A page of the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct List {
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
    models: Vec<Listed>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    model_name: String,
    model_url: String,
}

/// `GET /models`.
pub(super) async fn list(shared: web::Data<Shared>, request: HttpRequest) -> HttpResponse {
    let paging = Parameters::of_query(&request);
    let (limit, token) = (paging.number("limit"), paging.number("next_page_token"));
    json::response(StatusCode::OK, &page(&shared.engine, limit, token))
}

/// Default versions, sorted by name, from a token on. The next page's token is there whenever the page is
/// full, even where it is the last, as TorchServe has it.
pub(crate) fn page(engine: &Engine, limit: Option<i64>, token: Option<i64>) -> List {
    let limit = limit.map_or(PAGE, |limit| {
        usize::try_from(limit).ok().filter(|limit| *limit <= PAGE).unwrap_or(PAGE)
    });
    let start = token.map_or(0, |token| usize::try_from(token).unwrap_or(0));
    let models = engine.models();
    let end = start.saturating_add(limit);
    List {
        next_page_token: (end <= models.len()).then(|| end.to_string()),
        models: models
            .into_iter()
            .skip(start)
            .take(limit)
            .map(|(name, model)| Listed {
                model_name: name,
                model_url: model.default.url().to_owned(),
            })
            .collect(),
    }
}
