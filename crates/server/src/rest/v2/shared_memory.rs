//! Regions of shared memory over HTTP: registered, forgotten, told.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use mar_engine::Error;
use mar_oip::RegionStatus;
use serde::{Deserialize, Serialize};

use super::{body, error};
use crate::rest::Shared;

/// What is asked of shared memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Whether it is a device's memory, not the host's.
    cuda: bool,
    /// The one that is meant, or all of them.
    region: Option<String>,
    verb: Verb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Status,
    Register,
    Unregister,
}

/// What is to become a region.
#[derive(Deserialize)]
struct Registration {
    key: String,
    #[serde(default)]
    offset: u64,
    byte_size: u64,
}

/// A region, as clients read it.
#[derive(Serialize)]
struct Status<'a> {
    name: &'a str,
    key: &'a str,
    offset: u64,
    byte_size: u64,
}

impl Call {
    /// What a path asks for; `None` where it leads nowhere.
    pub(super) fn of(segments: &[&str]) -> Option<Self> {
        let cuda = segments.first() == Some(&"cudasharedmemory");
        let (region, verb) = match *segments.get(1..)? {
            [verb] => (None, verb),
            ["region", region, verb] => (Some(region.to_owned()), verb),
            _ => return None,
        };
        let verb = match verb {
            "status" => Verb::Status,
            "unregister" => Verb::Unregister,
            "register" if region.is_some() => Verb::Register,
            _ => return None,
        };
        Some(Self { cuda, region, verb })
    }

    /// The method that it is asked with.
    pub(super) fn method(&self) -> Method {
        if self.verb == Verb::Status { Method::GET } else { Method::POST }
    }
}

/// Answers it.
pub(super) async fn answer(
    shared: &Shared,
    call: Call,
    request: &HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let answered = match (call.cuda, call.verb) {
        (true, Verb::Status | Verb::Unregister) => of_device(&call),
        (true, Verb::Register) => Err(error::response(&shared.oip.no_cuda_shared_memory())),
        (false, Verb::Status) => status(shared, call.region.as_deref()),
        (false, Verb::Unregister) => {
            shared.oip.shared_memory().unregister(call.region.as_deref());
            Ok(HttpResponse::Ok().finish())
        }
        (false, Verb::Register) => {
            register(shared, call.region.unwrap_or_default(), request, payload).await
        }
    };
    answered.unwrap_or_else(|refused| refused)
}

/// There is no region on any device: all of them are told, and one is forgotten already.
fn of_device(call: &Call) -> Result<HttpResponse, HttpResponse> {
    match (&call.region, call.verb) {
        (Some(region), Verb::Status) => {
            let error = mar_oip::SharedMemory::default().status(Some(region));
            Err(error.map_or_else(|error| error::response(&error), |_| error::no_such_path()))
        }
        (None, Verb::Status) => Ok(HttpResponse::Ok().json([(); 0])),
        _ => Ok(HttpResponse::Ok().finish()),
    }
}

fn status(shared: &Shared, region: Option<&str>) -> Result<HttpResponse, HttpResponse> {
    let regions = shared.oip.shared_memory().status(region);
    let regions = regions.map_err(|error| error::response(&error))?;
    let told: Vec<Status<'_>> = regions
        .iter()
        .map(|RegionStatus { name, key, offset, byte_size }| Status {
            name,
            key,
            offset: *offset,
            byte_size: *byte_size,
        })
        .collect();
    Ok(HttpResponse::Ok().json(told))
}

async fn register(
    shared: &Shared,
    name: String,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, HttpResponse> {
    let body = body::whole(request, payload, shared.settings.max_request_size, 0).await?;
    let Registration { key, offset, byte_size } =
        serde_json::from_slice(&body).map_err(|reason| {
            let message = format!("the body is not {{\"key\", \"offset\", \"byte_size\"}}: {reason}");
            error::response(&Error::invalid_input(message))
        })?;
    let region = RegionStatus { name, key, offset, byte_size };
    let registered = shared.oip.shared_memory().register(region);
    registered.map(|()| HttpResponse::Ok().finish()).map_err(|error| error::response(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_one_region_or_all() {
        let of = |path: &str| Call::of(&path.split('/').collect::<Vec<_>>());
        let call = |cuda, region: Option<&str>, verb| {
            Some(Call { cuda, region: region.map(Into::into), verb })
        };
        assert_eq!(of("systemsharedmemory/status"), call(false, None, Verb::Status));
        let one = of("systemsharedmemory/region/r/status");
        assert_eq!(one, call(false, Some("r"), Verb::Status));
        let register = of("cudasharedmemory/region/r/register");
        assert_eq!(register, call(true, Some("r"), Verb::Register));
        assert_eq!(of("systemsharedmemory/unregister"), call(false, None, Verb::Unregister));
        for nowhere in ["systemsharedmemory", "systemsharedmemory/register", "systemsharedmemory/region/r"] {
            assert_eq!(of(nowhere), None, "{nowhere}");
        }
    }
}
