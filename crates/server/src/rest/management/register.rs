//! `POST /models`: a model comes.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use mar_engine::{Engine, Error, LoadRequest, Overrides};

use super::parameters::Parameters;
use super::{Answer, Asked, Refused, cut_off, error, gate, processing, respond, worker_failure};
use crate::fetch::{self, Resolved};
use crate::rest::{Shared, body};

/// Parameters in the query.
pub(super) async fn from_query(shared: web::Data<Shared>, request: HttpRequest) -> HttpResponse {
    let parameters = Parameters::of_query(&request);
    respond(registered(&shared, &parameters, &Asked::by(&request)).await)
}

/// Parameters in a JSON body.
pub(super) async fn from_json(
    shared: web::Data<Shared>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let limit = shared.settings.max_request_size;
    let body = match body::whole_body(request.headers(), payload, limit).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    match Parameters::of_json(&request, &body) {
        Ok(parameters) => respond(registered(&shared, &parameters, &Asked::by(&request)).await),
        Err(reason) => error::bad_request(&reason),
    }
}

/// What the request asks for, apart from the archive's place.
struct Wanted {
    name: Option<String>,
    overrides: Overrides,
    synchronous: bool,
    replace: bool,
}

impl Wanted {
    fn read(parameters: &Parameters, workers: Option<usize>) -> Result<Self, String> {
        match parameters.text("runtime").map(str::to_ascii_lowercase).as_deref() {
            None | Some("" | "python" | "python3" | "lsp") => {}
            Some(other) => {
                return Err(format!("runtime is {other:?}; known: python, python3, LSP"));
            }
        }
        if parameters.truth("s3_sse_kms", false) {
            return Err("s3_sse_kms is not supported; fetch the archive into the model store, or give a presigned URL without it".into());
        }
        let seconds = |name| parameters.positive(name).map(|n| Duration::from_secs(n as u64));
        let initial = parameters.number("initial_workers");
        let replace = parameters.truth("replace", false);
        // A version that takes another's place has as many as that one.
        let workers = workers.filter(|_| !replace);
        let initial = initial.map(|n| usize::try_from(n).unwrap_or(0)).or(workers);
        let delay = parameters.number("max_batch_delay").and_then(|n| u64::try_from(n).ok());
        let given = |name| parameters.text(name).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Self {
            name: given("model_name"),
            overrides: Overrides {
                handler: given("handler"),
                min_workers: initial,
                max_workers: None,
                batch_size: parameters.positive("batch_size"),
                max_batch_delay: delay.map(Duration::from_millis),
                response_timeout: seconds("response_timeout"),
                startup_timeout: seconds("startup_timeout"),
            },
            synchronous: parameters.truth("synchronous", true),
            replace,
        })
    }
}

/// Registers the model that parameters ask for.
///
/// # Errors
/// Why it is not registered.
pub(crate) async fn registered(
    shared: &Shared,
    parameters: &Parameters,
    asked: &Asked,
) -> Result<Answer, Refused> {
    gate(shared)?;
    let url = parameters.text("url").map(str::to_owned);
    let url = url.ok_or_else(|| Error::invalid_input("Parameter url is required."))?;
    let wanted = Wanted::read(parameters, shared.settings.engine.defaults.workers)
        .map_err(Error::invalid_input)?;
    let store = shared.settings.store.clone();
    let resolved = tokio::task::spawn_blocking(move || fetch::resolve(&url, &store)).await;
    let resolved = resolved.map_err(|_| cut_off())?.map_err(Refused::Fetch)?;
    let shared = shared.clone();
    let work = move || {
        let done = run(&shared.engine, &wanted, &resolved);
        match done {
            Ok(_) => shared.changed(),
            Err(_) => resolved.discard(),
        }
        done
    };
    super::done(asked, work).await
}

fn run(engine: &Engine, wanted: &Wanted, resolved: &Resolved) -> Result<Answer, Error> {
    let load = LoadRequest {
        archive: resolved.path.clone(),
        url: resolved.url.clone(),
        name: wanted.name.clone(),
        overrides: wanted.overrides.clone(),
        network: None,
        workers: None,
        at_startup: false,
        replace: wanted.replace,
    };
    let registered = engine.register(&load)?;
    let workers = registered.workers();
    let (name, number) =
        (registered.version.name().to_owned(), registered.version.version().to_owned());
    let done = if wanted.replace { "replaced" } else { "registered" };
    let registered_with =
        format!("Model \"{name}\" Version: {number} {done} with {workers} initial workers");
    if workers == 0 && !wanted.replace {
        let hint = "Use scale workers API to add workers for the model.";
        return Ok((StatusCode::OK, format!("{registered_with}. {hint}")));
    }
    // A version takes another's place once it serves, so that one waits.
    if !wanted.synchronous && !wanted.replace {
        return Ok(processing());
    }
    engine.finish(registered).map_err(|failure| worker_failure(&failure, &name, &number))?;
    Ok((StatusCode::OK, registered_with))
}
