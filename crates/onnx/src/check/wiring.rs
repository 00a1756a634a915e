//! Whether every value that is taken is made, once, and not of itself.

use std::collections::{HashMap, HashSet};

use crate::Network;
use crate::check::{Report, quoted};
use crate::proto::{Attribute, Graph, Node};

pub(super) fn check(network: &Network, report: &mut Report) {
    graph(&network.graph, None, report);
    for function in &network.model.functions {
        let inputs = function.input.iter().map(String::as_str);
        let outputs = function.output.iter().map(String::as_str);
        list(
            &List { nodes: &function.node, outputs: outputs.collect() },
            inputs.collect(),
            None,
            report,
        );
    }
}

/// The values that a list of nodes can take, within those of the lists around it.
struct Scope<'a> {
    /// What is there before the first node.
    given: HashSet<&'a str>,
    /// What the nodes make, and which one does, by its place.
    made: HashMap<&'a str, usize>,
    around: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    /// Whether the lists around this one have a value. Their own order is theirs.
    fn has_around(&self, name: &str) -> bool {
        let mut next = self.around;
        while let Some(scope) = next {
            if scope.given.contains(name) || scope.made.contains_key(name) {
                return true;
            }
            next = scope.around;
        }
        false
    }
}

struct List<'a> {
    nodes: &'a [Node],
    outputs: Vec<&'a str>,
}

/// As deep as the decoder goes.
fn graph(graph: &Graph, around: Option<&Scope<'_>>, report: &mut Report) {
    let given = graph.input.iter().map(|input| &*input.name).chain(graph.weights());
    let outputs = graph.output.iter().map(|output| &*output.name).collect();
    list(&List { nodes: &graph.node, outputs }, given.collect(), around, report);
}

fn list(of: &List<'_>, given: HashSet<&str>, around: Option<&Scope<'_>>, report: &mut Report) {
    let mut made = HashMap::new();
    for (place, node) in of.nodes.iter().enumerate() {
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            if given.contains(&**output) || made.insert(&**output, place).is_some() {
                let name = quoted(output);
                report.problems.add(format!("its value {name} is made twice; export it again"));
            }
        }
    }
    let scope = Scope { given, made, around };
    let mut is_unsorted = false;
    for (place, node) in of.nodes.iter().enumerate() {
        for input in taken(node) {
            if scope.given.contains(input) {
                continue;
            }
            match scope.made.get(input) {
                Some(maker) => is_unsorted |= *maker >= place,
                None if scope.has_around(input) => {}
                None => report.problems.add(format!(
                    "its node {} takes {}, which nothing makes; export it again",
                    label(node, place),
                    quoted(input)
                )),
            }
        }
        for inner in node.attribute.iter().flat_map(Attribute::all_graphs) {
            graph(inner, Some(&scope), report);
        }
    }
    for output in of.outputs.iter().filter(|output| !output.is_empty()) {
        let is_there = scope.given.contains(output) || scope.made.contains_key(output);
        if !is_there && !scope.has_around(output) {
            let name = quoted(output);
            report
                .problems
                .add(format!("its output {name} is one that nothing makes; export it again"));
        }
    }
    if is_unsorted {
        tell_order(of.nodes, &scope, report);
    }
}

fn taken(node: &Node) -> impl Iterator<Item = &str> {
    node.input.iter().map(String::as_str).filter(|input| !input.is_empty())
}

/// Nodes that stand before those whose values they take: a detour, or a circle.
fn tell_order(nodes: &[Node], scope: &Scope<'_>, report: &mut Report) {
    let makers = |node| taken(node).filter_map(|input| scope.made.get(input).copied());
    let mut waits: Vec<usize> = nodes.iter().map(|node| makers(node).count()).collect();
    let mut waiters: HashMap<usize, Vec<usize>> = HashMap::new();
    for (place, node) in nodes.iter().enumerate() {
        for maker in makers(node) {
            waiters.entry(maker).or_default().push(place);
        }
    }
    let mut ready: Vec<usize> = (0..nodes.len()).filter(|place| waits[*place] == 0).collect();
    while let Some(place) = ready.pop() {
        for waiter in waiters.remove(&place).unwrap_or_default() {
            waits[waiter] -= 1;
            if waits[waiter] == 0 {
                ready.push(waiter);
            }
        }
    }
    match waits.iter().position(|waits| *waits > 0) {
        Some(place) => report.problems.add(format!(
            "its node {} waits for its own answer, in a circle; export it again",
            label(&nodes[place], place)
        )),
        None => report.warnings.add(
            "it has nodes that stand before those whose values they take; ONNX Runtime sorts them, others may not"
                .to_owned(),
        ),
    }
}

/// A node in words: its operator, and its name or its place.
pub(crate) fn label(node: &Node, place: usize) -> String {
    let operator = quoted(&node.op_type);
    if node.name.is_empty() {
        format!("{operator} (number {place})")
    } else {
        format!("{operator} ({})", quoted(&node.name))
    }
}
