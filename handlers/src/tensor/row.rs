//! From a row of a table, an object with a member a column, to the tensors of a network: the numbers of its
//! categories, and its numbers normalised.

use std::borrow::Cow;
use std::collections::HashMap;

use mar_handler::{Error, Request, Result, Tensor};
use serde_json::value::RawValue;

use super::columns::{Cell, Columns, Source};
use crate::input::part;

/// What the network's inputs are called, as `FastAI` calls them.
const CATEGORICAL: &str = "x_cat";
const CONTINUOUS: &str = "x_cont";
/// The members that may hold the row, where the body is not the row itself.
const MEMBERS: [&str; 3] = ["data", "body", "inputs"];

type Members<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

/// The categories' numbers, `int64`, and the normalised numbers, `float32`; the table's columns in order. A
/// network of columns of one kind alone takes one tensor.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_handler::ErrorCode::InvalidInput) naming the column, and what is wrong with
/// its value.
pub(super) fn inputs(request: &Request, columns: &Columns) -> Result<Vec<Tensor>> {
    let body = std::str::from_utf8(&part(request)?.data);
    let members = row(body.map_err(|reason| no_row(&reason))?, columns)?;
    let mut numbers = Vec::with_capacity(columns.continuous.len());
    let mut missing = Vec::with_capacity(columns.continuous.len());
    for column in &columns.continuous {
        let number = number(&column.name, cell(&members, &column.name)?)?;
        missing.push(number.is_none());
        let number = number.or(column.fill).ok_or_else(|| {
            let reason = "is missing, and the archive has no number to fill in; send one";
            wrong(&column.name, &reason)
        })?;
        let normalised = column.normalised(number);
        if !normalised.is_finite() {
            return Err(wrong(&column.name, &format!("{number} leads beyond float32")));
        }
        numbers.push(normalised);
    }
    let mut codes = Vec::with_capacity(columns.categorical.len());
    for column in &columns.categorical {
        codes.push(column.code(match column.source {
            Source::Member => cell(&members, &column.name)?,
            Source::Missing(place) => Cell::Flag(missing[place]),
        }));
    }
    let mut tensors = Vec::with_capacity(2);
    if !codes.is_empty() {
        tensors.push(Tensor::from_vec(&[codes.len()], codes)?.named(CATEGORICAL));
    }
    if !numbers.is_empty() {
        tensors.push(Tensor::from_vec(&[numbers.len()], numbers)?.named(CONTINUOUS));
    }
    Ok(tensors)
}

/// The members of the row: of the body, or of the object in it that holds the row.
///
/// A row of none of the columns is refused rather than filled in: whoever sends it means something else.
fn row<'a>(text: &'a str, columns: &Columns) -> Result<Members<'a>> {
    let names = || {
        let of_row = columns.categorical.iter().filter(|column| column.source == Source::Member);
        let numbers = columns.continuous.iter().map(|column| column.name.as_str());
        of_row.map(|column| column.name.as_str()).chain(numbers)
    };
    let is_row = |members: &Members<'_>| names().any(|name| members.contains_key(name));
    let members: Members<'a> = serde_json::from_str(text).map_err(|reason| no_row(&reason))?;
    if is_row(&members) {
        return Ok(members);
    }
    let held = MEMBERS.iter().find_map(|name| members.get(*name));
    if let Some(held) = held {
        let held: Members<'a> =
            serde_json::from_str(held.get()).map_err(|reason| no_row(&reason))?;
        if is_row(&held) {
            return Ok(held);
        }
    }
    let mut found: Vec<&str> = members.keys().map(AsRef::as_ref).collect();
    found.sort_unstable();
    Err(Error::invalid_input(format!(
        "the row has none of the columns {}; found: {}",
        names().collect::<Vec<_>>().join(", "),
        if found.is_empty() { "none".into() } else { found.join(", ") }
    )))
}

/// A column's value. Numbers are read from their text, for Rust reads them as exactly as Python does.
fn cell(members: &Members<'_>, column: &str) -> Result<Cell> {
    let Some(value) = members.get(column) else { return Ok(Cell::Missing) };
    let text = value.get();
    Ok(match text.as_bytes().first() {
        Some(b'n') => Cell::Missing,
        Some(b't') => Cell::Flag(true),
        Some(b'f') => Cell::Flag(false),
        Some(b'"') => {
            Cell::Text(serde_json::from_str(text).map_err(|reason| wrong(column, &reason))?)
        }
        Some(b'[' | b'{') => {
            let reason =
                "a list or an object is no value; send text, a number, true, false or null";
            return Err(wrong(column, &reason));
        }
        _ => match text.parse().map(Cell::Whole) {
            Ok(whole) => whole,
            Err(_) => Cell::Fraction(text.parse().map_err(|reason| wrong(column, &reason))?),
        },
    })
}

/// The number that a cell of a continuous column holds, if it is not missing.
#[expect(clippy::cast_precision_loss, reason = "Python rounds whole numbers in the same way")]
fn number(column: &str, cell: Cell) -> Result<Option<f64>> {
    match cell {
        Cell::Missing => Ok(None),
        Cell::Flag(flag) => Ok(Some(flag.into())),
        Cell::Whole(whole) => Ok(Some(whole as f64)),
        Cell::Fraction(value) => Ok(Some(value)),
        Cell::Text(text) => Err(wrong(
            column,
            &format!("{text:?} is text; the column holds numbers, so send one without quotes"),
        )),
    }
}

fn no_row(reason: &dyn std::fmt::Display) -> Error {
    Error::invalid_input(format!(
        "the body is no row: {reason}; send an object with a member a column, such as {{\"age\": 49}}"
    ))
}

fn wrong(column: &str, reason: &dyn std::fmt::Display) -> Error {
    Error::invalid_input(format!("column {column:?}: {reason}"))
}
