//! Graphs as DOT: every line is a statement, and every edge is between things that are there.

use std::collections::HashSet;

use super::{open, small};
use crate::Network;
use crate::proto::Node;

/// The statements of a drawing: what is there, and what goes from where to where.
fn parsed(dot: &str) -> (HashSet<String>, Vec<(String, String)>) {
    let mut lines = dot.lines();
    assert_eq!(lines.next(), Some("digraph network {"));
    assert_eq!(lines.next_back(), Some("}"));
    let (mut things, mut edges) = (HashSet::new(), Vec::new());
    for line in lines.skip(2) {
        let (statement, attributes) = line.trim().split_once(" [").unwrap();
        assert!(is_attributes(attributes), "{line}");
        match statement.split_once(" -> ") {
            Some((from, to)) => edges.push((from.to_owned(), to.to_owned())),
            None => assert!(things.insert(statement.to_owned()), "{line}"),
        }
    }
    (things, edges)
}

/// Whether quotes come in pairs and the list ends outside of them.
fn is_attributes(text: &str) -> bool {
    let Some(text) = text.strip_suffix("];") else { return false };
    let (mut is_quoted, mut characters) = (false, text.chars());
    while let Some(character) = characters.next() {
        match character {
            '\\' if is_quoted => assert!(matches!(characters.next(), Some('"' | '\\' | 'n'))),
            '"' => is_quoted = !is_quoted,
            other => assert!(is_quoted || other.is_ascii_graphic() || other == ' '),
        }
    }
    !is_quoted
}

#[test]
fn edges_go_from_what_makes_a_value_to_what_takes_it() {
    for file in small() {
        let network = Network::open(&file).unwrap();
        let (things, edges) = parsed(&network.dot());
        let about = network.about();
        let expected = about.inputs.len() + network.graph.node.len() + about.outputs.len();
        assert_eq!(things.len(), expected, "{}", file.display());
        for (from, to) in edges {
            assert!(things.contains(&from) && things.contains(&to), "{from} {to}");
        }
    }
    let (_, edges) = parsed(&open("zipmap.onnx").dot());
    let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(
        edges,
        [
            edge("input0", "node0"),
            edge("node0", "node1"),
            edge("node0", "output0"),
            edge("node1", "output1")
        ]
    );
}

#[test]
fn weights_and_graphs_within_are_told_by_their_number() {
    let dot = open("busy.onnx").dot();
    assert!(dot.contains("\"Loop\\n1 weight\\nbody: a graph of 2 nodes\""), "{dot}");
    assert!(open("segmenter.onnx").dot().contains("\"Conv\\n2 weights\""));
}

#[test]
fn what_a_graph_within_takes_from_around_it_is_an_edge() {
    let mut network = open("busy.onnx");
    let body = network.graph.node[1].attribute[0].g.as_mut().unwrap();
    body.node.push(Node { input: vec!["rounds".into()], ..Node::default() });
    assert!(
        network
            .dot()
            .contains("input0 -> node1 [label=\"rounds\\nINT64 [batch, 1]\", style=dashed]")
    );
}

#[test]
fn names_do_not_end_the_quotes() {
    let mut network = open("scalar.onnx");
    let name = "a\"];\nb\\\u{1b}[31m".to_owned() + &"c".repeat(100);
    network.graph.node[0].name.clone_from(&name);
    network.graph.output[0].name.clone_from(&name);
    network.graph.node[0].output[0] = name;
    let dot = network.dot();
    let (things, edges) = parsed(&dot);
    assert_eq!((things.len(), edges.len()), (3, 2), "{dot}");
    assert!(!dot.contains('\u{1b}') && !dot.contains(&"c".repeat(61)), "{dot}");
}
