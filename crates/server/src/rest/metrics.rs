//! `/metrics`: the server's figures. Empty until they are counted.

use actix_web::{HttpResponse, web};

pub(crate) fn mount(config: &mut web::ServiceConfig) {
    config.route("/metrics", web::get().to(metrics));
}

async fn metrics() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body("")
}
