//! Requests for an inference and their answers, between messages and tensors.

use bytes::Bytes;
use mar_engine::{Admission, DType, Error, Result, Tensor};
use mar_oip::{InferRequest, InferResponse, InputTensor, Quoted, RequestedOutput, of_request};
use mar_proto::inference::infer_parameter::ParameterChoice;
use mar_proto::inference::model_infer_request::InferInputTensor;
use mar_proto::inference::model_infer_response::InferOutputTensor;
use mar_proto::inference::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
    ModelStreamInferResponse,
};
use prost::Message;
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::parameters::{read, written};
use crate::grpc::{error, headers};
use crate::rest::Shared;
use crate::rest::error::log_failure;

/// What says that an input or output lies in shared memory.
const REGION: &str = "shared_memory_region";

/// What says that no more answers to a request come: there is one to each.
const FINAL: &str = "triton_final_response";

/// What is answered to an admitted request of this identifier, that came with this metadata.
pub(super) async fn answered(
    shared: &Shared,
    admission: &Admission,
    (id, metadata): (&str, &MetadataMap),
    message: ModelInferRequest,
) -> Result<ModelInferResponse, Status> {
    let limit = shared.settings.max_response_size;
    let model = message.model_name.clone();
    let failed = |error: Error| {
        log_failure(&error, &model, id);
        error::oip(&error)
    };
    let client_id = message.id.clone();
    let asked = request(message).map_err(|error| failed(of_request(Some(&client_id), &error)))?;
    let asked = InferRequest {
        request_id: id.to_owned(),
        headers: headers(metadata),
        max_response_bytes: Some(limit),
        ..asked
    };
    let answer = shared.oip.infer(admission, asked).await.map_err(failed)?;
    let answer = response(answer);
    match answer.encoded_len() {
        bytes if bytes > limit => Err(error::too_long(bytes, limit)),
        _ => Ok(answer),
    }
}

/// An answer as streams carry it.
pub(super) fn in_stream(mut response: ModelInferResponse) -> ModelStreamInferResponse {
    let last = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
    response.parameters.insert(FINAL.to_owned(), last);
    ModelStreamInferResponse { error_message: String::new(), infer_response: Some(response) }
}

/// By what a client knows the answer to its request.
pub(super) fn identity(request: &ModelInferRequest) -> ModelInferResponse {
    ModelInferResponse {
        model_name: request.model_name.clone(),
        model_version: request.model_version.clone(),
        id: request.id.clone(),
        ..ModelInferResponse::default()
    }
}

/// A request, with its tensors as bytes: slices of what came, where they came raw.
fn request(message: ModelInferRequest) -> Result<InferRequest> {
    let mut raw = Raw::of(&message)?;
    let inputs = message.inputs.into_iter().map(|input| self::input(input, &mut raw));
    let inputs = inputs.collect::<Result<_>>()?;
    let outputs = message.outputs.into_iter().map(|output| {
        Ok(RequestedOutput { name: output.name, parameters: read(output.parameters)? })
    });
    Ok(InferRequest {
        model: message.model_name,
        version: Some(message.model_version).filter(|version| !version.is_empty()),
        id: Some(message.id).filter(|id| !id.is_empty()),
        parameters: read(message.parameters)?,
        inputs,
        outputs: outputs.collect::<Result<_>>()?,
        ..InferRequest::default()
    })
}

/// The raw contents of a request, one for each input that is not in shared memory; none where contents are typed.
struct Raw(Option<std::vec::IntoIter<Bytes>>);

impl Raw {
    fn of(message: &ModelInferRequest) -> Result<Self> {
        let contents = &message.raw_input_contents;
        if contents.is_empty() {
            return Ok(Self(None));
        }
        let carried = message.inputs.iter().filter(|it| !it.parameters.contains_key(REGION));
        let carried = carried.count();
        if contents.len() != carried {
            return Err(Error::invalid_input(format!(
                "raw_input_contents has {} entries, and {carried} inputs are not in shared memory; send one for each of these, in their order",
                contents.len()
            )));
        }
        Ok(Self(Some(contents.clone().into_iter())))
    }
}

fn input(input: InferInputTensor, raw: &mut Raw) -> Result<InputTensor> {
    let InferInputTensor { name, datatype, shape, parameters, contents } = input;
    let wrong = |what: String| Error::invalid_input(format!("input {}: {what}", Quoted(&name)));
    let dtype = DType::by_datatype(&datatype)
        .ok_or_else(|| wrong(format!("there is no datatype {}", Quoted(&datatype))))?;
    let sides = shape.iter().map(|side| {
        usize::try_from(*side).map_err(|_| {
            wrong(format!("shape has the side {side}; sides are whole numbers of 0 or more"))
        })
    });
    let sides: Vec<usize> = sides.collect::<Result<_>>()?;
    let shared = parameters.contains_key(REGION);
    let contents = contents.filter(|contents| *contents != InferTensorContents::default());
    let data = match (&mut raw.0, contents) {
        (_, None) if shared => None,
        (_, Some(_)) if shared => {
            return Err(wrong(
                "it lies in shared memory and has contents; give one of them".into(),
            ));
        }
        (Some(_), Some(_)) => {
            return Err(wrong(
                "it has contents beside raw_input_contents; send all inputs raw or none".into(),
            ));
        }
        (Some(raw), None) => raw.next(),
        (None, Some(contents)) => Some(typed(dtype, contents).map_err(wrong)?),
        (None, None) if sides.contains(&0) => Some(Bytes::new()),
        (None, None) => {
            return Err(wrong(
                "it has no contents; fill them or raw_input_contents, or name a shared_memory_region"
                    .into(),
            ));
        }
    };
    Ok(InputTensor { name, dtype, shape: sides, parameters: read(parameters)?, data })
}

/// The bytes of typed contents: what the one list holds that belongs to this type.
fn typed(dtype: DType, contents: InferTensorContents) -> Result<Bytes, String> {
    let InferTensorContents {
        bool_contents,
        int_contents,
        int64_contents,
        uint_contents,
        uint64_contents,
        fp32_contents,
        fp64_contents,
        bytes_contents,
    } = contents;
    let filled = [
        ("bool_contents", bool_contents.len()),
        ("int_contents", int_contents.len()),
        ("int64_contents", int64_contents.len()),
        ("uint_contents", uint_contents.len()),
        ("uint64_contents", uint64_contents.len()),
        ("fp32_contents", fp32_contents.len()),
        ("fp64_contents", fp64_contents.len()),
        ("bytes_contents", bytes_contents.len()),
    ];
    let word = dtype.datatype();
    let own = match dtype {
        DType::Bool => "bool_contents",
        DType::I8 | DType::I16 | DType::I32 => "int_contents",
        DType::I64 => "int64_contents",
        DType::U8 | DType::U16 | DType::U32 => "uint_contents",
        DType::U64 => "uint64_contents",
        DType::F32 => "fp32_contents",
        DType::F64 => "fp64_contents",
        DType::Bytes => "bytes_contents",
        DType::F16 | DType::BF16 => {
            return Err(format!("{word} has no contents of its own; send raw_input_contents"));
        }
    };
    if let Some((other, _)) = filled.iter().find(|(name, len)| *len > 0 && *name != own) {
        return Err(format!("{word} elements belong into {own}, not into {other}"));
    }
    let tensor = match dtype {
        DType::Bool => tensor(bool_contents.into_iter().map(u8::from).collect()),
        DType::I8 => tensor(narrow::<_, i8>(int_contents, word)?),
        DType::I16 => tensor(narrow::<_, i16>(int_contents, word)?),
        DType::I32 => tensor(int_contents),
        DType::I64 => tensor(int64_contents),
        DType::U8 => tensor(narrow::<_, u8>(uint_contents, word)?),
        DType::U16 => tensor(narrow::<_, u16>(uint_contents, word)?),
        DType::U32 => tensor(uint_contents),
        DType::U64 => tensor(uint64_contents),
        DType::F32 => tensor(fp32_contents),
        DType::F64 => tensor(fp64_contents),
        DType::Bytes => Tensor::from_strings(&[bytes_contents.len()], &bytes_contents),
        DType::F16 | DType::BF16 => tensor(Vec::<u8>::new()),
    };
    Ok(tensor.map_err(|error| error.message().to_owned())?.bytes().clone())
}

/// Elements as a tensor of one side, without a copy.
fn tensor<T: mar_engine::Element>(elements: Vec<T>) -> Result<Tensor> {
    Tensor::from_vec(&[elements.len()], elements)
}

/// The same numbers in a smaller type.
fn narrow<T, S>(elements: Vec<T>, word: &str) -> Result<Vec<S>, String>
where
    T: Copy + std::fmt::Display,
    S: TryFrom<T>,
{
    let narrowed = elements.into_iter().map(|element| {
        S::try_from(element).map_err(|_| format!("element {element} is out of the range of {word}"))
    });
    narrowed.collect()
}

/// An answer, its tensors raw. One that was put into shared memory has an empty place among them, because
/// clients count.
fn response(answer: InferResponse) -> ModelInferResponse {
    let mut raw_output_contents = Vec::with_capacity(answer.outputs.len());
    let outputs = answer.outputs.into_iter().map(|output| {
        let tensor = &output.tensor;
        let bytes = if output.in_shared_memory { Bytes::new() } else { tensor.bytes().clone() };
        raw_output_contents.push(bytes);
        InferOutputTensor {
            name: output.name,
            datatype: tensor.dtype().datatype().to_owned(),
            // A side that was allocated is far below the largest.
            shape: tensor.shape().iter().map(|side| i64::try_from(*side).unwrap_or(-1)).collect(),
            parameters: written(output.parameters),
            contents: None,
        }
    });
    ModelInferResponse {
        outputs: outputs.collect(),
        model_name: answer.model,
        model_version: answer.version,
        id: answer.id.unwrap_or_default(),
        parameters: written(answer.parameters),
        raw_output_contents,
    }
}
