use mar_vision::{Filter, GrayImage8, RgbImage8, resize};
use serde_json::Value;

use crate::declared;
use crate::golden::{digest, digest_of, load, number, rows};

/// The picture that `make.py` calls `formula`.
pub(crate) fn formula(width: u32, height: u32) -> RgbImage8 {
    let mut data = Vec::new();
    for y in 0..height {
        for x in 0..width {
            data.extend(
                (0..3).map(|c| (x * 7 + y * 13 + c * 29 + ((x * y) >> 3)).to_le_bytes()[0]),
            );
        }
    }
    RgbImage8::new(width, height, data).unwrap()
}

fn filter(name: &Value) -> Filter {
    serde_json::from_value(name.clone()).unwrap()
}

#[test]
fn resizes_to_the_bytes_of_pillow() {
    let sources = [
        ("scene", load("source_scene.png")),
        ("noise", load("source_noise.png")),
        ("formula", formula(1920, 1080)),
    ];
    let mut wrong = Vec::new();
    for row in rows("resize") {
        let source = &sources.iter().find(|(name, _)| row["source"] == *name).unwrap().1;
        let resized =
            resize(source, number(&row["width"]), number(&row["height"]), filter(&row["filter"]));
        if digest(&resized) != row["sha256"] {
            wrong.push(row.to_string());
        }
    }
    println!("{} resizes, {} differ", rows("resize").len(), wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn whole_images_agree_where_they_are_kept() {
    for (source, filter) in [("scene", Filter::Bilinear), ("noise", Filter::Lanczos)] {
        let resized = resize(&load(&format!("source_{source}.png")), 33, 29, filter);
        let expected = load(&format!("{source}_33x29_{filter}.expected.png"));
        assert_eq!(resized.data(), expected.data(), "{source} {filter}");
    }
}

#[test]
fn gray_and_very_unequal_sides_are_resized_to_the_bytes_of_pillow() {
    let mut wrong = Vec::new();
    for row in declared::rows("resize") {
        let source = formula(number(&row["source"][0]), number(&row["source"][1]));
        let (width, height) = (number(&row["width"]), number(&row["height"]));
        let filter = filter(&row["filter"]);
        let found = if row["channels"] == 1 {
            let red = source.data().iter().copied().step_by(3).collect();
            let gray = GrayImage8::new(source.width(), source.height(), red).unwrap();
            digest_of(resize(&gray, width, height, filter).data())
        } else {
            digest(&resize(&source, width, height, filter))
        };
        if found != row["sha256"] {
            wrong.push(row.to_string());
        }
    }
    assert!(declared::rows("resize").len() > 200 && wrong.is_empty(), "{wrong:#?}");
}
