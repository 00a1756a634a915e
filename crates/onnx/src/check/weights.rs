//! Whether weights are as long as their shapes say, here and in files beside the network.

use std::collections::{BTreeMap, HashSet};

use crate::Network;
use crate::check::{Report, quoted};
use crate::element;
use crate::external::Place;
use crate::tensor::Tensor;
use crate::walk::Body;

/// `TensorProto.STRING`.
const STRING: i32 = 8;

pub(super) fn check(network: &Network, beside: &dyn Fn(&str) -> Option<u64>, report: &mut Report) {
    let mut names = HashSet::new();
    for weight in network.graph.weights().filter(|name| !name.is_empty()) {
        if !names.insert(weight) {
            report.warnings.add(format!("it has two weights {}; export it again", quoted(weight)));
        }
    }
    let mut files: Files<'_> = BTreeMap::new();
    for tensor in network.bodies().into_iter().flat_map(Body::tensors) {
        let checked = match tensor.place() {
            None => inline(tensor),
            Some(place) => place.and_then(|place| elsewhere(tensor, place, &mut files)),
        };
        if let Err(cause) = checked {
            let name = quoted(&tensor.name);
            report.problems.add(format!("its weight {name}: {cause}; export it again"));
        }
    }
    for (file, needed) in files {
        let sentence = match beside(&file) {
            None => "is missing; it has to lie beside the network, under that name".to_owned(),
            Some(is) if is < needed.bytes => {
                format!(
                    "is cut off: it has {is} of {} bytes; copy or export it again",
                    needed.bytes
                )
            }
            Some(_) => continue,
        };
        let (file, weight) = (quoted(&file), quoted(needed.weight));
        report.problems.add(format!("the file {file}, with weights such as {weight}, {sentence}"));
    }
}

/// What is needed of each file beside the network.
type Files<'a> = BTreeMap<String, Needed<'a>>;

struct Needed<'a> {
    bytes: u64,
    /// The weight that lies furthest back.
    weight: &'a str,
}

/// A weight in a file of its own.
fn elsewhere<'a>(tensor: &'a Tensor, place: Place, files: &mut Files<'a>) -> Result<(), String> {
    let needed = needed(tensor)?.ok_or("texts cannot lie in a file of their own")?;
    let length = place.length.unwrap_or(needed);
    if length != needed {
        return Err(format!("it takes {needed} bytes, and {length} are set aside for it"));
    }
    let bytes = place.offset.checked_add(length).ok_or("it lies beyond any file")?;
    let file = files.entry(place.location).or_insert(Needed { bytes, weight: &tensor.name });
    if bytes > file.bytes {
        *file = Needed { bytes, weight: &tensor.name };
    }
    Ok(())
}

/// A weight in the network's own file: raw bytes, or a list of values.
fn inline(tensor: &Tensor) -> Result<(), String> {
    let needed = needed(tensor)?;
    if let (Some(raw), Some(needed)) = (tensor.raw, needed) {
        if raw == needed {
            return Ok(());
        }
        return Err(format!("it takes {needed} bytes by its shape, and there are {raw}"));
    }
    let (entries, listed) = entries(tensor, tensor.count().unwrap_or(0));
    if listed == entries {
        return Ok(());
    }
    Err(format!("it has {entries} values by its shape, and there are {listed}"))
}

/// How many entries a list of so many values has to have, and how many it has. Complex numbers take two, and of the
/// narrowest ones several share one.
fn entries(tensor: &Tensor, count: u64) -> (u64, u64) {
    let listed = tensor.listed;
    match tensor.data_type {
        1 => (count, listed.floats),
        14 => (count.saturating_mul(2), listed.floats),
        11 => (count, listed.doubles),
        15 => (count.saturating_mul(2), listed.doubles),
        7 => (count, listed.int64s),
        12 | 13 => (count, listed.uint64s),
        STRING => (count, listed.strings),
        21..=23 => (count.div_ceil(2), listed.int32s),
        25 | 26 => (count.div_ceil(4), listed.int32s),
        _ => (count, listed.int32s),
    }
}

/// How many bytes a weight takes; `None` for texts.
fn needed(tensor: &Tensor) -> Result<Option<u64>, String> {
    if !element::is_known(tensor.data_type) {
        return Err(format!("its type has the number {}, which is not known", tensor.data_type));
    }
    if tensor.count().is_none() {
        return Err(
            "its shape has a side below zero, or more values than can be counted".to_owned()
        );
    }
    if tensor.data_type == STRING {
        return Ok(None);
    }
    tensor.bytes().map(Some).ok_or_else(|| "it is larger than any memory".to_owned())
}
