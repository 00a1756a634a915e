//! Parameters, as messages carry them and as the protocol's service knows them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mar_engine::{Error, Result};
use mar_oip::{Parameter, Parameters, Quoted};
use mar_proto::inference::infer_parameter::ParameterChoice;
use mar_proto::inference::model_repository_parameter::ParameterChoice as RepositoryChoice;
use mar_proto::inference::{InferParameter, ModelRepositoryParameter};

/// What a client sent beside a request or a tensor.
///
/// # Errors
/// Where one has no value; the message names it.
pub(super) fn read(sent: HashMap<String, InferParameter>) -> Result<Parameters> {
    let value = |(name, parameter): (String, InferParameter)| {
        let value = match parameter.parameter_choice {
            Some(ParameterChoice::BoolParam(value)) => Parameter::Bool(value),
            Some(ParameterChoice::Int64Param(value)) => Parameter::Int(value),
            Some(ParameterChoice::StringParam(value)) => Parameter::Text(value),
            Some(ParameterChoice::DoubleParam(value)) => Parameter::Double(value),
            // One way to say a number, whichever field it came in.
            Some(ParameterChoice::Uint64Param(value)) => {
                i64::try_from(value).map_or(Parameter::UInt(value), Parameter::Int)
            }
            None => {
                let name = Quoted(&name);
                let message = format!("parameter {name} has no value; set one of its fields");
                return Err(Error::invalid_input(message));
            }
        };
        Ok((name, value))
    };
    sent.into_iter().map(value).collect()
}

/// The same on the way back.
pub(super) fn written(parameters: Parameters) -> HashMap<String, InferParameter> {
    let value = |parameter| match parameter {
        Parameter::Bool(value) => ParameterChoice::BoolParam(value),
        Parameter::Int(value) => ParameterChoice::Int64Param(value),
        Parameter::UInt(value) => ParameterChoice::Uint64Param(value),
        Parameter::Double(value) => ParameterChoice::DoubleParam(value),
        Parameter::Text(value) => ParameterChoice::StringParam(value),
    };
    let wrapped = |parameter| InferParameter { parameter_choice: Some(value(parameter)) };
    parameters.into_iter().map(|(name, parameter)| (name, wrapped(parameter))).collect()
}

/// What a client sent beside a load or an unload; files in base64, as REST carries them.
pub(super) fn of_repository(sent: HashMap<String, ModelRepositoryParameter>) -> Parameters {
    let value = |parameter: ModelRepositoryParameter| match parameter.parameter_choice {
        Some(RepositoryChoice::BoolParam(value)) => Parameter::Bool(value),
        Some(RepositoryChoice::Int64Param(value)) => Parameter::Int(value),
        Some(RepositoryChoice::StringParam(value)) => Parameter::Text(value),
        Some(RepositoryChoice::BytesParam(value)) => Parameter::Text(BASE64_STANDARD.encode(value)),
        None => Parameter::Text(String::new()),
    };
    sent.into_iter().map(|(name, parameter)| (name, value(parameter))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_goes_both_ways() {
        let parameters = Parameters::from([
            ("bool".to_owned(), Parameter::Bool(true)),
            ("int".to_owned(), Parameter::Int(-7)),
            ("uint".to_owned(), Parameter::UInt(u64::MAX)),
            ("double".to_owned(), Parameter::Double(0.5)),
            ("text".to_owned(), Parameter::Text("words".into())),
        ]);
        assert_eq!(read(written(parameters.clone())).unwrap(), parameters);
        let small = InferParameter { parameter_choice: Some(ParameterChoice::Uint64Param(3)) };
        let read_back = read(HashMap::from([("n".to_owned(), small)])).unwrap();
        assert_eq!(read_back["n"], Parameter::Int(3));
        let none = HashMap::from([("nothing".to_owned(), InferParameter::default())]);
        assert!(read(none).unwrap_err().message().contains("\"nothing\""));
    }
}
