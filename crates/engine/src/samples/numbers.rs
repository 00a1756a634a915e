//! Numbers as people read them.

#[expect(clippy::cast_precision_loss, reason = "counts of elements in memory")]
pub(super) fn count(of: usize) -> f64 {
    of as f64
}

/// Four digits, and a power of ten where that is shorter.
pub(super) fn short(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 || (1e-3..1e5).contains(&size) {
        let text = format!("{number:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{number:.2e}")
    }
}

/// Several numbers in a row.
pub(super) fn row(numbers: &[f64]) -> String {
    numbers.iter().copied().map(short).collect::<Vec<_>>().join(", ")
}

/// A share of 1 in percent; never 0 % or 100 % of what is neither.
pub(super) fn percent(part: usize, whole: usize) -> String {
    let share = 100.0 * count(part) / count(whole.max(1));
    if part > 0 && share < 0.01 {
        "less than 0.01 %".into()
    } else if part < whole && share > 99.99 {
        "more than 99.99 %".into()
    } else {
        format!("{} %", short((share * 100.0).round() / 100.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_shares_never_round_to_nothing() {
        let shown = [0.0, 1.0, -0.25, 123.456_78, 1e-7, 2.5e6, f64::NAN].map(short);
        assert_eq!(shown, ["0", "1", "-0.25", "123.4568", "1.00e-7", "2.50e6", "NaN"]);
        assert_eq!(percent(0, 9), "0 %");
        assert_eq!(percent(9, 9), "100 %");
        assert_eq!(percent(1, 3), "33.33 %");
        assert_eq!(percent(1, 1_000_000), "less than 0.01 %");
        assert_eq!(percent(999_999, 1_000_000), "more than 99.99 %");
    }
}
