use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mar_handler::{Device, Part};
use mar_vision::{DecodeLimits, decode, rgb_png};
use serde_json::json;

use super::*;
use crate::section::tests::context;

/// A network whose class is the level of red, and which is as sure of it as green is bright. Archives that go
/// with it do not normalise.
struct Reds;

impl Model for Reds {
    fn forward(&self, inputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
        assert_eq!(inputs.len(), 1, "the network has one input");
        let shape = inputs[0].shape().to_vec();
        let planes = inputs[0].view::<f32>()?;
        let plane = |channel| planes.index_axis(ndarray::Axis(1), channel);
        let shape = [shape[0], shape[2], shape[3]];
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "levels")]
        let mask = plane(0).iter().map(|value| (value * 255.0).round() as u8).collect();
        let mask = Tensor::from_vec(&shape, mask)?;
        let auxiliary = Tensor::from_vec(&[shape[0], 1], vec![0_f32; shape[0]])?;
        match epilogue {
            Epilogue::ArgMax { dim: 1 } => Ok(vec![mask, auxiliary]),
            Epilogue::ArgMaxWithProbability { dim: 1 } => {
                let sure = Tensor::from_vec(&shape, plane(1).iter().copied().collect())?;
                Ok(vec![mask, sure, auxiliary])
            }
            other => panic!("the mask crosses, not the scores: {other:?}"),
        }
    }

    fn device(&self) -> Device {
        Device::Cpu
    }
}

fn try_handler(section: &Value) -> Result<MaskSegmenter> {
    MaskSegmenter::initialize(&context("", section))
}

/// A handler that does not normalise, with these keys besides.
fn handler(more: &Value) -> MaskSegmenter {
    let mut section = json!({ "mean": [0, 0, 0], "std": [1, 1, 1] });
    let more = more.as_object().unwrap().clone();
    section.as_object_mut().unwrap().extend(more);
    try_handler(&section).unwrap()
}

fn request(data: Vec<u8>, query: &str) -> Request {
    let part = Part { name: "data".into(), content_type: None, data: data.into() };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = pairs.map(|(name, value)| (name.into(), value.into())).collect();
    Request { parts: vec![part], query, ..Request::default() }
}

/// A picture of these classes, row by row, each pixel as sure as its place in it: 0/255, 1/255...
fn picture(width: u32, classes: &[u8]) -> Vec<u8> {
    let pixels = (0..=u8::MAX).zip(classes).flat_map(|(i, class)| [*class, i, 0]).collect();
    let height = u32::try_from(classes.len()).unwrap() / width;
    rgb_png(&RgbImage8::new(width, height, pixels).unwrap()).unwrap()
}

fn infer(handler: &MaskSegmenter, inputs: Vec<Vec<Tensor>>) -> Vec<Vec<Tensor>> {
    handler.inference(&Reds, Batch::stack(inputs).unwrap()).unwrap()
}

fn ask(handler: &MaskSegmenter, request: &Request) -> Response {
    let inputs = handler.preprocess(request).unwrap();
    let outputs = infer(handler, vec![inputs]).remove(0);
    let response = handler.postprocess(outputs, request).unwrap();
    assert_eq!(header(&response, "X-Parity"), Some("exact"));
    response
}

fn answer(handler: &MaskSegmenter, data: Vec<u8>, query: &str) -> Value {
    let response = ask(handler, &request(data, query));
    assert_eq!(response.content_type.as_deref(), Some("application/json"));
    serde_json::from_slice(&response.body).unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    let mut found = response.headers.iter().filter(|(known, _)| known == name);
    let value = found.next().map(|(_, value)| value.as_str());
    assert!(found.next().is_none(), "{name} twice");
    value
}

fn geometry(height: u32, width: u32) -> Value {
    let whole = json!({ "left": 0, "top": 0, "width": width, "height": height });
    json!({ "original": [height, width], "crop": whole, "scaled": [height, width], "window": whole })
}

#[test]
fn an_image_goes_in_and_its_mask_comes_out() {
    let handler = handler(&json!({ "labels": ["other", "red"] }));
    let answer = answer(&handler, picture(2, &[1, 0, 1, 0]), "");
    assert_eq!(
        answer,
        json!({
            "base64_prediction": "AQABAA==", // 1 0 1 0
            "shape": [2, 2],
            "dtype": "uint8",
            "labels": ["other", "red"],
            "palette": [[0, 0, 0], [128, 0, 0]],
            "geometry": geometry(2, 2),
        })
    );
    let names: Vec<_> = answer.as_object().unwrap().keys().collect();
    assert_eq!(names, ["base64_prediction", "shape", "dtype", "labels", "palette", "geometry"]);
}

#[test]
fn a_file_of_names_and_base64_in_json_are_taken_as_by_the_other_handlers() {
    let archive = tempfile::tempdir().unwrap();
    std::fs::write(archive.path().join("index_to_name.json"), r#"{"1": "red"}"#).unwrap();
    let section = json!({ "mean": [0, 0, 0], "std": [1, 1, 1] });
    let handler = MaskSegmenter::initialize(&context(archive.path(), &section)).unwrap();
    let body = json!({ "b64": STANDARD.encode(picture(2, &[1, 0])) });
    let told = answer(&handler, body.to_string().into_bytes(), "format=areas&size=original");
    assert_eq!(told["labels"], json!(["0", "red"]));
    assert_eq!(told["areas"][1]["label"], "red");
    let over = ask(&handler, &request(body.to_string().into_bytes(), "format=overlay"));
    assert_eq!(over.content_type.as_deref(), Some("image/png"));
    let numbers = handler.preprocess(&request(b"[[1]]".to_vec(), "")).unwrap_err();
    assert_eq!(numbers.code(), ErrorCode::InvalidInput);
}

#[test]
fn clients_can_ask_for_labels_and_colours() {
    let handler = handler(&json!({ "labels": ["other", "red"] }));
    let told = json!({
        "labels": ["other", "red"],
        "palette": [[0, 0, 0], [128, 0, 0]],
        "preprocessing": "decode as Pillow does to RGB, scale by 1/255, normalise with mean \
            [0.0, 0.0, 0.0] and std [1.0, 1.0, 1.0], as float32 [3, height, width]",
    });
    assert_eq!(Value::Object(handler.describe()), told);
}

#[test]
fn classes_that_the_archive_does_not_name_go_by_their_numbers() {
    let answer = answer(&handler(&json!({})), picture(2, &[0, 3]), "unknown=parameter");
    let expected = json!({
        "base64_prediction": "AAM=",
        "shape": [1, 2],
        "dtype": "uint8",
        "labels": ["0", "1", "2", "3"],
        // PASCAL VOC's.
        "palette": [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]],
        "geometry": geometry(1, 2),
    });
    assert_eq!(answer, expected);
    let coloured = handler(&json!({ "palette": [[1, 2, 3], [4, 5, 6]] }));
    let answer = self::answer(&coloured, picture(2, &[0, 0]), "");
    assert_eq!(answer["labels"], json!(["0", "1"]));
    assert_eq!(answer["palette"], json!([[1, 2, 3], [4, 5, 6]]));
    let bytes = ask(&coloured, &request(picture(2, &[0, 0]), "format=raw"));
    assert_eq!(header(&bytes, "X-Labels"), None, "numbers say nothing that the bytes do not");
}

#[test]
fn the_query_chooses_the_format_before_the_accept_header_and_that_before_the_archive() {
    let plain = handler(&json!({}));
    let areas = handler(&json!({ "answer": { "format": "areas" } }));
    for (handler, query, accept, expected) in [
        (&plain, "", None, "base64_prediction"),
        (&plain, "", Some("*/*"), "base64_prediction"),
        (&plain, "", Some("text/html"), "base64_prediction"),
        (&plain, "", Some("application/json;q=0.5,image/png"), "image/png"),
        (&plain, "", Some("application/x-npy"), "application/x-npy"),
        (&plain, "", Some("application/octet-stream"), "application/octet-stream"),
        (&plain, "format=rle", Some("image/png"), "rle"),
        (&plain, "format=polygons", None, "polygons"),
        (&plain, "format=overlay", None, "image/png"),
        (&plain, "format=base64&format=raw", None, "application/octet-stream"),
        (&areas, "", Some("text/html"), "areas"),
        (&areas, "", Some("*/*"), "areas"),
        (&areas, "", Some("application/json"), "areas"),
        (&areas, "", Some("image/png"), "image/png"),
        (&areas, "format=base64", None, "base64_prediction"),
    ] {
        let mut request = request(picture(2, &[0, 3]), query);
        request.headers.extend(accept.map(|accept| ("accept".to_owned(), accept.to_owned())));
        let response = ask(handler, &request);
        let content_type = response.content_type.as_deref().unwrap();
        if content_type == "application/json" {
            let body: Value = serde_json::from_slice(&response.body).unwrap();
            assert!(body[expected] != Value::Null, "{query} {accept:?}: {body}");
        } else {
            assert_eq!(content_type, expected, "{query} {accept:?}");
        }
    }
}

#[test]
fn what_a_parameter_does_not_take_is_refused_by_name() {
    let handler = handler(&json!({ "labels": ["sky", "road"] }));
    for (query, named) in [
        ("format=jpeg", &["format", "`jpeg`", "`png`", "`polygons`", "`overlay`"][..]),
        ("format=", &["format", "`base64`"]),
        ("format=PNG", &["format", "`png`"]),
        ("size=huge", &["size", "`original`", "`network`"]),
        ("map=classes2&format=npy", &["map", "`confidence`"]),
        ("map=confidence", &["map", "format=npy"]),
        ("confidence=maybe", &["confidence", "true or false", "\"maybe\""]),
        ("confidence=true&format=png", &["confidence", "format=areas", "map=confidence"]),
        ("opacity=2", &["opacity", "0 to 1"]),
        ("opacity=nan", &["opacity", "0 to 1"]),
        ("opacity=half", &["opacity", "0 to 1"]),
        ("opacity=0.5", &["opacity", "format=overlay"]),
        ("fill=256", &["fill", "0 to 255"]),
        ("fill=1", &["fill", "size=original"]),
        ("map=confidence&format=raw&class=0", &["class", "map=confidence"]),
        ("class=tree", &["class", "\"tree\"", "sky, road", "0 to 1"]),
        ("class=2", &["class", "0 to 1"]),
        ("class=-1", &["class", "0 to 1"]),
    ] {
        let error = handler.preprocess(&request(picture(1, &[0]), query)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{query}");
        for word in named {
            assert!(error.message().contains(word), "{query}: no {word} in {error}");
        }
    }
}

#[test]
fn a_png_a_file_and_bytes_hold_the_mask_and_tell_the_rest_in_headers() {
    let labels = json!({ "labels": ["Straße", "🚗"], "palette": [[1, 2, 3], [4, 5, 6]] });
    let handler = handler(&labels);
    // A class more than the archive knows has VOC's colour.
    let classes = [0, 1, 2, 1, 1, 0];
    for (format, start) in [("png", &b"\x89PNG"[..]), ("npy", b"\x93NUMPY"), ("raw", &classes)] {
        let query = format!("format={format}");
        let response = ask(&handler, &request(picture(3, &classes), &query));
        assert!(response.body.starts_with(start), "{format}");
        assert_eq!(header(&response, "X-Shape"), Some("2,3"));
        assert_eq!(header(&response, "X-Dtype"), Some("uint8"));
        assert_eq!(header(&response, "X-Labels"), Some(r#"["Stra\u00dfe","\ud83d\ude97"]"#));
        assert_eq!(header(&response, "X-Class"), None);
        let told: Value = serde_json::from_str(header(&response, "X-Geometry").unwrap()).unwrap();
        assert_eq!(told, geometry(2, 3));
        match format {
            "png" => assert_eq!(
                decode(&response.body, &DecodeLimits::default()).unwrap().data(),
                [[1, 2, 3], [4, 5, 6], [0, 128, 0], [4, 5, 6], [4, 5, 6], [1, 2, 3]].as_flattened()
            ),
            _ => assert!(response.body.ends_with(&classes)),
        }
    }
    let many: Vec<String> = (0..200).map(|i| format!("a long name, number {i}")).collect();
    let response =
        ask(&self::handler(&json!({ "labels": many })), &request(picture(1, &[0]), "format=raw"));
    assert_eq!(header(&response, "X-Labels"), None, "too long for a header");
}

#[test]
fn runs_polygons_and_areas_are_told_a_class_at_a_time() {
    let handler = handler(&json!({ "labels": ["sky", "road", "car"] }));
    let ask = |query: &str| answer(&handler, picture(3, &[0, 0, 1, 0, 0, 1]), query);
    let rle = ask("format=rle");
    assert_eq!(
        rle["rle"],
        json!([
            { "class": 0, "label": "sky", "size": [2, 3], "counts": "042" },
            { "class": 1, "label": "road", "size": [2, 3], "counts": "42" },
        ])
    );
    assert_eq!((&rle["shape"], &rle["labels"][2]), (&json!([2, 3]), &json!("car")));
    let polygons = ask("format=polygons&class=road");
    let corners = [[2, 0, 3, 0, 3, 2, 2, 2]];
    let object = json!({ "segmentation": corners, "bbox": [2, 0, 1, 2], "area": 2 });
    assert_eq!(polygons["polygons"], json!([{ "class": 1, "label": "road", "objects": [object] }]));
    assert_eq!(polygons["class"], 1);
    assert_eq!(ask("format=polygons")["polygons"].as_array().unwrap().len(), 2);
    assert_eq!(
        ask("format=areas")["areas"],
        json!([
            { "class": 0, "label": "sky", "pixels": 4, "share": 4.0 / 6.0, "bbox": [0, 0, 2, 2] },
            { "class": 1, "label": "road", "pixels": 2, "share": 2.0 / 6.0, "bbox": [2, 0, 1, 2] },
            { "class": 2, "label": "car", "pixels": 0, "share": 0.0, "bbox": null },
        ])
    );
    // What was asked for is told, also where it is not there.
    let class = |of: Value| {
        let mut entry = json!({ "class": 2, "label": "car" });
        entry.as_object_mut().unwrap().extend(of.as_object().unwrap().clone());
        json!([entry])
    };
    assert_eq!(ask("format=rle&class=2")["rle"], class(json!({ "size": [2, 3], "counts": "6" })));
    assert_eq!(ask("format=polygons&class=2")["polygons"], class(json!({ "objects": [] })));
    let nothing = json!({ "pixels": 0, "share": 0.0, "bbox": null });
    assert_eq!(ask("format=areas&class=2")["areas"], class(nothing));
}

#[test]
fn one_class_is_a_mask_of_nought_and_one() {
    let plain = handler(&json!({}));
    let handler = handler(
        &json!({ "labels": ["sky", "7", "car"], "palette": [[9, 9, 9], [8, 8, 8], [7, 7, 7]] }),
    );
    let image = || picture(4, &[0, 2, 1, 2]);
    let told = answer(&handler, image(), "class=car");
    assert_eq!(told["base64_prediction"], STANDARD.encode([0, 1, 0, 1]));
    assert_eq!(told["labels"], json!(["not car", "car"]));
    assert_eq!(told["palette"], json!([[0, 0, 0], [7, 7, 7]]));
    assert_eq!(told["class"], 2);
    assert_eq!(answer(&handler, image(), "class=7")["class"], 1, "a name before a number");
    assert_eq!(answer(&plain, image(), "class=2")["labels"], json!(["not 2", "2"]));
    let raw = ask(&handler, &request(image(), "class=0&format=raw"));
    assert_eq!(raw.body[..], [1, 0, 0, 0]);
    assert_eq!(header(&raw, "X-Class"), Some("0"));
    let png = ask(&handler, &request(image(), "class=2&format=png")).body;
    let shown = decode(&png, &DecodeLimits::default()).unwrap().into_data();
    assert_eq!(shown, [[0; 3], [7; 3], [0; 3], [7; 3]].as_flattened());
}

#[test]
fn an_overlay_lies_over_the_pixels_that_the_mask_has() {
    let handler = handler(
        &json!({ "size": [1, 2], "filter": "nearest", "palette": [[0, 0, 0], [201, 0, 0]] }),
    );
    let wide = || picture(4, &[0, 0, 1, 1]);
    let ask = |query: &str| {
        let file = ask(&handler, &request(wide(), query)).body;
        decode(&file, &DecodeLimits::default()).unwrap()
    };
    // Nearest takes the pixels 1 and 3.
    assert_eq!(ask("format=overlay&opacity=0").data(), [0, 1, 0, 1, 3, 0]);
    assert_eq!(ask("format=overlay&opacity=1").data(), [0, 0, 0, 201, 0, 0]);
    assert_eq!(ask("format=overlay").data(), [0, 1, 0, 101, 2, 0]);
    let whole = ask("format=overlay&size=original&opacity=1&class=1");
    assert_eq!(whole.data(), [0, 0, 0, 0, 1, 0, 201, 0, 0, 201, 0, 0], "the rest stays as it is");
}

#[test]
fn a_mask_of_the_original_has_the_fill_where_the_network_did_not_look() {
    let handler = handler(&json!({ "size": 2, "resize": "crop", "filter": "nearest" }));
    let image = || picture(6, &[9, 9, 1, 2, 9, 9, 9, 9, 3, 4, 9, 9]);
    let told = answer(&handler, image(), "");
    assert_eq!(told["base64_prediction"], STANDARD.encode([1, 2, 3, 4]));
    assert_eq!(
        told["geometry"],
        json!({
            "original": [2, 6],
            "crop": { "left": 2, "top": 0, "width": 2, "height": 2 },
            "scaled": [2, 2],
            "window": { "left": 0, "top": 0, "width": 2, "height": 2 },
        })
    );
    let whole = ask(&handler, &request(image(), "size=original&format=raw&fill=255"));
    assert_eq!(header(&whole, "X-Shape"), Some("2,6"));
    assert_eq!(whole.body[..], [255, 255, 1, 2, 255, 255, 255, 255, 3, 4, 255, 255]);
    let told = answer(&handler, image(), "size=original");
    assert_eq!(told["base64_prediction"], STANDARD.encode([0, 0, 1, 2, 0, 0, 0, 0, 3, 4, 0, 0]));
    assert_eq!(told["shape"], json!([2, 6]));
    let sure = ask(&handler, &request(image(), "size=original&format=npy&map=confidence"));
    let sevenths = |i: u8| (f32::from(i) / 255.0).to_le_bytes();
    assert_eq!(sure.body[128..136], [[0; 4], [0; 4]].concat(), "nothing is known there");
    assert_eq!(sure.body[136..144], [sevenths(2), sevenths(3)].concat());
}

#[test]
fn the_confidence_is_told_where_it_is_asked_for() {
    let handler = handler(&json!({ "labels": ["a", "b"] }));
    let image = || picture(2, &[0, 1, 1, 1]);
    let values: Vec<f32> = (0..4_u8).map(|i| f32::from(i) / 255.0).collect();
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let told = answer(&handler, image(), "confidence=True");
    assert_eq!(told["base64_confidence"], STANDARD.encode(&bytes));
    assert_eq!(told["confidence_dtype"], "float32");
    let areas = answer(&handler, image(), "confidence=true&format=areas");
    let mean = areas["areas"][1]["confidence"].as_f64().unwrap();
    assert!((mean - 2.0 / 255.0).abs() < 1e-8, "{mean}");
    assert_eq!(answer(&handler, image(), "format=areas")["areas"][1]["confidence"], Value::Null);
    let raw = ask(&handler, &request(image(), "format=raw&map=confidence"));
    assert_eq!(raw.body, bytes);
    assert_eq!(header(&raw, "X-Dtype"), Some("float32"));
    // As an archive's default it goes where there is room for it.
    let always = self::handler(&json!({ "answer": { "confidence": true } }));
    assert_eq!(answer(&always, image(), "")["base64_confidence"], STANDARD.encode(&bytes));
    assert_eq!(answer(&always, image(), "confidence=false")["base64_confidence"], Value::Null);
    let classes = ask(&always, &request(image(), "format=raw"));
    assert_eq!(classes.body[..], [0, 1, 1, 1]);
}

#[test]
fn requests_of_different_formats_share_a_batch_and_those_for_confidence_have_their_own() {
    let handler = handler(&json!({}));
    let ask = |requests: &[Request]| -> Vec<Response> {
        let inputs = requests.iter().map(|request| handler.preprocess(request).unwrap()).collect();
        let outputs = infer(&handler, inputs).into_iter().zip(requests);
        outputs.map(|(outputs, request)| handler.postprocess(outputs, request).unwrap()).collect()
    };
    let alike = ask(&[
        request(picture(2, &[1, 2]), "format=raw"),
        request(picture(2, &[3, 4]), ""),
        request(picture(2, &[5, 6]), "format=rle&size=original"),
    ]);
    assert_eq!(alike[0].body[..], [1, 2]);
    let json: Value = serde_json::from_slice(&alike[1].body).unwrap();
    assert_eq!(json["base64_prediction"], STANDARD.encode([3, 4]));
    let json: Value = serde_json::from_slice(&alike[2].body).unwrap();
    assert_eq!((&json["rle"][0]["class"], &json["rle"][1]["class"]), (&json!(5), &json!(6)));
    let confident = ask(&[
        request(picture(2, &[1, 2]), "format=areas&confidence=true"),
        request(picture(2, &[3, 4]), "format=raw&map=confidence"),
    ]);
    let json: Value = serde_json::from_slice(&confident[0].body).unwrap();
    assert_eq!(json["areas"][0]["confidence"], 0.0);
    assert_eq!(confident[1].body[4..], (1.0_f32 / 255.0).to_le_bytes());
    let mixed = ["", "confidence=true"]
        .map(|query| handler.preprocess(&request(picture(1, &[0]), query)).unwrap());
    assert!(Batch::stack(mixed.into()).is_err(), "they are not alike");
}

#[test]
fn an_answer_that_cannot_be_sent_is_refused_before_the_network_runs() {
    // 12 pixels, of which the network sees 4.
    let handler = handler(&json!({ "size": 2 }));
    let asked = |query: &str, most: usize| {
        let mut request = request(picture(4, &[0; 12]), query);
        request.max_response_bytes = Some(most);
        handler.preprocess(&request).map_err(|error| error.to_string())
    };
    for (query, bytes) in [
        ("", 8),
        ("size=original", 16),
        ("size=original&confidence=true", 80),
        ("size=original&format=raw", 12),
        ("size=original&format=npy&map=confidence", 48),
    ] {
        assert!(asked(query, bytes).is_ok(), "{query}");
        let refused = asked(query, bytes - 1).unwrap_err();
        assert!(refused.contains(&format!("{bytes} bytes")), "{query}: {refused}");
        assert!(refused.contains("format=png"), "{refused}");
    }
    assert!(asked("size=original&format=png", 1).is_ok(), "its size is known once it is made");
}

#[test]
fn a_body_that_is_no_image_is_the_clients_fault() {
    let handler = handler(&json!({ "max_image_pixels": 3 }));
    let mut truncated = picture(1, &[0, 1]);
    truncated.truncate(truncated.len() / 2);
    for body in [Vec::new(), b"hello".to_vec(), truncated, picture(2, &[0; 4])] {
        let error = handler.preprocess(&request(body, "")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{error}");
    }
}

#[test]
fn settings_that_do_not_fit_name_their_key() {
    let many: Vec<String> = (0..257).map(|class| class.to_string()).collect();
    for (section, named) in [
        (json!({ "sise": 3 }), "\"sise\""),
        (json!({ "size": "big" }), "size"),
        (json!({ "std": [0.0, 1.0, 1.0] }), "std"),
        (json!({ "labels": [1] }), "labels must be a list"),
        (json!({ "labels": ["a"], "palette": [[0, 0, 0], [1, 1, 1]] }), "palette has 2"),
        (json!({ "palette": [[0, 0, 256]] }), "256"),
        (json!({ "answer": { "format": "jpeg" } }), "`png`"),
        (json!({ "answer": { "opacity": 2 } }), "opacity"),
        (json!({ "answer": { "class": "a" } }), "class"),
        (json!({ "labels": many }), "256 classes at most"),
    ] {
        let error = try_handler(&section).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidModel);
        assert!(error.message().contains(named), "{error}");
        assert!(error.message().contains("model-config.yaml"), "{error}");
    }
}

#[test]
fn an_output_that_is_no_mask_is_an_error_that_says_what_is_needed() {
    let handler = handler(&json!({}));
    let fail = |query: &str, outputs| {
        let request = request(picture(1, &[0]), query);
        handler.preprocess(&request).unwrap();
        let error = handler.postprocess(outputs, &request).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PredictionFailed);
        error.message().to_owned()
    };
    let flat = Tensor::from_vec(&[4], vec![0_u8; 4]).unwrap();
    assert!(fail("", vec![flat]).contains("[4]"));
    let deep = Tensor::from_vec(&[1, 1, 1], vec![0_u8]).unwrap();
    assert!(fail("", vec![deep]).contains("[1, 1, 1]"));
    let wide = Tensor::from_vec(&[1, 1], vec![300_i64]).unwrap();
    assert!(fail("", vec![wide]).contains("256 classes"));
    assert!(fail("", Vec::new()).contains("no output"));
    let mask = Tensor::from_vec(&[1, 2], vec![0_u8; 2]).unwrap();
    assert!(fail("size=original", vec![mask.clone()]).contains("1x2"));
    assert!(fail("confidence=true", vec![mask.clone()]).contains("no confidence"));
    let short = Tensor::from_vec(&[1, 1], vec![0_f32]).unwrap();
    assert!(fail("confidence=true", vec![mask, short]).contains("no confidence"));
}
