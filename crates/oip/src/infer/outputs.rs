//! What of a network's outputs a client gets, under which names, and where.

use std::sync::Arc;

use mar_engine::{Error, ErrorCode, Result, Tensor, TensorSpec};

use super::{classification, inputs, of_tensor};
use crate::parameters::whole;
use crate::quoted::{Quoted, list};
use crate::shared_memory::{BYTE_SIZE, OFFSET, Place, REGION, SharedMemory};
use crate::{OutputTensor, Parameter, Parameters, RequestedOutput};

/// The output of a network that has one and does not name it.
const OUTPUT: &str = "output";

/// What a client wants of the answer.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Everything as it is, where there is none.
    outputs: Vec<WantedOutput>,
}

#[derive(Debug)]
struct WantedOutput {
    name: String,
    /// The best classes, so many of each row, instead of the tensor.
    classes: Option<usize>,
    /// Where it goes, where not into the response.
    place: Option<Place>,
}

/// An output and what the model calls its classes.
type Labelled = (Tensor, Option<Arc<[String]>>);

impl Wanted {
    /// What a request asks for, as far as it can be checked before there are outputs.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] naming an output that there is not, or a parameter that is wrong.
    pub(super) fn of(outputs: Vec<RequestedOutput>, specs: Option<&[TensorSpec]>) -> Result<Self> {
        if let Some(specs) = specs {
            let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
            for output in &outputs {
                place(&names, &output.name)?;
            }
        }
        let wanted = |output: RequestedOutput| {
            let parsed = || -> Result<WantedOutput> {
                let classes = whole(&output.parameters, "classification")?;
                let classes = classes.filter(|classes| *classes > 0);
                Ok(WantedOutput {
                    name: output.name.clone(),
                    classes: classes.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
                    place: Place::of(&output.parameters)?,
                })
            };
            parsed().map_err(|error| of_tensor("output", &output.name, &error))
        };
        Ok(Self { outputs: outputs.into_iter().map(wanted).collect::<Result<_>>()? })
    }

    /// Whether something is to be computed or written that no async thread should wait for.
    pub(super) fn takes_long(&self) -> bool {
        self.outputs.iter().any(|output| output.classes.is_some() || output.place.is_some())
    }

    /// The outputs that are wanted, in the order in which they are. `labels` tells the classes of an output by
    /// its name, else the output itself does.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] naming an output that there is not.
    pub(super) fn chosen(
        &self,
        outputs: Vec<Tensor>,
        labels: impl Fn(&str) -> Option<Arc<[String]>>,
    ) -> Result<Vec<Labelled>> {
        if self.outputs.is_empty() {
            return Ok(outputs.into_iter().map(|output| (output, None)).collect());
        }
        let names: Vec<&str> = outputs.iter().map(|it| it.name().unwrap_or_default()).collect();
        let chosen = self.outputs.iter().map(|wanted| {
            let place = place(&names, &wanted.name)?;
            let output = outputs[place].clone();
            let labels = || labels(names[place]).or_else(|| output.labels().cloned());
            let labels = wanted.classes.and_then(|_| labels());
            Ok((output, labels))
        });
        chosen.collect()
    }

    /// The outputs as they go to the client.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] where an output has no classes, or does not fit where it is to go.
    pub(super) fn shaped(
        &self,
        chosen: Vec<Labelled>,
        batched: bool,
        memory: &SharedMemory,
    ) -> Result<Vec<OutputTensor>> {
        if self.outputs.is_empty() {
            return Ok(chosen.into_iter().map(|(tensor, _)| output(tensor)).collect());
        }
        let shaped = self.outputs.iter().zip(chosen).map(|(wanted, (tensor, labels))| {
            let shape = || -> Result<OutputTensor> {
                let tensor = match wanted.classes {
                    None => tensor,
                    Some(most) => classification::best(&tensor, most, batched, labels.as_deref())?,
                };
                let tensor = tensor.named(wanted.name.as_str());
                let Some(place) = &wanted.place else { return Ok(output(tensor)) };
                memory.write(place, tensor.bytes())?;
                let parameters = place.parameters(tensor.bytes().len() as u64);
                Ok(OutputTensor { parameters, in_shared_memory: true, ..output(tensor) })
            };
            shape().map_err(|error| of_tensor("output", &wanted.name, &error))
        });
        shaped.collect()
    }
}

/// The outputs under the names that clients know: those that are declared, else the network's own, else
/// `output`, or `output__0` and so on where there are several.
pub(super) fn named(specs: Option<&[TensorSpec]>, outputs: Vec<Tensor>) -> Vec<Tensor> {
    let specs = specs.filter(|specs| specs.len() == outputs.len());
    let several = outputs.len() > 1;
    let name = |(place, output): (usize, Tensor)| {
        let name = match (specs, output.name()) {
            (Some(specs), _) => specs[place].name.clone(),
            (None, Some(own)) => own.to_owned(),
            (None, None) if several => format!("{OUTPUT}__{place}"),
            (None, None) => OUTPUT.to_owned(),
        };
        output.named(name)
    };
    outputs.into_iter().enumerate().map(name).collect()
}

/// The place of an output among these, by its name or by the number that it ends with.
fn place(names: &[&str], wanted: &str) -> Result<usize> {
    let numbered = || {
        let by_number = names.iter().all(|name| inputs::number(name).is_some() || *name == OUTPUT);
        inputs::number(wanted).filter(|number| by_number && *number < names.len())
    };
    names.iter().position(|name| *name == wanted).or_else(numbered).ok_or_else(|| {
        Error::invalid_input(format!(
            "unexpected output {}; the model's outputs: {}",
            Quoted(wanted),
            list(names.iter().copied())
        ))
    })
}

fn output(tensor: Tensor) -> OutputTensor {
    let name = tensor.name().unwrap_or(OUTPUT).to_owned();
    OutputTensor { name, parameters: Parameters::new(), tensor, in_shared_memory: false }
}

/// Refuses what would be larger than the carrier takes back.
pub(super) fn check_size(outputs: &[OutputTensor], most: Option<usize>) -> Result<()> {
    let sent = outputs.iter().filter(|output| !output.in_shared_memory);
    let bytes: usize = sent.map(|output| output.tensor.bytes().len()).sum();
    match most.filter(|most| bytes > *most) {
        None => Ok(()),
        Some(most) => Err(Error::new(
            ErrorCode::Internal,
            format!("the answer has {bytes} bytes, and max_response_size is {most}"),
        )),
    }
}

impl Place {
    /// What a response says of a tensor that was put there.
    fn parameters(&self, bytes: u64) -> Parameters {
        let mut parameters = Parameters::from([
            (REGION.to_owned(), Parameter::Text(self.region().to_owned())),
            (BYTE_SIZE.to_owned(), Parameter::UInt(bytes)),
        ]);
        if self.offset() > 0 {
            parameters.insert(OFFSET.to_owned(), Parameter::UInt(self.offset()));
        }
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize) -> Vec<Tensor> {
        (0..count).map(|value| Tensor::from_vec(&[1], vec![value as u64]).unwrap()).collect()
    }

    fn names(outputs: &[Tensor]) -> Vec<&str> {
        outputs.iter().map(|output| output.name().unwrap()).collect()
    }

    #[test]
    fn outputs_have_the_declared_names_else_their_own_else_numbers() {
        let specs = ["a", "b"].map(TensorSpec::named);
        assert_eq!(names(&named(Some(&specs), numbers(2))), ["a", "b"]);
        let mut own = numbers(2);
        own[1] = own[1].clone().named("mine");
        assert_eq!(names(&named(None, own)), ["output__0", "mine"]);
        assert_eq!(names(&named(Some(&specs), numbers(1))), ["output"]);
    }

    #[test]
    fn an_output_is_asked_for_by_its_name_or_number() {
        assert_eq!(place(&["a", "b"], "b").unwrap(), 1);
        assert_eq!(place(&["output__0", "output__1"], "OUTPUT__1").unwrap(), 1);
        assert_eq!(place(&["output"], "OUTPUT__0").unwrap(), 0);
        let error = place(&["a"], "OUTPUT__0").unwrap_err();
        assert_eq!(error.message(), "unexpected output \"OUTPUT__0\"; the model's outputs: \"a\"");
    }
}
