//! A request to the network itself, past any handler.

use std::sync::Arc;
use std::time::Duration;

use mar_engine::{Admission, Interface, ModelVersion, Result, TensorRequest};

use super::outputs::{self, Wanted, check_size};
use super::{apart, inputs, of_tensor};
use crate::parameters::whole;
use crate::triton::{to_client, to_network};
use crate::{InferRequest, InferResponse, InputTensor, Parameters, Service};

/// Answers it.
pub(super) async fn infer(
    service: &Service,
    admission: &Admission,
    version: &ModelVersion,
    request: InferRequest,
) -> Result<InferResponse> {
    let unknown = Interface::default();
    let interface = version.interface().unwrap_or(&unknown);
    let wanted = Wanted::of(request.outputs, interface.signature.outputs.as_deref())?;
    let priority = whole(&request.parameters, "priority")?.unwrap_or(0);
    let timeout = whole(&request.parameters, "timeout")?.filter(|micros| *micros > 0);
    let inputs = inputs::ordered(&request.model, interface, request.inputs)?;
    let shared = inputs.iter().any(|input| input.data.is_none());
    let memory = Arc::clone(service.shared_memory());
    let tensors = move || {
        let tensor = |input: InputTensor| {
            let name = input.name.clone();
            inputs::tensor(input, &memory).map_err(|error| of_tensor("input", &name, &error))
        };
        inputs.into_iter().map(tensor).collect::<Result<Vec<_>>>()
    };
    let mut tensors = apart(shared, tensors).await?;
    let network = version.network();
    if let Some(network) = network {
        tensors = to_network(network, tensors)?;
    }
    let asked = TensorRequest {
        id: request.request_id,
        inputs: tensors,
        priority,
        timeout: timeout.map(Duration::from_micros),
    };
    // A version that was named stays that; else the one that is the default by then answers.
    let named = request.version.is_some_and(|version| !version.is_empty());
    let number = named.then(|| version.version());
    let answer = service.engine().infer(admission, version.name(), number, asked).await?;
    let outputs = match network {
        Some(network) => to_client(network, answer.outputs)?,
        None => answer.outputs,
    };
    let outputs = outputs::named(interface.signature.outputs.as_deref(), outputs);
    let chosen = wanted.chosen(outputs, |name| labels(version, name))?;
    let memory = Arc::clone(service.shared_memory());
    let batched = interface.batched;
    let outputs = apart(wanted.takes_long(), move || wanted.shaped(chosen, batched, &memory));
    let outputs = outputs.await?;
    check_size(&outputs, request.max_response_bytes)?;
    Ok(InferResponse {
        model: request.model,
        version: version.version().to_owned(),
        id: request.id,
        parameters: Parameters::new(),
        outputs,
        timing: answer.timing,
    })
}

/// What the model calls the places of an output: its configuration's words, or those that an archive's handler
/// tells, which are of the one output that it reads.
fn labels(version: &ModelVersion, output: &str) -> Option<Arc<[String]>> {
    if let Some(network) = version.network() {
        return network.labels.get(output).cloned();
    }
    let outputs = version.interface()?.signature.outputs.as_deref()?;
    let first = outputs.first().is_some_and(|first| first.name == output);
    version.labels().filter(|_| first)
}
