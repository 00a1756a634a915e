//! What a client wrote, as a message repeats it: cut, so that no answer is longer for a longer mistake.

use std::fmt;

/// Characters that are repeated of a name at most.
const NAME: usize = 64;
/// Sides that are repeated of a shape at most.
const SIDES: usize = 8;

/// A name in quotes, on one line.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept: String = self.0.chars().take(NAME).collect();
        let rest = if kept.len() < self.0.len() { "..." } else { "" };
        write!(f, "\"{}{rest}\"", kept.escape_debug())
    }
}

/// Several names in quotes.
pub(crate) fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| Quoted(name).to_string()).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// A shape, its free sides as -1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sides<'a>(pub(crate) &'a [Option<usize>]);

impl fmt::Display for Sides<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side: &Option<usize>| side.map_or_else(|| "-1".into(), |n| n.to_string());
        let kept: Vec<String> = self.0.iter().take(SIDES).map(side).collect();
        let rest = if self.0.len() > SIDES { ", ..." } else { "" };
        write!(f, "[{}{rest}]", kept.join(", "))
    }
}

/// A tensor's shape.
pub(crate) fn sides(shape: &[usize]) -> String {
    let shape: Vec<_> = shape.iter().take(SIDES + 1).copied().map(Some).collect();
    Sides(&shape).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_is_short_and_on_one_line() {
        assert_eq!(Quoted("a\nb").to_string(), r#""a\nb""#);
        let long = "\u{e4}".repeat(65);
        assert_eq!(Quoted(&long).to_string(), format!("\"{}...\"", "\u{e4}".repeat(64)));
        assert_eq!(Quoted(&long[..128]).to_string(), format!("\"{}\"", "\u{e4}".repeat(64)));
        assert_eq!(Sides(&[None, Some(3)]).to_string(), "[-1, 3]");
        assert_eq!(sides(&[1; 9]), "[1, 1, 1, 1, 1, 1, 1, 1, ...]");
        assert_eq!(list(["a", "b"].into_iter()), r#""a", "b""#);
        assert_eq!(list(std::iter::empty()), "none");
    }
}
