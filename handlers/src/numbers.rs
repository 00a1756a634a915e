//! Nested lists of numbers or texts in JSON, read straight into one vector: as deep as the lists go, and as long
//! as they are at each depth.

use std::fmt;

use half::{bf16, f16};
use mar_handler::Element;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Unexpected, Visitor};

/// Values in row-major order, and the lengths of the lists they stand in, outermost first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Nested<T> {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<T>,
}

/// What lists in lists end in; `None` where a value of JSON does not fit.
pub(crate) trait Leaf: Sized {
    /// What one is called.
    const NAME: &'static str = "number";

    fn of_unsigned(value: u64) -> Option<Self>;
    fn of_signed(value: i64) -> Option<Self>;
    fn of_float(value: f64) -> Option<Self>;

    fn of_bool(value: bool) -> Option<Self> {
        Self::of_unsigned(value.into())
    }

    fn of_text(_: &str) -> Option<Self> {
        None
    }

    /// What stands for a value that is missing.
    fn of_null() -> Option<Self> {
        None
    }

    /// What is said of one that does not fit.
    fn misfit() -> String;
}

impl<T: Leaf> Nested<T> {
    /// The list that `items` goes through.
    pub(crate) fn of_list<'de, A: SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        let mut reader = Reader::new(false);
        Level { reader: &mut reader, depth: 0 }.visit_seq(items)?;
        Ok(reader.into_nested())
    }

    /// A list, or a value that stands alone. `null` is what it is for the type, where it is something.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Self, D::Error> {
        let mut reader = Reader::new(true);
        Level { reader: &mut reader, depth: 0 }.deserialize(deserializer)?;
        Ok(reader.into_nested())
    }
}

/// What was read so far.
struct Reader<T> {
    values: Vec<T>,
    /// The length of the lists of each depth, once one was read to its end.
    sides: Vec<Option<usize>>,
    /// Whether the first value or empty list told how deep the lists go.
    is_deep_enough: bool,
    /// Where the entry that is being read stands.
    place: Vec<usize>,
    /// Whether a value may be missing.
    takes_null: bool,
}

impl<T: Leaf> Reader<T> {
    fn new(takes_null: bool) -> Self {
        let (values, sides, place) = (Vec::new(), Vec::new(), Vec::new());
        Self { values, sides, is_deep_enough: false, place, takes_null }
    }

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

    /// The place behind a value; nothing of one that stands alone.
    fn at(&self) -> String {
        if self.place.is_empty() { String::new() } else { format!(" {}", self.place()) }
    }

    fn leaf<E: Error>(&mut self, value: Option<T>, text: impl fmt::Display) -> Result<(), E> {
        if self.is_deep_enough && self.place.len() != self.sides.len() {
            return Err(E::custom(format_args!(
                "a {} {} where a list is expected, as beside it",
                T::NAME,
                self.place()
            )));
        }
        self.is_deep_enough = true;
        let Some(value) = value else {
            return Err(E::custom(format_args!("{text}{} {}", self.at(), T::misfit())));
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

impl<'de, T: Leaf> DeserializeSeed<'de> for Level<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Leaf> Visitor<'de> for Level<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s or lists of them {}", T::NAME, self.reader.place())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.reader.leaf(T::of_bool(value), value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.reader.leaf(T::of_unsigned(value), value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.reader.leaf(T::of_signed(value), value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.reader.leaf(T::of_float(value), value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        match T::of_text(value) {
            None => Err(E::invalid_type(Unexpected::Str(value), &self)),
            text => self.reader.leaf(text, value),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        match T::of_null().filter(|_| self.reader.takes_null) {
            None => Err(E::custom(format_args!("null{} is no {}", self.reader.at(), T::NAME))),
            missing => self.reader.leaf(missing, "null"),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { reader, depth } = self;
        if depth == reader.sides.len() {
            if reader.is_deep_enough {
                return Err(A::Error::custom(format_args!(
                    "a list {} where a {} is expected, as beside it",
                    reader.place(),
                    T::NAME
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
        impl Leaf for $rust {
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

            fn misfit() -> String {
                does_not_fit::<Self>()
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
impl Leaf for f32 {
    fn of_unsigned(value: u64) -> Option<Self> {
        Self::of_float(value as f64)
    }

    fn of_signed(value: i64) -> Option<Self> {
        Self::of_float(value as f64)
    }

    fn of_float(value: f64) -> Option<Self> {
        Some(value as f32).filter(|value| value.is_finite())
    }

    /// As pandas writes and reads it.
    fn of_null() -> Option<Self> {
        Some(Self::NAN)
    }

    fn misfit() -> String {
        does_not_fit::<Self>()
    }
}

#[expect(clippy::cast_precision_loss, reason = "rounding is what is asked for")]
impl Leaf for f64 {
    fn of_unsigned(value: u64) -> Option<Self> {
        Some(value as f64)
    }

    fn of_signed(value: i64) -> Option<Self> {
        Some(value as f64)
    }

    fn of_float(value: f64) -> Option<Self> {
        Some(value)
    }

    fn of_null() -> Option<Self> {
        Some(Self::NAN)
    }

    fn misfit() -> String {
        does_not_fit::<Self>()
    }
}

macro_rules! halves {
    ($($rust:ty),*) => {$(
        impl Leaf for $rust {
            fn of_unsigned(value: u64) -> Option<Self> {
                f64::of_unsigned(value).and_then(Self::of_float)
            }

            fn of_signed(value: i64) -> Option<Self> {
                f64::of_signed(value).and_then(Self::of_float)
            }

            fn of_float(value: f64) -> Option<Self> {
                Some(Self::from_f64(value)).filter(|value| value.is_finite())
            }

            fn of_null() -> Option<Self> {
                Some(Self::NAN)
            }

            fn misfit() -> String {
                does_not_fit::<Self>()
            }
        }
    )*};
}
halves!(f16, bf16);

impl Leaf for String {
    const NAME: &'static str = "text";

    fn of_unsigned(_: u64) -> Option<Self> {
        None
    }

    fn of_signed(_: i64) -> Option<Self> {
        None
    }

    fn of_float(_: f64) -> Option<Self> {
        None
    }

    fn of_bool(_: bool) -> Option<Self> {
        None
    }

    fn of_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn misfit() -> String {
        "is no text; send it in quotes".to_owned()
    }
}

fn does_not_fit<T: Element>() -> String {
    format!("does not fit {}", T::DTYPE.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Leaf>(json: &str) -> Result<Nested<T>, String> {
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
            ("[[1, {}]]", "expected numbers or lists of them at [0][1]"),
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
        assert!(
            read::<f16>("[1, 70000]").unwrap_err().contains("70000 at [1] does not fit float16")
        );
        assert!(read::<bf16>("-1e39").unwrap_err().contains("does not fit bfloat16"));
        assert_eq!(
            read::<f16>("[65504, -1, 0.1]").unwrap().values,
            [65504.0, -1.0, 0.1].map(f16::from_f32)
        );
        assert_eq!(read("16777217"), Ok(nested(&[], vec![16_777_216_f32])));
    }

    #[test]
    fn texts_are_read_as_they_are_and_nothing_else_is_one() {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(read(r#"[["a", "\u00e9"]]"#), Ok(nested(&[1, 2], texts(&["a", "\u{e9}"]))));
        assert_eq!(read(r#""Oslo""#), Ok(nested(&[], texts(&["Oslo"]))));
        for (json, words) in [
            (r#"["a", 3.5]"#, "3.5 at [1] is no text; send it in quotes"),
            ("7", "7 is no text; send it in quotes"),
            ("true", "true is no text"),
            (r#"["a", null]"#, "null at [1] is no text"),
            (r#"["a", ["b"]]"#, "a list at [1] where a text is expected"),
            (r#"[["a"], "b"]"#, "a text at [1] where a list is expected"),
            ("{}", "expected texts or lists of them"),
        ] {
            let error = read::<String>(json).unwrap_err();
            assert!(error.contains(words), "{json}: {error}");
        }
    }

    #[test]
    fn what_is_missing_is_nan_in_floats() {
        let Nested { shape, values } = read::<f32>("[null, 1]").unwrap();
        assert!(shape == [2] && values[0].is_nan());
        assert!(read::<f64>("null").unwrap().values[0].is_nan());
        assert!(read::<i64>("[1, null]").unwrap_err().contains("null at [1] is no number"));
    }

    #[test]
    fn a_bottomless_list_is_an_error() {
        assert!(read::<f32>(&"[".repeat(100_000)).unwrap_err().contains("recursion limit"));
    }
}
