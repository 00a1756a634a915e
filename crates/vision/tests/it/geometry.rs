use mar_vision::{
    Geometry, Pipeline, PipelineConfig, ResizeMethod, RgbImage8, Samples, Sides, Size, Window,
    rgb_png,
};
use proptest::{prop_assert, prop_assert_eq, proptest};
use serde_json::{Value, json};

use crate::declared;
use crate::golden::{digest, digest_of, noise, number, rows};

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

/// Runs every row of a table and compares what the network sees, level by level.
fn agrees(table: &str) {
    let rows = declared::rows(table);
    let mut wrong = Vec::new();
    for row in rows {
        let pipeline = declared::pipeline(row, &json!({ "dtype": "uint8", "layout": "hwc" }));
        let prepared = declared::run(&pipeline, row);
        let Samples::U8(levels) = prepared.samples else { panic!("{row}") };
        if json!(prepared.shape) != row["shape"] || digest_of(&levels) != row["sha256"] {
            wrong.push(format!("{:?} {row}", prepared.shape));
        }
    }
    assert!(rows.len() > 200 && wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_method_of_fastai_gives_its_pixels() {
    agrees("fastai");
}

#[test]
fn every_method_of_torchvision_gives_its_pixels() {
    agrees("torchvision");
}

#[test]
fn tensors_without_antialiasing_are_resized_as_torchvision_does() {
    agrees("tensor_resize");
}

fn window(sides: &Value) -> Window {
    let corner = |index: usize| sides[index].as_i64().unwrap();
    let size = Size { height: number(&sides[3]), width: number(&sides[2]) };
    Window { left: corner(0), top: corner(1), size }
}

#[test]
fn a_plane_finds_its_way_back_as_by_pillows_nearest_resize() {
    for row in declared::rows("restore") {
        let size = |key: &str| Size { height: number(&row[key][1]), width: number(&row[key][0]) };
        let geometry = Geometry {
            original: size("original"),
            source: window(&row["source"]),
            scaled: size("scaled"),
            window: window(&row["window"]),
        };
        let Size { height, width } = geometry.size();
        let plane: Vec<i32> = (0..i32::try_from(height * width).unwrap()).collect();
        let bytes: Vec<u8> =
            geometry.restore(&plane, -1).iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(digest_of(&bytes), row["sha256"], "{row}");
    }
}

#[test]
fn a_point_finds_its_way_back() {
    let geometry = Geometry {
        original: Size { height: 100, width: 200 },
        source: Window { left: 50, top: 0, size: Size { height: 100, width: 100 } },
        scaled: Size { height: 50, width: 50 },
        window: Window { left: 10, top: 5, size: Size { height: 40, width: 30 } },
    };
    let (x, y) = geometry.original_point(0.0, 20.0);
    assert!((x - 70.0).abs() < 1e-9 && (y - 50.0).abs() < 1e-9, "{x} {y}");
}

proptest! {
    #[test]
    fn what_is_neither_scaled_nor_cut_comes_back_as_it_was(height in 1_u32..40, width in 1_u32..40) {
        let image = RgbImage8::new(width, height, vec![9; (3 * width * height) as usize]).unwrap();
        let pipeline = Pipeline::new(PipelineConfig::to_tensor()).unwrap();
        let geometry = pipeline.run(&rgb_png(&image).unwrap()).unwrap().geometry;
        let plane: Vec<u32> = (0..height * width).collect();
        prop_assert_eq!(geometry.restore(&plane, u32::MAX), plane);
    }

    /// An image enlarged by a whole number has each of its pixels as a block; the way back finds the block, also
    /// with a frame around it and a part of it cut off.
    #[test]
    fn an_enlarged_pixel_is_found_in_its_block(
        height in 1_u32..12, width in 1_u32..12, times in 1_u32..6, frame in 0_i64..4, cut in 0_u32..3,
    ) {
        let more = 2 * u32::try_from(frame).unwrap();
        let source = Size { height: height + more, width: width + more };
        let scaled = Size { height: source.height * times, width: source.width * times };
        let seen = Size { height: scaled.height.saturating_sub(cut).max(1), width: scaled.width };
        let geometry = Geometry {
            original: Size { height, width },
            source: Window { left: -frame, top: -frame, size: source },
            scaled,
            window: Window { left: 0, top: i64::from(scaled.height - seen.height), size: seen },
        };
        let cut = scaled.height - seen.height;
        let at = |row: u32, column: u32| ((row + cut) / times, column / times);
        let plane: Vec<_> =
            (0..seen.height).flat_map(|row| (0..seen.width).map(move |column| at(row, column))).collect();
        let restored = geometry.restore(&plane, (u32::MAX, u32::MAX));
        let frame = more / 2;
        for (index, found) in restored.into_iter().enumerate() {
            let index = u32::try_from(index).unwrap();
            let expected = (index / width + frame, index % width + frame);
            // Half a block or more of a row may be cut away.
            let centre = (2 * expected.0 + 1) * times / 2;
            if centre < cut {
                prop_assert_eq!(found, (u32::MAX, u32::MAX));
            } else {
                prop_assert_eq!(found, expected);
            }
        }
        prop_assert!(geometry.size() == seen);
    }
}
