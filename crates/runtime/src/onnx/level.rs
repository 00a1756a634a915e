//! How far ONNX Runtime rewrites a graph before it runs.

use mar_handler::Result;
use ort::session::builder::GraphOptimizationLevel;

use super::options::wrong;

/// How far ONNX Runtime rewrites a graph before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Disable,
    Basic,
    Extended,
    Layout,
    All,
}

impl Level {
    /// All of them, by ONNX Runtime's names.
    const NAMED: [(&str, Self); 5] = [
        ("disable", Self::Disable),
        ("basic", Self::Basic),
        ("extended", Self::Extended),
        ("layout", Self::Layout),
        ("all", Self::All),
    ];

    /// By name, or by the number that Triton's `optimization { graph { level } }` has for it.
    pub(super) fn parse(key: &str, value: &str) -> Result<Self> {
        let named = |(name, _): &&(&str, Self)| name.eq_ignore_ascii_case(value.trim());
        match (value.trim(), Self::NAMED.iter().find(named)) {
            (_, Some((_, level))) => Ok(*level),
            ("-1", _) => Ok(Self::Basic),
            ("0", _) => Ok(Self::All),
            ("1", _) => Ok(Self::Extended),
            ("2", _) => Ok(Self::Disable),
            _ => Err(wrong(
                key,
                value,
                "disable, basic, extended, layout or all, or Triton's number: -1 for basic, 0 for all, 1 for extended, 2 for disable",
            )),
        }
    }

    /// Whether what it makes of a graph depends on the kind of processor: blocks of channels are as wide as its
    /// registers.
    pub(super) fn is_of_this_processor(self) -> bool {
        matches!(self, Self::Layout | Self::All)
    }

    pub(super) fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(_, level)| *level == self).map_or("all", |(name, _)| name)
    }
}

impl From<Level> for GraphOptimizationLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Disable => Self::Disable,
            Level::Basic => Self::Level1,
            Level::Extended => Self::Level2,
            Level::Layout => Self::Level3,
            Level::All => Self::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_onnx_runtimes_names_and_tritons_numbers() {
        for (value, level, name) in [
            ("disable", Level::Disable, "disable"),
            ("Extended", Level::Extended, "extended"),
            (" layout", Level::Layout, "layout"),
            ("all", Level::All, "all"),
            ("-1", Level::Basic, "basic"),
            ("0", Level::All, "all"),
            ("1", Level::Extended, "extended"),
            ("2", Level::Disable, "disable"),
        ] {
            assert_eq!(Level::parse("level", value).unwrap(), level, "{value}");
            assert_eq!(level.name(), name);
        }
        for value in ["99", "3", "most", ""] {
            let error = Level::parse("level", value).unwrap_err();
            assert!(error.message().contains("extended"), "{error}");
        }
    }
}
