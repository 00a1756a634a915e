//! Asking for a key before anything else, and `GET /token`, which renews one.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use jiff::Timestamp;

use super::common::RequestId;
use super::management::parameters::Parameters;
use super::{Shared, error, surface, v2};
use crate::access::{NotRenewed, Surface};

const TOKEN: &str = "/token";

/// Finds the surface that a request is for and refuses it where its key is not that surface's: before
/// routing, so that without a key nobody learns which paths there are.
pub(super) async fn asked_for(
    shared: web::Data<Shared>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    // As the router sees the path, percent signs decoded: what is asked for here must be what answers.
    let path = request.match_info().as_str();
    let surface = surface::of(path, &shared.surfaces);
    // The renewal asks for a key of its own.
    let renewal = surface == Surface::Management && path == TOKEN && shared.keyring.renews();
    let open = renewal || surface::is_open(request.method(), path);
    request.extensions_mut().insert(surface);
    let guarding = surface::guarding(surface, request.method(), path);
    if !open
        && let Err(denied) =
            shared.keyring.check(guarding, authorization(request.headers()), Timestamp::now())
    {
        let refusal = if surface == Surface::Inference && surface::is_v2(path) {
            v2::unauthorized(&denied)
        } else {
            error::invalid_key(&denied)
        };
        return Ok(request.into_response(refusal));
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// The renewal, where there are tokens; else the path leads nowhere.
pub(super) fn mount(config: &mut web::ServiceConfig) {
    config.service(
        web::resource(TOKEN)
            .guard(actix_web::guard::fn_guard(|context| {
                context.app_data::<web::Data<Shared>>().is_some_and(|s| s.keyring.renews())
            }))
            .get(renew)
            .default_service(web::route().to(error::method_not_allowed)),
    );
}

/// Writes a fresh token into the key file. The answer does not hold it: who may read the file may know it.
async fn renew(shared: web::Data<Shared>, request: HttpRequest) -> HttpResponse {
    let authorization = authorization(request.headers()).map(<[u8]>::to_vec);
    let kind = Parameters::of_query(&request).text("type").map(str::to_owned);
    let renewed = web::block(move || {
        shared.keyring.renew(kind.as_deref(), authorization.as_deref(), Timestamp::now())
    });
    match renewed.await {
        Ok(Ok(())) => HttpResponse::build(StatusCode::OK).body("\n"),
        Ok(Err(NotRenewed::Denied(denied))) => error::invalid_key(&denied),
        Ok(Err(NotRenewed::Failed(reason))) => {
            let request_id = RequestId::of(&request);
            log::error!(request_id = request_id.as_str(); "a token was not renewed: {reason:#}");
            error::internal("the token was not renewed; the server's log says why")
        }
        Err(_) => error::internal("the server is shutting down"),
    }
}

fn authorization(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(AUTHORIZATION).map(actix_web::http::header::HeaderValue::as_bytes)
}
