//! A network's graph as DOT, which Graphviz draws.
//!
//! Weights are no nodes of the picture: each operator says how many it takes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write;

use crate::Network;
use crate::about::domain;
use crate::port::{Port, words};
use crate::proto::{Attribute, Graph, Node};

/// The most characters of a name that are drawn.
const MAX_DRAWN: usize = 60;

impl Network {
    /// The graph in the DOT language: inputs, operators and outputs, and the tensors between them with their types
    /// where the file tells. Graphs within nodes are not drawn, only how large they are and what they take.
    pub fn dot(&self) -> String {
        let drawing = Drawing::new(&self.graph);
        let mut text = "digraph network {\n  rankdir=TB;\n  node [shape=box];\n".to_owned();
        // Writing to a string does not fail.
        drawing.write(&self.graph, &mut text).unwrap_or_default();
        text.push_str("}\n");
        text
    }
}

struct Drawing<'a> {
    weights: HashSet<&'a str>,
    /// What makes a value, by the drawing's own name for it.
    makers: HashMap<&'a str, String>,
    types: HashMap<&'a str, String>,
}

impl<'a> Drawing<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut makers = HashMap::new();
        for (place, input) in graph.true_inputs().enumerate() {
            makers.insert(&*input.name, format!("input{place}"));
        }
        for (place, node) in graph.node.iter().enumerate() {
            for output in node.output.iter().filter(|output| !output.is_empty()) {
                makers.insert(&**output, format!("node{place}"));
            }
        }
        let told = graph.value_info.iter().chain(&graph.input).chain(&graph.output);
        let types =
            told.filter_map(|value| Some((&*value.name, words(value.kind.as_ref()?)))).collect();
        Self { weights: graph.weights().collect(), makers, types }
    }

    fn write(&self, graph: &'a Graph, text: &mut String) -> std::fmt::Result {
        for (place, input) in graph.true_inputs().enumerate() {
            let label = port_label(&Port::of(input));
            writeln!(text, "  input{place} [shape=ellipse, label={label}];")?;
        }
        for (place, node) in graph.node.iter().enumerate() {
            writeln!(text, "  node{place} [label={}];", self.node_label(node))?;
        }
        for (place, output) in graph.output.iter().enumerate() {
            let label = port_label(&Port::of(output));
            writeln!(text, "  output{place} [shape=ellipse, label={label}];")?;
        }
        for (place, node) in graph.node.iter().enumerate() {
            for input in node.input.iter().filter(|input| !input.is_empty()) {
                self.edge(input, &format!("node{place}"), "", text)?;
            }
            for input in captured(node) {
                self.edge(input, &format!("node{place}"), ", style=dashed", text)?;
            }
        }
        for (place, output) in graph.output.iter().enumerate() {
            self.edge(&output.name, &format!("output{place}"), "", text)?;
        }
        Ok(())
    }

    fn edge(&self, value: &str, to: &str, style: &str, text: &mut String) -> std::fmt::Result {
        // A weight, or what nothing makes.
        let Some(from) = self.makers.get(value) else { return Ok(()) };
        let kind = self.types.get(value).map(|kind| format!("\n{kind}")).unwrap_or_default();
        let label = quoted(&format!("{}{kind}", shortened(value)));
        writeln!(text, "  {from} -> {to} [label={label}{style}];")
    }

    fn node_label(&self, node: &Node) -> String {
        let mut lines = vec![match domain(&node.domain) {
            "ai.onnx" => node.op_type.clone(),
            domain => format!("{domain}::{}", node.op_type),
        }];
        if !node.name.is_empty() {
            lines.push(shortened(&node.name));
        }
        match node.input.iter().filter(|input| self.weights.contains(&***input)).count() {
            0 => {}
            1 => lines.push("1 weight".to_owned()),
            count => lines.push(format!("{count} weights")),
        }
        for attribute in &node.attribute {
            for graph in attribute.all_graphs() {
                let (name, count) = (shortened(&attribute.name), graph.node.len());
                lines.push(format!("{name}: a graph of {count} nodes"));
            }
        }
        quoted(&lines.join("\n"))
    }
}

fn port_label(port: &Port) -> String {
    quoted(&format!("{}\n{}", shortened(&port.name), port.kind))
}

/// What the graphs within a node take from those around it: all that they neither make nor have themselves.
fn captured(node: &Node) -> BTreeSet<&str> {
    let mut left: Vec<&Graph> = node.attribute.iter().flat_map(Attribute::all_graphs).collect();
    let (mut taken, mut own) = (BTreeSet::new(), HashSet::new());
    while let Some(graph) = left.pop() {
        own.extend(graph.weights().chain(graph.input.iter().map(|input| &*input.name)));
        taken.extend(graph.output.iter().map(|output| &*output.name));
        for node in &graph.node {
            taken.extend(node.input.iter().map(String::as_str));
            own.extend(node.output.iter().map(String::as_str));
            left.extend(node.attribute.iter().flat_map(Attribute::all_graphs));
        }
    }
    taken.retain(|name| !name.is_empty() && !own.contains(name));
    taken
}

fn shortened(name: &str) -> String {
    if name.chars().nth(MAX_DRAWN).is_none() {
        return name.to_owned();
    }
    name.chars().take(MAX_DRAWN).chain("...".chars()).collect()
}

/// A string of the DOT language. `\n` between lines is its own; other control characters do not go into a file that
/// is written for people.
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            control if control.is_control() => quoted.push('\u{fffd}'),
            character => quoted.push(character),
        }
    }
    quoted + "\""
}
