use mar_vision::{Pipeline, PipelineConfig, ResizeMethod, Sides};
use serde_json::Value;

use crate::golden::{digest, noise, number, rows};

fn both(size: &Value) -> Sides {
    Sides::Both { height: number(&size[0]), width: number(&size[1]) }
}

#[test]
fn resizes_and_crops_as_fastai_does() {
    for row in rows("fastai") {
        let method =
            if row["method"] == "squish" { ResizeMethod::Squish } else { ResizeMethod::Crop };
        let config = PipelineConfig {
            size: Some(both(&row["size"])),
            resize: Some(method),
            ..Default::default()
        };
        let image = Pipeline::new(config).unwrap().pixels(&noise(&row["source"])).unwrap();
        assert_eq!(
            (image.height(), image.width()),
            (number(&row["size"][0]), number(&row["size"][1]))
        );
        // FastAI fails where its crop has no pixels; then there is nothing to compare.
        if let Some(expected) = row["sha256"].as_str() {
            assert_eq!(digest(&image), expected, "{row}");
        }
    }
}

#[test]
fn resizes_and_crops_as_torchvision_does() {
    for row in rows("torchvision") {
        let config = PipelineConfig {
            size: Some(Sides::One(number(&row["shorter"]))),
            resize: Some(ResizeMethod::Shorter),
            center_crop: (!row["crop"].is_null()).then(|| both(&row["crop"])),
            ..Default::default()
        };
        let image = Pipeline::new(config).unwrap().pixels(&noise(&row["source"])).unwrap();
        assert_eq!(
            (image.width(), image.height()),
            (number(&row["width"]), number(&row["height"])),
            "{row}"
        );
        assert_eq!(digest(&image), row["sha256"], "{row}");
    }
}
