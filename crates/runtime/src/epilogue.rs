//! What is done with a network's first output, on the host. The results are those of libtorch's own operations.
#![expect(
    clippy::cast_lossless,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers of every type become floats to calculate with, rounded as libtorch rounds them"
)]

use std::cmp::Ordering;
use std::ops::Range;

use half::{bf16, f16};
use mar_handler::{DType, Element, Epilogue, Error, ErrorCode, Result, Tensor};

/// Classes that fit a byte.
pub(crate) const BYTE_CLASSES: usize = 256;

/// How many places of a mask are worked on at a time.
const TILE: usize = 2048;

/// Applies the epilogue to the first of a network's outputs; the others are dropped unless it is `None`.
pub(crate) fn apply(outputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
    if epilogue == Epilogue::None {
        return Ok(outputs);
    }
    let Some(scores) = outputs.first() else {
        return Err(failed("the model's answer holds no tensor".to_owned()));
    };
    match scores.dtype() {
        DType::F32 => of::<f32>(scores, epilogue),
        DType::F64 => of::<f64>(scores, epilogue),
        DType::F16 => of::<f16>(scores, epilogue),
        DType::BF16 => of::<bf16>(scores, epilogue),
        DType::U8 => of::<u8>(scores, epilogue),
        DType::U16 => of::<u16>(scores, epilogue),
        DType::U32 => of::<u32>(scores, epilogue),
        DType::U64 => of::<u64>(scores, epilogue),
        DType::I8 => of::<i8>(scores, epilogue),
        DType::I16 => of::<i16>(scores, epilogue),
        DType::I32 => of::<i32>(scores, epilogue),
        DType::I64 => of::<i64>(scores, epilogue),
        DType::Bool | DType::Bytes => Err(failed(format!(
            "the model's output is {}, of which there is no largest one",
            scores.dtype().name()
        ))),
    }
}

fn of<T: Score>(scores: &Tensor, epilogue: Epilogue) -> Result<Vec<Tensor>> {
    match epilogue {
        Epilogue::None => Ok(vec![scores.clone()]),
        Epilogue::Softmax { dim } => {
            if !scores.dtype().is_float() {
                let name = scores.dtype().name();
                return Err(failed(format!(
                    "the model's output is {name}; a softmax needs floats"
                )));
            }
            Ok(vec![softmax(&Planes::<T>::new(scores, dim)?)?])
        }
        Epilogue::ArgMax { dim } => Ok(vec![Planes::<T>::new(scores, dim)?.arg_max()?]),
        Epilogue::ArgMaxWithProbability { dim } => {
            let planes = Planes::<T>::new(scores, dim)?;
            Ok(vec![planes.arg_max()?, planes.probability()?])
        }
        Epilogue::TopK { k } => top_k::<T>(scores, k),
    }
}

/// A number that can be compared, and turned into one to calculate with.
trait Score: Element + Copy + PartialOrd {
    fn wide(self) -> f64;
    fn narrow(wide: f64) -> Self;
    fn single(self) -> f32;
}

macro_rules! scores {
    ($($whole:ty),*) => {
        $(
            impl Score for $whole {
                fn wide(self) -> f64 { self as f64 }
                fn narrow(wide: f64) -> Self { wide as Self }
                fn single(self) -> f32 { self as f32 }
            }
        )*
    };
}
scores!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

macro_rules! halves {
    ($($half:ty),*) => {
        $(
            impl Score for $half {
                fn wide(self) -> f64 { self.to_f64() }
                fn narrow(wide: f64) -> Self { Self::from_f64(wide) }
                fn single(self) -> f32 { self.to_f32() }
            }
        )*
    };
}
halves!(f16, bf16);

/// Scores along a dimension: for each index before it, a plane a class of all indices after it.
struct Planes<'a, T> {
    scores: &'a [T],
    shape: &'a [usize],
    dim: usize,
    classes: usize,
    /// How many scores a plane has.
    plane: usize,
}

impl<'a, T: Score> Planes<'a, T> {
    fn new(tensor: &'a Tensor, dim: usize) -> Result<Self> {
        let shape = tensor.shape();
        let classes = classes(shape, dim)?;
        let plane = shape[dim + 1..].iter().product();
        Ok(Self { scores: tensor.as_slice()?, shape, dim, classes, plane })
    }

    /// The scores of each index before the dimension.
    fn blocks(&self) -> impl Iterator<Item = &'a [T]> + use<'a, T> {
        self.scores.chunks_exact((self.classes * self.plane).max(1))
    }

    /// The shape without the dimension.
    fn without(&self) -> Vec<usize> {
        [&self.shape[..self.dim], &self.shape[self.dim + 1..]].concat()
    }

    fn arg_max(&self) -> Result<Tensor> {
        if self.classes == 1 {
            let yes = self.scores.iter().map(|score| u8::from(score.wide() > 0.0)).collect();
            return Tensor::from_vec::<u8>(&self.without(), yes);
        }
        if self.classes <= BYTE_CLASSES {
            return Tensor::from_vec::<u8>(&self.without(), self.winners(|winner| winner as u8));
        }
        Tensor::from_vec::<i64>(&self.without(), self.winners(i64::from))
    }

    /// The class with the largest score, of every place.
    fn winners<W>(&self, as_told: impl Fn(u32) -> W) -> Vec<W> {
        let mut told = Vec::with_capacity(self.scores.len() / self.classes);
        for block in self.blocks() {
            for places in self.tiles() {
                let (_, winners) = self.winners_of(block, places);
                told.extend(winners.into_iter().map(&as_told));
            }
        }
        told
    }

    /// The places of a plane, so few at a time that what is known of them stays in the nearest cache.
    fn tiles(&self) -> impl Iterator<Item = Range<usize>> + use<T> {
        let plane = self.plane;
        (0..plane).step_by(TILE).map(move |start| start..(start + TILE).min(plane))
    }

    /// The scores of some places for each class.
    fn of_classes(
        &self,
        block: &'a [T],
        places: Range<usize>,
    ) -> impl Iterator<Item = &'a [T]> + use<'a, T> {
        block.chunks_exact(self.plane).map(move |plane| &plane[places.clone()])
    }

    /// The largest score of some places in a block's planes, and its class. There is no branch in it, so that the
    /// compiler makes one comparison of several places.
    fn winners_of(&self, block: &'a [T], places: Range<usize>) -> (Vec<T>, Vec<u32>) {
        let mut winners = vec![0_u32; places.len()];
        let mut planes = (0_u32..).zip(self.of_classes(block, places));
        let mut largest = planes.next().map(|(_, plane)| plane.to_vec()).unwrap_or_default();
        for (class, plane) in planes {
            for ((score, largest), winner) in plane.iter().zip(&mut largest).zip(&mut winners) {
                let wins = beats(*score, *largest);
                *largest = if wins { *score } else { *largest };
                // A choice would become a jump, which random scores make the processor guess wrong.
                let all = u32::from(wins).wrapping_neg();
                *winner = (*winner & !all) | (class & all);
            }
        }
        (largest, winners)
    }

    /// The softmax of the winner; of a single logit, the sigmoid of its distance from 0.
    fn probability(&self) -> Result<Tensor> {
        if self.classes == 1 {
            let sure = self.scores.iter().map(|score| 1.0 / (1.0 + (-score.single().abs()).exp()));
            return Tensor::from_vec::<f32>(&self.without(), sure.collect());
        }
        let mut sure = Vec::with_capacity(self.scores.len() / self.classes);
        for block in self.blocks() {
            for places in self.tiles() {
                let (largest, _) = self.winners_of(block, places.clone());
                let mut sums = vec![0_f32; places.len()];
                for plane in self.of_classes(block, places) {
                    for ((score, largest), sum) in plane.iter().zip(&largest).zip(&mut sums) {
                        *sum += (score.single() - largest.single()).exp();
                    }
                }
                sure.extend(sums.into_iter().map(|sum| 1.0 / sum));
            }
        }
        Tensor::from_vec::<f32>(&self.without(), sure)
    }
}

fn softmax<T: Score>(planes: &Planes<'_, T>) -> Result<Tensor> {
    let mut all = Vec::with_capacity(planes.scores.len());
    for block in planes.blocks() {
        let (largest, _) = planes.winners_of(block, 0..planes.plane);
        let mut sums = vec![0_f64; planes.plane];
        let mut powers = Vec::with_capacity(block.len());
        for plane in block.chunks_exact(planes.plane) {
            for ((score, largest), sum) in plane.iter().zip(&largest).zip(&mut sums) {
                let power = (score.wide() - largest.wide()).exp();
                *sum += power;
                powers.push(power);
            }
        }
        let sums = sums.iter().cycle();
        all.extend(powers.iter().zip(sums).map(|(power, sum)| T::narrow(power / sum)));
    }
    Tensor::from_vec(planes.shape, all)
}

fn top_k<T: Score>(scores: &Tensor, k: usize) -> Result<Vec<Tensor>> {
    let shape = scores.shape();
    let Some(last) = shape.len().checked_sub(1) else {
        return Err(failed(format!(
            "the model's output has shape {shape:?}; a top-k needs a list"
        )));
    };
    let planes = Planes::<T>::new(scores, last)?;
    let k = k.min(planes.classes);
    let (mut values, mut indices) = (Vec::new(), Vec::new());
    for block in planes.blocks() {
        // Of equal scores the one that comes first.
        let order = |a: &usize, b: &usize| {
            let (x, y) = (block[*a], block[*b]);
            let by_score = if beats(x, y) {
                Ordering::Less
            } else if beats(y, x) {
                Ordering::Greater
            } else {
                Ordering::Equal
            };
            by_score.then(a.cmp(b))
        };
        let mut places: Vec<usize> = (0..planes.classes).collect();
        if k > 0 && k < places.len() {
            places.select_nth_unstable_by(k - 1, order);
        }
        places.truncate(k);
        places.sort_unstable_by(order);
        values.extend(places.iter().map(|place| block[*place]));
        indices.extend(places.iter().filter_map(|place| i64::try_from(*place).ok()));
    }
    let shape = [&shape[..last], &[k]].concat();
    Ok(vec![Tensor::from_vec(&shape, values)?, Tensor::from_vec::<i64>(&shape, indices)?])
}

/// Whether a score is larger than another; what is not a number is larger than any, as libtorch has it.
fn beats<T: Score>(score: T, other: T) -> bool {
    #[expect(clippy::eq_op, reason = "what is not a number is not even itself")]
    let is_none = |score: T| score != score;
    // Both sides are always looked at, which leaves nothing to jump over.
    (score > other) | (is_none(score) & !is_none(other))
}

/// How many entries a dimension has.
pub(crate) fn classes(shape: &[usize], dim: usize) -> Result<usize> {
    shape.get(dim).copied().filter(|side| *side > 0).ok_or_else(|| {
        failed(format!(
            "the model's output has shape {shape:?}, which has nothing along dimension {dim}"
        ))
    })
}

fn failed(message: String) -> Error {
    Error::new(ErrorCode::PredictionFailed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::epilogue_tests::epilogue_tests!(apply);

    #[test]
    fn what_is_no_number_is_told() {
        let flags = Tensor::from_bytes(DType::Bool, &[1, 2], vec![0_u8, 1].into()).unwrap();
        let texts = Tensor::from_strings(&[1, 2], ["a", "b"]).unwrap();
        for (tensor, kind) in [(flags, "bool"), (texts, "bytes")] {
            let error = apply(vec![tensor], Epilogue::ArgMax { dim: 1 }).unwrap_err();
            assert_eq!(error.code(), ErrorCode::PredictionFailed);
            assert!(error.message().contains(kind), "{error}");
        }
        assert!(apply(Vec::new(), Epilogue::TopK { k: 1 }).is_err());
    }

    #[test]
    fn every_type_of_numbers_has_a_largest() {
        fn largest<T: Score>() {
            let numbers = [1.0, 7.0, 3.0].map(T::narrow).to_vec();
            let scores = Tensor::from_vec(&[1, 3], numbers).unwrap();
            let winner = apply(vec![scores.clone()], Epilogue::ArgMax { dim: 1 }).unwrap();
            assert_eq!(winner[0].as_slice::<u8>().unwrap(), [1], "{:?}", T::DTYPE);
            let best = apply(vec![scores], Epilogue::TopK { k: 1 }).unwrap();
            assert_eq!(best[0].dtype(), T::DTYPE);
            assert!(best[0].as_slice::<T>().unwrap() == [T::narrow(7.0)]);
        }
        largest::<u8>();
        largest::<u16>();
        largest::<u32>();
        largest::<u64>();
        largest::<i8>();
        largest::<i16>();
        largest::<i32>();
        largest::<i64>();
        largest::<f16>();
        largest::<bf16>();
        largest::<f32>();
        largest::<f64>();
    }
}
