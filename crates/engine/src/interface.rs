//! What a version's network takes and gives, from all who know something of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use mar_handler::{DType, Error, Handler, Model, Result, Side, Signature, TensorSpec};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::fixed::FixedBatch;
use crate::infer::Interface;
use crate::network::Network;

/// `signature:` in `model-config.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    #[serde(default)]
    inputs: Option<Vec<DeclaredTensor>>,
    #[serde(default)]
    outputs: Option<Vec<DeclaredTensor>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclaredTensor {
    name: String,
    #[serde(default)]
    datatype: Option<String>,
    #[serde(default)]
    shape: Option<Vec<i64>>,
}

impl Interface {
    /// That of an archive: what is known of its network, else what its handler knows.
    pub(crate) fn of_archive(known: Signature, handler: &dyn Handler) -> Self {
        let signature = filled(known, handler.signature());
        if !handler.stacks() {
            return Self { signature, ..Self::default() };
        }
        let fixed = FixedBatch::of(&signature);
        Self { batched: fixed.is_none(), signature, max_rows: None, fixed }
    }

    /// The network as a handler runs it.
    pub(crate) fn fit(&self, model: Arc<dyn Model>) -> Arc<dyn Model> {
        match &self.fixed {
            Some(fixed) => fixed.fit(model),
            None => model,
        }
    }

    /// That of a network without an archive: what is declared of it, else what its file says.
    pub(crate) fn of_network(network: &Network, file: Signature) -> Result<Self> {
        let most = network.max_batch_size;
        let batched = most > 0;
        let inputs = file.inputs.as_deref().unwrap_or_default();
        let first = |input: &TensorSpec| input.shape.as_ref()?.first().copied().flatten();
        let fixed = inputs.iter().find_map(|input| Some((input, first(input)?)));
        if let (true, Some((input, side))) = (batched, fixed) {
            return Err(Error::invalid_model(format!(
                "max_batch_size is {most}, and the network fixes the first side of input \"{}\" to {side}; set max_batch_size to 0 and write all sides",
                input.name
            )));
        }
        let mut signature = over(network.signature.clone(), file)?;
        if batched {
            for spec in
                [&mut signature.inputs, &mut signature.outputs].into_iter().flatten().flatten()
            {
                if let Some(first) = spec.shape.as_mut().and_then(|shape| shape.first_mut()) {
                    *first = None;
                }
            }
        }
        Ok(Self { signature, batched, max_rows: batched.then_some(most), fixed: None })
    }
}

/// What is known of an archive's network without its handler: what `model-config.yaml` declares, else what the
/// weights' file says.
pub(crate) fn known(settings: &Map<String, Value>, file: Signature) -> Result<Signature> {
    let first = |spec: &TensorSpec| spec.shape.as_ref()?.first().copied().flatten();
    let fixed: Vec<Side> = file.inputs.iter().flatten().map(first).collect();
    let mut known = over(declared(settings)?, file)?;
    // A batch of one size stays that, whoever declares it to be free. Both are in the file's order.
    for (spec, fixed) in known.inputs.iter_mut().flatten().zip(fixed) {
        if let Some([side @ None, ..]) = spec.shape.as_deref_mut() {
            *side = fixed;
        }
    }
    Ok(known)
}

/// What `model-config.yaml` declares.
fn declared(settings: &Map<String, Value>) -> Result<Signature> {
    let section = match settings.get("signature") {
        None | Some(Value::Null) => return Ok(Signature::default()),
        Some(section) => section.clone(),
    };
    let Declared { inputs, outputs } =
        serde_json::from_value(section).map_err(|error| wrong(&error))?;
    let specs = |tensors: Option<Vec<DeclaredTensor>>| {
        tensors.map(|tensors| tensors.into_iter().map(DeclaredTensor::spec).collect()).transpose()
    };
    let signature = Signature { inputs: specs(inputs)?, outputs: specs(outputs)? };
    for (key, specs) in [("inputs", &signature.inputs), ("outputs", &signature.outputs)] {
        let mut names = BTreeSet::new();
        for spec in specs.iter().flatten() {
            if !names.insert(spec.name.as_str()) {
                return Err(wrong(&format_args!("{key}: \"{}\" stands twice", spec.name)));
            }
        }
        if specs.as_ref().is_some_and(Vec::is_empty) {
            return Err(wrong(&format_args!("{key} is empty; leave it out, or name each")));
        }
    }
    Ok(signature)
}

impl DeclaredTensor {
    fn spec(self) -> Result<TensorSpec> {
        let Self { name, datatype, shape } = self;
        if name.is_empty() {
            return Err(wrong(&"a name is empty"));
        }
        let dtype = datatype.map(|word| {
            DType::by_datatype(&word).ok_or_else(|| {
                let known = DType::ALL.map(DType::datatype).join(", ");
                wrong(&format_args!("\"{name}\" has no datatype \"{word}\"; known: {known}"))
            })
        });
        let side = |side: i64| match side {
            -1 => Ok(None),
            _ => usize::try_from(side).map(Some).map_err(|_| {
                wrong(&format_args!(
                    "\"{name}\" has a side of {side}; write -1 for one that is free"
                ))
            }),
        };
        let shape: Option<Result<Vec<Side>>> =
            shape.map(|shape| shape.into_iter().map(side).collect());
        let (dtype, shape) = (dtype.transpose()?, shape.transpose()?);
        Ok(TensorSpec { name, dtype, shape })
    }
}

/// What is declared goes before what the file says, which says the rest.
fn over(declared: Signature, file: Signature) -> Result<Signature> {
    Ok(Signature {
        inputs: laid(declared.inputs, file.inputs, "input")?,
        outputs: laid(declared.outputs, file.outputs, "output")?,
    })
}

/// Tensors that have the file's names are in the file's order; others are in that of their declaration.
fn laid(
    declared: Option<Vec<TensorSpec>>,
    file: Option<Vec<TensorSpec>>,
    what: &str,
) -> Result<Option<Vec<TensorSpec>>> {
    let (mut declared, file) = match (declared, file) {
        (Some(declared), Some(file)) => (declared, file),
        (declared, file) => return Ok(declared.or(file)),
    };
    let knows = |spec: &TensorSpec| file.iter().any(|known| known.name == spec.name);
    if declared.iter().all(knows) {
        let own = |known: TensorSpec| {
            let place = declared.iter().position(|spec| spec.name == known.name);
            match place {
                Some(place) => joined(declared.swap_remove(place), known, what),
                None => Ok(known),
            }
        };
        return file.into_iter().map(own).collect::<Result<_>>().map(Some);
    }
    if declared.len() != file.len() {
        let names = |specs: &[TensorSpec]| {
            specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        return Err(Error::invalid_model(format!(
            "{} {what}s are declared ({}), and the network has {} ({})",
            declared.len(),
            names(&declared),
            file.len(),
            names(&file)
        )));
    }
    let pairs = declared.into_iter().zip(file);
    pairs.map(|(spec, known)| joined(spec, known, what)).collect::<Result<_>>().map(Some)
}

fn joined(declared: TensorSpec, file: TensorSpec, what: &str) -> Result<TensorSpec> {
    if let (Some(declared_type), Some(known)) = (declared.dtype, file.dtype)
        && declared_type != known
    {
        return Err(Error::invalid_model(format!(
            "{what} \"{}\" is declared {}, and the network has {}",
            declared.name,
            declared_type.datatype(),
            known.datatype()
        )));
    }
    Ok(TensorSpec {
        name: declared.name,
        dtype: declared.dtype.or(file.dtype),
        shape: declared.shape.or(file.shape),
    })
}

/// What nobody has said yet, a handler says, where it speaks of as many tensors.
fn filled(signature: Signature, handler: Signature) -> Signature {
    let fill = |known: Option<Vec<TensorSpec>>, more: Option<Vec<TensorSpec>>| match (known, more) {
        (Some(mut known), Some(more)) => {
            if known.len() == more.len() {
                for (known, more) in known.iter_mut().zip(more) {
                    known.dtype = known.dtype.or(more.dtype);
                    known.shape = known.shape.take().or(more.shape);
                }
            }
            Some(known)
        }
        (known, more) => known.or(more),
    };
    Signature {
        inputs: fill(signature.inputs, handler.inputs),
        outputs: fill(signature.outputs, handler.outputs),
    }
}

fn wrong(what: &dyn std::fmt::Display) -> Error {
    Error::invalid_model(format!("signature in model-config.yaml: {what}"))
}

#[cfg(test)]
mod tests {
    use mar_handler::{Context, Request, Response, Tensor};
    use serde_json::json;

    use super::*;

    /// A handler that knows this of its network.
    struct Knows(Signature, bool);

    impl Handler for Knows {
        fn initialize(_: &Context) -> Result<Self> {
            Ok(Self(Signature::default(), true))
        }

        fn preprocess(&self, _: &Request) -> Result<Vec<Tensor>> {
            Ok(Vec::new())
        }

        fn postprocess(&self, _: Vec<Tensor>, _: &Request) -> Result<Response> {
            Ok(Response::bytes("", ""))
        }

        fn signature(&self) -> Signature {
            self.0.clone()
        }

        fn stacks(&self) -> bool {
            self.1
        }
    }

    fn spec(name: &str, dtype: Option<DType>, shape: Option<&[Side]>) -> TensorSpec {
        TensorSpec { name: name.into(), dtype, shape: shape.map(<[Side]>::to_vec) }
    }

    fn of(inputs: Vec<TensorSpec>, outputs: Option<Vec<TensorSpec>>) -> Signature {
        Signature { inputs: Some(inputs), outputs }
    }

    fn archive(section: &Value, file: Signature, handler: Signature) -> Result<Interface> {
        let settings = Map::from_iter([("signature".to_owned(), section.clone())]);
        Ok(Interface::of_archive(known(&settings, file)?, &Knows(handler, true)))
    }

    #[test]
    fn what_is_declared_goes_before_the_file_and_that_before_the_handler() {
        let section = json!({"inputs": [{"name": "image", "shape": [-1, 3, 8, 8]}]});
        let file = of(
            vec![spec("x", Some(DType::F16), Some(&[None, None]))],
            Some(vec![TensorSpec::named("y")]),
        );
        let known = of(
            vec![spec("input", Some(DType::F32), None)],
            Some(vec![spec("output", Some(DType::F32), Some(&[None, Some(4)]))]),
        );
        let got = archive(&section, file, known.clone()).unwrap();
        let sides = [None, Some(3), Some(8), Some(8)];
        let inputs = vec![spec("image", Some(DType::F16), Some(&sides))];
        let outputs = vec![spec("y", Some(DType::F32), Some(&[None, Some(4)]))];
        assert_eq!(got.signature, of(inputs, Some(outputs)));
        assert!(got.batched && got.max_rows.is_none());

        let got = archive(&Value::Null, Signature::default(), known.clone()).unwrap();
        assert_eq!(got.signature, known, "nobody else says anything");
        let two = of(vec![TensorSpec::named("a"), TensorSpec::named("b")], None);
        let got = archive(&Value::Null, two.clone(), known.clone()).unwrap();
        assert_eq!(got.signature.inputs, two.inputs, "the handler speaks of another number");
        let opaque = Knows(known, false);
        let got = Interface::of_archive(two, &opaque);
        assert!(!got.batched, "the handler gives the network no rows");
    }

    #[test]
    fn a_first_side_that_is_fixed_is_no_batchs() {
        for (shape, batched) in [
            (json!([1, 4]), false),
            (json!([]), false),
            (json!([-1, 4]), true),
            (json!(null), true),
        ] {
            let section = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": shape}]});
            let got = archive(&section, Signature::default(), Signature::default()).unwrap();
            assert_eq!(got.batched, batched, "{shape}");
        }
    }

    #[test]
    fn a_first_side_that_the_file_fixes_is_not_declared_away() {
        let section =
            json!({"inputs": [{"name": "b", "shape": [-1, 2]}, {"name": "a", "shape": [-1, -1]}]});
        let file = || {
            let a = spec("a", None, Some(&[Some(4), Some(3)]));
            of(vec![a, spec("b", None, Some(&[None, Some(2)]))], None)
        };
        let got = archive(&section, file(), Signature::default()).unwrap();
        let a = spec("a", None, Some(&[Some(4), None]));
        assert_eq!(got.signature.inputs, Some(vec![a, spec("b", None, Some(&[None, Some(2)]))]));
        assert_eq!(got.fixed, Some(FixedBatch { input: "a".into(), rows: 4 }));
        let settings = Map::from_iter([("signature".to_owned(), section)]);
        let opaque = Knows(Signature::default(), false);
        let got = Interface::of_archive(known(&settings, file()).unwrap(), &opaque);
        assert_eq!(got.fixed, None, "what this handler gives the network is no batch");
    }

    #[test]
    fn a_signature_that_is_none_names_what_is_wrong() {
        let tensor = |more: &str| {
            let text = format!(r#"{{"inputs": [{{"name": "x", {more}}}]}}"#);
            serde_json::from_str::<Value>(&text).unwrap()
        };
        for (section, words) in [
            (json!({"input": []}), "unknown field `input`"),
            (tensor(r#""dtype": "FP32""#), "unknown field `dtype`"),
            (tensor(r#""datatype": "float32""#), "\"x\" has no datatype \"float32\"; known: BOOL"),
            (tensor(r#""shape": [-2]"#), "\"x\" has a side of -2; write -1"),
            (json!({"outputs": [{"name": "y"}, {"name": "y"}]}), "outputs: \"y\" stands twice"),
            (json!({"inputs": []}), "inputs is empty"),
            (json!({"inputs": [{"name": ""}]}), "a name is empty"),
            (json!([1]), "signature in model-config.yaml: "),
        ] {
            let error = archive(&section, Signature::default(), Signature::default()).unwrap_err();
            assert!(error.message().starts_with("signature in model-config.yaml: "), "{error}");
            assert!(error.message().contains(words), "{error}");
        }
    }

    #[test]
    fn declared_names_that_the_file_has_come_in_its_order_and_others_by_their_place() {
        let file =
            || of(vec![spec("a", Some(DType::I64), None), spec("b", Some(DType::F32), None)], None);
        let over = |declared: Vec<TensorSpec>| over(of(declared, None), file());
        let swapped = over(vec![
            spec("b", None, Some(&[None])),
            spec("a", Some(DType::I64), Some(&[None, Some(2)])),
        ]);
        let expected = vec![
            spec("a", Some(DType::I64), Some(&[None, Some(2)])),
            spec("b", Some(DType::F32), Some(&[None])),
        ];
        assert_eq!(swapped.unwrap().inputs, Some(expected));
        let renamed = over(vec![TensorSpec::named("INPUT__0"), TensorSpec::named("INPUT__1")]);
        let expected = vec![
            spec("INPUT__0", Some(DType::I64), None),
            spec("INPUT__1", Some(DType::F32), None),
        ];
        assert_eq!(renamed.unwrap().inputs, Some(expected));
        let error = over(vec![TensorSpec::named("INPUT__0")]).unwrap_err();
        assert!(error.message().contains("1 inputs are declared (INPUT__0)"), "{error}");
        assert!(error.message().contains("the network has 2 (a, b)"), "{error}");
        let error = over(vec![spec("b", Some(DType::F64), None)]).unwrap_err();
        let words = "input \"b\" is declared FP64, and the network has FP32";
        assert!(error.message().contains(words), "{error}");
    }

    #[test]
    fn a_networks_rows_are_bounded_and_its_file_has_to_allow_several() {
        let network = |max_batch_size| Network {
            signature: of(vec![spec("x", None, Some(&[Some(4), Some(2)]))], None),
            max_batch_size,
            ..Network::default()
        };
        let got = Interface::of_network(&network(8), Signature::default()).unwrap();
        assert_eq!((got.batched, got.max_rows), (true, Some(8)));
        assert_eq!(got.signature.inputs, Some(vec![spec("x", None, Some(&[None, Some(2)]))]));
        let got = Interface::of_network(&network(0), Signature::default()).unwrap();
        assert_eq!((got.batched, got.max_rows), (false, None));
        assert_eq!(got.signature, network(0).signature);
        let file = of(vec![spec("x", None, Some(&[Some(1), Some(2)]))], None);
        let error = Interface::of_network(&network(8), file).unwrap_err();
        let words = "max_batch_size is 8, and the network fixes the first side of input \"x\" to 1";
        assert!(error.message().contains(words), "{error}");
    }
}
