//! Regions of shared memory over HTTP: registered, forgotten, told.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use mar_engine::Error;
use mar_oip::{RegionStatus, SharedMemory};
use serde::{Deserialize, Serialize};

use super::control::object;
use super::{body, error};
use crate::rest::Shared;
use crate::rest::common::apart;

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
    let mut body = Bytes::new();
    if call.verb == Verb::Register {
        body = match body::whole(request, payload, shared.settings.max_request_size, 0).await {
            Ok(body) => body,
            Err(refused) => return refused,
        };
    }
    let device = SharedMemory::default();
    let memory = if call.cuda { &device } else { &**shared.oip.shared_memory() };
    let answered = match (call.verb, call.region) {
        (Verb::Status, region) => {
            memory.status(region.as_deref()).map(|regions| HttpResponse::Ok().json(told(&regions)))
        }
        (Verb::Unregister, region) => {
            memory.unregister(region.as_deref());
            Ok(HttpResponse::Ok().finish())
        }
        (Verb::Register, _) if call.cuda => Err(SharedMemory::no_cuda()),
        (Verb::Register, region) => match registration(region.unwrap_or_default(), &body) {
            Ok(region) => {
                // It opens a file, which may lie anywhere.
                let memory = Arc::clone(shared.oip.shared_memory());
                apart(move || memory.register(region)).await.map(|()| HttpResponse::Ok().finish())
            }
            Err(error) => Err(error),
        },
    };
    answered.unwrap_or_else(|error| error::response(&error))
}

fn told(regions: &[RegionStatus]) -> Vec<Status<'_>> {
    regions
        .iter()
        .map(|RegionStatus { name, key, offset, byte_size }| Status {
            name,
            key,
            offset: *offset,
            byte_size: *byte_size,
        })
        .collect()
}

fn registration(name: String, body: &[u8]) -> Result<RegionStatus, Error> {
    let Registration { key, offset, byte_size } = object(body)?;
    Ok(RegionStatus { name, key, offset, byte_size })
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
        for nowhere in
            ["systemsharedmemory", "systemsharedmemory/register", "systemsharedmemory/region/r"]
        {
            assert_eq!(of(nowhere), None, "{nowhere}");
        }
    }
}
