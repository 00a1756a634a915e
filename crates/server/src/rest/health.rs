//! `/ping`: whether a load balancer should send requests here.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use mar_engine::{Engine, VersionState};
use serde::Serialize;

use super::{Shared, json};

#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
}

pub(crate) fn mount(config: &mut web::ServiceConfig) {
    config.route("/ping", web::route().to(ping)).route("/ping/{tail:.*}", web::route().to(ping));
}

/// `Healthy` while every model's default version serves or is still loading, as TorchServe has it;
/// `Unhealthy` with status 500 once one has failed or the server is going down.
async fn ping(shared: web::Data<Shared>) -> HttpResponse {
    if healthy(&shared.engine) {
        json::response(StatusCode::OK, &Health { status: "Healthy" })
    } else {
        json::response(StatusCode::INTERNAL_SERVER_ERROR, &Health { status: "Unhealthy" })
    }
}

fn healthy(engine: &Engine) -> bool {
    let serves = |state| matches!(state, VersionState::Loading | VersionState::Ready);
    !engine.is_draining()
        && engine.lost_device().is_none()
        && engine.models().iter().all(|(_, m)| serves(m.default.state()))
}
