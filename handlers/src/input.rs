//! The image of a request, in every form that TorchServe's vision handlers take it.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::GeneralPurpose;
use bytes::Bytes;
use mar_handler::{
    DType, Error, Part, Request, Response, Result, Signature, Stage, Tensor, TensorSpec,
};
use mar_vision::{DecodeError, Pipeline, Pixels, Prepared, SampleType, Samples};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::in_base64;
use crate::numbers::Nested;

/// The members of a JSON object, and the parts of a form, that hold an image; the first that is there counts.
const MEMBERS: [&str; 6] = ["data", "body", "b64", "image", "image_bytes", "image_base64"];
/// The header that says whether the pixels are those of the Python stack or were made faster.
const PARITY: &str = "X-Parity";

/// What a client sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sent {
    /// A file: JPEG, PNG, whatever the decoder knows.
    File(Bytes),
    /// Numbers, which TorchServe hands to the network as they are.
    Numbers(Nested<f32>),
}

/// The image of a request, prepared for the network; where it comes from in the original is kept with the
/// request, as a [`Geometry`](mar_vision::Geometry). Numbers are taken as they are.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_handler::ErrorCode::InvalidInput) where it is no image, or has more
/// pixels than are allowed.
pub(crate) fn prepared(request: &Request, pipeline: &Pipeline) -> Result<Tensor> {
    match sent(request)? {
        Sent::File(file) => {
            let prepared = pipeline.run(&file).map_err(unreadable)?;
            request.kept.set(prepared.geometry);
            tensor(prepared)
        }
        Sent::Numbers(Nested { values, .. }) if values.is_empty() => {
            Err(Error::invalid_input("an image as numbers needs one number at least"))
        }
        Sent::Numbers(Nested { shape, values }) => Tensor::from_vec(&shape, values),
    }
}

/// What a handler of images has on the way to `tensors`, which are what its `preprocess` gives for `request`:
/// the image as it was decoded (not in the fast tier, which never has it), its pixels in the network's size, and
/// the tensors. Numbers are taken as they are, in one stage.
///
/// # Errors
/// As [`prepared`].
pub(crate) fn stages(
    request: &Request,
    pipeline: &Pipeline,
    tensors: Vec<Tensor>,
) -> Result<Vec<Stage>> {
    let Sent::File(file) = sent(request)? else {
        return Ok(vec![Stage { name: Stage::PREPROCESS, tensors }]);
    };
    let seen = pipeline.steps(&file).map_err(unreadable)?;
    let stage = |name, Pixels { levels, shape }: Pixels| {
        Tensor::from_vec(&shape, levels).map(|tensor| Stage { name, tensors: vec![tensor] })
    };
    let mut stages = Vec::new();
    if let Some(decoded) = seen.decoded {
        stages.push(stage(Stage::DECODE, decoded)?);
    }
    stages.push(stage(Stage::RESIZE, seen.resized)?);
    stages.push(Stage { name: Stage::NORMALISE, tensors });
    Ok(stages)
}

/// An image that cannot be decoded is the client's fault.
pub(crate) fn unreadable(error: DecodeError) -> Error {
    Error::invalid_input(error.to_string()).caused_by(error)
}

/// The image file of a request, for a handler that takes no numbers.
///
/// # Errors
/// As [`sent`], and where it is numbers.
pub(crate) fn file(request: &Request) -> Result<Bytes> {
    match sent(request)? {
        Sent::File(file) => Ok(file),
        Sent::Numbers(_) => Err(Error::invalid_input(
            "a list of numbers is not an image file; send the bytes of a JPEG or PNG, or base64 of them",
        )),
    }
}

/// What a request holds: the part `data`, else `body` or one of the other names of an image, else the only
/// part there is. It is a file's bytes, base64 of them as text, or JSON: a string of base64, numbers, or an object with either.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_handler::ErrorCode::InvalidInput) saying what is wrong with it.
pub(crate) fn sent(request: &Request) -> Result<Sent> {
    let named = MEMBERS.iter().find_map(|name| request.part(name));
    let part = named.map_or_else(|| part(request), Ok)?;
    if is_json(part) {
        return match serde_json::from_slice::<Json<'_>>(&part.data) {
            Ok(Json::Text(text)) => decoded(&text).map(Sent::File),
            Ok(Json::Numbers(numbers)) => Ok(Sent::Numbers(numbers)),
            Err(reason) => {
                let reason = format!("the body is JSON, but holds no image: {reason}");
                Err(Error::invalid_input(reason))
            }
        };
    }
    let text = std::str::from_utf8(&part.data).ok().filter(|text| is_base64(text));
    // What does not decode is left to the decoder of images, which says what it knows.
    let decoded = text.and_then(|text| decoded(text).ok());
    Ok(Sent::File(decoded.unwrap_or_else(|| part.data.clone())))
}

/// A prepared image as a tensor.
///
/// # Errors
/// None: a prepared image has as many values as its shape says.
pub(crate) fn tensor(Prepared { samples, shape, .. }: Prepared) -> Result<Tensor> {
    match samples {
        Samples::U8(values) => Tensor::from_vec(&shape, values),
        Samples::F32(values) => Tensor::from_vec(&shape, values),
        Samples::F16(values) => Tensor::from_vec(&shape, values),
    }
}

/// What a handler of images gives its network, and what the network answers as far as that is known.
pub(crate) fn signature(pipeline: &Pipeline, outputs: Option<Vec<TensorSpec>>) -> Signature {
    let dtype = match pipeline.sample_type() {
        SampleType::Float32 => DType::F32,
        SampleType::Float16 => DType::F16,
        SampleType::Uint8 => DType::U8,
    };
    let shape = std::iter::once(None).chain(pipeline.shape()).collect();
    let input = TensorSpec { name: "input".into(), dtype: Some(dtype), shape: Some(shape) };
    Signature { inputs: Some(vec![input]), outputs }
}

/// The response, with a header that says how the pixels were made.
pub(crate) fn with_parity(mut response: Response, pipeline: &Pipeline) -> Response {
    response.headers.push((PARITY.into(), pipeline.parity().to_string()));
    response
}

/// The part that holds the input: `data`, else `body`, else the only part there is.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_handler::ErrorCode::InvalidInput) naming the parts that are there.
pub(crate) fn part(request: &Request) -> Result<&Part> {
    if let [only] = &request.parts[..] { Ok(only) } else { request.payload() }
}

/// A part's type without its parameters, where the client gave one.
pub(crate) fn media_type(part: &Part) -> Option<&str> {
    part.content_type.as_deref()?.split(';').next().map(str::trim)
}

/// Whether a part says that it is JSON.
pub(crate) fn says_json(part: &Part) -> bool {
    media_type(part).is_some_and(|it| it.eq_ignore_ascii_case("application/json"))
}

/// Whether a part is JSON: it says so, or begins as no image file does.
fn is_json(part: &Part) -> bool {
    says_json(part) || matches!(part.data.trim_ascii_start().first(), Some(b'{' | b'[' | b'"'))
}

/// Whether a text is made of base64's letters alone, or says that it is base64.
fn is_base64(text: &str) -> bool {
    let is_letter = |c: u8| c.is_ascii_alphanumeric() || b"+/-_=\r\n".contains(&c);
    !text.is_empty() && (text.starts_with("data:") || text.bytes().all(is_letter))
}

/// The bytes of a base64 text, in either alphabet, with or without padding and line breaks; the part after
/// the comma where it is a data URL.
fn decoded(text: &str) -> Result<Bytes> {
    let refused = |reason: &dyn fmt::Display| {
        Error::invalid_input(format!(
            "the image is not base64: {reason}; send the file's bytes as they are, or base64 of them"
        ))
    };
    let text = match text.strip_prefix("data:").map(|url| url.split_once(',')) {
        None => text,
        Some(Some((kind, data))) if kind.ends_with(";base64") => data,
        Some(_) => return Err(refused(&"a data URL must be data:TYPE;base64,DATA")),
    };
    // Most texts are in the one alphabet and without line breaks, which nobody has to look for first.
    if let Some(bytes) = in_base64::decode(text.as_bytes()) {
        return Ok(bytes.into());
    }
    let text: Cow<'_, str> = if text.contains(|c: char| c.is_ascii_whitespace()) {
        text.split_ascii_whitespace().collect::<String>().into()
    } else {
        text.into()
    };
    let is_for_urls = text.contains(['-', '_']);
    let alphabet = if is_for_urls { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let bytes = GeneralPurpose::new(alphabet, in_base64::lenient()).decode(text.as_bytes());
    bytes.map(Bytes::from).map_err(|reason| refused(&reason))
}

/// A JSON body, without a copy of what is long in it.
enum Json<'a> {
    Text(Cow<'a, str>),
    Numbers(Nested<f32>),
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JsonVisitor;

        impl<'de> Visitor<'de> for JsonVisitor {
            type Value = Json<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a base64 string, a list of numbers, or an object with one of them")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
                Ok(Json::Text(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
                Ok(Json::Text(text.to_owned().into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Json<'de>, A::Error> {
                Nested::of_list(items).map(Json::Numbers)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
                let mut best = None;
                let mut others = Vec::new();
                while let Some(name) = members.next_key::<Cow<'de, str>>()? {
                    match MEMBERS.iter().position(|known| *known == name) {
                        Some(rank) if best.as_ref().is_none_or(|(other, _)| rank <= *other) => {
                            best = Some((rank, members.next_value()?));
                        }
                        _ => {
                            members.next_value::<IgnoredAny>()?;
                            others.push(name);
                        }
                    }
                }
                best.map(|(_, value)| value).ok_or_else(|| {
                    serde::de::Error::custom(format_args!(
                        "the object has none of the members {}; found: {}",
                        MEMBERS.join(", "),
                        if others.is_empty() { "none".into() } else { others.join(", ") }
                    ))
                })
            }
        }

        deserializer.deserialize_any(JsonVisitor)
    }
}

#[cfg(test)]
mod tests {
    use mar_handler::ErrorCode;

    use super::*;

    fn request(parts: &[(&str, Option<&str>, &[u8])]) -> Request {
        let part = |(name, content_type, data): &(&str, Option<&str>, &[u8])| Part {
            name: (*name).to_owned(),
            content_type: content_type.map(str::to_owned),
            data: Bytes::copy_from_slice(data),
        };
        Request { parts: parts.iter().map(part).collect(), ..Request::default() }
    }

    fn body(text: &str) -> Result<Sent> {
        sent(&request(&[("body", None, text.as_bytes())]))
    }

    #[test]
    fn bytes_are_a_file_and_text_is_base64_of_one() {
        let png = b"\x89PNG\r\n\x1a\n";
        assert_eq!(sent(&request(&[("data", None, png)])).unwrap(), Sent::File(png[..].into()));
        // "/wD+" is the bytes ff 00 fe (RFC 4648, table 1).
        let file = Sent::File(b"\xff\x00\xfe"[..].into());
        for text in [
            "/wD+",
            "_wD-",
            "/w\nD+\n",
            "data:image/png;base64,/wD+",
            r#""/wD+""#,
            r#"{"b64": "/wD+"}"#,
            r#"{"data": "/wD+"}"#,
            r#" {"body": {"b64": "\/wD+"}, "key": [1, "x"]}"#,
            r#"{"image_bytes": {"b64": "/wD+"}}"#,
            r#"{"body": "AAAA", "data": "/wD+"}"#,
            r#"{"data": "/wD+", "body": "AAAA"}"#,
        ] {
            assert_eq!(body(text).unwrap(), file, "{text}");
        }
        let padded = Sent::File(b"\xff"[..].into());
        assert_eq!(body("/w==").unwrap(), padded);
        assert_eq!(body(r#""/w""#).unwrap(), padded);
        // No base64 for all its letters: five of them stand for no number of bytes.
        assert_eq!(body("hello").unwrap(), Sent::File(b"hello"[..].into()));
    }

    #[test]
    fn numbers_are_taken_as_they_are() {
        let nested = Nested { shape: vec![1, 2], values: vec![1.0, 2.5] };
        for text in ["[[1, 2.5]]", r#"{"data": [[1, 2.5]]}"#] {
            assert_eq!(body(text).unwrap(), Sent::Numbers(nested.clone()), "{text}");
        }
    }

    #[test]
    fn no_numbers_are_no_image() {
        let pipeline = Pipeline::new(mar_vision::PipelineConfig::default()).unwrap();
        for text in ["[]", "[[[]], [[]], [[]]]", r#"{"data": []}"#] {
            let request = request(&[("body", None, text.as_bytes())]);
            let error = prepared(&request, &pipeline).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidInput, "{text}");
        }
    }

    #[test]
    fn json_without_an_image_says_what_was_found() {
        for (text, words) in [
            (r#"{"a": 1, "b": "x"}"#, "none of the members data, body, b64"),
            (r#"{"a": 1, "b": "x"}"#, "found: a, b"),
            (r#"{"data": null}"#, "expected a base64 string"),
            (r#"{"data": "*"}"#, "the image is not base64"),
            (r#""data:image/png,x""#, "data:TYPE;base64,DATA"),
            ("[[1], 2]", "a number at [1]"),
            ("[[1, null]]", "null at [0][1] is no number"),
            ("[1,", "EOF"),
            ("{", "EOF"),
        ] {
            let error = body(text).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidInput, "{text}");
            assert!(error.message().contains(words), "{text}: {error}");
        }
        let announced = request(&[("body", Some("Application/JSON; charset=utf-8"), b"\xff")]);
        assert!(sent(&announced).unwrap_err().message().contains("the body is JSON"));
    }

    #[test]
    fn one_part_is_taken_whatever_its_name() {
        let file = |name: &str| (name.to_owned(), None, b"\x89".as_slice());
        let named = |names: &[&str]| {
            let parts: Vec<_> = names.iter().map(|name| file(name)).collect();
            let parts: Vec<_> =
                parts.iter().map(|(name, kind, data)| (name.as_str(), *kind, *data)).collect();
            sent(&request(&parts))
        };
        assert!(named(&["picture"]).is_ok());
        assert!(named(&["picture", "data"]).is_ok());
        assert!(named(&["picture", "other"]).unwrap_err().message().contains("picture, other"));
        assert!(
            named(&["key", "image_bytes"]).is_ok(),
            "beside a key, as in TensorFlow's requests"
        );
        assert!(named(&[]).unwrap_err().message().contains("found: none"));
    }
}
