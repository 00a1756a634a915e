//! Requests and responses of the Open Inference Protocol: small ones and those of 10 MB, as bytes and as JSON.

#[path = "../../../benches/calibration.rs"]
mod calibration;

use bytes::Bytes;
use divan::Bencher;
use mar_engine::{Tensor, Timing};
use mar_oip::{
    AlignedBuffer, BinaryOutputs, InferRequest, InferResponse, OutputTensor, Parameter, Parameters,
    decode, encode,
};

fn main() {
    divan::main();
}

/// Numbers of a tensor: a row of a table, an image of 224 x 224, and 10 MB.
const AS_BYTES: [usize; 2] = [4, 2_621_440];
const AS_JSON: [usize; 2] = [4, 150_528];

/// Numbers with as many digits as a network's own.
fn numbers(count: usize) -> Vec<f32> {
    (0..=u16::MAX).cycle().take(count).map(|i| f32::from(i) / 8191.0 - 3.0).collect()
}

fn little_endian(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// A body, and how much of it is JSON.
fn sent_as_bytes(count: usize) -> (Bytes, Option<usize>) {
    let head = format!(
        r#"{{"id":"42","inputs":[{{"name":"x","shape":[1,{count}],"datatype":"FP32","parameters":{{"binary_data_size":{}}}}}],"parameters":{{"binary_data_output":true}}}}"#,
        4 * count
    );
    let mut body = AlignedBuffer::new(head.len(), head.len() + 4 * count);
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(&little_endian(&numbers(count)));
    (body.freeze(), Some(head.len()))
}

fn sent_as_json(count: usize) -> Bytes {
    let data: Vec<String> = numbers(count).iter().map(ToString::to_string).collect();
    let data = data.join(",");
    format!(
        r#"{{"id":"42","inputs":[{{"name":"x","shape":[1,{count}],"datatype":"FP32","data":[{data}]}}]}}"#
    )
    .into()
}

fn answer(count: usize) -> InferResponse {
    let tensor = Tensor::from_vec(&[1, count], numbers(count)).expect("a tensor");
    let output = OutputTensor {
        name: "y".into(),
        parameters: Parameters::new(),
        tensor,
        in_shared_memory: false,
    };
    InferResponse {
        model: "m".into(),
        version: "1".into(),
        id: Some("42".into()),
        parameters: Parameters::new(),
        outputs: vec![output],
        timing: Timing::default(),
    }
}

/// What a request says of the form in which outputs go.
fn wanted(as_bytes: bool) -> BinaryOutputs {
    let wanted = Parameter::Bool(as_bytes);
    let parameters = Parameters::from([("binary_data_output".to_owned(), wanted)]);
    let request = InferRequest { parameters, ..InferRequest::default() };
    BinaryOutputs::of(&request).expect("a request")
}

#[divan::bench(args = AS_BYTES)]
fn decode_bytes(bencher: Bencher<'_, '_>, count: usize) {
    let (body, json) = sent_as_bytes(count);
    assert!(decode(&body, json).is_ok(), "what is measured is no error");
    bencher.bench(|| decode(&body, json));
}

#[divan::bench(args = AS_JSON)]
fn decode_json(bencher: Bencher<'_, '_>, count: usize) {
    let body = sent_as_json(count);
    assert!(decode(&body, None).is_ok(), "what is measured is no error");
    bencher.bench(|| decode(&body, None));
}

#[divan::bench(args = AS_BYTES)]
fn encode_bytes(bencher: Bencher<'_, '_>, count: usize) {
    let (answer, wanted) = (answer(count), wanted(true));
    bencher.bench(|| encode(&answer, &wanted));
}

#[divan::bench(args = AS_JSON)]
fn encode_json(bencher: Bencher<'_, '_>, count: usize) {
    let (answer, wanted) = (answer(count), wanted(false));
    bencher.bench(|| encode(&answer, &wanted));
}

/// 10 MB that arrive in pieces of a socket's size, announced before.
#[divan::bench]
fn gather_10_mb(bencher: Bencher<'_, '_>) {
    let (body, json) = sent_as_bytes(2_621_440);
    bencher.bench(|| {
        let mut buffer = AlignedBuffer::new(json.unwrap_or_default(), body.len());
        body.chunks(1 << 15).for_each(|piece| buffer.extend_from_slice(piece));
        buffer.freeze()
    });
}
