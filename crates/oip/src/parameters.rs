//! Values beside requests and tensors: reading them as the type that they have to be.

use mar_engine::{Error, Result};

use crate::quoted::Quoted;
use crate::{Parameter, Parameters};

/// Parameters of this name are the server's own.
const RESERVED: &str = "triton_";
/// But for what asks a stream for an end of its own, which every stream here has.
const ALLOWED: &str = "triton_enable_empty_final_response";

/// `true` or `false`, where it is given.
pub(crate) fn flag(parameters: &Parameters, name: &str) -> Result<Option<bool>> {
    match parameters.get(name) {
        None => Ok(None),
        Some(Parameter::Bool(value)) => Ok(Some(*value)),
        Some(_) => Err(not(name, "true or false")),
    }
}

/// A whole number, where it is given.
pub(crate) fn whole(parameters: &Parameters, name: &str) -> Result<Option<u64>> {
    let value = match parameters.get(name) {
        None => return Ok(None),
        Some(Parameter::UInt(value)) => Some(*value),
        Some(Parameter::Int(value)) => u64::try_from(*value).ok(),
        Some(_) => None,
    };
    value.map(Some).ok_or_else(|| not(name, "a whole number of 0 or more"))
}

/// A text, where it is given.
pub(crate) fn text<'a>(parameters: &'a Parameters, name: &str) -> Result<Option<&'a str>> {
    match parameters.get(name) {
        None => Ok(None),
        Some(Parameter::Text(value)) => Ok(Some(value)),
        Some(_) => Err(not(name, "a string")),
    }
}

/// Refuses the names that no client may use.
pub(crate) fn check_names(parameters: &Parameters) -> Result<()> {
    let reserved = |name: &&String| name.starts_with(RESERVED) && name.as_str() != ALLOWED;
    match parameters.keys().find(reserved) {
        None => Ok(()),
        Some(name) => Err(Error::invalid_input(format!(
            "parameter {} is reserved, as all that begin with {RESERVED}; leave it out",
            Quoted(name)
        ))),
    }
}

fn not(name: &str, what: &str) -> Error {
    Error::invalid_input(format!("parameter {} is not {what}", Quoted(name)))
}

impl std::fmt::Display for Parameter {
    /// As a query has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::UInt(value) => value.fmt(f),
            Self::Double(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: Parameter) -> Parameters {
        Parameters::from([("p".to_owned(), value)])
    }

    #[test]
    fn values_have_the_type_that_they_have_to_be() {
        assert_eq!(whole(&of(Parameter::Int(5)), "p").unwrap(), Some(5));
        assert_eq!(whole(&of(Parameter::UInt(u64::MAX)), "p").unwrap(), Some(u64::MAX));
        assert_eq!(whole(&of(Parameter::Int(5)), "q").unwrap(), None);
        assert_eq!(flag(&of(Parameter::Bool(false)), "p").unwrap(), Some(false));
        assert_eq!(text(&of(Parameter::Text("t".into())), "p").unwrap(), Some("t"));
        let negative = whole(&of(Parameter::Int(-1)), "p").unwrap_err();
        assert_eq!(negative.message(), "parameter \"p\" is not a whole number of 0 or more");
        let number = flag(&of(Parameter::Int(1)), "p").unwrap_err();
        assert_eq!(number.message(), "parameter \"p\" is not true or false");
        assert!(text(&of(Parameter::Bool(true)), "p").is_err());
    }

    #[test]
    fn the_servers_own_names_are_refused() {
        let named = |name: &str| Parameters::from([(name.to_owned(), Parameter::Bool(true))]);
        let error = check_names(&named("triton_x")).unwrap_err();
        assert!(error.message().contains("\"triton_x\" is reserved"), "{error}");
        assert!(check_names(&named(ALLOWED)).is_ok());
        assert!(check_names(&named("tritonic")).is_ok());
    }
}
