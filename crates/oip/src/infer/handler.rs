//! A request to a model's handler, `m@handler`: encoded inputs in, the bodies of its responses out.
//!
//! Each element is a request of its own, so that they share batches with each other and everybody else's.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use mar_engine::{
    Admission, Answered, DType, Error, ErrorCode, ModelVersion, Part, Request, Response, Result,
    Tensor, Timing,
};

use super::outputs::{Wanted, check_size};
use super::{apart, inputs, of_tensor};
use crate::names::{HANDLER_INPUT, HANDLER_OUTPUT};
use crate::quoted::{Quoted, sides};
use crate::{InferRequest, InferResponse, InputTensor, Parameter, Parameters, Service};

/// Parameters that are not the handler's.
const NOT_ITS_OWN: [&str; 8] = [
    "binary_data_output",
    "headers",
    "priority",
    "sequence_end",
    "sequence_id",
    "sequence_start",
    "timeout",
    "triton_enable_empty_final_response",
];

/// Answers it.
pub(super) async fn infer(
    service: &Service,
    admission: &Admission,
    version: &ModelVersion,
    mut request: InferRequest,
) -> Result<InferResponse> {
    let specs = [mar_engine::TensorSpec::named(HANDLER_OUTPUT)];
    let wanted = Wanted::of(std::mem::take(&mut request.outputs), Some(&specs))?;
    let input = sole(&request.model, std::mem::take(&mut request.inputs))?;
    let memory = Arc::clone(service.shared_memory());
    let data = apart(input.data.is_none(), move || {
        inputs::tensor(input, &memory).map_err(|error| of_tensor("input", HANDLER_INPUT, &error))
    });
    let data = data.await?;
    let (answers, timing) = answers(service, admission, version, (&request, &data)).await?;
    let mut kinds = answers.iter().map(|answer| answer.content_type.as_deref());
    let kind = kinds.next().flatten().filter(|first| kinds.all(|kind| kind == Some(*first)));
    let kind = kind.map(|kind| ("content_type".to_owned(), Parameter::Text(kind.to_owned())));
    let bodies = answers.iter().map(|answer| &answer.body);
    let tensor = Tensor::from_strings(data.shape(), bodies)?.named(HANDLER_OUTPUT);
    let chosen = wanted.chosen(vec![tensor], |_| None)?;
    let memory = Arc::clone(service.shared_memory());
    let outputs = apart(wanted.takes_long(), move || wanted.shaped(chosen, true, &memory));
    let mut outputs = outputs.await?;
    for output in &mut outputs {
        output.parameters.extend(kind.clone());
    }
    check_size(&outputs, request.max_response_bytes)?;
    Ok(InferResponse {
        model: request.model,
        version: version.version().to_owned(),
        id: request.id,
        parameters: Parameters::new(),
        outputs,
        timing,
    })
}

/// The one input that a handler has.
fn sole(model: &str, inputs: Vec<InputTensor>) -> Result<InputTensor> {
    let [input] = <[InputTensor; 1]>::try_from(inputs).map_err(|inputs| {
        Error::invalid_input(format!(
            "expected 1 input for model {} and got {}; it is {HANDLER_INPUT:?}",
            Quoted(model),
            inputs.len()
        ))
    })?;
    if input.name != HANDLER_INPUT {
        return Err(Error::invalid_input(format!(
            "unexpected input {} for model {}; its inputs: {HANDLER_INPUT:?}",
            Quoted(&input.name),
            Quoted(model)
        )));
    }
    let wrong = |message: String| of_tensor("input", HANDLER_INPUT, &Error::invalid_input(message));
    if input.dtype != DType::Bytes {
        return Err(wrong(format!(
            "datatype is {}, and the handler takes BYTES; model {} takes tensors",
            input.dtype.datatype(),
            Quoted(model.trim_end_matches(crate::HANDLER))
        )));
    }
    if !matches!(input.shape[..], [_] | [_, 1]) {
        return Err(wrong(format!(
            "shape is {}, and the handler takes [-1, 1], an element each",
            sides(&input.shape)
        )));
    }
    Ok(input)
}

/// What the handler makes of each element, in order, and the slowest one's time.
async fn answers(
    service: &Service,
    admission: &Admission,
    version: &ModelVersion,
    (request, data): (&InferRequest, &Tensor),
) -> Result<(Vec<Response>, Timing)> {
    // At most half of what the queue has room for at once: one request never fills it, however many elements
    // it holds, and leaves places to others.
    let (_, room) = version.queue_load();
    let named = request.version.as_deref().is_some_and(|version| !version.is_empty());
    let number = named.then(|| version.version());
    let query: Vec<(String, String)> = request
        .parameters
        .iter()
        .filter(|(name, _)| !NOT_ITS_OWN.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.to_string()))
        .collect();
    let element = |element: Bytes| Request {
        id: request.request_id.clone(),
        headers: request.headers.clone(),
        query: query.clone(),
        parts: vec![Part { name: HANDLER_INPUT.into(), content_type: None, data: element }],
        max_response_bytes: request.max_response_bytes,
        ..Request::default()
    };
    let answers = stream::iter(data.strings().map(element).enumerate())
        .map(|(index, element)| async move {
            let answered =
                service.engine().predict(admission, version.name(), number, element).await;
            let answered = answered.map_err(|error| numbered(index, &error))?;
            succeeded(index, &answered.response)?;
            Ok::<Answered, Error>(answered)
        })
        .buffered((room / 2).max(1));
    let most = request.max_response_bytes.unwrap_or(usize::MAX);
    let start = (Vec::new(), Timing::default(), 0_usize);
    let (answers, timing, _) = std::pin::pin!(answers)
        .try_fold(start, async |(mut all, timing, bytes), Answered { response, timing: this }| {
            let bytes = bytes + response.body.len();
            if bytes > most {
                let message =
                    format!("the answer is larger than max_response_size, which is {most} bytes");
                return Err(Error::new(ErrorCode::Internal, message));
            }
            all.push(response);
            Ok((all, if this.total > timing.total { this } else { timing }, bytes))
        })
        .await?;
    Ok((answers, timing))
}

/// The same error, of which element it is.
fn numbered(index: usize, error: &Error) -> Error {
    let message = format!("element {index}: {}", error.message());
    Error::new(error.code(), message).caused_by(error.clone())
}

/// Whether the handler itself answered an element with success.
fn succeeded(index: usize, response: &Response) -> Result<()> {
    let code = match response.status {
        200..300 => return Ok(()),
        400..500 => ErrorCode::InvalidInput,
        _ => ErrorCode::PredictionFailed,
    };
    let said = String::from_utf8_lossy(&response.body);
    let said: String = said.chars().take(200).collect();
    let message = format!("element {index}: the handler answered {}: {said}", response.status);
    Err(Error::new(code, message))
}
