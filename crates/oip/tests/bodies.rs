//! Whatever a body is: a request or an error, never a panic, and never much more memory than the body has.

use bytes::Bytes;
use mar_engine::ErrorCode;
use mar_oip::{InferRequest, decode};
use proptest::prelude::*;

/// A good body and the length of its JSON.
const JSON: &str = r#"{"id":"a\u00e4","parameters":{"p":1,"q":-2.5e3,"r":"s","t":true},"inputs":[
    {"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2.5],[NaN,-Infinity]]},
    {"name":"y","shape":[3],"datatype":"BYTES","data":["","a\n","b"],"parameters":{"content_type":"text"}},
    {"name":"z","shape":[1,2],"datatype":"INT64","parameters":{"binary_data_size":16}},
    {"name":"b","shape":[2],"datatype":"BOOL","data":[true,false]},
    {"name":"s","shape":[1],"datatype":"UINT8","parameters":{"shared_memory_region":"r","shared_memory_byte_size":1}}],
    "outputs":[{"name":"o","parameters":{"classification":3,"binary_data":true}}]}"#;

/// Bytes that what was read holds on to, beside the body itself.
fn held(request: &InferRequest) -> usize {
    let inputs = request.inputs.iter().map(|input| {
        let data = input.data.as_ref().map_or(0, Bytes::len);
        data + input.name.len() + 8 * input.shape.len()
    });
    inputs.sum()
}

fn check(body: &[u8], json: Option<usize>) {
    match decode(&Bytes::copy_from_slice(body), json) {
        // Two characters such as "0," become eight bytes at most.
        Ok(request) => assert!(held(&request) <= 8 * body.len() + 64),
        Err(error) => assert!(error.message().len() < 600, "{}", error.message().len()),
    }
}

#[test]
fn the_body_that_is_changed_below_is_good() {
    let body = [JSON.as_bytes(), &[0; 16]].concat();
    let request = decode(&body.into(), Some(JSON.len())).unwrap();
    assert_eq!((request.inputs.len(), request.outputs.len(), request.parameters.len()), (5, 1, 4));
}

#[test]
fn a_body_that_ends_anywhere_is_an_error() {
    for end in 0..JSON.len() {
        let error = decode(&Bytes::copy_from_slice(&JSON.as_bytes()[..end]), None).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{end}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_a_request_or_an_error(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        json in proptest::option::of(0_usize..400),
    ) {
        check(&body, json);
    }

    #[test]
    fn a_changed_body_is_a_request_or_an_error(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        json in proptest::option::of(0_usize..900),
    ) {
        let mut body = [JSON.as_bytes(), &[0; 16]].concat();
        for (place, byte) in changes {
            let place = place.index(body.len());
            body[place] = byte;
        }
        check(&body, json.or(Some(JSON.len())));
        check(&body[..cut.index(body.len())], None);
    }

    #[test]
    fn a_body_of_the_right_words_is_a_request_or_an_error(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"inputs\"", "\"outputs\"", "\"name\"", "\"shape\"", "\"data\"",
            "\"datatype\"", "\"FP32\"", "\"BYTES\"", "\"parameters\"", "\"binary_data_size\"", "0", "-1",
            "18446744073709551616", "1e999", "NaN", "null", "true", "\"\\u00\"", "\u{e4}", " ",
        ]), 0..60),
    ) {
        check(words.concat().as_bytes(), None);
    }
}
