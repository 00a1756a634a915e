//! A configuration's inputs and outputs: types, sides, and in which order the network has them.

use mar_engine::{DType, Result, Side, TensorSpec};
use mar_proto::inference::{DataType, ModelInput, ModelOutput, ModelTensorReshape};

use super::text::Source;

/// An input or an output, as far as both are alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Declared<'a> {
    pub(super) name: &'a str,
    pub(super) data_type: i32,
    pub(super) dims: &'a [i64],
    pub(super) reshape: Option<&'a ModelTensorReshape>,
}

impl<'a> From<&'a ModelInput> for Declared<'a> {
    fn from(input: &'a ModelInput) -> Self {
        let ModelInput { name, data_type, dims, reshape, .. } = input;
        Self { name, data_type: *data_type, dims, reshape: reshape.as_ref() }
    }
}

impl<'a> From<&'a ModelOutput> for Declared<'a> {
    fn from(output: &'a ModelOutput) -> Self {
        let ModelOutput { name, data_type, dims, reshape, .. } = output;
        Self { name, data_type: *data_type, dims, reshape: reshape.as_ref() }
    }
}

/// The type that a configuration names, if it does.
pub(super) fn dtype(data_type: i32) -> Option<DType> {
    Some(match DataType::try_from(data_type).ok()? {
        DataType::TypeInvalid => return None,
        DataType::TypeBool => DType::Bool,
        DataType::TypeUint8 => DType::U8,
        DataType::TypeUint16 => DType::U16,
        DataType::TypeUint32 => DType::U32,
        DataType::TypeUint64 => DType::U64,
        DataType::TypeInt8 => DType::I8,
        DataType::TypeInt16 => DType::I16,
        DataType::TypeInt32 => DType::I32,
        DataType::TypeInt64 => DType::I64,
        DataType::TypeFp16 => DType::F16,
        DataType::TypeFp32 => DType::F32,
        DataType::TypeFp64 => DType::F64,
        DataType::TypeString => DType::Bytes,
        DataType::TypeBf16 => DType::BF16,
    })
}

/// How a configuration names a type.
pub(crate) fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::Bool => DataType::TypeBool,
        DType::U8 => DataType::TypeUint8,
        DType::U16 => DataType::TypeUint16,
        DType::U32 => DataType::TypeUint32,
        DType::U64 => DataType::TypeUint64,
        DType::I8 => DataType::TypeInt8,
        DType::I16 => DataType::TypeInt16,
        DType::I32 => DataType::TypeInt32,
        DType::I64 => DataType::TypeInt64,
        DType::F16 => DataType::TypeFp16,
        DType::F32 => DataType::TypeFp32,
        DType::F64 => DataType::TypeFp64,
        DType::Bytes => DataType::TypeString,
        DType::BF16 => DataType::TypeBf16,
    }
}

/// A side as a configuration writes it: -1 where it may have any length.
pub(super) fn dim(side: Side) -> i64 {
    side.map_or(-1, |length| i64::try_from(length).unwrap_or(i64::MAX))
}

/// Which of the two a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Input,
    Output,
}

impl Which {
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// What the network takes or gives, in its own order: the file's where it names the same tensors, else by the
/// numbers at the end of the names (`INPUT__0`), else the configuration's.
///
/// # Errors
/// Where the configuration says something else than the file.
pub(super) fn ordered<'a>(
    which: Which,
    declared: Vec<Declared<'a>>,
    of_file: Option<&[TensorSpec]>,
    by_name: bool,
    source: &Source,
) -> Result<Vec<Place<'a>>> {
    let key = which.key();
    let again = |(index, it): &(usize, &Declared<'_>)| {
        declared.iter().take(*index).any(|before| before.name == it.name)
    };
    if let Some((_, twice)) = declared.iter().enumerate().find(again) {
        return Err(source.refuse(key, &format!("\"{}\" is declared twice", twice.name)));
    }
    let places = |order: Vec<Declared<'a>>| order.into_iter().map(Place::Declared).collect();
    let Some(file) = of_file else { return Ok(places(numbered(declared))) };
    let in_file = |name: &str| file.iter().position(|spec| spec.name == name);
    let names = || file.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
    if by_name && let Some(other) = declared.iter().find(|it| in_file(it.name).is_none()) {
        let why = format!("\"{}\" is none of the model's: {}", other.name, names());
        return Err(source.refuse(key, &why));
    }
    if which == Which::Input && declared.len() != file.len() {
        let why = format!("is declared {} times; the model has: {}", declared.len(), names());
        return Err(source.refuse(key, &why));
    }
    if declared.len() > file.len() {
        let why = format!("is declared {} times; the model gives {}", declared.len(), file.len());
        return Err(source.refuse(key, &why));
    }
    if declared.iter().all(|it| in_file(it.name).is_some()) {
        // A graph's outputs that the configuration leaves out keep their places.
        let place = |spec: &TensorSpec| {
            let declared = declared.iter().find(|it| it.name == spec.name);
            declared.map_or_else(|| Place::File(spec.clone()), |it| Place::Declared(*it))
        };
        return Ok(file.iter().map(place).collect());
    }
    let left = file[declared.len()..].to_vec();
    let mut order: Vec<Place<'a>> = places(numbered(declared));
    order.extend(left.into_iter().map(Place::File));
    Ok(order)
}

/// A tensor of the network in its place.
#[derive(Clone, Debug)]
pub(super) enum Place<'a> {
    /// The configuration says what it is.
    Declared(Declared<'a>),
    /// The file alone does.
    File(TensorSpec),
}

/// By the numbers at the end of the names, where each has its own, from 0 on; else as they are.
fn numbered(mut declared: Vec<Declared<'_>>) -> Vec<Declared<'_>> {
    let number =
        |it: &Declared<'_>| it.name.rsplit_once("__").and_then(|(_, n)| n.parse::<usize>().ok());
    let mut numbers: Vec<Option<usize>> = declared.iter().map(number).collect();
    numbers.sort_unstable();
    if numbers.into_iter().eq((0..declared.len()).map(Some)) {
        declared.sort_by_key(number);
    }
    declared
}

/// What a client meets in a place, and the network's own sides where they are others.
///
/// # Errors
/// Where something is missing, or is not what the file says.
pub(super) fn spec(
    which: Which,
    place: &Place<'_>,
    of_file: Option<&TensorSpec>,
    batched: bool,
    source: &Source,
) -> Result<(TensorSpec, Option<Vec<Side>>)> {
    let it = match place {
        Place::Declared(declared) => declared,
        Place::File(spec) => return Ok((spec.clone(), None)),
    };
    let named = format!("{} \"{}\"", which.key(), it.name);
    let refuse = |key: &str, why: &str| source.refuse(key, &format!("of {named} {why}"));
    if it.name.is_empty() {
        return Err(source.refuse(which.key(), "has one without a name"));
    }
    let Some(dtype) = dtype(it.data_type) else {
        return Err(refuse("data_type", "is missing; say which, such as TYPE_FP32"));
    };
    if it.dims.is_empty() {
        let why = "is empty or missing; a single number is dims: [ 1 ], with reshape: { shape: [ ] } where the network wants no side";
        return Err(refuse("dims", why));
    }
    let sides = |key: &str, dims: &[i64]| {
        let side = |dim: &i64| match *dim {
            -1 => Ok(None),
            dim => usize::try_from(dim)
                .map(Some)
                .map_err(|_| refuse(key, &format!("has a side of {dim}; a free one is -1"))),
        };
        dims.iter().map(side).collect::<Result<Vec<Side>>>()
    };
    let dims = sides("dims", it.dims)?;
    let reshaped = match it.reshape {
        None => None,
        Some(reshape) => {
            let shape = sides("reshape", &reshape.shape)?;
            if !interchangeable(&dims, &shape) {
                let why =
                    "has another number of elements than dims; at most one side of each is -1";
                return Err(refuse("reshape", why));
            }
            (shape != dims).then_some(shape)
        }
    };
    let with_batch = |sides: &[Side]| {
        let batch = batched.then_some(None);
        batch.into_iter().chain(sides.iter().copied()).collect::<Vec<Side>>()
    };
    if let Some(file) = of_file {
        if let Some(of_file) = file.dtype.filter(|of_file| *of_file != dtype) {
            let why = format!("is not the model's, {}", data_type(of_file).as_str_name());
            return Err(refuse("data_type", &why));
        }
        let network = with_batch(reshaped.as_ref().unwrap_or(&dims));
        if let Some(of_file) = file.shape.as_ref().filter(|of_file| !agree(of_file, &network)) {
            let told = |sides: &[Side]| sides.iter().copied().map(dim).collect::<Vec<_>>();
            let batch = if batched { ", the batch's side included" } else { "" };
            let why =
                format!("makes it {:?}{batch}; the model has {:?}", told(&network), told(of_file));
            return Err(refuse("dims", &why));
        }
    }
    let shape = Some(with_batch(&dims));
    Ok((TensorSpec { name: it.name.to_owned(), dtype: Some(dtype), shape }, reshaped))
}

/// Whether no side has a length that the other contradicts.
fn agree(a: &[Side], b: &[Side]) -> bool {
    let same = |(a, b): (&Side, &Side)| a.is_none() || b.is_none() || a == b;
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// Whether whatever has the one's sides can have the other's, and how is plain.
fn interchangeable(a: &[Side], b: &[Side]) -> bool {
    let free = |sides: &[Side]| sides.iter().filter(|side| side.is_none()).count();
    let rest = |sides: &[Side]| sides.iter().flatten().product::<usize>();
    match (free(a), free(b)) {
        (0, 0) => rest(a) == rest(b),
        (1, 1) => true,
        _ => false,
    }
}
