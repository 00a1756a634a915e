//! Comparisons on numbers that are worked out by hand.

use half::f16;
use mar::{Digest, KnownAnswer, KnownTensor, Summary};
use mar_handler::{DType, Device, Error, Response, Tensor};
use serde_json::{Value, json};

use super::{Compared, answer, output, tensors};

// Tensors.

fn known(tensor: &Tensor, means: &[f64]) -> KnownTensor {
    KnownTensor {
        dtype: tensor.dtype().name().into(),
        shape: tensor.shape().to_vec(),
        sha256: Digest::of(tensor.bytes()).to_string(),
        channel_means: means.to_vec(),
        copy: None,
    }
}

fn halves(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()
}

fn compared(known: &KnownTensor, ours: &Tensor, copy: Option<Vec<u8>>) -> Compared {
    tensors::compare::<Error>(known, ours, || Ok(copy)).unwrap()
}

/// Two channels of four pixels, and their means.
const PIXELS: [f32; 8] = [0.0, 0.25, 0.5, 1.25, -1.0, 2.0, 3.5, 0.5];
const MEANS: [f64; 2] = [0.5, 1.25];

fn image(values: &[f32]) -> Tensor {
    Tensor::from_vec(&[2, 2, 2], values.to_vec()).unwrap()
}

fn changed(change: impl Fn(usize, f32) -> f32) -> Compared {
    let values: Vec<f32> =
        PIXELS.iter().enumerate().map(|(index, value)| change(index, *value)).collect();
    compared(&known(&image(&PIXELS), &MEANS), &image(&values), Some(halves(&PIXELS)))
}

#[test]
fn equal_bytes_need_no_copy() {
    let tensor = image(&PIXELS);
    let unread = tensors::compare::<Error>(&known(&tensor, &[]), &tensor, || panic!("it is read"));
    assert_eq!(unread.unwrap().unwrap(), "equal, byte for byte");
}

#[test]
fn texts_are_equal_or_differ() {
    let texts = |last: &str| {
        let all = ["a", "b", "c", last];
        Tensor::from_strings(&[2, 1, 2], all).unwrap()
    };
    assert!(compared(&known(&texts("d"), &[]), &texts("d"), None).is_ok());
    let wrong = compared(&known(&texts("d"), &[]), &texts("e"), None).unwrap_err();
    assert!(wrong.starts_with("the bytes differ"), "{wrong}");
}

#[test]
fn another_type_or_shape_differs_whatever_the_numbers() {
    let bytes = Tensor::from_vec(&[2, 4], vec![0_u8; 8]).unwrap();
    let wrong = compared(&known(&image(&PIXELS), &[]), &bytes, None).unwrap_err();
    assert_eq!(wrong, "uint8 [2, 4] where float32 [2, 2, 2] was known");
    // Each alone, with the same bytes.
    let flat = image(&PIXELS).reshape(&[2, 4]).unwrap();
    let wrong = compared(&known(&image(&PIXELS), &[]), &flat, None).unwrap_err();
    assert_eq!(wrong, "float32 [2, 4] where float32 [2, 2, 2] was known");
    let whole = Tensor::from_bytes(DType::I32, &[2, 2, 2], image(&PIXELS).bytes().clone()).unwrap();
    let wrong = compared(&known(&image(&PIXELS), &[]), &whole, None).unwrap_err();
    assert_eq!(wrong, "int32 [2, 2, 2] where float32 [2, 2, 2] was known");
}

#[test]
fn large_numbers_may_be_as_far_as_large_copies_round() {
    let levels = PIXELS.map(|value| 100.0 * value);
    let known = known(&image(&levels), &MEANS.map(|mean| 100.0 * mean));
    let off = |by: f32| compared(&known, &image(&levels.map(|v| v * by)), Some(halves(&levels)));
    off(1.0001).unwrap();
    assert!(off(1.0005).unwrap_err().contains("the channels' means are 50.025, 125.0625"));
    assert!(off(1.002).unwrap_err().starts_with("87.5 % of values"));
}

#[test]
fn what_is_no_number_is_like_itself_alone() {
    let of = |values: [f32; 2]| Tensor::from_vec(&[2], values.to_vec()).unwrap();
    let known_nan = known(&of([f32::NAN, 1.0]), &[]);
    let copy = || Some(halves(&[f32::NAN, 1.0]));
    compared(&known_nan, &of([f32::NAN, 1.000_01]), copy()).unwrap();
    assert!(compared(&known_nan, &of([0.0, 1.0]), copy()).is_err());
    // Without a copy, the mean is no number either.
    let known_mean = known(&image(&PIXELS), &MEANS);
    let mut values = PIXELS;
    values[0] = f32::NAN;
    assert!(compared(&known_mean, &image(&values), None).is_err());
}

#[test]
fn floats_may_be_as_far_from_their_copy_as_rounding_makes_them() {
    changed(|_, value| value * 1.000_01).unwrap();
    // One pixel far off, of which the mean of its channel hardly tells.
    let wrong = changed(|index, value| if index == 5 { value + 0.004 } else { value }).unwrap_err();
    assert!(wrong.starts_with("12.5 % of values are too far"), "{wrong}");
    assert!(wrong.contains("the largest difference is 0.004"), "{wrong}");
    let wrong = changed(|index, value| if index == 5 { f32::NAN } else { value }).unwrap_err();
    assert!(wrong.starts_with("12.5 % of values"), "not a number is never near: {wrong}");
}

#[test]
fn a_mean_that_is_a_little_off_hides_in_the_copies_and_not_in_the_channels_means() {
    let wrong = changed(|index, value| if index < 4 { value + 0.0005 } else { value }).unwrap_err();
    assert!(!wrong.contains("too far"), "each is near enough: {wrong}");
    assert!(wrong.contains("means are 0.5005, 1.25 where 0.5, 1.25 were known"), "{wrong}");
    changed(|_, value| value + 0.0001).unwrap();
}

#[test]
fn a_wrong_mean_or_std_is_named_and_so_is_another_order_of_channels() {
    let wrong = changed(|index, value| if index < 4 { 2.0 * value + 0.25 } else { value - 1.0 });
    let wrong = wrong.unwrap_err();
    assert!(wrong.contains("mean, std or scale differ"), "{wrong}");
    assert!(wrong.ends_with("channel 0 is 2 x + 0.25, channel 1 is x - 1"), "{wrong}");
    let wrong = changed(|index, _| PIXELS[(index + 4) % 8]).unwrap_err();
    assert!(wrong.ends_with("the channels are in the other order"), "{wrong}");
    // Neither, where the pixels are others.
    let wrong = changed(|index, _| PIXELS[(5 * index + 3) % 8]).unwrap_err();
    assert!(!wrong.contains("order") && !wrong.contains("std"), "{wrong}");
}

#[test]
fn bytes_are_equal_or_they_differ() {
    let before = Tensor::from_vec(&[1, 2, 3], vec![1_u8, 2, 3, 10, 20, 30]).unwrap();
    let reversed = Tensor::from_vec(&[1, 2, 3], vec![3_u8, 2, 1, 30, 20, 10]).unwrap();
    let near = Tensor::from_vec(&[1, 2, 3], vec![1_u8, 2, 3, 10, 20, 31]).unwrap();
    let known = known(&before, &[5.5, 11.0, 16.5]);
    let copy = || Some(before.bytes().to_vec());
    let wrong = compared(&known, &near, copy()).unwrap_err();
    assert!(wrong.starts_with("16.67 % of values differ, by 1 at most"), "{wrong}");
    assert!(wrong.contains("means are 5.5, 11, 17 where 5.5, 11, 16.5 were known"), "{wrong}");
    let wrong = compared(&known, &reversed, copy()).unwrap_err();
    assert!(wrong.ends_with("the channels are in the other order"), "{wrong}");
    let wrong = compared(&known, &near, None).unwrap_err();
    assert!(wrong.contains("has no copy"), "{wrong}");
}

#[test]
fn without_a_copy_the_channels_means_decide() {
    let before = known(&image(&PIXELS), &MEANS);
    let moved = image(&PIXELS.map(|value| value + 0.01));
    compared(&before, &image(&PIXELS.map(|value| value + 1e-6)), None).unwrap();
    assert!(compared(&before, &moved, None).is_err());
    let unknown = KnownTensor { channel_means: Vec::new(), ..before };
    let wrong = compared(&unknown, &image(&PIXELS.map(|value| value + 1e-6)), None).unwrap_err();
    assert!(wrong.contains("no copy to tell by how much"), "{wrong}");
}

#[test]
fn what_is_too_large_for_a_copy_is_large() {
    let of = |value: f32| Tensor::from_vec(&[1], vec![value]).unwrap();
    let known = known(&of(1e6), &[]);
    compared(&known, &of(1.000_001e6), Some(halves(&[1e6]))).unwrap();
    assert!(compared(&known, &of(5.0), Some(halves(&[1e6]))).is_err());
    assert!(compared(&known, &of(-1e6), Some(halves(&[1e6]))).is_err());
}

// Outputs.

fn summary(values: &[f64], [min, max, mean, std]: [f64; 4]) -> Summary {
    let (dtype, shape) = ("float32".into(), vec![4]);
    Summary { name: None, dtype, shape, min, max, mean, std, values: values.to_vec() }
}

fn scores(values: [f32; 4]) -> Tensor {
    Tensor::from_vec(&[4], values.to_vec()).unwrap()
}

#[test]
fn outputs_are_near_at_the_known_places_and_in_the_whole() {
    // Places 0 and 2 of 4; of all four the mean is 1 and the variance 5.
    let known = [summary(&[2.0, 4.0], [-2.0, 4.0, 1.0, 5_f64.sqrt()])];
    let on = |values, device| output::compare(&known, &[scores(values)], device);
    on([2.003, 0.0, 4.0, -2.0], Device::Cpu).unwrap();
    let wrong = on([2.005, 0.0, 4.0, -2.0], Device::Cpu).unwrap_err();
    assert!(wrong.contains("0.004 is allowed; 1 places (50 %) are beyond that"), "{wrong}");
    on([2.03, 0.0, 4.0, -2.0], Device::Cuda(0)).unwrap();
    assert!(on([2.05, 0.0, 4.0, -2.0], Device::Cuda(0)).is_err());
    let elsewhere = on([2.0, 0.0, 4.0, -1.9], Device::Cpu).unwrap_err();
    assert!(elsewhere.ends_with("the smallest is -1.9 where -2 was known"), "{elsewhere}");
    assert!(on([2.0, 0.1, 4.0, -2.0], Device::Cpu).unwrap_err().contains("the mean is"));
    assert!(on([2.0, f32::NAN, 4.0, -2.0], Device::Cpu).is_err());
}

#[test]
fn each_moment_of_an_output_counts_where_no_known_place_shows_it() {
    // Nothing is known of any place.
    let known = [summary(&[], [-2.0, 4.0, 1.0, 5_f64.sqrt()])];
    let on = |values| output::compare(&known, &[scores(values)], Device::Cpu);
    on([2.0, 0.0, 4.0, -2.0]).unwrap();
    for (values, words) in [
        ([2.0, 0.0, 4.0, -1.9], "the smallest is -1.9"),
        ([2.1, 0.0, 3.9, -2.0], "the largest is 3.9"),
        ([2.1, 0.0, 4.0, -2.0], "the mean is 1.025"),
        ([1.0, 1.0, 4.0, -2.0], "the standard deviation is 2.1213"),
    ] {
        let wrong = on(values).unwrap_err();
        assert!(wrong.contains(words), "{wrong}");
    }
}

#[test]
fn the_largest_known_number_says_how_near_is_near_enough_on_either_side_of_0() {
    // Half precision is as coarse as it is, wherever it comes from.
    let mut known = summary(&[2.0, -8.0], [-10.0, 2.0, -4.0, 26_f64.sqrt()]);
    let values = |by: f32| [2.0 + by, 0.0, -8.0, -10.0];
    let on =
        |known: &Summary, ours| output::compare(std::slice::from_ref(known), &[ours], Device::Cpu);
    on(&known, scores(values(0.009))).unwrap();
    assert!(on(&known, scores(values(0.011))).is_err());
    let half = |by| Tensor::from_vec(&[4], values(by).map(f16::from_f32).to_vec()).unwrap();
    assert!(on(&known, half(0.0)).unwrap_err().starts_with("float16 [4] where float32 [4]"));
    known.dtype = "float16".into();
    on(&known, half(0.09)).unwrap();
    assert!(on(&known, half(0.12)).is_err());
    known.shape = vec![2, 2];
    assert!(on(&known, half(0.0)).unwrap_err().starts_with("float16 [4] where float16 [2, 2]"));
}

#[test]
fn an_output_of_no_elements_is_what_it_was() {
    let known = Summary { shape: vec![0, 4], ..summary(&[], [0.0; 4]) };
    let none = Tensor::from_vec(&[0, 4], Vec::<f32>::new()).unwrap();
    output::compare(&[known], &[none], Device::Cpu).unwrap();
}

#[test]
fn outputs_are_told_apart_by_name_and_counted() {
    let known = summary(&[2.0], [-2.0, 4.0, 1.0, 5_f64.sqrt()]);
    let named = Summary { name: Some("out".into()), ..known.clone() };
    let ours = scores([2.0, 0.0, 4.0, -2.0]).named("out");
    let other = Tensor::from_vec(&[1], vec![0_u8]).unwrap().named("aux");
    let both = [other.clone(), ours.clone()];
    output::compare(std::slice::from_ref(&named), &both, Device::Cpu).unwrap();
    let wrong = output::compare(&[named], &[other], Device::Cpu).unwrap_err();
    assert_eq!(wrong, "output \"out\": the network gave none; it gave aux of uint8 [1]");
    let wrong = output::compare(&[known.clone(), known], &[ours], Device::Cpu);
    assert!(wrong.unwrap_err().starts_with("output 1: the network gave none"));
}

#[test]
fn whole_numbers_are_what_they_were() {
    let known = Summary {
        dtype: "int64".into(),
        ..summary(&[30_000.0], [30_000.0, 30_003.0, 30_001.5, 1.25_f64.sqrt()])
    };
    let of = |last| Tensor::from_vec(&[4], vec![30_000_i64, 30_001, 30_002, last]).unwrap();
    let on = |last| output::compare(std::slice::from_ref(&known), &[of(last)], Device::Cuda(0));
    on(30_003).unwrap();
    assert!(on(30_004).is_err());
}

// Answers.

fn answer_of(content_type: &str, known: &[u8], ours: &Response) -> Compared {
    let known_answer = KnownAnswer {
        query: Vec::new(),
        file: String::new(),
        content_type: content_type.into(),
        tolerance: 1e-4,
        agreement: 0.75,
    };
    answer::compare(&known_answer, known, ours, Device::Cpu)
}

fn values(known: &Value, ours: &Value) -> Compared {
    let known = known.to_string();
    answer_of("application/json; charset=utf-8", known.as_bytes(), &Response::json(ours).unwrap())
}

#[test]
fn known_members_are_there_and_numbers_near() {
    let known = json!({"a/b": [1, {"c": 0.5}], "d": "x", "e": null});
    values(&known, &json!({"more": 1, "d": "x", "e": null, "a/b": [1, {"c": 0.50009}]})).unwrap();
    for (ours, words) in [
        (
            json!({"d": "x", "e": null}),
            "the whole answer: no \"a/b\", which was known; found: d, e",
        ),
        (
            json!({"a/b": [1, {"c": 0.6}], "d": "x", "e": null}),
            "/a~1b/1/c: 0.6 where 0.5 was known, and 1.00e-4 is allowed",
        ),
        (json!({"a/b": [1], "d": "x", "e": null}), "/a~1b: 1 entries where 2 were known"),
        (json!({"a/b": [1, {"c": 0.5}], "d": "y", "e": null}), "/d: \"y\" where \"x\" was known"),
        (json!({"a/b": [1, {"c": 0.5}], "d": "x", "e": 0}), "/e: 0 where null was known"),
        (json!([]), "the whole answer: [] where {\"a/b\""),
    ] {
        let wrong = values(&known, &ours).unwrap_err();
        assert!(wrong.starts_with(words), "{wrong}");
    }
}

#[test]
fn a_rank_is_kept_and_other_members_come_as_they_like() {
    let known = json!({"cat": 0.7, "dog": 0.2, "cow": 0.2});
    values(&known, &json!({"cat": 0.7, "cow": 0.2, "dog": 0.2})).unwrap();
    let wrong = values(&known, &json!({"dog": 0.2, "cat": 0.7, "cow": 0.2})).unwrap_err();
    assert_eq!(wrong, "the whole answer: \"dog\" comes before \"cat\"");
    // As good as equal: each is near enough to what it was, and they have changed places.
    let close = json!({"cat": 0.5, "dog": 0.499_95});
    values(&close, &json!({"dog": 0.500_02, "cat": 0.499_98})).unwrap();
    let apart = json!({"cat": 0.5, "dog": 0.4995});
    let wrong = values(&apart, &json!({"dog": 0.4995, "cat": 0.5})).unwrap_err();
    assert_eq!(wrong, "the whole answer: \"dog\" comes before \"cat\"");
    values(&json!({"height": 9, "width": 4}), &json!({"width": 4, "height": 9})).unwrap();
    values(&json!({"x": 0.5, "name": "n"}), &json!({"name": "n", "x": 0.5})).unwrap();
}

#[test]
fn large_numbers_may_be_as_far_as_their_last_digits() {
    values(&json!([812.5, 0.5]), &json!([812.54, 0.5])).unwrap();
    let wrong = values(&json!([812.5, 0.5]), &json!([812.6, 0.5])).unwrap_err();
    assert_eq!(wrong, "/0: 812.6 where 812.5 was known, and 0.0813 is allowed");
    assert!(values(&json!([812.5, 0.5]), &json!([812.5, 0.5002])).is_err());
    assert!(values(&json!([10_002]), &json!([10_003])).is_err(), "counts are what they were");
    values(&json!([10_002]), &json!([10_002.9])).unwrap();
    let within = |tolerance, ours: f64| {
        let known = KnownAnswer {
            query: Vec::new(),
            file: String::new(),
            content_type: "application/json".into(),
            tolerance,
            agreement: 1.0,
        };
        let ours = Response::json(&json!([ours])).unwrap();
        answer::compare(&known, b"[812.5]", &ours, Device::Cpu).is_ok()
    };
    assert!(within(0.5, 812.99) && !within(0.5, 813.01), "as far as the archive says");
    assert!(within(1e-6, 812.5005) && !within(1e-6, 812.502) && !within(0.0, 812.500_001));
}

#[test]
fn who_is_last_of_those_that_cuda_cannot_tell_apart_may_change() {
    let on = |device, ours: Value| {
        let known = KnownAnswer {
            query: Vec::new(),
            file: String::new(),
            content_type: "application/json".into(),
            tolerance: 1e-4,
            agreement: 1.0,
        };
        let body = br#"{"cat": 0.9, "dog": 0.0201, "cow": 0.02}"#;
        answer::compare(&known, body, &Response::json(&ours).unwrap(), device)
    };
    let other = json!({"cat": 0.9, "cow": 0.0201, "elk": 0.02});
    on(Device::Cuda(0), other.clone()).unwrap();
    assert!(on(Device::Cpu, other).is_err(), "its digits are exact");
    let swapped = json!({"cat": 0.9, "dog": 0.0201, "elk": 0.02});
    assert!(on(Device::Cpu, swapped).is_err(), "another label of the same number");
    for ours in [
        json!({"cat": 0.9, "dog": 0.0201, "elk": 0.01}),
        json!({"elk": 0.9, "dog": 0.0201, "cow": 0.02}),
        json!({"cat": 0.9, "dog": 0.0201}),
        json!({"cat": 0.9, "dog": 0.0201, "cow": 0.02, "elk": 0.02}),
        json!({"cat": 0.9, "dog": 0.0201, "elk": "0.02"}),
    ] {
        assert!(on(Device::Cuda(0), ours.clone()).is_err(), "{ours}");
    }
}

#[test]
fn one_more_number_among_numbers_is_one_more_label() {
    for known in [json!({ "cat": 0.9, "dog": 0.6 }), json!({})] {
        let mut ours = known.clone();
        assert!(values(&known, &ours).is_ok());
        ours["cow"] = json!(0.5);
        let figures = values(&known, &ours).unwrap_err();
        assert!(figures.contains("\"cow\": 0.5, which was not known"), "{figures}");
    }
    assert!(values(&json!({ "a": [1] }), &json!({ "a": [1], "took": 3 })).is_ok());
}

#[test]
fn bodies_that_are_no_json_agree_in_a_share_of_their_bytes() {
    let of = |ours: &'static [u8]| {
        answer_of("application/octet-stream", b"abcd", &Response::bytes("x", ours))
    };
    assert_eq!(of(b"abcd").unwrap(), "equal, byte for byte");
    assert_eq!(of(b"abcx").unwrap(), "1 of 4 bytes differ, 25 %");
    assert!(of(b"abxx").unwrap_err().ends_with("0.75 of them must be the known ones"));
    assert_eq!(of(b"abc").unwrap_err(), "3 bytes where 4 were known");
    let failed = Response { status: 500, ..Response::bytes("x", &b"abcd"[..]) };
    assert!(answer_of("x/y", b"abcd", &failed).unwrap_err().contains("status 500"));
    let near = Response::bytes("x", &b"[0.50001]"[..]);
    answer_of("application/vnd.x+json", b"[0.5]", &near).unwrap();
    let text = answer_of("application/json", b"{}", &Response::bytes("x", &b"{"[..])).unwrap_err();
    assert!(text.starts_with("the answer is no JSON"), "{text}");
}

#[test]
fn answers_of_cuda_may_be_as_far_as_its_arithmetic_makes_them() {
    let known = |content_type: &str| KnownAnswer {
        query: Vec::new(),
        file: String::new(),
        content_type: content_type.into(),
        tolerance: 1e-4,
        agreement: 1.0,
    };
    let number = |value: f64, device| {
        let ours = Response::json(&json!({"cat": value, "dog": 200.0})).unwrap();
        let body = br#"{"cat": 0.5, "dog": 200.0}"#;
        answer::compare(&known("application/json"), body, &ours, device)
    };
    assert!(number(0.505, Device::Cpu).is_err());
    number(0.505, Device::Cuda(0)).unwrap();
    assert!(number(0.52, Device::Cuda(0)).is_err());
    let class = Response::json(&json!([200])).unwrap();
    let wrong = answer::compare(&known("application/json"), b"[199]", &class, Device::Cuda(0));
    assert_eq!(wrong.unwrap_err(), "/0: 200 where 199 was known, and 1.00e-4 is allowed");
    let mask = |wrong: usize, device| {
        let mut bytes = vec![7_u8; 2000];
        bytes[..wrong].fill(8);
        answer::compare(&known("x/y"), &[7; 2000], &Response::bytes("x/y", bytes), device)
    };
    assert!(mask(1, Device::Cpu).is_err());
    mask(2, Device::Cuda(0)).unwrap();
    assert!(mask(3, Device::Cuda(0)).is_err());
}
