//! A client for the tests: every status is an answer, none an error.

use std::io::Read;

use serde_json::Value;

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The three members of the server's own errors.
    pub(crate) fn error(&self) -> (u64, String, String) {
        let error = self.json();
        let text = |key: &str| error[key].as_str().unwrap_or_else(|| panic!("{error}")).to_owned();
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(error["code"], self.status);
        (error["code"].as_u64().unwrap(), text("type"), text("message"))
    }
}

/// A client that keeps its connections.
pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

pub(crate) fn get(url: &str) -> Answer {
    answer(agent().get(url).call())
}

pub(crate) fn post(url: &str, body: &[u8]) -> Answer {
    answer(agent().post(url).send(body))
}

pub(crate) fn answer(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let (parts, body) = result.unwrap().into_parts();
    let mut bytes = Vec::new();
    body.into_reader().read_to_end(&mut bytes).unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body: bytes }
}

pub(crate) fn put(url: &str) -> Answer {
    answer(agent().put(url).send_empty())
}

pub(crate) fn delete(url: &str) -> Answer {
    answer(agent().delete(url).call())
}
