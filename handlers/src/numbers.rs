//! Nested lists of numbers in JSON, read straight into one vector: as deep as the lists go, and as long as
//! they are at each depth.

use std::fmt;

use mar_handler::Element;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

/// Numbers in row-major order, and the lengths of the lists they stand in, outermost first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Nested<T> {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<T>,
}

/// A type that a JSON number may become; `None` where the number does not fit.
pub(crate) trait Number: Element {
    fn of_unsigned(value: u64) -> Option<Self>;
    fn of_signed(value: i64) -> Option<Self>;
    fn of_float(value: f64) -> Option<Self>;
}

impl<T: Number> Nested<T> {
    /// The list that `items` goes through.
    pub(crate) fn of_list<'de, A: SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        let mut reader = Reader::default();
        Level { reader: &mut reader, depth: 0 }.visit_seq(items)?;
        Ok(reader.into_nested())
    }

    /// A list, or a number that stands alone.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Self, D::Error> {
        let mut reader = Reader::default();
        Level { reader: &mut reader, depth: 0 }.deserialize(deserializer)?;
        Ok(reader.into_nested())
    }
}

/// What was read so far.
struct Reader<T> {
    values: Vec<T>,
    /// The length of the lists of each depth, once one was read to its end.
    sides: Vec<Option<usize>>,
    /// Whether the first number or empty list told how deep the lists go.
    is_deep_enough: bool,
    /// Where the entry that is being read stands.
    place: Vec<usize>,
}

impl<T> Default for Reader<T> {
    fn default() -> Self {
        Self { values: Vec::new(), sides: Vec::new(), is_deep_enough: false, place: Vec::new() }
    }
}

impl<T: Number> Reader<T> {
    fn into_nested(self) -> Nested<T> {
        Nested { shape: self.sides.into_iter().flatten().collect(), values: self.values }
    }

    fn place(&self) -> String {
        if self.place.is_empty() {
            return "at the top".into();
        }
        let indices: Vec<String> = self.place.iter().map(usize::to_string).collect();
        format!("at [{}]", indices.join("]["))
    }

    fn number<E: Error>(&mut self, value: Option<T>, text: impl fmt::Display) -> Result<(), E> {
        if self.is_deep_enough && self.place.len() != self.sides.len() {
            return Err(E::custom(format_args!(
                "a number {} where a list is expected, as beside it",
                self.place()
            )));
        }
        self.is_deep_enough = true;
        let Some(value) = value else {
            return Err(E::custom(format_args!(
                "{text} {} does not fit {}",
                self.place(),
                T::DTYPE.name()
            )));
        };
        self.values.push(value);
        Ok(())
    }
}

/// Reads what stands at one depth.
struct Level<'a, T> {
    reader: &'a mut Reader<T>,
    depth: usize,
}

impl<'de, T: Number> DeserializeSeed<'de> for Level<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Number> Visitor<'de> for Level<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "numbers or lists of them {}", self.reader.place())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.reader.number(T::of_unsigned(u64::from(value)), value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.reader.number(T::of_unsigned(value), value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.reader.number(T::of_signed(value), value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.reader.number(T::of_float(value), value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { reader, depth } = self;
        if depth == reader.sides.len() {
            if reader.is_deep_enough {
                return Err(A::Error::custom(format_args!(
                    "a list {} where a number is expected, as beside it",
                    reader.place()
                )));
            }
            reader.sides.push(None);
        }
        let mut length = 0;
        loop {
            reader.place.push(length);
            let item = items.next_element_seed(Level { reader: &mut *reader, depth: depth + 1 })?;
            reader.place.pop();
            if item.is_none() {
                break;
            }
            length += 1;
        }
        reader.is_deep_enough = true;
        match reader.sides[depth] {
            None => reader.sides[depth] = Some(length),
            Some(side) if side != length => {
                return Err(A::Error::custom(format_args!(
                    "the list {} has {length} entries where those before it have {side}",
                    reader.place()
                )));
            }
            Some(_) => {}
        }
        Ok(())
    }
}

macro_rules! whole_numbers {
    ($($rust:ty),*) => {$(
        impl Number for $rust {
            fn of_unsigned(value: u64) -> Option<Self> {
                value.try_into().ok()
            }

            fn of_signed(value: i64) -> Option<Self> {
                value.try_into().ok()
            }

            #[expect(clippy::cast_possible_truncation, reason = "a number that is cut is refused")]
            fn of_float(value: f64) -> Option<Self> {
                // 2^53: beyond it, floats skip whole numbers.
                let is_whole = value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0;
                if is_whole { Self::of_signed(value as i64) } else { None }
            }
        }
    )*};
}
whole_numbers!(u8, u16, u32, u64, i8, i16, i32, i64);

/// Rounded to the nearest, as Python and then PyTorch do.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "rounding is what is asked for"
)]
impl Number for f32 {
    fn of_unsigned(value: u64) -> Option<Self> {
        Self::of_float(value as f64)
    }

    fn of_signed(value: i64) -> Option<Self> {
        Self::of_float(value as f64)
    }

    fn of_float(value: f64) -> Option<Self> {
        Some(value as f32).filter(|value| value.is_finite())
    }
}

#[expect(clippy::cast_precision_loss, reason = "rounding is what is asked for")]
impl Number for f64 {
    fn of_unsigned(value: u64) -> Option<Self> {
        Some(value as f64)
    }

    fn of_signed(value: i64) -> Option<Self> {
        Some(value as f64)
    }

    fn of_float(value: f64) -> Option<Self> {
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Number>(json: &str) -> Result<Nested<T>, String> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let read = Nested::deserialize(&mut deserializer).map_err(|error| error.to_string())?;
        deserializer.end().map_err(|error| error.to_string())?;
        Ok(read)
    }

    fn nested<T>(shape: &[usize], values: Vec<T>) -> Nested<T> {
        Nested { shape: shape.to_vec(), values }
    }

    #[test]
    fn lists_become_a_shape_and_numbers() {
        assert_eq!(read("[[1, 2.5, -3], [4, 5e0, 6]]"), {
            Ok(nested(&[2, 3], vec![1_f32, 2.5, -3.0, 4.0, 5.0, 6.0]))
        });
        assert_eq!(read("7"), Ok(nested(&[], vec![7_i64])));
        assert_eq!(read("[true, false]"), Ok(nested(&[2], vec![1_u8, 0])));
        assert_eq!(read("[]"), Ok(nested::<f32>(&[0], vec![])));
        assert_eq!(read("[[], []]"), Ok(nested::<f32>(&[2, 0], vec![])));
        assert_eq!(read("[[[1]], [[2]]]"), Ok(nested(&[2, 1, 1], vec![1_i32, 2])));
    }

    #[test]
    fn ragged_lists_name_their_place() {
        for (json, words) in [
            ("[[1, 2], [3]]", "the list at [1] has 1 entries where those before it have 2"),
            ("[[1, 2], [3, 4, 5]]", "the list at [1] has 3 entries"),
            ("[[1], 2]", "a number at [1] where a list is expected"),
            ("[1, [2]]", "a list at [1] where a number is expected"),
            ("[[], [1]]", "the list at [1] has 1 entries"),
            ("[[[1]], [2]]", "a number at [1][0] where a list"),
            ("[[], [[1]]]", "a list at [1][0] where a number"),
            (r#"[1, "2"]"#, "expected numbers or lists of them at [1]"),
            ("[[1, null]]", "expected numbers or lists of them at [0][1]"),
            (r#"{"a": 1}"#, "expected numbers or lists of them at the top"),
        ] {
            let error = read::<f32>(json).unwrap_err();
            assert!(error.contains(words), "{json}: {error}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert!(read::<u8>("[300]").unwrap_err().starts_with("300 at [0] does not fit uint8"));
        for (json, fits) in [("2.0", true), ("2.5", false), ("-1", true), ("1e30", false)] {
            assert_eq!(read::<i64>(json).is_ok(), fits, "{json}");
        }
        assert!(read::<f32>("1e39").unwrap_err().contains("does not fit float32"));
        assert_eq!(read("16777217"), Ok(nested(&[], vec![16_777_216_f32])));
    }

    #[test]
    fn a_bottomless_list_is_an_error() {
        assert!(read::<f32>(&"[".repeat(100_000)).unwrap_err().contains("recursion limit"));
    }
}
