//! Whether inputs and outputs have names and types.

use std::collections::HashSet;

use crate::check::{Report, quoted};
use crate::element;
use crate::proto::{Graph, Kind, ValueInfo};

pub(super) fn check(graph: &Graph, report: &mut Report) {
    if graph.output.is_empty() {
        report.problems.add("it has no outputs; export it again".to_owned());
    }
    let mut seen = HashSet::new();
    for input in &graph.input {
        if !seen.insert(&*input.name) {
            let name = quoted(&input.name);
            report.problems.add(format!("it has two inputs {name}; export it again"));
        }
    }
    for (what, ports) in [("input", &graph.input), ("output", &graph.output)] {
        for port in ports {
            if port.name.is_empty() {
                report.problems.add(format!("it has an {what} without a name; export it again"));
                continue;
            }
            let name = quoted(&port.name);
            let sentence = match port.kind.as_ref() {
                None => format!("its {what} {name} has no type; export it again"),
                Some(kind) if !is_whole(kind) => {
                    format!("its {what} {name} has a type that is not known; export it again")
                }
                Some(_) => continue,
            };
            let is_inferred = what == "output" && is_untyped(port);
            let list = if is_inferred { &mut report.warnings } else { &mut report.problems };
            list.add(sentence);
        }
    }
}

/// ONNX Runtime works out the type of an output that has none, not of one that has half of one.
fn is_untyped(port: &ValueInfo) -> bool {
    port.kind.as_ref().is_none_or(|kind| *kind == Kind::default())
}

/// Whether a type is told to its end. As deep as the decoder goes.
fn is_whole(kind: &Kind) -> bool {
    let inner = |of: Option<&Kind>| of.is_some_and(is_whole);
    if let Some(tensor) = kind.tensor.as_ref().or(kind.sparse.as_ref()) {
        return element::is_known(tensor.element);
    }
    if let Some(wrapped) = kind.sequence.as_ref().or(kind.optional.as_ref()) {
        return inner(wrapped.of.as_deref());
    }
    kind.map.as_ref().is_some_and(|map| element::is_known(map.key) && inner(map.value.as_deref()))
}
