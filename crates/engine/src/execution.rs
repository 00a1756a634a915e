//! What really runs a network: as its runtime tells it once it has loaded it.

use std::fmt;

use mar_handler::{Model, Runtime};
use serde::Serialize;
use serde_json::{Map, Value};

/// A runtime, and what it decided when it loaded a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Execution {
    /// The runtime's name.
    pub runtime: &'static str,
    /// Whatever it tells, by its own names; see [`Model::describe`].
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

impl Execution {
    pub(crate) fn of(runtime: &dyn Runtime, model: &dyn Model) -> Self {
        let mut details = model.describe();
        // That member is taken.
        details.shift_remove("runtime");
        Self { runtime: runtime.name(), details }
    }
}

impl fmt::Display for Execution {
    /// For people: the runtime, and in brackets the rest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.runtime)?;
        let mut open = " (";
        for (name, value) in &self.details {
            write!(f, "{open}{name}: ")?;
            match value {
                Value::String(text) => f.write_str(text)?,
                other => write!(f, "{other}")?,
            }
            open = ", ";
        }
        if self.details.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_told_in_a_line_and_as_an_object() {
        let details = json!({"level": "all", "providers": ["cuda", "cpu"], "threads": 2});
        let Value::Object(details) = details else { panic!("an object") };
        let told = Execution { runtime: "fake", details };
        let line = r#"fake (level: all, providers: ["cuda","cpu"], threads: 2)"#;
        assert_eq!(told.to_string(), line);
        let object =
            json!({"runtime": "fake", "level": "all", "providers": ["cuda", "cpu"], "threads": 2});
        assert_eq!(serde_json::to_value(&told).unwrap(), object);
        let alone = Execution { runtime: "fake", details: Map::new() };
        assert_eq!(alone.to_string(), "fake");
    }
}
