//! What an archive says of the columns of a table: which value stands for which number of an embedding, what
//! stands for one that is missing, how numbers are normalised. Values are compared as pandas compares them,
//! because `FastAI` leaves that to it.

use std::collections::{HashMap, HashSet};

use mar_handler::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::section::wrong;

/// The value of the key `columns`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Written {
    categorical: Vec<WrittenCategorical>,
    continuous: Vec<Continuous>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCategorical {
    name: String,
    /// The values in the order of their numbers, which begin at 1: 0 is for all others.
    categories: Option<Vec<Value>>,
    /// The continuous column of which this one says whether it is missing.
    missing: Option<String>,
}

/// The columns of a table, in the order in which the network takes them.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) categorical: Vec<Categorical>,
    pub(super) continuous: Vec<Continuous>,
}

/// A column whose values are numbered.
#[derive(Debug)]
pub(super) struct Categorical {
    pub(super) name: String,
    pub(super) source: Source,
    categories: Vec<Value>,
    codes: HashMap<Key, i64>,
    /// Whether all categories are numbers, to which pandas compares no truth value.
    numbers_only: bool,
}

/// Where the value of a categorical column comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The row's member of the column's name.
    Member,
    /// Whether the continuous column of this place is missing.
    Missing(usize),
}

/// A column of numbers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Continuous {
    pub(super) name: String,
    /// What stands for a missing number; absent: a row without one is refused.
    #[serde(default)]
    pub(super) fill: Option<f64>,
    #[serde(default)]
    mean: f64,
    #[serde(default = "one")]
    std: f64,
}

fn one() -> f64 {
    1.0
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Missing,
    Text(String),
    Flag(bool),
    Whole(i128),
    Fraction(f64),
}

/// A value as Python's dictionaries tell it from others: 3, 3.0 and, for 1 and 0, a truth value are alike.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    Text(String),
    Whole(i128),
    Fraction(u64),
}

impl Written {
    /// The columns, each with a name of its own.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`](mar_handler::ErrorCode::InvalidModel) naming the column that is wrong.
    pub(super) fn checked(self) -> Result<Columns> {
        let Self { categorical, continuous } = self;
        let names = categorical.iter().map(|column| &column.name);
        let mut seen = HashSet::new();
        if let Some(twice) = names
            .chain(continuous.iter().map(|column| &column.name))
            .find(|name| !seen.insert(*name))
        {
            return Err(wrong(&format!("columns: {twice:?} stands twice")));
        }
        if seen.is_empty() {
            return Err(wrong(&"columns has neither categorical nor continuous ones"));
        }
        for column in &continuous {
            column.check()?;
        }
        let categorical = categorical.into_iter().map(|column| column.checked(&continuous));
        Ok(Columns { categorical: categorical.collect::<Result<_>>()?, continuous })
    }
}

impl WrittenCategorical {
    fn checked(self, continuous: &[Continuous]) -> Result<Categorical> {
        let Self { name, categories, missing } = self;
        let refused = |reason: String| wrong(&format!("columns: {name:?}: {reason}"));
        let source = match missing {
            None => Source::Member,
            Some(of) => match continuous.iter().position(|column| column.name == of) {
                Some(place) if continuous[place].fill.is_some() => Source::Missing(place),
                Some(_) => {
                    return Err(refused(format!("{of:?} has no fill, so it is never missing")));
                }
                None => return Err(refused(format!("missing: no continuous column {of:?}"))),
            },
        };
        let categories = match (categories, &source) {
            (Some(categories), _) => categories,
            (None, Source::Missing(_)) => vec![false.into(), true.into()],
            (None, Source::Member) => {
                return Err(refused(
                    "needs categories, the values in the order of their numbers from 1 on".into(),
                ));
            }
        };
        let mut codes = HashMap::with_capacity(categories.len());
        for (value, code) in categories.iter().zip(1..) {
            let key = Cell::of(value).and_then(Cell::key).ok_or_else(|| {
                refused(format!("the category {value} is no text, number or truth value"))
            })?;
            if codes.insert(key, code).is_some() {
                return Err(refused(format!("the category {value} stands twice")));
            }
        }
        let numbers_only = categories.iter().all(Value::is_number);
        Ok(Categorical { name, source, categories, codes, numbers_only })
    }
}

impl Categorical {
    /// The number of a value; 0 where it is missing or none of the categories.
    pub(super) fn code(&self, cell: Cell) -> i64 {
        if self.numbers_only && matches!(cell, Cell::Flag(_)) {
            return 0;
        }
        cell.key().and_then(|key| self.codes.get(&key)).copied().unwrap_or_default()
    }
}

impl Continuous {
    fn check(&self) -> Result<()> {
        let Self { name, fill, mean, std } = self;
        let refused = |reason: &str| Err(wrong(&format!("columns: {name:?}: {reason}")));
        if !mean.is_finite() || fill.is_some_and(|fill| !fill.is_finite()) {
            return refused("mean and fill must be finite numbers");
        }
        if !std.is_finite() || *std == 0.0 {
            return refused("std must be a finite number other than 0");
        }
        Ok(())
    }

    /// The number that the network gets, as `FastAI` computes it: in double precision, rounded once.
    #[expect(clippy::cast_possible_truncation, reason = "this is the one rounding")]
    pub(super) fn normalised(&self, value: f64) -> f32 {
        ((value - self.mean) / self.std) as f32
    }
}

impl Columns {
    /// What clients are told of them.
    pub(super) fn describe(&self) -> Value {
        let of_row = |column: &&Categorical| column.source == Source::Member;
        let categorical = self.categorical.iter().filter(of_row);
        let categorical: Vec<Value> = categorical
            .map(|column| json!({ "name": column.name, "categories": column.categories }))
            .collect();
        let continuous: Vec<Value> = self
            .continuous
            .iter()
            .map(|column| json!({ "name": column.name, "required": column.fill.is_none() }))
            .collect();
        json!({ "categorical": categorical, "continuous": continuous })
    }
}

impl Cell {
    /// A value of the configuration; `None` where it is a list or a mapping.
    fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Missing,
            Value::Bool(flag) => Self::Flag(*flag),
            Value::String(text) => Self::Text(text.clone()),
            Value::Number(number) => match number.as_i128() {
                Some(whole) => Self::Whole(whole),
                None => Self::Fraction(number.as_f64()?),
            },
            Value::Array(_) | Value::Object(_) => return None,
        })
    }

    /// The value as it is looked up; `None` where it is missing.
    fn key(self) -> Option<Key> {
        Some(match self {
            Self::Missing => return None,
            Self::Text(text) => Key::Text(text),
            Self::Flag(flag) => Key::Whole(flag.into()),
            Self::Whole(whole) => Key::Whole(whole),
            Self::Fraction(value) => {
                whole(value).map_or(Key::Fraction(value.to_bits()), Key::Whole)
            }
        })
    }
}

/// The whole number that a float is, where it is one and has at most 127 bits.
fn whole(value: f64) -> Option<i128> {
    let is_whole = value.fract() == 0.0 && value.abs() < 2_f64.powi(127);
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and in range")]
    is_whole.then_some(value as i128)
}
