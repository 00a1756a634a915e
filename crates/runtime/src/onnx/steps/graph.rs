//! The small networks as graphs.

use ort::Error;
use ort::editor::{Graph, Model, Node, ONNX_DOMAIN, Opset};
use ort::environment::Environment;
use ort::operator::Attribute;
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::{Outlet, Shape, SymbolicDimensions, TensorElementType, ValueType};

/// The operators' version: the first in which all of them are as they are used here. Every library that is opened
/// has later ones.
const OPSET: u32 = 18;

/// Numbers of `TensorProto.DataType`.
const FLOAT: i64 = 1;
const UINT8: i64 = 2;
const FLOAT16: i64 = 10;
const DOUBLE: i64 = 11;

/// What a small network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Copy,
    Softmax,
    /// The so many largest, of equal ones the first, and their places.
    Top(usize),
    Winner,
    WinnerAndProbability,
}

/// A small network: what it does, and on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) dim: usize,
    pub(super) element: TensorElementType,
    pub(super) rank: usize,
    /// There is one class, which wins where it is above 0.
    pub(super) single: bool,
    /// There are few enough classes for a byte.
    pub(super) bytes: bool,
}

impl Step {
    pub(super) fn copy(element: TensorElementType, rank: usize) -> Self {
        Self { kind: Kind::Copy, dim: 0, element, rank, single: false, bytes: false }
    }

    /// What its session is told. It has nothing to share among threads.
    pub(super) fn builder(environment: &Environment) -> Result<SessionBuilder, Error> {
        Ok(Session::builder(environment)?.with_intra_threads(1)?.with_inter_threads(1)?)
    }

    /// The session: the results, and last, but for a copy, whether any number was none, as 0 or 1.
    pub(super) fn session(&self, builder: &SessionBuilder) -> Result<Session, Error> {
        let mut nodes = Nodes::default();
        let axis = i64::try_from(self.dim).map_err(Error::wrap)?;
        let (rank, less) = (self.rank, self.rank.saturating_sub(1));
        let mut outputs = match self.kind {
            Kind::Copy => {
                nodes.add("Identity", &["scores"], "copy", Vec::new())?;
                vec![("copy", self.element, rank)]
            }
            Kind::Softmax => {
                nodes.add("Softmax", &["scores"], "softmax", vec![whole("axis", axis)?])?;
                vec![("softmax", self.element, rank)]
            }
            Kind::Top(count) => {
                let count = i64::try_from(count).map_err(Error::wrap)?;
                nodes.list("count", count)?;
                let (inputs, outputs) = (["scores", "count"], ["largest", "places"]);
                let axis = [whole("axis", axis)?];
                nodes.0.push(Node::new("TopK", ONNX_DOMAIN, "top", inputs, outputs, axis)?);
                vec![("largest", self.element, rank), ("places", TensorElementType::Int64, rank)]
            }
            Kind::Winner => vec![("winner", self.winner(&mut nodes, axis)?, less)],
            Kind::WinnerAndProbability => {
                let winner = self.winner(&mut nodes, axis)?;
                self.probability(&mut nodes, axis)?;
                vec![("winner", winner, less), ("probability", TensorElementType::Float32, less)]
            }
        };
        if self.kind != Kind::Copy {
            nodes.add("IsNaN", &["scores"], "is_none", Vec::new())?;
            nodes.add("Cast", &["is_none"], "none", vec![whole("to", FLOAT)?])?;
            nodes.add("ReduceMax", &["none"], "odd", vec![whole("keepdims", 0)?])?;
            outputs.push(("odd", TensorElementType::Float32, 0));
        }
        let mut graph = Graph::new()?;
        graph.set_inputs([port("scores", self.element, rank)])?;
        graph
            .set_outputs(outputs.iter().map(|(name, element, rank)| port(name, *element, *rank)))?;
        for node in nodes.0 {
            graph.add_node(node)?;
        }
        let mut model = Model::new([Opset::new(ONNX_DOMAIN, OPSET)?])?;
        model.set_graph(graph)?;
        model.into_session(builder)
    }

    fn winner(&self, nodes: &mut Nodes, axis: i64) -> Result<TensorElementType, Error> {
        if self.single {
            nodes.add(
                "Constant",
                &[],
                "zero_single",
                vec![Attribute::new("value_float", 0_f32)?],
            )?;
            nodes.add("Cast", &["zero_single"], "zero", vec![whole("to", self.number())?])?;
            nodes.add("Greater", &["scores", "zero"], "yes", Vec::new())?;
            nodes.add("Cast", &["yes"], "yes_byte", vec![whole("to", UINT8)?])?;
            nodes.along("Squeeze", "yes_byte", "winner", axis)?;
            return Ok(TensorElementType::Uint8);
        }
        let name = if self.bytes { "place" } else { "winner" };
        nodes.add(
            "ArgMax",
            &["scores"],
            name,
            vec![whole("axis", axis)?, whole("keepdims", 0)?],
        )?;
        if !self.bytes {
            return Ok(TensorElementType::Int64);
        }
        nodes.add("Cast", &["place"], "winner", vec![whole("to", UINT8)?])?;
        Ok(TensorElementType::Uint8)
    }

    /// The softmax of the winner, which is the largest; of a single logit, the sigmoid of its distance from 0.
    fn probability(&self, nodes: &mut Nodes, axis: i64) -> Result<(), Error> {
        nodes.add("Cast", &["scores"], "single", vec![whole("to", FLOAT)?])?;
        if self.single {
            nodes.add("Abs", &["single"], "distance", Vec::new())?;
            nodes.add("Sigmoid", &["distance"], "sure", Vec::new())?;
        } else {
            nodes.add("Softmax", &["single"], "all", vec![whole("axis", axis)?])?;
            nodes.list("sure_axes", axis)?;
            nodes.add("ReduceMax", &["all", "sure_axes"], "sure", vec![whole("keepdims", 1)?])?;
        }
        nodes.along("Squeeze", "sure", "probability", axis)
    }

    fn number(&self) -> i64 {
        match self.element {
            TensorElementType::Float16 => FLOAT16,
            TensorElementType::Float64 => DOUBLE,
            _ => FLOAT,
        }
    }
}

/// Nodes, most with one output, after which they are called.
#[derive(Default)]
struct Nodes(Vec<Node>);

impl Nodes {
    fn add(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<Attribute>,
    ) -> Result<(), Error> {
        self.0.push(Node::new(operator, ONNX_DOMAIN, output, inputs, [output], attributes)?);
        Ok(())
    }

    /// A node whose second input is the dimension.
    fn along(&mut self, operator: &str, input: &str, output: &str, axis: i64) -> Result<(), Error> {
        let axes = format!("{output}_axes");
        self.list(&axes, axis)?;
        self.add(operator, &[input, &axes], output, Vec::new())
    }

    /// A list of one number.
    fn list(&mut self, name: &str, number: i64) -> Result<(), Error> {
        self.add("Constant", &[], name, vec![Attribute::new("value_ints", &[number][..])?])
    }
}

fn whole(name: &str, value: i64) -> Result<Attribute, Error> {
    Attribute::new(name, value)
}

fn port(name: &str, element: TensorElementType, rank: usize) -> Outlet {
    let kind = ValueType::Tensor {
        ty: element,
        shape: Shape::new(vec![-1; rank]),
        dimension_symbols: SymbolicDimensions::empty(rank),
    };
    Outlet::new(name, kind)
}
