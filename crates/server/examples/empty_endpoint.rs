//! HTTP with nothing behind it: reads a request's whole body and answers two bytes. The floor that `scripts/bench` holds
//! requests a second against.
//!
//! usage: `empty_endpoint PORT`

use std::io::{self, ErrorKind};

use actix_web::{App, HttpResponse, HttpServer, web};

/// Larger than any body of the bench.
const LARGEST: usize = 64 << 20;

#[actix_web::main]
async fn main() -> io::Result<()> {
    let port: u16 = std::env::args()
        .nth(1)
        .and_then(|port| port.parse().ok())
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "usage: empty_endpoint PORT"))?;
    // As many network threads as marserve has.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    HttpServer::new(|| {
        App::new()
            .app_data(web::PayloadConfig::new(LARGEST))
            .default_service(web::to(|body: web::Bytes| async move { answer(&body) }))
    })
    .workers(cores.min(4))
    .bind(("127.0.0.1", port))?
    .run()
    .await
}

fn answer(body: &web::Bytes) -> HttpResponse {
    // The length is looked at, so that the body is read.
    if body.is_empty() {
        return HttpResponse::BadRequest().finish();
    }
    HttpResponse::Ok().content_type("application/json").body("[]")
}
