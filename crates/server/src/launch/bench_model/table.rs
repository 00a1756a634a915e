//! What was measured, as a person reads it: a table, and which is the fastest.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use mar_engine::{Measured, MeasuredRow, Parity};

use crate::logging::one_line;

/// Columns of the table at most; what is longer is broken.
const WIDTH: u16 = 160;
/// The columns of numbers.
const NUMBERS: std::ops::Range<usize> = 2..9;

/// A row for each that was measured, and one for each that was not.
pub(super) fn table(measured: &Measured) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header([
            "file",
            "run as",
            "threads",
            "batch",
            "median ms",
            "quartiles",
            "p95",
            "per second",
            "speed",
            "same answer",
        ]);
    for column in NUMBERS {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in &measured.rows {
        let times = &row.milliseconds;
        table.add_row([
            one_line(&row.file),
            one_line(&row.variant),
            row.threads.to_string(),
            row.batch_size.to_string(),
            digits(times.median),
            format!("{} to {}", digits(times.lower_quartile), digits(times.upper_quartile)),
            digits(times.p95),
            digits(row.items_per_second),
            format!("{:.2}", row.speed),
            row.parity.as_ref().map(alike).unwrap_or_default(),
        ]);
    }
    for of in &measured.not_measured {
        let any = |number: Option<usize>| number.map_or("any".into(), |number| number.to_string());
        let mut row = vec![
            one_line(&of.file),
            of.variant.as_ref().map(one_line).unwrap_or_default(),
            any(of.threads),
            any(of.batch_size),
        ];
        row.resize(NUMBERS.end, String::new());
        row.push(one_line(format_args!("not measured: {}", of.reason)));
        table.add_row(row);
    }
    table.to_string()
}

/// Three digits that count.
fn digits(number: f64) -> String {
    let decimals = match number.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{number:.decimals$}")
}

fn alike(parity: &Parity) -> String {
    if let Some(note) = &parity.note {
        return one_line(format_args!("no: {note}"));
    }
    let by = parity.largest_difference.map(|most| format!(", differs by {most:.1e} at most"));
    share(parity.same) + &by.unwrap_or_default()
}

/// A share in percent; never 100 % of what is not all.
pub(super) fn share(of: f64) -> String {
    if of >= 1.0 {
        return "100 %".into();
    }
    let shown = format!("{:.2} %", 100.0 * of);
    if shown == "100.00 %" { "more than 99.99 %".into() } else { shown }
}

/// What was measured on what, and which is the fastest, in sentences.
pub(super) fn answer(measured: &Measured) -> Vec<String> {
    let Measured { model, version, device, inputs, pass, .. } = measured;
    let about = format!("{model} {version} on {device}, {pass}: {inputs}");
    std::iter::once(about).chain(fastest(&measured.rows)).map(one_line).collect()
}

/// The fastest of each cell; in one sentence where it is always the same. Nothing where nothing was compared.
fn fastest(rows: &[MeasuredRow]) -> Vec<String> {
    let cells = rows.chunk_by(|a, b| (a.threads, a.batch_size) == (b.threads, b.batch_size));
    let won: Vec<Won<'_>> = cells.filter_map(Won::of).collect();
    let Some(first) = won.first() else { return Vec::new() };
    let same = |of: &Won<'_>| of.is_clear == first.is_clear && of.is_run_as(first);
    if won.len() > 1 && won.iter().all(same) {
        let by = |pick: fn(f64, f64) -> f64| won.iter().map(Won::times).reduce(pick);
        let (least, most) = (by(f64::min).unwrap_or(1.0), by(f64::max).unwrap_or(1.0));
        return vec![if !first.is_clear {
            format!(
                "none is clearly faster than {}, at any batch and number of threads",
                name(first.first)
            )
        } else if first.is_first() {
            format!("fastest at every batch and number of threads: {}", name(first.best))
        } else {
            format!(
                "fastest at every batch and number of threads: {}, {least:.1} to {most:.1} times {}",
                name(first.best),
                name(first.first)
            )
        }];
    }
    won.iter().map(Won::sentence).collect()
}

/// Who won a cell.
struct Won<'a> {
    first: &'a MeasuredRow,
    best: &'a MeasuredRow,
    /// Whether the quartiles of the first row do not overlap with those of the others, or of the best.
    is_clear: bool,
}

impl<'a> Won<'a> {
    fn of(cell: &'a [MeasuredRow]) -> Option<Self> {
        let [first, others @ ..] = cell else { return None };
        let fastest =
            cell.iter().min_by(|a, b| a.milliseconds.median.total_cmp(&b.milliseconds.median))?;
        let as_fast = |row: &MeasuredRow, as_this: &MeasuredRow| {
            row.milliseconds.lower_quartile <= as_this.milliseconds.upper_quartile
        };
        // Of those that cannot be told apart, the first: a file before its twin, the usual way before others.
        let best = cell.iter().find(|row| as_fast(row, fastest))?;
        let is_clear = !std::ptr::eq(best, first) || !others.iter().any(|row| as_fast(row, first));
        (!others.is_empty()).then_some(Self { first, best, is_clear })
    }

    fn is_first(&self) -> bool {
        std::ptr::eq(self.first, self.best)
    }

    fn is_run_as(&self, other: &Self) -> bool {
        (&self.best.file, &self.best.variant) == (&other.best.file, &other.best.variant)
    }

    /// How many times as fast as the first.
    fn times(&self) -> f64 {
        self.best.speed
    }

    fn sentence(&self) -> String {
        let Self { first, best, is_clear } = self;
        let threads = match first.threads {
            1 => "1 thread".to_owned(),
            several => format!("{several} threads"),
        };
        let cell = format!("at batch {}, {threads}", first.batch_size);
        if !is_clear {
            return format!("{cell}: none is clearly faster than {}", name(first));
        }
        if self.is_first() {
            return format!("fastest {cell}: {}", name(best));
        }
        format!("fastest {cell}: {}, {:.1} times {}", name(best), best.speed, name(first))
    }
}

/// What a sentence calls a row.
fn name(row: &MeasuredRow) -> String {
    format!("{} ({})", row.file, row.variant)
}

#[cfg(test)]
mod tests {
    use mar_engine::{Spread, Unmeasured};
    use serde_json::Map;

    use super::*;

    fn row(variant: &str, (threads, batch_size): (usize, usize), median: f64) -> MeasuredRow {
        MeasuredRow {
            file: "f.pt".into(),
            variant: variant.into(),
            threads,
            batch_size,
            passes: 9,
            milliseconds: Spread {
                median,
                lower_quartile: 0.9 * median,
                upper_quartile: 1.1 * median,
                p95: 2.0 * median,
            },
            items_per_second: 1e3 / median,
            speed: 10.0 / median,
            parity: None,
            how: Map::new(),
        }
    }

    fn said(rows: &[MeasuredRow]) -> Vec<String> {
        fastest(rows)
    }

    #[test]
    fn who_is_fastest_is_said_once_where_it_is_always_the_same() {
        let cell = |cell, other: f64| [row("a", cell, 10.0), row("b", cell, other)];
        let one = said(&cell((1, 4), 5.0));
        assert_eq!(one, ["fastest at batch 4, 1 thread: f.pt (b), 2.0 times f.pt (a)"]);
        let always = said(&[cell((1, 1), 5.0), cell((2, 1), 2.5)].concat());
        let words =
            "fastest at every batch and number of threads: f.pt (b), 2.0 to 4.0 times f.pt (a)";
        assert_eq!(always, [words]);
        let mixed = said(&[cell((1, 1), 5.0), cell((2, 1), 20.0), cell((2, 4), 9.5)].concat());
        let words = [
            "fastest at batch 1, 1 thread: f.pt (b), 2.0 times f.pt (a)",
            "fastest at batch 1, 2 threads: f.pt (a)",
            "at batch 4, 2 threads: none is clearly faster than f.pt (a)",
        ];
        assert_eq!(mixed, words);
        let first = said(&[cell((1, 1), 20.0), cell((2, 1), 30.0)].concat());
        assert_eq!(first, ["fastest at every batch and number of threads: f.pt (a)"]);
        let alike = said(&[row("a", (1, 1), 10.0), row("b", (1, 1), 5.1), row("c", (1, 1), 5.0)]);
        assert_eq!(alike, ["fastest at batch 1, 1 thread: f.pt (b), 2.0 times f.pt (a)"]);
        let none = said(&[cell((1, 1), 10.5), cell((2, 1), 10.0)].concat());
        assert_eq!(
            none,
            ["none is clearly faster than f.pt (a), at any batch and number of threads"]
        );
        assert!(said(&[row("a", (1, 1), 1.0)]).is_empty(), "nothing to compare it with");
    }

    #[test]
    fn a_row_that_was_not_measured_says_why_in_the_table() {
        let parity = Parity { largest_difference: Some(2e-6), same: 0.999_999, note: None };
        let rows = vec![
            row("a", (1, 1), 12.34),
            MeasuredRow { parity: Some(parity), ..row("b", (1, 1), 0.5) },
        ];
        let unmeasured = Unmeasured {
            file: "g.onnx".into(),
            variant: None,
            threads: None,
            batch_size: Some(4),
            reason: "it is\nbroken".into(),
            failed: true,
        };
        let measured = Measured {
            model: "m".into(),
            version: "1.0".into(),
            device: "cpu".into(),
            inputs: "made-up numbers, float32 [3]".into(),
            pass: "the network alone",
            rows,
            not_measured: vec![unmeasured],
        };
        let table = table(&measured);
        let line = |words: &str| {
            let line = table.lines().find(|line| line.contains(words)).unwrap_or_default();
            line.split(['│', '┆']).map(str::trim).filter(|of| !of.is_empty()).collect::<Vec<_>>()
        };
        let a = ["f.pt", "a", "1", "1", "12.3", "11.1 to 13.6", "24.7", "81.0", "0.81"];
        assert_eq!(line(" a "), a);
        assert_eq!(line(" b ")[4..8], ["0.500", "0.450 to 0.550", "1.00", "2000"]);
        assert_eq!(line(" b ")[9], "more than 99.99 %, differs by 2.0e-6 at most");
        assert_eq!(line("g.onnx"), ["g.onnx", "any", "4", r"not measured: it is\nbroken"]);
        let told = answer(&measured);
        assert_eq!(told[0], "m 1.0 on cpu, the network alone: made-up numbers, float32 [3]");
        assert_eq!(told[1], "fastest at batch 1, 1 thread: f.pt (b), 20.0 times f.pt (a)");
    }
}
