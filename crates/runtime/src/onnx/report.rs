//! Which execution provider really runs how much of a network, as ONNX Runtime itself tells.

use std::ffi::{CStr, c_char};
use std::ptr;
use std::slice;

use mar_handler::{Error, ErrorCode, Result};
use ort::AsPointer;
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use serde_json::{Map, Value, json};

use super::offered::short;
use super::providers::{Providers, Registered};

/// What runs a session, and what was asked to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    asked: Vec<&'static str>,
    missing: Vec<(&'static str, String)>,
    /// How many nodes each provider runs, by name; `None` where the library does not tell.
    runs: Option<Vec<(String, usize)>>,
}

impl Report {
    /// Has a session that is being made remember what it tells later.
    pub(super) fn remember(builder: SessionBuilder) -> Result<SessionBuilder, ort::Error> {
        Ok(builder.with_config_entry("session.record_ep_graph_assignment_info", "1")?)
    }

    /// What a session says of itself.
    pub(super) fn of(session: &Session, providers: &Providers, registered: Registered) -> Self {
        let runs = assigned(session)
            .inspect_err(|error| log::debug!("who runs which node is not told: {error}"))
            .ok();
        let missing = registered.missing.into_iter().map(|(kind, reason)| (kind.name(), reason));
        Self { asked: providers.names(), missing: missing.collect(), runs }
    }

    /// The report of a session on the processor alone, because `reason` keeps the others from running it.
    pub(super) fn fallen_back(self, providers: &Providers, reason: &str) -> Self {
        let asked = providers.names();
        let others = asked.iter().filter(|name| **name != "cpu");
        let missing = others.map(|name| (*name, reason.to_owned())).collect();
        Self { asked, missing, ..self }
    }

    /// # Errors
    /// [`ErrorCode::Unsupported`] where nothing runs on what was asked for, and the processor was not.
    pub(super) fn check(&self) -> Result<()> {
        let Some(runs) = self.runs.as_ref().filter(|runs| !runs.is_empty()) else { return Ok(()) };
        if self.asked.iter().any(|asked| runs.iter().any(|(name, _)| name == asked)) {
            return Ok(());
        }
        if self.asked.contains(&"cpu") {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::Unsupported,
            format!(
                "providers: not one node of the network runs on {}, all are left to {}; name cpu where that will do",
                self.asked.join(", "),
                runs.iter().map(|(name, _)| &**name).collect::<Vec<_>>().join(", ")
            ),
        ))
    }

    /// A warning where the first choice does not run the most of it. That all is as it should be is told by those who
    /// describe the model.
    pub(super) fn log(&self, file: &str) {
        if self.is_as_asked() {
            return;
        }
        let missing = self.missing.iter().map(|(name, reason)| format!("; no {name}: {reason}"));
        let missing = missing.collect::<String>();
        let asked = self.asked.join(", ");
        log::warn!("{file}: asked for {asked}, ONNX Runtime runs {}{missing}", self.told());
    }

    fn is_as_asked(&self) -> bool {
        let all: usize = self.runs.iter().flatten().map(|(_, nodes)| nodes).sum();
        let runs = self.runs.iter().flatten();
        let first = runs.filter(|(name, _)| Some(&&**name) == self.asked.first());
        let first: usize = first.map(|(_, nodes)| nodes).sum();
        self.missing.is_empty() && first * 2 >= all
    }

    fn told(&self) -> String {
        let Some(runs) = &self.runs else {
            return format!(
                "it on what was asked for, {}, and does not tell more",
                self.asked.join(", ")
            );
        };
        let one = |(name, nodes): &(String, usize)| {
            format!("{nodes} {} on {name}", if *nodes == 1 { "node" } else { "nodes" })
        };
        if runs.is_empty() {
            "no nodes".to_owned()
        } else {
            runs.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    }

    /// Adds what people may ask.
    pub(super) fn describe(&self, into: &mut Map<String, Value>) {
        let one = |(name, nodes): &(String, usize)| json!({"name": name, "nodes": nodes});
        let runs = self.runs.as_ref().map(|runs| runs.iter().map(one).collect::<Vec<_>>());
        into.insert("providers".into(), json!(runs));
        into.insert("asked".into(), json!(self.asked));
        if !self.missing.is_empty() {
            let missing = self.missing.iter().map(|(name, why)| ((*name).to_owned(), json!(why)));
            into.insert("missing".into(), Value::Object(missing.collect()));
        }
    }
}

/// How many nodes each provider was given when the graph was divided among them, the most first.
fn assigned(session: &Session) -> Result<Vec<(String, usize)>, ort::Error> {
    let mut runs: Vec<(String, usize)> = Vec::new();
    let (mut parts, mut count) = (ptr::null(), 0);
    #[expect(unsafe_code, reason = "ort has no method for it")]
    // SAFETY: the session lives, and what it hands out here, lists as long as it says and texts that end with a
    // zero, belongs to it and lives as long.
    unsafe {
        let api = ort::api();
        let status =
            (api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &raw mut parts, &raw mut count);
        ort::Error::result_from_status(status)?;
        let parts = if parts.is_null() { &[] } else { slice::from_raw_parts(parts, count) };
        for part in parts {
            let mut name: *const c_char = ptr::null();
            ort::Error::result_from_status((api.EpAssignedSubgraph_GetEpName)(
                *part,
                &raw mut name,
            ))?;
            let (mut nodes, mut count) = (ptr::null(), 0);
            let status = (api.EpAssignedSubgraph_GetNodes)(*part, &raw mut nodes, &raw mut count);
            ort::Error::result_from_status(status)?;
            let own = CStr::from_ptr(name).to_string_lossy();
            let name = short(&own);
            match runs.iter_mut().find(|(known, _)| known == name) {
                Some((_, nodes)) => *nodes += count,
                None => runs.push((name.to_owned(), count)),
            }
        }
    }
    runs.sort_by_key(|(_, nodes)| std::cmp::Reverse(*nodes));
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(asked: &[&'static str], runs: Option<&[(&str, usize)]>) -> Report {
        let owned = |runs: &[(&str, usize)]| {
            runs.iter().map(|(name, nodes)| ((*name).to_owned(), *nodes)).collect()
        };
        Report { asked: asked.to_vec(), missing: Vec::new(), runs: runs.map(owned) }
    }

    #[test]
    fn what_was_asked_for_and_runs_nothing_is_an_error_unless_the_processor_will_do() {
        let error = report(&["openvino"], Some(&[("cpu", 3)])).check().unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unsupported);
        assert!(error.message().contains("not one node"), "{error}");
        assert!(error.message().contains("openvino, all are left to cpu"), "{error}");
        for fine in [
            report(&["openvino", "cpu"], Some(&[("cpu", 3)])),
            report(&["tensorrt", "cuda"], Some(&[("cuda", 3), ("cpu", 1)])),
            report(&["openvino"], None),
            report(&["openvino"], Some(&[])),
        ] {
            fine.check().unwrap();
        }
    }

    #[test]
    fn it_is_as_asked_where_the_first_choice_runs_the_most() {
        for (report, expected) in [
            (report(&["cpu"], Some(&[("cpu", 3)])), true),
            (report(&["cuda", "cpu"], Some(&[("cuda", 9), ("cpu", 3)])), true),
            (report(&["cuda", "cpu"], Some(&[("cpu", 9), ("cuda", 3)])), false),
            (report(&["tensorrt", "cuda"], Some(&[("cuda", 3)])), false),
            (
                Report { missing: vec![("cuda", "why".into())], ..report(&["cuda", "cpu"], None) },
                false,
            ),
        ] {
            assert_eq!(report.is_as_asked(), expected, "{report:?}");
        }
    }

    #[test]
    fn people_see_who_runs_how_much_and_what_is_missing_and_why() {
        let mut all = Map::new();
        let missing = vec![("cuda", "no driver".to_owned())];
        Report { missing, ..report(&["cuda", "cpu"], Some(&[("cpu", 1)])) }.describe(&mut all);
        assert_eq!(
            Value::Object(all),
            json!({
                "providers": [{"name": "cpu", "nodes": 1}],
                "asked": ["cuda", "cpu"],
                "missing": {"cuda": "no driver"},
            })
        );
        let mut all = Map::new();
        report(&["openvino"], None).describe(&mut all);
        assert_eq!(Value::Object(all), json!({"providers": null, "asked": ["openvino"]}));
        assert!(report(&["openvino"], None).told().contains("does not tell"));
    }
}
