//! What a version's network takes and gives, from all who know something of it.

use std::collections::BTreeSet;

use mar_handler::{DType, Error, Result, Side, Signature, TensorSpec};
use serde::Deserialize;
use serde_json::{Map, Value};

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
    /// That of an archive with this `model-config.yaml`: what it declares, else what the weights' file says,
    /// else what its handler knows.
    pub(crate) fn of_archive(
        settings: &Map<String, Value>,
        (file, handler): (Signature, Signature),
    ) -> Result<Self> {
        let declared = declared(settings)?;
        let signature = filled(over(declared, file)?, handler);
        let inputs = signature.inputs.as_deref().unwrap_or_default();
        let fixed = inputs.iter().find(|input| match input.shape.as_deref() {
            Some([first, ..]) => first.is_some(),
            Some([]) => true,
            None => false,
        });
        if let Some(input) = fixed {
            log::warn!(
                "the first side of input \"{}\" is fixed, so requests of tensors share no batches",
                input.name
            );
        }
        Ok(Self { batched: fixed.is_none(), signature, max_rows: None })
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
        Ok(Self { signature, batched, max_rows: batched.then_some(most) })
    }
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
