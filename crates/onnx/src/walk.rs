//! Every part of a network: its graph, the graphs within nodes, and the functions of the file.

use crate::Network;
use crate::proto::{Attribute, Graph, Node, SparseTensor};
use crate::tensor::Tensor;

/// A list of nodes, and the graph that it is of; a function's have none.
#[derive(Clone, Copy)]
pub(crate) struct Body<'a> {
    pub(crate) nodes: &'a [Node],
    graph: Option<&'a Graph>,
}

impl<'a> Body<'a> {
    fn of(graph: &'a Graph) -> Self {
        Self { nodes: &graph.node, graph: Some(graph) }
    }

    /// The tensors that it holds itself: weights, and constants of its nodes.
    pub(crate) fn tensors(self) -> impl Iterator<Item = &'a Tensor> {
        let own = self.graph.into_iter().flat_map(|graph| {
            let sparse = graph.sparse_initializer.iter().flat_map(SparseTensor::parts);
            graph.initializer.iter().chain(sparse)
        });
        let attributes = self.nodes.iter().flat_map(|node| &node.attribute);
        own.chain(attributes.flat_map(Attribute::all_tensors))
    }
}

impl Network {
    /// The main graph's first.
    pub(crate) fn bodies(&self) -> Vec<Body<'_>> {
        let functions = self.model.functions.iter();
        let mut found = vec![Body::of(&self.graph)];
        found.extend(functions.map(|function| Body { nodes: &function.node, graph: None }));
        let mut next = 0;
        while let Some(body) = found.get(next).copied() {
            let attributes = body.nodes.iter().flat_map(|node| &node.attribute);
            found.extend(attributes.flat_map(Attribute::all_graphs).map(Body::of));
            next += 1;
        }
        found
    }
}
