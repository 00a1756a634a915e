//! How alike two answers to the same inputs are.

use mar_handler::{DType, Tensor};
use serde::Serialize;

/// Numbers without a class axis are the same up to this share of them, or this much where they are below 1.
const CLOSE: f64 = 1e-3;

/// How like the first file's answer another is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parity {
    /// The largest difference of two numbers; `None` where there is none that can be told, as of texts, or
    /// of a number and one that is none.
    pub largest_difference: Option<f64>,
    /// The share that is the same, of the output that is least so: of floating-point numbers the places of
    /// the largest along the class axis, or without such an axis the numbers that are close; of whole numbers
    /// and texts the equal ones.
    pub same: f64,
    /// What makes them incomparable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// An answer: tensors, once for a whole batch, or once a request.
pub(super) type Answer = Vec<Vec<Tensor>>;

impl Parity {
    /// Compares an answer with the first file's; `axis` is that of the classes.
    pub(super) fn between(first: &Answer, other: &Answer, axis: usize) -> Self {
        if let Some(note) = first.iter().zip(other).find_map(|(a, b)| shapes_differ(a, b)) {
            return Self { largest_difference: None, same: 0.0, note: Some(note) };
        }
        let outputs = first.iter().map(Vec::len).max().unwrap_or(0);
        let mut counts = vec![Count::default(); outputs];
        for (first, other) in first.iter().zip(other) {
            for (count, (first, other)) in counts.iter_mut().zip(first.iter().zip(other)) {
                count.add(first, other, axis);
            }
        }
        let worst = counts.iter().map(|count| count.largest).reduce(worse);
        let same = counts.iter().map(Count::share).fold(1.0, f64::min);
        Self { largest_difference: worst.flatten(), same, note: None }
    }
}

fn shapes_differ(wanted: &[Tensor], got: &[Tensor]) -> Option<String> {
    if wanted.len() != got.len() {
        return Some(format!("{} outputs where the first file has {}", got.len(), wanted.len()));
    }
    let mut shapes = wanted.iter().zip(got).map(|(wanted, got)| (wanted.shape(), got.shape()));
    let place = shapes.position(|(wanted, got)| wanted != got)?;
    Some(format!(
        "output {place} has the shape {:?} where the first file's has {:?}",
        got[place].shape(),
        wanted[place].shape()
    ))
}

/// The larger of two differences; one that cannot be told is the largest.
fn worse(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a?.max(b?))
}

/// What is the same of one output.
#[derive(Clone, Debug)]
struct Count {
    same: usize,
    all: usize,
    largest: Option<f64>,
}

impl Default for Count {
    fn default() -> Self {
        Self { same: 0, all: 0, largest: Some(0.0) }
    }
}

impl Count {
    #[expect(clippy::cast_precision_loss, reason = "counts of elements in memory")]
    fn share(&self) -> f64 {
        if self.all == 0 { 1.0 } else { self.same as f64 / self.all as f64 }
    }

    /// Two tensors of one shape.
    fn add(&mut self, first: &Tensor, other: &Tensor, axis: usize) {
        let text = [first, other].map(|tensor| tensor.dtype() == DType::Bytes);
        match text {
            [false, false] => self.numbers(first, other, axis),
            [true, true] => {
                self.largest = None;
                for (a, b) in first.strings().zip(other.strings()) {
                    self.all += 1;
                    self.same += usize::from(a == b);
                }
            }
            _ => {
                self.largest = None;
                self.all += first.shape().iter().product::<usize>().max(1);
            }
        }
    }

    fn numbers(&mut self, first: &Tensor, other: &Tensor, axis: usize) {
        let floats = [first, other].map(|tensor| tensor.dtype().is_float());
        let (a, b) = (first.numbers(), other.numbers());
        let classes = floats == [true, true] && first.shape().len() > axis;
        for (a, b) in a.iter().zip(b.iter()) {
            let alike = a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            let difference = if alike { 0.0 } else { (a - b).abs() };
            let told = Some(difference).filter(|difference| difference.is_finite());
            self.largest = worse(self.largest, told);
            if !classes {
                let close = if floats == [false, false] {
                    difference == 0.0
                } else {
                    difference <= CLOSE * a.abs().max(1.0)
                };
                self.all += 1;
                self.same += usize::from(close);
            }
        }
        if classes {
            let (sides, inner) = first.shape().split_at(axis + 1);
            let inner: usize = inner.iter().product();
            let count = sides[axis];
            let places = sides[..axis].iter().product::<usize>() * inner;
            if count == 0 {
                return;
            }
            for place in 0..places {
                let start = place / inner * count * inner + place % inner;
                let class = |at: &dyn Fn(usize) -> f64| winner(count, &|i| at(start + i * inner));
                self.all += 1;
                self.same += usize::from(class(&|i| a.at(i)) == class(&|i| b.at(i)));
            }
        }
    }
}

/// The class that wins; of a single logit, whether it says yes. None wins where one of them is no number.
fn winner(count: usize, at: &dyn Fn(usize) -> f64) -> Option<usize> {
    if (0..count).any(|class| at(class).is_nan()) {
        return None;
    }
    if count == 1 {
        return Some(usize::from(at(0) > 0.0));
    }
    let larger = |best: usize, next: usize| if at(next) > at(best) { next } else { best };
    Some((1..count).fold(0, larger))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(shape: &[usize], values: &[f32]) -> Answer {
        vec![vec![Tensor::from_vec(shape, values.to_vec()).unwrap()]]
    }

    fn compare(shape: &[usize], first: &[f32], other: &[f32]) -> Parity {
        Parity::between(&answer(shape, first), &answer(shape, other), 1)
    }

    #[test]
    fn classes_are_compared_along_their_axis() {
        // Two pixels of two classes: the second pixel's winner changes, by a little.
        let parity = compare(&[1, 2, 2], &[3.0, 1.0, 0.0, 1.5], &[3.0, 1.75, 0.5, 1.5]);
        assert_eq!((parity.largest_difference, parity.same), (Some(0.75), 0.5));
        let logit = compare(&[4, 1], &[1.0, -1.0, 2.0, -2.0], &[0.5, -0.5, -0.5, -2.0]);
        assert_eq!(logit.same.to_bits(), 0.75_f64.to_bits(), "signs");
    }

    #[test]
    fn without_classes_close_numbers_are_the_same() {
        let parity = compare(&[4], &[0.0, 1.0, 1000.0, 5.0], &[0.0005, 1.0, 1000.5, 5.5]);
        assert_eq!((parity.largest_difference, parity.same), (Some(0.5), 0.75));
    }

    #[test]
    fn what_is_no_number_is_never_a_small_difference() {
        let parity = compare(&[2], &[1.0, 2.0], &[1.0, f32::NAN]);
        assert_eq!((parity.largest_difference, parity.same), (None, 0.5));
        let good = [3.0, 1.0, 0.0, 1.0];
        let parity = compare(&[2, 2], &good, &[f32::NAN; 4]);
        assert_eq!((parity.largest_difference, parity.same), (None, 0.0), "no class wins");
        let logit = compare(&[2, 1], &[-1.0, -2.0], &[f32::NAN, -2.0]);
        assert_eq!((logit.largest_difference, logit.same), (None, 0.5), "nor says it no");
        let both = compare(&[2], &[1.0, f32::INFINITY], &[1.0, f32::INFINITY]);
        assert_eq!((both.largest_difference, both.same), (Some(0.0), 1.0));
    }

    #[test]
    fn whole_numbers_and_texts_are_equal_or_not() {
        let ints = |values: &[i64]| vec![vec![Tensor::from_vec(&[4], values.to_vec()).unwrap()]];
        let parity = Parity::between(&ints(&[1, 2, 3, 4]), &ints(&[1, 2, 3, 5]), 1);
        assert_eq!((parity.largest_difference, parity.same), (Some(1.0), 0.75));
        let texts = |words: [&str; 2]| vec![vec![Tensor::from_strings(&[2], words).unwrap()]];
        let parity = Parity::between(&texts(["cat", "dog"]), &texts(["cat", "cow"]), 1);
        assert_eq!((parity.largest_difference, parity.same), (None, 0.5));
        let parity = Parity::between(&texts(["1", "2"]), &answer(&[2], &[1.0, 2.0]), 1);
        assert_eq!((parity.largest_difference, parity.same), (None, 0.0));
    }

    #[test]
    fn the_worst_output_counts_and_other_shapes_are_told() {
        let two = |second: f32| {
            let one = |value: f32| Tensor::from_vec(&[1], vec![value]).unwrap();
            vec![vec![one(1.0), one(second)]]
        };
        let parity = Parity::between(&two(1.0), &two(9.0), 1);
        assert_eq!((parity.largest_difference, parity.same), (Some(8.0), 0.0));
        let parity = Parity::between(&answer(&[1, 2], &[1.0; 2]), &answer(&[2], &[1.0; 2]), 1);
        let words = "output 0 has the shape [2] where the first file's has [1, 2]";
        assert_eq!((parity.same, parity.note.as_deref()), (0.0, Some(words)));
        let parity = Parity::between(&answer(&[1], &[1.0]), &two(1.0), 1);
        assert_eq!(parity.note.as_deref(), Some("2 outputs where the first file has 1"));
        let parity = Parity::between(&Vec::new(), &Vec::new(), 1);
        assert_eq!((parity.largest_difference, parity.same), (None, 1.0));
    }
}
