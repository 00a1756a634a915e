//! `/metrics`: every figure as Prometheus reads it, with any method and for everybody, as TorchServe has it.

use actix_web::{HttpRequest, HttpResponse, web};

use super::Shared;
use super::common::RequestId;

/// What Prometheus' text format is called.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) fn mount(config: &mut web::ServiceConfig) {
    config.route("/metrics", web::route().to(metrics));
}

/// The page; `?name[]=A&name[]=B` chooses samples by name.
async fn metrics(shared: web::Data<Shared>, request: HttpRequest) -> HttpResponse {
    let names = names(request.query_string());
    // Reading the system's files and every model's locks is nothing for an async thread.
    let page = web::block(move || shared.metrics.page(&shared.engine, &names)).await;
    match page {
        Ok(page) => HttpResponse::Ok().content_type(CONTENT_TYPE).body(page),
        Err(error) => {
            let request_id = RequestId::of(&request);
            log::error!(request_id = request_id.as_str(); "the metrics were not collected: {error}");
            HttpResponse::InternalServerError().finish()
        }
    }
}

/// The values of `name[]` in a query.
fn names(query: &str) -> Vec<String> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
    pairs.into_iter().filter(|(key, _)| key == "name[]").map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_a_query() {
        assert_eq!(names("name[]=a&name%5B%5D=b_total&name=c&x=d"), ["a", "b_total"]);
        assert_eq!(names(""), Vec::<String>::new());
    }
}
