//! `object_detector`: an image in, the boxes that a detector of torchvision's kind found out.

use mar_handler::{
    Batch, Context, DType, Error, Handler, Model, Request, Response, Result, Stage, Tensor,
};
use mar_vision::{Geometry, Pipeline, PipelineConfig};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::labels::{Labels, Written};
use crate::{answer, input, section};

/// The name that archives know it by.
pub(crate) const NAME: &str = "object_detector";
/// The scores from which TorchServe shows a box.
const THRESHOLD: f64 = 0.5;

/// What a detector's answer must have; the rest, such as masks and keypoints, is not looked at, as in
/// TorchServe.
const NEEDED: [&str; 3] = ["boxes", "labels", "scores"];

/// Object detection by a network that takes a list of images, `[3, height, width]` floats from 0 to 1 each,
/// and gives `boxes`, `labels` and `scores` for each, as torchvision's detectors do once they are scripted.
///
/// The response is TorchServe's: a list with an object for each box whose score is not below the threshold,
/// in the network's order: the class's name with the box, left, top, right and bottom in pixels of the image
/// that was sent, then `score`. `?threshold=0.7` asks for another threshold.
///
/// Its keys under `handler:` are `threshold`, `labels` and those of [`PipelineConfig`]. Nothing is done to the
/// image unless they say so, because torchvision's detectors scale and normalise by themselves.
#[derive(Debug)]
pub struct ObjectDetector {
    pipeline: Pipeline,
    threshold: f64,
    labels: Labels,
}

/// The keys that are not the pipeline's.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Own {
    /// The lowest score of a box that is shown.
    threshold: Option<f64>,
    /// Names by the network's labels, 0 first; by default those of the archive's files.
    labels: Option<Written>,
}

const KEYS: [&str; 2] = ["threshold", "labels"];

impl Handler for ObjectDetector {
    fn initialize(context: &Context) -> Result<Self> {
        let (config, own) = section::parted::<Own>(context, NAME, &KEYS)?;
        let pipeline = section::pipeline(config.or(PipelineConfig::to_tensor()))?;
        let threshold = own.threshold.unwrap_or(THRESHOLD);
        if !is_threshold(threshold) {
            return Err(section::wrong(&format!("threshold: {threshold} is not between 0 and 1")));
        }
        let labels = Labels::find(own.labels, &context.model_dir)?;
        Ok(Self { pipeline, threshold, labels })
    }

    fn preprocess(&self, request: &Request) -> Result<Vec<Tensor>> {
        // A threshold that is none is refused before the network runs.
        self.threshold(request)?;
        let image = input::prepared(request, &self.pipeline)?;
        if image.shape().len() != 3 {
            return Err(Error::invalid_input(format!(
                "an image as numbers has three sides, [channels, height, width]; these have {:?}",
                image.shape()
            )));
        }
        Ok(vec![image])
    }

    fn stages(&self, request: &Request) -> Result<Vec<Stage>> {
        input::stages(request, &self.pipeline, self.preprocess(request)?)
    }

    fn inference(&self, model: &dyn Model, batch: Batch) -> Result<Vec<Vec<Tensor>>> {
        let images = batch.split()?.into_iter().flatten().collect();
        let mut found = model.forward_list(images)?;
        // Masks are as large as the image, one a box: they would wait for the CPU pool for nothing.
        let is_needed = |tensor: &Tensor| tensor.name().is_none_or(|name| NEEDED.contains(&name));
        for answer in &mut found {
            answer.retain(is_needed);
        }
        Ok(found)
    }

    fn postprocess(&self, outputs: Vec<Tensor>, request: &Request) -> Result<Response> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "PyTorch compares in the scores' precision"
        )]
        let threshold = self.threshold(request)? as f32;
        let found = Found::of(&outputs)?;
        let geometry = request.kept.get::<Geometry>();
        let mut shown = Vec::new();
        for ((corners, class), score) in found.boxes.iter().zip(&found.classes).zip(&found.scores) {
            if *score >= threshold {
                let corners = geometry.map_or_else(
                    || corners.map(f64::from),
                    |geometry| in_original(geometry, corners.map(f64::from)),
                );
                if !(corners.iter().all(|side| side.is_finite()) && score.is_finite()) {
                    return Err(Error::prediction_failed(format!(
                        "the network found a box of sides {corners:?} with the score {score}"
                    )));
                }
                let mut row = Map::new();
                row.insert(self.name(*class), corners.to_vec().into());
                row.insert("score".into(), f64::from(*score).into());
                shown.push(row);
            }
        }
        Ok(input::with_parity(answer::json(&shown)?, &self.pipeline))
    }

    /// The network takes a list of images, of any sizes.
    fn stacks(&self) -> bool {
        false
    }

    fn describe(&self) -> Map<String, Value> {
        let mut told = answer::described(&self.labels, &self.pipeline);
        told.insert("threshold".into(), self.threshold.into());
        told
    }
}

impl ObjectDetector {
    /// The lowest score that this request wants to see.
    fn threshold(&self, request: &Request) -> Result<f64> {
        const TAKES: &str = "a number between 0 and 1";
        let asked = answer::parameter(request, "threshold", TAKES)?;
        let threshold = asked.unwrap_or(self.threshold);
        if !is_threshold(threshold) {
            let refused = format!("?threshold={threshold}: threshold must be {TAKES}");
            return Err(Error::invalid_input(refused));
        }
        Ok(threshold)
    }

    /// A class's name, else its number.
    fn name(&self, class: i64) -> String {
        let named = usize::try_from(class).map(|class| self.labels.name(class).into_owned());
        named.unwrap_or_else(|_| class.to_string())
    }
}

/// What a network found in one image.
struct Found {
    boxes: Vec<[f32; 4]>,
    classes: Vec<i64>,
    scores: Vec<f32>,
}

impl Found {
    /// Reads a network's answer: by the names of a dictionary, else by what each tensor can only be.
    fn of(outputs: &[Tensor]) -> Result<Self> {
        let of_name = |name: &str| outputs.iter().find(|tensor| tensor.name() == Some(name));
        let unnamed = outputs.iter().all(|tensor| tensor.name().is_none());
        let of_kind = |sides: usize, whole: bool| {
            let whole_numbers = |dtype| matches!(dtype, DType::I32 | DType::I64);
            let is = |tensor: &&Tensor| {
                tensor.shape().len() == sides && whole_numbers(tensor.dtype()) == whole
            };
            unnamed.then(|| outputs.iter().find(is)).flatten()
        };
        let boxes = of_name("boxes").or_else(|| of_kind(2, false));
        let labels = of_name("labels").or_else(|| of_kind(1, true));
        let scores = of_name("scores").or_else(|| of_kind(1, false));
        let unusable = || {
            let told = outputs.iter().map(|tensor| {
                let name = tensor.name().unwrap_or("a tensor");
                format!("{name} of {} {:?}", tensor.dtype().name(), tensor.shape())
            });
            let told = told.collect::<Vec<_>>().join(", ");
            Error::prediction_failed(format!(
                "the network found {}; object_detector needs boxes of float32 [n, 4], labels of int64 [n] and scores of float32 [n]",
                if told.is_empty() { "nothing" } else { &told }
            ))
        };
        let (Some(boxes), Some(labels), Some(scores)) = (boxes, labels, scores) else {
            return Err(unusable());
        };
        let count = scores.shape().first().copied().unwrap_or_default();
        if boxes.shape() != [count, 4] || labels.shape() != [count] || scores.shape() != [count] {
            return Err(unusable());
        }
        let classes = match labels.dtype() {
            DType::I32 => labels.as_slice::<i32>()?.iter().map(|class| i64::from(*class)).collect(),
            _ => labels.as_slice::<i64>().map_err(|_| unusable())?.to_vec(),
        };
        let corners = answer::floats(boxes).ok_or_else(unusable)?;
        let scores = answer::floats(scores).ok_or_else(unusable)?.into_owned();
        Ok(Self { boxes: corners.as_chunks().0.to_vec(), classes, scores })
    }
}

/// A box of what the network saw in pixels of the image that was sent, whose sides it does not cross. As it
/// is where the network saw the image as it came.
fn in_original(geometry: &Geometry, corners: [f64; 4]) -> [f64; 4] {
    let Geometry { original, source, scaled, window } = geometry;
    if original == scaled && source == window && window.size == *original {
        return corners;
    }
    let [left, top, right, bottom] = corners;
    let inside = |(x, y): (f64, f64)| {
        [x.clamp(0.0, original.width.into()), y.clamp(0.0, original.height.into())]
    };
    let [left, top] = inside(geometry.original_point(left, top));
    let [right, bottom] = inside(geometry.original_point(right, bottom));
    [left, top, right, bottom]
}

fn is_threshold(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

#[cfg(test)]
mod tests {
    use half::f16;
    use mar_handler::{Device, Epilogue, ErrorCode, Part};
    use mar_vision::{RgbImage8, rgb_png};
    use serde_json::json;

    use super::*;
    use crate::section::tests::context;

    /// A network that finds two boxes in every image: one as large as the image, one in its middle.
    struct TwoBoxes;

    impl Model for TwoBoxes {
        fn forward(&self, _: Vec<Tensor>, _: Epilogue) -> Result<Vec<Tensor>> {
            panic!("a detector takes a list")
        }

        fn forward_list(&self, images: Vec<Tensor>) -> Result<Vec<Vec<Tensor>>> {
            let find = |image: Tensor| {
                let [_, height, width] = image.shape() else { panic!("{:?}", image.shape()) };
                #[expect(clippy::cast_precision_loss, reason = "a few pixels")]
                let (right, bottom) = (*width as f32, *height as f32);
                // The brightest sample is told as the first score, to see what reaches the network.
                let most = image.as_slice::<f32>()?.iter().copied().fold(0.0, f32::max);
                let sides =
                    vec![0., 0., right, bottom, right / 4., bottom / 4., right / 2., bottom / 2.];
                Ok(vec![
                    Tensor::from_vec(&[2, 4], sides)?.named("boxes"),
                    Tensor::from_vec(&[2], vec![most, 0.5])?.named("scores"),
                    Tensor::from_vec(&[2], vec![1_i64, 7])?.named("labels"),
                    Tensor::from_vec(&[2, 1, 1, 1], vec![0_f32; 2])?.named("masks"),
                ])
            };
            images.into_iter().map(find).collect()
        }

        fn device(&self) -> Device {
            Device::Cpu
        }
    }

    fn handler(section: &Value) -> Result<ObjectDetector> {
        ObjectDetector::initialize(&context("no such folder", section))
    }

    /// A request with an image of 8 x 4 pixels, as bright as can be.
    fn request(query: &[(&str, &str)]) -> Request {
        let data = rgb_png(&RgbImage8::new(8, 4, vec![255; 96]).unwrap()).unwrap();
        let part = Part { name: "data".into(), content_type: None, data: data.into() };
        let query = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Request { parts: vec![part], query, ..Request::default() }
    }

    fn answer(handler: &ObjectDetector, request: &Request) -> Result<Value> {
        let batch = Batch::stack(vec![handler.preprocess(request)?])?;
        let outputs = handler.inference(&TwoBoxes, batch)?.remove(0);
        let response = handler.postprocess(outputs, request)?;
        assert_eq!(response.headers, [("X-Parity".to_owned(), "exact".to_owned())]);
        Ok(serde_json::from_slice(&response.body).unwrap())
    }

    #[test]
    fn boxes_come_in_torchserves_form_and_the_network_sees_samples_from_0_to_1() {
        let handler = handler(&json!({ "labels": ["nothing", "cat"] })).unwrap();
        let response = answer(&handler, &request(&[])).unwrap();
        let expected = json!([
            { "cat": [0.0, 0.0, 8.0, 4.0], "score": 1.0 },
            { "7": [2.0, 1.0, 4.0, 2.0], "score": 0.5 },
        ]);
        assert_eq!(response, expected, "a score equal to the threshold is shown");
        assert_eq!(response.to_string(), expected.to_string(), "the name comes before the score");
        let told = handler.describe();
        assert_eq!(told["labels"], json!(["nothing", "cat"]));
        assert_eq!(told["threshold"], 0.5);
        assert!(told["preprocessing"].as_str().unwrap().contains("decode"), "{told:?}");
    }

    #[test]
    fn the_archive_or_the_client_chooses_the_threshold() {
        let strict = handler(&json!({ "threshold": 0.7 })).unwrap();
        let count = |handler, query: &[(&str, &str)]| {
            answer(handler, &request(query)).unwrap().as_array().unwrap().len()
        };
        assert_eq!(count(&strict, &[]), 1);
        assert_eq!(count(&strict, &[("threshold", "0.2")]), 2);
        assert_eq!(answer(&strict, &request(&[("threshold", "1")])).unwrap()[0]["score"], 1.0);
        for text in ["high", "", "1.5", "-0.1", "NaN"] {
            let error = strict.preprocess(&request(&[("threshold", text)])).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidInput, "{text}");
            assert!(error.message().contains(&format!("?threshold={text}:")), "{error}");
        }
    }

    #[test]
    fn no_box_is_an_empty_list() {
        let none = vec![
            Tensor::from_vec::<f32>(&[0, 4], Vec::new()).unwrap().named("boxes"),
            Tensor::from_vec::<i64>(&[0], Vec::new()).unwrap().named("labels"),
            Tensor::from_vec::<f32>(&[0], Vec::new()).unwrap().named("scores"),
        ];
        let handler = handler(&json!({})).unwrap();
        assert_eq!(&handler.postprocess(none, &Request::default()).unwrap().body[..], b"[]");
    }

    #[test]
    fn boxes_are_in_pixels_of_the_image_that_was_sent() {
        // 8 x 4 is scaled to 4 x 4; the middle 2 x 2 of that are seen, which are 4 x 2 pixels from (2, 1).
        let section = json!({ "size": 4, "center_crop": 2 });
        let response = answer(&handler(&section).unwrap(), &request(&[])).unwrap();
        assert_eq!(response[0]["1"], json!([2.0, 1.0, 6.0, 3.0]));
        assert_eq!(response[1]["7"], json!([3.0, 1.5, 4.0, 2.0]));
        // A crop beyond the image: what lies in the black around it ends at the image's sides.
        let response = answer(&handler(&json!({ "center_crop": 12 })).unwrap(), &request(&[]));
        assert_eq!(response.unwrap()[0]["1"], json!([0.0, 0.0, 8.0, 4.0]));
    }

    #[test]
    fn masks_are_left_behind_and_a_batch_is_a_list() {
        let handler = handler(&json!({})).unwrap();
        let images = (0..2).map(|_| handler.preprocess(&request(&[])).unwrap()).collect();
        let found = handler.inference(&TwoBoxes, Batch::stack(images).unwrap()).unwrap();
        assert_eq!(found.len(), 2);
        for answer in found {
            let names: Vec<_> = answer.iter().map(|tensor| tensor.name().unwrap()).collect();
            assert_eq!(names, ["boxes", "scores", "labels"]);
        }
    }

    #[test]
    fn tensors_without_names_are_told_apart_by_what_they_are() {
        let tuple = vec![
            Tensor::from_vec(&[1], vec![0.9_f32]).unwrap(),
            Tensor::from_vec(&[1, 4], vec![1_f32, 2.0, 3.0, 4.0]).unwrap(),
            Tensor::from_vec(&[1], vec![3_i32]).unwrap(),
        ];
        let found = Found::of(&tuple).unwrap();
        assert_eq!(found.boxes, [[1.0, 2.0, 3.0, 4.0]]);
        assert_eq!((found.classes, found.scores), (vec![3], vec![0.9]));
    }

    #[test]
    fn an_answer_that_is_no_boxes_says_what_it_is() {
        let handler = handler(&json!({})).unwrap();
        let fail = |outputs| {
            let error = handler.postprocess(outputs, &Request::default()).unwrap_err();
            assert_eq!(error.code(), ErrorCode::PredictionFailed);
            error.message().to_owned()
        };
        let of = |boxes: &[usize], infinite: bool| {
            let side = if infinite { f32::INFINITY } else { 1.0 };
            vec![
                Tensor::from_vec(boxes, vec![side; boxes.iter().product()]).unwrap().named("boxes"),
                Tensor::from_vec(&[1], vec![1_i64]).unwrap().named("labels"),
                Tensor::from_vec(&[1], vec![0.9_f32]).unwrap().named("scores"),
            ]
        };
        assert!(fail(Vec::new()).contains("found nothing"));
        assert!(fail(of(&[2, 4], false)).contains("boxes of float32 [2, 4], labels of int64 [1]"));
        assert!(fail(of(&[1, 5], false)).contains("needs boxes of float32 [n, 4]"));
        assert!(fail(of(&[1, 4], true)).contains("inf"));
        let mut sure = of(&[1, 4], false);
        sure[2] = Tensor::from_vec(&[1], vec![f32::INFINITY]).unwrap().named("scores");
        assert!(fail(sure).contains("with the score inf"));
        assert!(fail(of(&[1, 4], false)[..2].to_vec()).contains("scores of float32 [n]"));
        let bytes = Tensor::from_vec(&[1], vec![1_u8]).unwrap().named("labels");
        let mut outputs = of(&[1, 4], false);
        outputs[1] = bytes;
        assert!(fail(outputs).contains("labels of uint8 [1]"));
    }

    #[test]
    fn settings_that_do_not_fit_name_their_key() {
        for (section, named) in [
            (json!({ "treshold": 0.3 }), "\"treshold\"; object_detector knows"),
            (json!({ "threshold": 3 }), "threshold: 3 is not between 0 and 1"),
            (json!({ "threshold": "high" }), "expected f64"),
            (json!({ "std": [0.0, 1.0, 1.0] }), "std"),
        ] {
            let error = handler(&section).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidModel);
            assert!(error.message().contains(named), "{error}");
        }
    }

    #[test]
    fn a_label_below_zero_is_a_number() {
        let handler = handler(&json!({ "labels": { "1": "cat" } })).unwrap();
        assert_eq!([handler.name(1), handler.name(0), handler.name(-1)], ["cat", "0", "-1"]);
    }

    #[test]
    fn a_network_may_answer_in_half_precision() {
        let halves = |values: &[f32]| values.iter().map(|v| f16::from_f32(*v)).collect::<Vec<_>>();
        let outputs = vec![
            Tensor::from_vec(&[1, 4], halves(&[1.0, 2.0, 3.5, 4.0])).unwrap().named("boxes"),
            Tensor::from_vec(&[1], vec![1_i64]).unwrap().named("labels"),
            Tensor::from_vec(&[1], halves(&[0.75])).unwrap().named("scores"),
        ];
        let handler = handler(&json!({})).unwrap();
        let response = handler.postprocess(outputs, &Request::default()).unwrap();
        let answer: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(answer, json!([{ "1": [1.0, 2.0, 3.5, 4.0], "score": 0.75 }]));
    }

    #[test]
    fn numbers_are_an_image_as_in_torchserve_if_they_have_three_sides() {
        let handler = handler(&json!({})).unwrap();
        let sent = |numbers: Value| {
            let (name, data) = ("data".into(), numbers.to_string().into_bytes().into());
            let part = Part { name, content_type: Some("application/json".into()), data };
            handler.preprocess(&Request { parts: vec![part], ..Request::default() })
        };
        assert_eq!(sent(json!([[[0.5, 1.0]], [[0, 0]], [[0, 0]]])).unwrap()[0].shape(), [3, 1, 2]);
        let error = sent(json!([0.5, 1.0])).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput);
        assert!(error.message().contains("these have [2]"), "{error}");
    }
}
