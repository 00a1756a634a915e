//! From a row of a table, an object with a member a column, to the tensors of a network: the numbers of its
//! categories, and its numbers normalised.

use std::borrow::Cow;
use std::collections::HashMap;

use mar_handler::{DType, Error, Request, Result, Tensor, TensorSpec};
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

/// What the network takes of rows, with the batch's side.
pub(super) fn specs(columns: &Columns) -> Vec<TensorSpec> {
    let of = |name, dtype, count| {
        let shape = Some(vec![None, Some(count)]);
        TensorSpec { dtype: Some(dtype), shape, ..TensorSpec::named(name) }
    };
    let both = [
        of(CATEGORICAL, DType::I64, columns.categorical.len()),
        of(CONTINUOUS, DType::F32, columns.continuous.len()),
    ];
    let is_there = |spec: &TensorSpec| spec.shape.as_ref().is_some_and(|it| it[1] != Some(0));
    both.into_iter().filter(is_there).collect()
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

#[cfg(test)]
mod tests {
    use mar_handler::{ErrorCode, Handler, Part};
    use serde_json::{Value, json};

    use super::super::TensorHandler;
    use super::*;
    use crate::section::tests::context;

    fn handler(section: &Value) -> Result<TensorHandler> {
        TensorHandler::initialize(&context("no such folder", section))
    }

    fn request(body: &str) -> Request {
        let part = Part { name: "body".into(), content_type: None, data: body.to_owned().into() };
        Request { parts: vec![part], ..Request::default() }
    }

    /// A network of a column of each kind, and one that says whether `age` is missing.
    fn adult() -> Value {
        json!({ "columns": {
            "categorical": [
                { "name": "work", "categories": [" Private", "State"] },
                { "name": "age_na", "missing": "age" },
            ],
            "continuous": [
                { "name": "age", "fill": 38, "mean": 30.0, "std": 4.0 },
                { "name": "hours" },
            ],
        } })
    }

    fn read(body: &str) -> Result<(Vec<i64>, Vec<f32>)> {
        let inputs = handler(&adult()).unwrap().preprocess(&request(body))?;
        let [codes, numbers] = &inputs[..] else { panic!("{inputs:?}") };
        Ok((codes.as_slice()?.to_vec(), numbers.as_slice()?.to_vec()))
    }

    /// An entry of the table: the versions that made it, or a learner and what it gave to its network.
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Learner<'a> {
        name: String,
        handler: Value,
        #[serde(borrow)]
        rows: Vec<Seen<'a>>,
    }

    #[derive(serde::Deserialize)]
    struct Seen<'a> {
        #[serde(borrow)]
        row: &'a RawValue,
        x_cat: Vec<i64>,
        x_cont: Vec<f32>,
    }

    #[test]
    fn every_row_becomes_the_numbers_that_fastai_gives_to_its_network() {
        let table = include_str!("../../../tests/parity/tabular/rows.json");
        let table: Vec<Learner<'_>> = serde_json::from_str(table).unwrap();
        let mut compared = 0;
        for learner in &table[1..] {
            let handler = handler(&learner.handler).unwrap();
            for Seen { row, x_cat, x_cont } in &learner.rows {
                let inputs = handler.preprocess(&request(row.get())).unwrap();
                let told = format!("{}: {row}", learner.name);
                let of = |dtype| inputs.iter().find(move |tensor| tensor.dtype() == dtype);
                let codes = of(DType::I64).map(|codes| codes.as_slice::<i64>().unwrap());
                assert_eq!(codes.unwrap_or_default(), x_cat, "{told}");
                let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                let numbers = of(DType::F32).map(|numbers| numbers.as_slice::<f32>().unwrap());
                assert_eq!(bits(numbers.unwrap_or_default()), bits(x_cont), "{told}");
                compared += 1;
            }
        }
        assert!(compared > 300, "only {compared} rows were compared");
    }

    #[test]
    fn a_row_stands_alone_or_under_a_name() {
        let expected = (vec![1, 1], vec![4.75, 40.0]);
        for body in [
            r#"{"work": " Private", "age": 49, "hours": 40, "other": [1, {}]}"#,
            r#"{"data": {"work": " Private", "age": 49.0, "hours": 40}}"#,
            r#"{"id": 7, "body": {"hours": 4e1, "age": 49, "work": " \u0050rivate"}}"#,
            r#" {"inputs": {"hours": 40, "work": " Private", "age": 49}} "#,
        ] {
            assert_eq!(read(body).unwrap(), expected, "{body}");
        }
    }

    #[test]
    fn what_is_missing_is_filled_in_and_told_to_the_network() {
        let expected = (vec![0, 2], vec![2.0, 1.0]);
        for body in [r#"{"hours": true}"#, r#"{"work": null, "age": null, "hours": 1}"#] {
            assert_eq!(read(body).unwrap(), expected, "{body}");
        }
        // That it is missing is seen, never told: the column of that name is not the row's.
        let told = read(r#"{"work": "no such", "age": 34, "hours": 1, "age_na": true}"#).unwrap();
        assert_eq!(told, (vec![0, 1], vec![1.0, 1.0]));
    }

    #[test]
    fn a_row_that_cannot_be_read_names_the_column() {
        for (body, words) in [
            (r#"{"work": "State"}"#, r#"column "hours": is missing, and the archive has no"#),
            (r#"{"hours": null}"#, r#"column "hours": is missing"#),
            (r#"{"hours": "40"}"#, r#"column "hours": "40" is text"#),
            (r#"{"hours": 1, "work": ["State"]}"#, r#"column "work": a list or an object"#),
            (r#"{"hours": 1, "age": {}}"#, r#"column "age": a list or an object"#),
            (r#"{"hours": 1e39}"#, r#"column "hours": "#),
            (r#"{"hours": 1e999}"#, "beyond float32"),
            (r#"{"row": {"hours": 1}, "id": 5}"#, "the columns work, age, hours; found: id, row"),
            (r#"{"data": {"id": 1}}"#, "none of the columns"),
            ("{}", "found: none"),
            ("[1, 2]", "the body is no row"),
            (r#"{"data": [1, 2]}"#, "the body is no row"),
            (r#"{"hours": NaN}"#, "the body is no row"),
            ("", "the body is no row"),
        ] {
            let error = read(body).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidInput, "{body}");
            assert!(error.message().contains(words), "{body}: {error}");
        }
        let binary = Part { name: "body".into(), content_type: None, data: vec![0xff].into() };
        let request = Request { parts: vec![binary], ..Request::default() };
        let error = handler(&adult()).unwrap().preprocess(&request).unwrap_err();
        assert!(error.message().contains("the body is no row"), "{error}");
    }

    #[test]
    fn columns_that_do_not_hold_together_are_refused() {
        let numbers = |column: Value| json!({ "columns": { "continuous": [column] } });
        let both = |categorical: Value, continuous: Value| json!({ "columns": { "categorical": [categorical], "continuous": [continuous] } });
        let x = || json!({ "name": "x" });
        for (section, words) in [
            (json!({ "columns": {} }), "columns has neither"),
            (json!({ "columns": { "continuous": [x()] }, "inputs": [] }), "leave one of them out"),
            (json!({ "columns": { "continuos": [] } }), "`continuos`"),
            (numbers(json!({ "name": "x", "std": 0 })), "\"x\": std must be"),
            (numbers(json!({ "mean": 0 })), "`name`"),
            (numbers(json!({ "name": "x", "median": 0 })), "`median`"),
            (both(json!({ "name": "x", "categories": [] }), x()), "\"x\" stands twice"),
            (both(json!({ "name": "c" }), x()), "\"c\": needs categories"),
            (both(json!({ "name": "c", "missing": "y" }), x()), "no continuous column \"y\""),
            (both(json!({ "name": "c", "missing": "x" }), x()), "\"x\" has no fill"),
            (both(json!({ "name": "c", "categories": [1, 1.0] }), x()), "1.0 stands twice"),
            (both(json!({ "name": "c", "categories": [1, true] }), x()), "true stands twice"),
            (both(json!({ "name": "c", "categories": [null] }), x()), "null is no text"),
            (both(json!({ "name": "c", "categories": [[1]] }), x()), "[1] is no text"),
        ] {
            let error = handler(&section).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidModel, "{section}");
            assert!(error.message().contains(words), "{section}: {error}");
        }
    }

    #[test]
    fn clients_are_told_what_a_row_has() {
        let told = handler(&adult()).unwrap().describe();
        let columns = json!({
            "categorical": [{ "name": "work", "categories": [" Private", "State"] }],
            "continuous": [
                { "name": "age", "required": false },
                { "name": "hours", "required": true },
            ],
        });
        assert_eq!(told["columns"], columns);
        assert!(!told.contains_key("inputs"));
    }
}
