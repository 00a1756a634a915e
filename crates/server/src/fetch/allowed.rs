//! The expressions of `allowed_urls`.

use anyhow::{Context, Result};
use regex_lite::{Regex, RegexBuilder};

/// Which URLs may be fetched; none where there are no expressions.
#[derive(Debug)]
pub(super) struct Allowed(Vec<Regex>);

impl Allowed {
    /// # Errors
    /// Where one is no regular expression; the message holds it.
    pub(super) fn new(expressions: &[String]) -> Result<Self> {
        let compiled = expressions.iter().map(|expression| {
            let wrong = || {
                format!("allowed_urls: {expression:?} is no regular expression that is understood")
            };
            // By itself first, so that what surrounds it is no part of its meaning.
            Regex::new(expression).with_context(wrong)?;
            RegexBuilder::new(&format!(r"\A(?:{expression})\z"))
                .case_insensitive(true)
                .build()
                .with_context(wrong)
        });
        Ok(Self(compiled.collect::<Result<_>>()?))
    }

    /// Whether an expression matches the whole URL, in capitals or not.
    pub(super) fn matches(&self, url: &str) -> bool {
        self.0.iter().any(|expression| expression.is_match(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(expressions: &[&str]) -> Result<Allowed> {
        Allowed::new(&expressions.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn an_expression_matches_the_whole_url_whatever_its_case() {
        let one = allowed(&["https://models\\.example\\.org/.*"]).unwrap();
        assert!(one.matches("https://models.example.org/a/b.mar"));
        assert!(one.matches("HTTPS://Models.Example.ORG/a/b.mar"));
        assert!(!one.matches("xhttps://models.example.org/a"));
        assert!(!one.matches("https://modelsxexample.org/a"));
        assert!(!one.matches("https://evil.org/?https://models.example.org/a"));
        // TorchServe's own default.
        let default = allowed(&["file://.*|http(s)?://.*"]).unwrap();
        assert!(default.matches("file:///a") && default.matches("http://b/c"));
        assert!(!default.matches("ftp://b/c"));
        // An alternative is bound to both ends, too.
        let two = allowed(&["http://a/x|http://b/y"]).unwrap();
        assert!(!two.matches("http://a/x.mar") && !two.matches("-http://b/y"));
        assert!(!allowed(&[]).unwrap().matches("http://a/x"));
    }

    #[test]
    fn what_is_no_expression_is_named() {
        for wrong in ["http://(", "a)|(b"] {
            let error = format!("{:#}", allowed(&["http://a", wrong]).unwrap_err());
            assert!(error.contains(wrong), "{error}");
        }
    }
}
