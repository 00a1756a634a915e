//! Networks with one thing wrong. Each was put to ONNX Runtime 1.28, which refuses what is a problem here and takes
//! what is a warning.

use prost::Message;

use crate::proto::{
    Attribute, Function, Graph, Kind, Model, Node, OperatorSet, TensorKind, ValueInfo,
};
use crate::tensor::{Listed, Pair, Tensor};
use crate::{Findings, Network};

fn port(name: &str) -> ValueInfo {
    let tensor = Some(TensorKind { element: 1, shape: None });
    ValueInfo { name: name.into(), kind: Some(Kind { tensor, ..Kind::default() }) }
}

fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Node {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Node {
        op_type: operator.into(),
        input: names(inputs),
        output: names(outputs),
        ..Node::default()
    }
}

fn weight(bytes: u64) -> Tensor {
    Tensor {
        name: "w".into(),
        dims: vec![2, 3],
        data_type: 1,
        raw: Some(bytes),
        ..Tensor::default()
    }
}

fn set(domain: &str, version: i64) -> OperatorSet {
    OperatorSet { domain: domain.into(), version }
}

/// y = |x + w|
fn sound() -> Network {
    let graph = Graph {
        node: vec![node("Add", &["x", "w"], &["sum"]), node("Abs", &["sum"], &["y"])],
        input: vec![port("x")],
        output: vec![port("y")],
        initializer: vec![weight(24)],
        ..Graph::default()
    };
    let model = Model { ir_version: Some(10), opset_import: vec![set("", 20)], ..Model::default() };
    Network { model, graph, strays: 0 }
}

/// What is found once one thing is changed.
fn found(change: impl FnOnce(&mut Network)) -> Findings {
    let mut network = sound();
    change(&mut network);
    network.check(&|_| None)
}

#[track_caller]
fn is_problem(says: &str, change: impl FnOnce(&mut Network)) {
    let findings = found(change);
    let [problem] = &*findings.problems else { panic!("{findings:?}, not {says}") };
    assert!(problem.contains(says), "{problem}, not {says}");
}

#[track_caller]
fn is_warning(says: &str, change: impl FnOnce(&mut Network)) {
    let findings = found(change);
    assert_eq!(findings.problems, Vec::<String>::new());
    let [warning] = &*findings.warnings else { panic!("{findings:?}, not {says}") };
    assert!(warning.contains(says), "{warning}, not {says}");
}

#[test]
fn a_sound_network_has_nothing_wrong() {
    assert_eq!(found(|_| {}), Findings::default());
}

#[test]
fn versions_that_the_runtime_does_not_have_are_problems() {
    is_problem("no version of its form", |n| n.model.ir_version = None);
    is_problem("version 14 (ir_version)", |n| n.model.ir_version = Some(14));
    is_problem("no version of its operators", |n| n.model.opset_import.clear());
    is_problem("\"ai.onnx\" are of version 27", |n| n.model.opset_import = vec![set("", 27)]);
    is_problem("\"ai.onnx\" are of version 0", |n| n.model.opset_import = vec![set("", 0)]);
    for (domain, newest) in [("ai.onnx", 26), ("ai.onnx.ml", 5), ("com.microsoft", 1)] {
        let import = |version| {
            move |n: &mut Network| n.model.opset_import = vec![set("", 26), set(domain, version)]
        };
        assert_eq!(found(import(newest)), Findings::default());
        is_problem(&format!("has 1 to {newest}"), import(newest + 1));
    }
    is_problem("version 14", |n| n.model.ir_version = Some(14));
}

#[test]
fn operators_that_nobody_knows_are_problems() {
    let custom = |n: &mut Network| n.graph.node[1].domain = "my.own".into();
    is_problem("\"Abs\" is one of \"my.own\", which needs a library of custom operators", custom);
    let function = || Function {
        domain: "my.own".into(),
        name: "Abs".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![node("Relu", &["a"], &["b"])],
        opset_import: vec![set("", 20)],
    };
    let own = |n: &mut Network| {
        custom(n);
        n.model.functions.push(function());
        n.model.opset_import.push(set("my.own", 1));
    };
    assert_eq!(found(own), Findings::default(), "the file brings it along");
    is_problem("an operator \"Abs\" of \"my.own\", and states no version", |n| {
        own(n);
        n.model.opset_import.pop();
    });
    is_problem("takes \"nothing\", which nothing makes", |n| {
        own(n);
        n.model.functions[0].node[0].input[0] = "nothing".into();
    });
    is_warning("\"Abs\" of \"com.microsoft\"", |n| n.graph.node[1].domain = "com.microsoft".into());
}

#[test]
fn values_are_made_once_and_before_they_are_taken() {
    is_problem("\"Add\" (number 0) takes \"v\", which nothing makes", |n| {
        n.graph.node[0].input[1] = "v".into();
    });
    is_problem("its value \"sum\" is made twice", |n| {
        n.graph.node.push(node("Abs", &["x"], &["sum"]));
    });
    is_problem("its value \"w\" is made twice", |n| {
        n.graph.node.push(node("Abs", &["x"], &["w"]));
    });
    is_problem("its output \"z\" is one that nothing makes", |n| {
        n.graph.output[0].name = "z".into();
    });
    is_problem("\"Add\" (\"first\") waits for its own answer", |n| {
        n.graph.node[0].name = "first".into();
        n.graph.node[0].input[1] = "y".into();
    });
    is_warning("before those whose values they take", |n| n.graph.node.reverse());
    is_warning("has two weights \"w\"", |n| n.graph.initializer.push(weight(24)));
    assert_eq!(found(|n| n.graph.output[0].name = "x".into()), Findings::default());
    let left_out = |n: &mut Network| n.graph.node[0].input.push(String::new());
    assert_eq!(found(left_out), Findings::default(), "an input that may be left out");
}

#[test]
fn graphs_within_nodes_take_from_those_around_them() {
    let inner = |taken: &str| {
        let taken = taken.to_owned();
        move |n: &mut Network| {
            let branch = Graph {
                node: vec![node("Abs", &[&taken], &["inner"])],
                output: vec![port("inner")],
                ..Graph::default()
            };
            let attribute = Attribute { g: Some(branch), ..Attribute::default() };
            n.graph.node[1].attribute.push(attribute);
        }
    };
    assert_eq!(found(inner("x")), Findings::default());
    assert_eq!(found(inner("y")), Findings::default(), "made later, which is no matter");
    is_problem("takes \"v\", which nothing makes", inner("v"));
    is_problem("is one of \"my.own\"", |n| {
        inner("x")(n);
        n.graph.node[1].attribute[0].g.as_mut().unwrap().node[0].domain = "my.own".into();
    });
}

#[test]
fn inputs_and_outputs_have_names_and_types() {
    is_problem("has no outputs", |n| n.graph.output.clear());
    is_problem("has two inputs \"x\"", |n| n.graph.input.push(port("x")));
    is_problem("an input without a name", |n| n.graph.input.push(port("")));
    is_problem("its input \"x\" has no type", |n| n.graph.input[0].kind = None);
    is_problem("its input \"x\" has a type that is not known", |n| {
        n.graph.input[0].kind.as_mut().unwrap().tensor.as_mut().unwrap().element = 0;
    });
    is_problem("its output \"y\" has a type that is not known", |n| {
        n.graph.output[0].kind.as_mut().unwrap().tensor.as_mut().unwrap().element = 99;
    });
    is_warning("its output \"y\" has no type", |n| n.graph.output[0].kind = None);
}

#[test]
fn weights_are_as_long_as_their_shapes_say() {
    let set = |bytes| move |n: &mut Network| n.graph.initializer[0] = weight(bytes);
    is_problem("it takes 24 bytes by its shape, and there are 20", set(20));
    is_problem("it takes 24 bytes by its shape, and there are 28", set(28));
    is_problem("a side below zero", |n| n.graph.initializer[0].dims = vec![-2]);
    is_problem("more values than can be counted", |n| {
        n.graph.initializer[0].dims = vec![i64::MAX, i64::MAX];
    });
    is_problem("larger than any memory", |n| n.graph.initializer[0].dims = vec![i64::MAX]);
    is_problem("type has the number 0", |n| n.graph.initializer[0].data_type = 0);
    let listed = |data_type, dims: Vec<i64>, listed: Listed| {
        move |n: &mut Network| {
            n.graph.initializer[0] = Tensor { data_type, dims, listed, raw: None, ..weight(0) };
        }
    };
    for (data_type, counts) in [
        (1, Listed { floats: 5, ..Listed::default() }),
        (14, Listed { floats: 10, ..Listed::default() }),
        (11, Listed { doubles: 5, ..Listed::default() }),
        (7, Listed { int64s: 5, ..Listed::default() }),
        (12, Listed { uint64s: 5, ..Listed::default() }),
        (8, Listed { strings: 5, ..Listed::default() }),
        (10, Listed { int32s: 5, ..Listed::default() }),
        (22, Listed { int32s: 3, ..Listed::default() }),
        (26, Listed { int32s: 2, ..Listed::default() }),
    ] {
        assert_eq!(found(listed(data_type, vec![5], counts)), Findings::default(), "{data_type}");
        is_problem("values by its shape, and there are", listed(data_type, vec![50], counts));
    }
    assert_eq!(found(listed(1, vec![0, 7], Listed::default())), Findings::default());
}

#[test]
fn weights_elsewhere_stay_in_the_folder_and_the_file() {
    let elsewhere = |pairs: &'static [(&'static str, &'static str)]| {
        move |n: &mut Network| {
            let pair =
                |(key, value): &(&str, &str)| Pair { key: (*key).into(), value: (*value).into() };
            let external = pairs.iter().map(pair).collect();
            n.graph.initializer[0] = Tensor { external, location: 1, raw: None, ..weight(0) };
        }
    };
    is_problem("names no file", elsewhere(&[]));
    is_problem(
        "\"w.bin\", with weights such as \"w\", is missing",
        elsewhere(&[("location", "w.bin")]),
    );
    is_problem("leads out of the network's folder", elsewhere(&[("location", "/etc/passwd")]));
    is_problem("leads out of the network's folder", elsewhere(&[("location", "a/../../w")]));
    is_problem("its offset is no number", elsewhere(&[("location", "w"), ("offset", "-1")]));
    is_problem(
        "it takes 24 bytes, and 20 are set aside",
        elsewhere(&[("location", "w"), ("length", "20")]),
    );
    is_problem(
        "lies beyond any file",
        elsewhere(&[("location", "w"), ("offset", "18446744073709551615")]),
    );
    let mut network = sound();
    elsewhere(&[("location", "./w.bin"), ("offset", "4096"), ("length", "24")])(&mut network);
    let with =
        |size| network.check_weights(&move |name| (name == "w.bin").then_some(size)).problems;
    assert_eq!(with(4120), Vec::<String>::new());
    assert!(with(4119)[0].contains("it has 4119 of 4120 bytes"), "{:?}", with(4119));
}

#[test]
fn many_problems_are_not_all_told_and_long_names_not_in_full() {
    let findings = found(|n| {
        n.graph.node.extend((0..100).map(|_| node("Abs", &["v".repeat(1000).as_str()], &[""])));
    });
    assert_eq!(findings.problems.len(), 21);
    assert_eq!(findings.problems[20], "and 80 more of that kind");
    assert!(findings.problems[0].len() < 200);
}

#[test]
fn the_numbers_of_a_weight_are_counted_and_not_kept() {
    // By hand, from `onnx.proto`: 4 floats, 5 int32s and 7 int64s, packed and not; 6 strings, 10 doubles, 11 uint64s.
    let bytes = [
        &[4 << 3 | 2, 8, 0, 0, 0, 0, 1, 1, 1, 1, 4 << 3 | 5, 0, 0, 0, 0][..],
        &[5 << 3 | 2, 3, 0x80, 1, 5, 5 << 3, 9],
        &[6 << 3 | 2, 1, b'a', 6 << 3 | 2, 0],
        &[7 << 3 | 2, 2, 1, 2, 7 << 3, 0xff, 1],
        &[10 << 3 | 2, 8, 0, 0, 0, 0, 0, 0, 0, 0, 10 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0],
        &[11 << 3 | 2, 1, 1],
        &[9 << 3 | 2, 3, 1, 2, 3],
    ]
    .concat();
    let tensor = Tensor::decode(&*bytes).unwrap();
    let counts = Listed { floats: 3, int32s: 3, strings: 2, int64s: 3, doubles: 2, uint64s: 1 };
    assert_eq!((tensor.listed, tensor.raw), (counts, Some(3)));
    for length in 1..bytes.len() {
        drop(Tensor::decode(&bytes[..length]));
    }
    assert!(Tensor::decode(&[9 << 3 | 2, 4, 1, 2, 3][..]).is_err());
}
