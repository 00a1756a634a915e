//! Versions of the file's form and of the operators, and whose operators they are.

use std::collections::{HashMap, HashSet};

use crate::Network;
use crate::about::domain;
use crate::check::{Report, quoted};
use crate::proto::{Attribute, Node, OperatorSet};

/// The ONNX Runtime whose versions these are: the one that `scripts/setup` fetches.
const RUNTIME: &str = "ONNX Runtime 1.28";
/// The newest form of file that it reads, and the oldest that ONNX has.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 1..=13;

/// The domains whose operators it has, with the newest version where that is numbered. The last ones have their
/// operators made by itself, when it optimises.
const DOMAINS: [(&str, i64); 8] = [
    ("ai.onnx", 26),
    ("ai.onnx.ml", 5),
    ("ai.onnx.training", 1),
    ("ai.onnx.preview", 1),
    ("ai.onnx.preview.training", 1),
    ("com.microsoft", 1),
    ("com.microsoft.nchwc", 1),
    ("com.ms.internal.nhwc", i64::MAX),
];

/// Other domains that it knows without being told, and whose versions it does not look at.
const OTHERS: [&str; 3] = ["com.microsoft.experimental", "com.microsoft.dml", "org.pytorch.aten"];

pub(super) fn check(network: &Network, report: &mut Report) {
    let model = &network.model;
    match model.ir_version {
        None => report.problems.add(
            "it states no version of its form (ir_version); export it again".to_owned(),
        ),
        Some(version) if !IR_VERSIONS.contains(&version) => report.problems.add(format!(
            "its form is of version {version} (ir_version), and {RUNTIME} reads {} to {}; export it for an older one",
            IR_VERSIONS.start(),
            IR_VERSIONS.end()
        )),
        Some(_) => {}
    }
    if model.opset_import.is_empty() {
        report.problems.add(
            "it states no version of its operators (opset_import); it may be cut off, copy or export it again".to_owned(),
        );
        return;
    }
    for set in &model.opset_import {
        let name = domain(&set.domain);
        let newest = DOMAINS.iter().find(|(known, _)| *known == name).map(|(_, newest)| *newest);
        if set.version < 1 || newest.is_some_and(|newest| set.version > newest) {
            let newest = newest.unwrap_or(i64::MAX);
            report.problems.add(format!(
                "its operators of {} are of version {}, and {RUNTIME} has 1 to {newest}; export it with opset {newest}",
                quoted(name),
                set.version,
            ));
        }
    }
    owners(network, report);
}

/// Whether every node's operator is of a domain that is imported, and known.
fn owners(network: &Network, report: &mut Report) {
    let own: HashSet<(&str, &str)> = network
        .model
        .functions
        .iter()
        .map(|function| (domain(&function.domain), &*function.name))
        .collect();
    let mut strangers = Strangers { own, unknown: HashMap::new(), unimported: HashMap::new() };
    strangers.look(&network.graph.node, &network.model.opset_import);
    for function in &network.model.functions {
        strangers.look(&function.node, &function.opset_import);
    }
    let mut unknown: Vec<_> = strangers.unknown.into_iter().collect();
    unknown.sort_unstable();
    for (name, operator) in unknown {
        report.problems.add(format!(
            "its operator {} is one of {}, which needs a library of custom operators, and none is loaded here",
            quoted(operator),
            quoted(name)
        ));
    }
    let mut unimported: Vec<_> = strangers.unimported.into_iter().collect();
    unimported.sort_unstable();
    for (name, operator) in unimported {
        let sentence = format!(
            "it has an operator {} of {}, and states no version of that (opset_import); export it again",
            quoted(operator),
            quoted(name)
        );
        // ONNX Runtime takes its own newest for those that it has.
        let list = if is_known(name) { &mut report.warnings } else { &mut report.problems };
        list.add(sentence);
    }
}

struct Strangers<'a> {
    /// The operators that are functions of the file.
    own: HashSet<(&'a str, &'a str)>,
    /// An operator of each domain that nobody knows.
    unknown: HashMap<&'a str, &'a str>,
    unimported: HashMap<&'a str, &'a str>,
}

impl<'a> Strangers<'a> {
    fn look(&mut self, nodes: &'a [Node], imported: &[OperatorSet]) {
        let imported: HashSet<&str> = imported.iter().map(|set| domain(&set.domain)).collect();
        let mut left = vec![nodes];
        while let Some(nodes) = left.pop() {
            for node in nodes {
                let name = domain(&node.domain);
                let operator = &*node.op_type;
                if !is_known(name) && !self.own.contains(&(name, operator)) {
                    self.unknown.entry(name).or_insert(operator);
                } else if !imported.contains(name) {
                    self.unimported.entry(name).or_insert(operator);
                }
                let graphs = node.attribute.iter().flat_map(Attribute::all_graphs);
                left.extend(graphs.map(|graph| &*graph.node));
            }
        }
    }
}

fn is_known(name: &str) -> bool {
    OTHERS.contains(&name) || DOMAINS.iter().any(|(known, _)| *known == name)
}
