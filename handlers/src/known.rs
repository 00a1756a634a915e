//! An archive's preprocessing without its network, for those who write down what it makes of a sample.
//!
//! Servers do not come here: they have the handler and the network themselves.

use std::path::PathBuf;

use bytes::Bytes;
use half::f16;
use mar_handler::{
    Context, DType, Error, Handler, Part, Request, Result, Signature, Stage, Tensor,
};
use mar_vision::{DecodeLimits, png_classes};
use serde_json::{Map, Value};

use crate::input::unreadable;
use crate::mask_segmenter;
use crate::tensor::npy;

/// The most elements of a tensor that are kept beside its digest.
const MAX_COPIED: usize = 4_000_000;
/// How far a number may be from one that was rounded to `float16`, as a share of it; of 1 where it is smaller.
/// `float16` itself rounds by a quarter of this.
const ROUNDED: f64 = 1.0 / 512.0;

/// What happens to a request of one archive before its network sees it.
pub struct Preprocessing {
    name: &'static str,
    handler: Box<dyn Handler>,
}

/// What one stage of it made.
#[derive(Debug)]
pub struct Seen {
    /// The stage's name.
    pub stage: &'static str,
    /// What it made, without a batch dimension.
    pub tensors: Vec<SeenTensor>,
}

/// One tensor of a stage.
#[derive(Debug)]
pub struct SeenTensor(Tensor);

/// How far a tensor is from another of its shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// The share of elements that differ, by more than rounding explains.
    pub share: f64,
    /// The largest difference.
    pub most: f64,
}

/// A mask as a client gets it that asks for the classes alone, byte by byte.
#[derive(Debug, PartialEq, Eq)]
pub struct MaskAnswer {
    /// The parameters with which it is asked for.
    pub query: Vec<(String, String)>,
    /// The class of each pixel.
    pub classes: Vec<u8>,
}

impl Preprocessing {
    /// That of the handler of this name, where the archive's files lie in `model_dir`, `config` is its
    /// `model-config.yaml`, `manifest` what the manifest says of the model beside the usual and `signature` what the
    /// network is known to take. `None` where there is no such handler here.
    ///
    /// # Errors
    /// What keeps a server from serving the archive: the key or the file that is wrong.
    pub fn of(
        handler: &str,
        model_dir: PathBuf,
        config: Map<String, Value>,
        manifest: Map<String, Value>,
        signature: Signature,
    ) -> Option<Result<Self>> {
        let registration = crate::all().into_iter().find(|known| known.name() == handler)?;
        let context = Context { model_dir, config, manifest, signature, ..Context::default() };
        let name = registration.name();
        Some(registration.initialize(&context).map(|handler| Self { name, handler }))
    }

    /// What it makes of a request with this body, stage by stage.
    ///
    /// # Errors
    /// Where the request would be refused.
    pub fn stages(&self, body: Vec<u8>, content_type: Option<&str>) -> Result<Vec<Seen>> {
        let content_type = content_type.map(str::to_owned);
        let header = content_type.iter().map(|kind| ("Content-Type".to_owned(), kind.clone()));
        let request = Request {
            headers: header.collect(),
            parts: vec![Part { name: "body".to_owned(), content_type, data: body.into() }],
            ..Request::default()
        };
        let stages = self.handler.stages(&request)?;
        let seen = |Stage { name, tensors }| Seen {
            stage: name,
            tensors: tensors.into_iter().map(SeenTensor).collect(),
        };
        Ok(stages.into_iter().map(seen).collect())
    }

    /// A mask that was saved as PNG or with NumPy as the answer whose bytes are its classes, because no two
    /// programs write the same PNG. `seen` is what [`Self::stages`] made of the image. `None` where the
    /// archive answers no masks, or the file is something else.
    ///
    /// # Errors
    /// Where the file is no mask, or has the size neither of the image nor of what the network sees of it.
    pub fn mask(&self, file: &[u8], seen: &[Seen]) -> Option<Result<MaskAnswer>> {
        if self.name != mask_segmenter::NAME {
            return None;
        }
        let read = match file {
            [0x89, b'P', b'N', b'G', ..] => png_classes(file, &DecodeLimits::default())
                .map(|(size, classes)| ([size.height as usize, size.width as usize], classes))
                .map_err(unreadable),
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => classes_of_npy(file),
            _ => return None,
        };
        Some(read.and_then(|(size, classes)| {
            let mut query = vec![("format".to_owned(), "raw".to_owned())];
            query.extend(pixels(size, seen)?.map(|whose| ("size".to_owned(), whose.to_owned())));
            Ok(MaskAnswer { query, classes })
        }))
    }
}

impl std::fmt::Debug for Preprocessing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Preprocessing").field(&self.name).finish()
    }
}

impl SeenTensor {
    /// The type's name in NumPy.
    pub fn dtype(&self) -> &'static str {
        self.0.dtype().name()
    }

    /// The sides, outermost first.
    pub fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    /// The elements, little-endian and row-major.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// The mean of each channel of an image: the last of three sides with `uint8`, the first with floating
    /// point. Nothing for other tensors, and where one is not finite.
    pub fn channel_means(&self) -> Vec<f64> {
        let (channels, is_last) = match (self.0.dtype(), self.shape()) {
            (DType::U8, [_, _, channels]) => (*channels, true),
            (dtype, [channels, _, _]) if dtype.is_float() => (*channels, false),
            _ => return Vec::new(),
        };
        let numbers = self.0.numbers();
        let each = numbers.len().checked_div(channels).unwrap_or(0);
        if each == 0 {
            return Vec::new();
        }
        let mut sums = vec![0.0; channels];
        for (place, number) in numbers.iter().enumerate() {
            sums[if is_last { place % channels } else { place / each }] += number;
        }
        #[expect(clippy::cast_precision_loss, reason = "a tensor has fewer than 2^52 elements")]
        let each = each as f64;
        let means: Vec<f64> = sums.into_iter().map(|sum| sum / each).collect();
        // An index holds finite numbers alone.
        if means.iter().all(|mean| mean.is_finite()) { means } else { Vec::new() }
    }

    /// The elements in few bytes, and the ending of a file that holds them: floating point as `float16`. `None`
    /// where there are over four million, or one is too large for that, or they are texts, which are equal or are not.
    pub fn copy(&self) -> Option<(&'static str, Vec<u8>)> {
        let dtype = self.0.dtype();
        if dtype == DType::Bytes || self.0.numbers().len() > MAX_COPIED {
            return None;
        }
        if !dtype.is_float() {
            return Some((ending(dtype), self.bytes().to_vec()));
        }
        let numbers = self.0.numbers();
        let fits = |number: f64| !number.is_finite() || f16::from_f64(number).is_finite();
        let copied = numbers.iter().flat_map(|number| f16::from_f64(number).to_le_bytes());
        numbers.iter().all(fits).then(|| (ending(DType::F16), copied.collect()))
    }

    /// How far it is from the tensor of which this is the [copy](Self::copy); `None` where that is of another
    /// length.
    pub fn distance(&self, copy: &[u8]) -> Option<Distance> {
        let dtype = self.0.dtype();
        let (of_copy, tolerance) =
            if dtype.is_float() { (DType::F16, ROUNDED) } else { (dtype, 0.0) };
        let copy = Tensor::from_bytes(of_copy, self.shape(), Bytes::copy_from_slice(copy)).ok()?;
        let (here, there) = (self.0.numbers(), copy.numbers());
        let mut far = 0_u32;
        let mut most = 0.0_f64;
        for (here, there) in here.iter().zip(there.iter()) {
            // Infinities and what is no number are as they were, or they are not.
            let is_same = here.to_bits() == there.to_bits() || (here.is_nan() && there.is_nan());
            let apart = if is_same { 0.0 } else { (here - there).abs() };
            if !apart.is_finite() || apart > tolerance * there.abs().max(1.0) {
                far += 1;
            }
            most = if apart.is_nan() { f64::INFINITY } else { most.max(apart) };
        }
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        let share = f64::from(far) / here.len().max(1) as f64;
        Some(Distance { share, most })
    }
}

fn ending(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        DType::U8 => "u8",
        DType::U16 => "u16",
        DType::U32 => "u32",
        DType::U64 => "u64",
        DType::I8 => "i8",
        DType::I16 => "i16",
        DType::I32 => "i32",
        DType::I64 => "i64",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::F32 => "f32",
        DType::F64 => "f64",
        DType::Bytes => "bytes",
    }
}

/// Whose pixels a mask of this height and width has, in the words of the query; `None` where nobody need say.
fn pixels(size: [usize; 2], seen: &[Seen]) -> Result<Option<&'static str>> {
    let of = |stage: &str| {
        let tensors = seen.iter().find(|seen| seen.stage == stage).map(|seen| &seen.tensors);
        match tensors.and_then(|tensors| tensors.first()).map(SeenTensor::shape) {
            Some([height, width, _]) => Some([*height, *width]),
            _ => None,
        }
    };
    let (image, network) = (of(Stage::DECODE), of(Stage::RESIZE));
    match (Some(size) == network, Some(size) == image) {
        (true, true) => Ok(None),
        (true, false) => Ok(Some("network")),
        (false, true) => Ok(Some("original")),
        // The fast tier never has the image in its own size. What is no size of its is told by a check.
        (false, false) if image.is_none() && network.is_some() => Ok(Some("original")),
        (false, false) => {
            let sides = |of: Option<[usize; 2]>| {
                of.map_or("unknown".to_owned(), |[height, width]| format!("{height}x{width}"))
            };
            Err(Error::invalid_input(format!(
                "the mask is {} (height x width), the image {}, and what the network sees of it {}; save the mask in one of these sizes",
                sides(Some(size)),
                sides(image),
                sides(network)
            )))
        }
    }
}

/// Height, width and classes of a file that `numpy.save` wrote.
fn classes_of_npy(file: &[u8]) -> Result<([usize; 2], Vec<u8>)> {
    let (dtype, shape, data) =
        npy::read(&Bytes::copy_from_slice(file)).map_err(Error::invalid_input)?;
    let [height, width] = shape[..] else {
        return Err(Error::invalid_input(format!(
            "a mask has two sides, height and width, and this array has the shape {shape:?}"
        )));
    };
    let class = |number: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "what is no class is told by coming back as another number"
        )]
        let class = number as u8;
        (f64::from(class).to_bits() == number.to_bits()).then_some(class)
    };
    let array = Tensor::from_bytes(dtype, &shape, data)?;
    let classes: Option<_> = array.numbers().iter().map(class).collect();
    let classes = classes
        .ok_or_else(|| Error::invalid_input("a mask holds classes, whole numbers from 0 to 255"))?;
    Ok(([height, width], classes))
}

#[cfg(test)]
mod tests {
    use mar_vision::{RgbImage8, npy_u8, palette_png, rgb_png, voc_palette};
    use serde_json::json;

    use super::*;

    fn preprocessing(handler: &str, section: &Value) -> Result<Preprocessing> {
        let config = json!({ "handler": section });
        let config = config.as_object().unwrap().clone();
        Preprocessing::of(handler, PathBuf::new(), config, Map::new(), Signature::default())
            .unwrap()
    }

    /// An image of 6x4 pixels (width x height), of which a network sees 3x2.
    fn segmenter() -> (Preprocessing, Vec<Seen>) {
        let section = json!({ "size": [2, 3], "resize": "squish", "labels": ["a", "b"] });
        let preprocessing = preprocessing("mask_segmenter", &section).unwrap();
        let image = RgbImage8::new(6, 4, (0..72).collect()).unwrap();
        let seen = preprocessing.stages(rgb_png(&image).unwrap(), None).unwrap();
        (preprocessing, seen)
    }

    fn tensor(dtype: DType, shape: &[usize], data: Vec<u8>) -> SeenTensor {
        SeenTensor(Tensor::from_bytes(dtype, shape, data.into()).unwrap())
    }

    fn floats(shape: &[usize], values: Vec<f32>) -> SeenTensor {
        SeenTensor(Tensor::from_vec(shape, values).unwrap())
    }

    #[test]
    fn an_image_is_seen_at_every_stage_and_numbers_at_one() {
        let (_, seen) = segmenter();
        let stages: Vec<_> = seen.iter().map(|seen| seen.stage).collect();
        assert_eq!(stages, ["decode", "resize", "normalise"]);
        assert_eq!(seen[0].tensors[0].shape(), [4, 6, 3]);
        assert_eq!(seen[0].tensors[0].bytes(), (0..72).collect::<Vec<u8>>());
        assert_eq!(seen[0].tensors[0].channel_means(), [34.5, 35.5, 36.5]);
        assert_eq!(
            (seen[2].tensors[0].dtype(), seen[2].tensors[0].shape()),
            ("float32", &[3, 2, 3][..])
        );
        let numbers = preprocessing("tensor", &json!({})).unwrap();
        let seen = numbers.stages(b"[1, 2.5]".to_vec(), Some("application/json")).unwrap();
        assert_eq!(seen[0].stage, "preprocess");
        assert_eq!(seen[0].tensors[0].bytes(), [1.0_f32, 2.5].map(f32::to_le_bytes).as_flattened());
        assert!(numbers.stages(b"what".to_vec(), None).is_err());
    }

    #[test]
    fn a_handler_that_is_not_here_and_one_that_cannot_be_are_told_apart() {
        let none = Map::new();
        let unknown =
            Preprocessing::of("my.py", PathBuf::new(), none.clone(), none, Signature::default());
        assert!(unknown.is_none());
        let error = preprocessing("mask_segmenter", &json!({ "size": "big" })).unwrap_err();
        assert!(error.message().contains("size"), "{error}");
    }

    #[test]
    fn a_saved_mask_is_the_answer_in_bytes_of_the_size_that_it_has() {
        let (preprocessing, seen) = segmenter();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for ((width, height), whose) in [((3, 2), "network"), ((6, 4), "original")] {
            let pixels = u8::try_from(width * height).unwrap();
            let classes: Vec<u8> = (0..pixels).map(|i| i % 2).collect();
            let png = palette_png(&classes, width, height, &voc_palette(2)).unwrap();
            let npy = npy_u8([height as usize, width as usize], &classes);
            let query = vec![pair("format", "raw"), pair("size", whose)];
            let expected = MaskAnswer { query, classes };
            for file in [&png, &npy] {
                assert_eq!(preprocessing.mask(file, &seen).unwrap().unwrap(), expected);
            }
        }
        let other = palette_png(&[0; 4], 2, 2, &voc_palette(2)).unwrap();
        let error = preprocessing.mask(&other, &seen).unwrap().unwrap_err().to_string();
        assert!(error.contains("2x2") && error.contains("4x6") && error.contains("2x3"), "{error}");
        assert!(preprocessing.mask(b"{}", &seen).is_none());
        let fast = &seen[1..];
        let answer = preprocessing.mask(&other, fast).unwrap().unwrap();
        assert_eq!(answer.query, [pair("format", "raw"), pair("size", "original")]);
        let numbers = super::tests::preprocessing("tensor", &json!({})).unwrap();
        assert!(numbers.mask(&other, &seen).is_none());
    }

    #[test]
    fn an_array_that_is_no_mask_is_refused() {
        let (preprocessing, seen) = segmenter();
        let said = |descr: &str, shape: &[usize], data: &[u8]| {
            let file = mar_vision::npy(descr, shape, data).unwrap();
            preprocessing.mask(&file, &seen).unwrap().map_err(|error| error.to_string())
        };
        let long = |value: i64| [value, 1, 0, 1, 0, 1].map(i64::to_le_bytes).concat();
        assert_eq!(said("<i8", &[2, 3], &long(255)).unwrap().classes, [255, 1, 0, 1, 0, 1]);
        for value in [256, -1] {
            assert!(said("<i8", &[2, 3], &long(value)).unwrap_err().contains("from 0 to 255"));
        }
        assert!(said("|u1", &[6], &[0; 6]).unwrap_err().contains("two sides"));
    }

    #[test]
    fn copies_are_small_and_tensors_near_to_their_own() {
        let values = vec![0.1, -2.5, 1e-7, 1000.1];
        let floats_here = floats(&[1, 2, 2], values.clone());
        let (ending, copy) = floats_here.copy().unwrap();
        assert_eq!((ending, copy.len()), ("f16", 8));
        let distance = floats_here.distance(&copy).unwrap();
        assert!(distance.share < 1e-9 && distance.most < 1.0, "{distance:?}");
        let moved = floats(&[1, 2, 2], values.iter().map(|value| value + 0.05).collect());
        let distance = moved.distance(&copy).unwrap();
        // One of a thousand is rounded by more than that.
        assert!((distance.share - 0.75).abs() < 1e-9, "{distance:?}");
        assert_eq!(floats_here.distance(&copy[1..]), None);
        assert_eq!(floats_here.distance(&copy[2..]), None);

        let pixels = tensor(DType::U8, &[4], vec![1, 2, 3, 4]);
        assert_eq!(pixels.copy().unwrap(), ("u8", vec![1, 2, 3, 4]));
        assert_eq!(pixels.distance(&[1, 2, 3, 9]), Some(Distance { share: 0.25, most: 5.0 }));
    }

    #[test]
    fn what_does_not_fit_has_no_copy_and_what_is_no_number_is_only_like_itself() {
        assert_eq!(floats(&[1], vec![1e6]).copy(), None);
        let many = tensor(DType::U8, &[MAX_COPIED + 1], vec![0; MAX_COPIED + 1]);
        assert_eq!(many.copy(), None);
        let odd = floats(&[2], vec![f32::NAN, f32::INFINITY]);
        let (_, copy) = odd.copy().unwrap();
        assert_eq!(odd.distance(&copy), Some(Distance { share: 0.0, most: 0.0 }));
        let even = floats(&[2], vec![0.0, 0.0]);
        assert_eq!(even.distance(&copy), Some(Distance { share: 1.0, most: f64::INFINITY }));
    }

    #[test]
    fn channels_are_the_last_side_of_pixels_and_the_first_of_numbers() {
        let numbers = floats(&[2, 1, 2], vec![1.0, 3.0, 5.0, 7.0]);
        assert_eq!(numbers.channel_means(), [2.0, 6.0]);
        assert!(floats(&[4], vec![0.0; 4]).channel_means().is_empty());
        assert!(floats(&[1, 1, 2], vec![0.0, f32::NAN]).channel_means().is_empty());
        assert!(floats(&[0, 2, 2], Vec::new()).channel_means().is_empty());
        assert!(floats(&[2, 0, 2], Vec::new()).channel_means().is_empty());
        let words = tensor(DType::I64, &[1, 1, 1], vec![0; 8]);
        assert!(words.channel_means().is_empty());
    }
}
