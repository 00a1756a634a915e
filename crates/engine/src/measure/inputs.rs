//! What contenders are fed: an archive's samples as its handler prepares them, or made-up tensors.

use std::path::Path;

use fastrand::Rng;
use half::{bf16, f16};
use mar_handler::{Batch, DType, Error, Handler, Result, Signature, Tensor, TensorSpec};

use crate::open::invalid;
use crate::samples::request;

/// Different requests that are made up at most; larger batches have them again.
const MADE: usize = 16;
/// Bytes of a batch at most; an archive may declare any sides.
const MOST_BYTES: usize = 4 << 30;
/// Bytes of all requests that are made up, if that leaves one.
const MADE_BYTES: usize = 256 << 20;
/// What made-up tensors come from, so that every run has the same.
const SEED: u64 = 20;

/// Requests as a network sees them, each without the batch's side.
#[derive(Debug)]
pub(super) struct Inputs {
    requests: Vec<Vec<Tensor>>,
    /// Where they come from, as a sentence's end.
    pub(super) from: String,
}

impl Inputs {
    /// The known answers' inputs through the handler's preprocessing: those that fit into one batch with the
    /// first. `None` where the archive has none.
    pub(super) fn of_samples(model_dir: &Path, handler: &dyn Handler) -> Result<Option<Self>> {
        let Some(opened) = mar::read_samples(model_dir).map_err(|error| invalid(&error))? else {
            return Ok(None);
        };
        let mut requests: Vec<Vec<Tensor>> = Vec::new();
        for sample in &opened.samples().samples {
            let input = opened.input(sample).map_err(|error| invalid(&error))?;
            let tensors = handler.preprocess(&request(sample, input.into(), &[]))?;
            if requests.first().is_none_or(|first| fits(first, &tensors)) {
                requests.push(tensors);
            }
        }
        let from = match requests.as_slice() {
            [] => return Ok(None),
            [first] => format!("the archive's sample, {}", told(first)),
            [first, ..] => format!("{} of the archive's samples, {}", requests.len(), told(first)),
        };
        Ok(Some(Self { requests, from }))
    }

    /// Made-up numbers of the types and shapes that a network takes, the same in every run. `stacked` says
    /// whether the first side of its inputs is the batch's.
    pub(super) fn made_up(
        signature: &Signature,
        shapes: &[(String, Vec<usize>)],
        stacked: bool,
    ) -> Result<Self> {
        let specs = specs(signature, shapes, stacked)?;
        let bytes = bytes(&specs)?;
        let made = (MADE_BYTES / bytes.max(1)).clamp(1, MADE);
        let mut rng = Rng::with_seed(SEED);
        let requests = (0..made).map(|_| one(&specs, &mut rng)).collect::<Result<Vec<_>>>()?;
        let from = format!("made-up numbers, {}", told(&requests[0]));
        Ok(Self { requests, from })
    }

    /// # Errors
    /// Where a batch of so many requests is larger than is measured.
    pub(super) fn check(&self, size: usize) -> Result<()> {
        let bytes = |request: &Vec<Tensor>| request.iter().map(|of| of.bytes().len()).sum();
        let largest: usize = self.requests.iter().map(bytes).max().unwrap_or(0);
        let fits = largest.saturating_mul(size) <= MOST_BYTES;
        fits.then_some(()).ok_or_else(|| too_large(&format!("a batch of {size}")))
    }

    /// A batch of so many requests.
    pub(super) fn batch(&self, size: usize) -> Result<Batch> {
        Batch::stack(self.requests.iter().cycle().take(size).cloned().collect())
    }
}

fn too_large(what: &str) -> Error {
    Error::invalid_input(format!(
        "{what} takes more than {MOST_BYTES} bytes, the most that is measured; give smaller batches, or sides with --shape"
    ))
}

/// Whether two requests may share a batch.
fn fits(first: &[Tensor], other: &[Tensor]) -> bool {
    let kind = |tensor: &Tensor| (tensor.dtype(), tensor.shape().to_vec());
    first.iter().map(kind).eq(other.iter().map(kind))
}

fn told(request: &[Tensor]) -> String {
    let one = |tensor: &Tensor| format!("{} {:?}", tensor.dtype().name(), tensor.shape());
    request.iter().map(one).collect::<Vec<_>>().join(" and ")
}

/// One request of made-up numbers, without the batch's side.
pub(crate) fn one_made_up(
    signature: &Signature,
    shapes: &[(String, Vec<usize>)],
    stacked: bool,
) -> Result<Vec<Tensor>> {
    let specs = specs(signature, shapes, stacked)?;
    if bytes(&specs)? > MADE_BYTES {
        return Err(too_large("a request"));
    }
    one(&specs, &mut Rng::with_seed(SEED))
}

/// A tensor for each.
fn one(specs: &[(String, DType, Vec<usize>)], rng: &mut Rng) -> Result<Vec<Tensor>> {
    let tensor = |(name, dtype, shape): &(String, DType, Vec<usize>)| {
        Ok(random(*dtype, shape, rng)?.named(name.as_str()))
    };
    specs.iter().map(tensor).collect()
}

/// What one request takes, where that is not too much.
fn bytes(specs: &[(String, DType, Vec<usize>)]) -> Result<usize> {
    let bytes = specs.iter().try_fold(0_usize, |all, (_, dtype, shape)| {
        // A text is counted as the pointers that it is at least.
        let own = dtype.bytes_of(shape).or_else(|| DType::F64.bytes_of(shape));
        own.and_then(|own| all.checked_add(own))
    });
    bytes.filter(|bytes| *bytes <= MOST_BYTES).ok_or_else(|| {
        let one = |(name, _, shape): &(String, DType, Vec<usize>)| format!("{name} {shape:?}");
        too_large(&specs.iter().map(one).collect::<Vec<_>>().join(" and "))
    })
}

/// Name, type and sides of each input of one request.
fn specs(
    signature: &Signature,
    shapes: &[(String, Vec<usize>)],
    stacked: bool,
) -> Result<Vec<(String, DType, Vec<usize>)>> {
    let Some(inputs) = &signature.inputs else {
        let given =
            |(name, shape): &(String, Vec<usize>)| (name.clone(), DType::F32, shape.clone());
        if shapes.is_empty() {
            return Err(Error::invalid_input(
                "nobody says what the network takes; give the sides of each input without the batch's, such as --shape x=3,96,128",
            ));
        }
        return Ok(shapes.iter().map(given).collect());
    };
    if let Some((name, _)) =
        shapes.iter().find(|(name, _)| inputs.iter().all(|of| of.name != *name))
    {
        let known: Vec<&str> = inputs.iter().map(|of| of.name.as_str()).collect();
        return Err(Error::invalid_input(format!(
            "the network has no input \"{name}\"; it has {}",
            known.join(", ")
        )));
    }
    let sides = |input: &TensorSpec| -> Result<Vec<usize>> {
        if let Some((_, shape)) = shapes.iter().find(|(name, _)| *name == input.name) {
            return Ok(shape.clone());
        }
        let own =
            input.shape.as_deref().map(|shape| &shape[usize::from(stacked).min(shape.len())..]);
        own.and_then(|sides| sides.iter().copied().collect()).ok_or_else(|| {
            let with = |free: &str, sides: &[Option<usize>]| {
                let side = |side: &Option<usize>| side.map_or(free.into(), |n| n.to_string());
                sides.iter().map(side).collect::<Vec<_>>().join(",")
            };
            let (said, such) = match own {
                None => ("any shape".to_owned(), "3,96,128".to_owned()),
                Some(sides) => (format!("the sides {}", with("?", sides)), with("128", sides)),
            };
            Error::invalid_input(format!(
                "input \"{0}\" may have {said}; give them without the batch's, such as --shape {0}={such}",
                input.name
            ))
        })
    };
    let one = |input: &TensorSpec| {
        Ok((input.name.clone(), input.dtype.unwrap_or(DType::F32), sides(input)?))
    };
    inputs.iter().map(one).collect()
}

/// A tensor of floating-point numbers from -1 to 1, of bytes from 0 to 255, of other whole numbers that are 0 or
/// 1, which are indices into every table, or of texts "a".
fn random(dtype: DType, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
    let count = dtype
        .bytes_of(shape)
        .map_or_else(|| shape.iter().product(), |bytes| bytes / dtype.size().unwrap_or(1));
    if dtype == DType::Bytes {
        return Tensor::from_strings(shape, std::iter::repeat_n("a", count));
    }
    let mut one = || -> Vec<u8> {
        let float = 2.0 * rng.f32() - 1.0;
        let bit = rng.bool();
        match dtype {
            DType::F16 => f16::from_f32(float).to_ne_bytes().to_vec(),
            DType::BF16 => bf16::from_f32(float).to_ne_bytes().to_vec(),
            DType::F32 => float.to_ne_bytes().to_vec(),
            DType::F64 => f64::from(float).to_ne_bytes().to_vec(),
            DType::U8 => vec![rng.u8(..)],
            DType::Bool | DType::I8 => vec![u8::from(bit)],
            DType::U16 | DType::I16 => u16::from(bit).to_ne_bytes().to_vec(),
            DType::U32 | DType::I32 => u32::from(bit).to_ne_bytes().to_vec(),
            DType::U64 | DType::I64 => u64::from(bit).to_ne_bytes().to_vec(),
            DType::Bytes => Vec::new(),
        }
    };
    let data: Vec<u8> = (0..count).flat_map(|_| one()).collect();
    Tensor::from_bytes(dtype, shape, data.into())
}

/// The tensors of a batch in the order and the types that another file of the same network has them: by their
/// names where those are the same, and floating-point numbers in its precision.
pub(super) fn adapted(tensors: Vec<Tensor>, signature: &Signature) -> Result<Vec<Tensor>> {
    let Some(specs) = &signature.inputs else { return Ok(tensors) };
    if specs.len() != tensors.len() {
        return Ok(tensors);
    }
    let named = |spec: &TensorSpec| tensors.iter().find(|t| t.name() == Some(&spec.name)).cloned();
    let by_name: Option<Vec<Tensor>> = specs.iter().map(named).collect();
    let ordered = by_name.unwrap_or_else(|| tensors.clone());
    ordered.into_iter().zip(specs).map(|(tensor, spec)| cast(tensor, spec.dtype)).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "the other file's precision is lower")]
fn cast(tensor: Tensor, dtype: Option<DType>) -> Result<Tensor> {
    let Some(dtype) = dtype.filter(|dtype| dtype.is_float() && *dtype != tensor.dtype()) else {
        return Ok(tensor);
    };
    if !tensor.dtype().is_float() {
        return Ok(tensor);
    }
    let (numbers, shape) = (tensor.numbers().iter(), tensor.shape());
    match dtype {
        DType::F16 => Tensor::from_vec(shape, numbers.map(f16::from_f64).collect()),
        DType::BF16 => Tensor::from_vec(shape, numbers.map(bf16::from_f64).collect()),
        DType::F32 => Tensor::from_vec(shape, numbers.map(|number| number as f32).collect()),
        _ => Tensor::from_vec(shape, numbers.collect::<Vec<f64>>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, dtype: DType, shape: Option<&[Option<usize>]>) -> TensorSpec {
        TensorSpec { name: name.into(), dtype: Some(dtype), shape: shape.map(<[_]>::to_vec) }
    }

    fn signature(inputs: Vec<TensorSpec>) -> Signature {
        Signature { inputs: Some(inputs), outputs: None }
    }

    #[test]
    fn made_up_inputs_are_of_the_types_and_shapes_that_are_taken_and_the_same_every_time() {
        let specs = DType::ALL.map(|dtype| spec(dtype.name(), dtype, Some(&[None, Some(40)])));
        let signature = signature(specs.to_vec());
        let inputs = Inputs::made_up(&signature, &[], true).unwrap();
        let batch = inputs.batch(17).unwrap().into_tensors();
        for (tensor, dtype) in batch.iter().zip(DType::ALL) {
            assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &[17, 40][..]));
            assert_eq!(tensor.name(), Some(dtype.name()));
            if dtype == DType::Bytes {
                assert!(tensor.strings().all(|text| text == "a"));
                continue;
            }
            let (low, high) = match dtype {
                DType::U8 => (0.0, 255.0),
                _ if dtype.is_float() => (-1.0, 1.0),
                _ => (0.0, 1.0),
            };
            assert!(tensor.numbers().iter().all(|number| (low..=high).contains(&number)));
            assert!(
                tensor.numbers().iter().any(|number| (number - tensor.numbers().at(0)).abs() > 0.0)
            );
            assert_eq!(tensor.rows(0..1).unwrap(), tensor.rows(16..17).unwrap(), "they come again");
        }
        let again = Inputs::made_up(&signature, &[], true).unwrap();
        assert_eq!(again.batch(17).unwrap().into_tensors(), batch);
        assert!(inputs.from.contains("float32 [40]"), "{}", inputs.from);
    }

    #[test]
    fn sides_that_may_be_any_are_asked_for_by_the_inputs_name() {
        let image = spec("image", DType::F32, Some(&[None, Some(3), None, None]));
        let refused = |inputs: Vec<TensorSpec>, shapes: &[(String, Vec<usize>)]| {
            let error = Inputs::made_up(&signature(inputs), shapes, true).unwrap_err();
            error.message().to_owned()
        };
        let told = refused(vec![image.clone()], &[]);
        assert!(told.starts_with("input \"image\" may have the sides 3,?,?; give"), "{told}");
        assert!(told.ends_with("--shape image=3,128,128"), "{told}");
        let told = refused(vec![spec("ids", DType::I64, Some(&[None, None]))], &[]);
        assert!(told.ends_with("--shape ids=128"), "{told}");
        let told = refused(vec![spec("x", DType::F32, None)], &[]);
        assert!(told.starts_with("input \"x\" may have any shape; give"), "{told}");
        let told = refused(vec![image.clone()], &[("picture".into(), vec![3])]);
        assert_eq!(told, "the network has no input \"picture\"; it has image");
        let given = [("image".to_owned(), vec![3, 4, 5])];
        let inputs = Inputs::made_up(&signature(vec![image]), &given, true).unwrap();
        assert_eq!(inputs.batch(2).unwrap().tensors()[0].shape(), [2, 3, 4, 5]);
        for sides in [vec![3, 1 << 40, 1 << 40], vec![1 << 31]] {
            let image = signature(vec![spec("image", DType::F32, None)]);
            let error = Inputs::made_up(&image, &[("image".into(), sides)], true).unwrap_err();
            assert!(error.message().starts_with("image ["), "{error}");
            assert!(error.message().contains("more than"), "{error}");
        }
        inputs.check(4096).unwrap();
        assert!(inputs.check(usize::MAX).unwrap_err().message().starts_with("a batch of"));
        let nobody = Inputs::made_up(&Signature::default(), &[], true).unwrap_err();
        assert!(nobody.message().contains("nobody says what the network takes"), "{nobody}");
        let inputs = Inputs::made_up(&Signature::default(), &given, true).unwrap();
        assert_eq!(inputs.batch(1).unwrap().tensors()[0].shape(), [1, 3, 4, 5]);
        let alone = signature(vec![spec("image", DType::F32, Some(&[Some(3), Some(2)]))]);
        let inputs = Inputs::made_up(&alone, &[], false).unwrap();
        assert_eq!(
            inputs.batch(2).unwrap().tensors()[0].shape(),
            [2, 3, 2],
            "no side is the batch's"
        );
    }

    #[test]
    fn another_file_gets_its_own_order_and_precision() {
        let tensor =
            |name: &str, value: f32| Tensor::from_vec(&[1], vec![value]).unwrap().named(name);
        let both = vec![tensor("a", 1.5), tensor("b", 2.5)];
        let other = signature(vec![spec("b", DType::F16, None), spec("a", DType::F32, None)]);
        let got = adapted(both.clone(), &other).unwrap();
        let told: Vec<_> = got.iter().map(|t| (t.dtype(), t.numbers().at(0))).collect();
        assert_eq!(told, [(DType::F16, 2.5), (DType::F32, 1.5)]);
        let renamed = signature(vec![spec("x", DType::F64, None), spec("y", DType::I64, None)]);
        let got = adapted(both.clone(), &renamed).unwrap();
        let told: Vec<_> = got.iter().map(|t| (t.dtype(), t.numbers().at(0))).collect();
        assert_eq!(
            told,
            [(DType::F64, 1.5), (DType::F32, 2.5)],
            "by place; whole numbers are refused"
        );
        let one = signature(vec![spec("a", DType::F16, None)]);
        assert_eq!(adapted(both.clone(), &one).unwrap(), both);
    }
}
