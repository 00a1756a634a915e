use mar_vision::{DecodeLimits, Exif, Format, RgbImage8, decode, decode_oriented};
use serde_json::Value;

use crate::golden::{digest, number, read, read_in};

/// Refused by Pillow, read here: gray that counts from white in big-endian words.
const LAXER: [&str; 2] = ["white_is_zero16_raw_mm.tif", "white_is_zero16_deflate_mm.tif"];

/// Every file that was made to be decoded: the bytes, and Pillow's row about them.
pub(crate) fn files() -> Vec<(Vec<u8>, Value)> {
    let table = |folder: &str| -> Value {
        serde_json::from_slice(&read_in(folder, "golden.json")).unwrap()
    };
    let mut files = Vec::new();
    for folder in ["pixels", "decode"] {
        for row in table(folder)["decode"].as_array().unwrap() {
            files.push((read_in(folder, row["file"].as_str().unwrap()), row.clone()));
        }
    }
    files
}

/// What is wrong with an image that should have this size and digest.
fn difference(
    image: &RgbImage8,
    width: &Value,
    height: &Value,
    digested: &Value,
) -> Option<String> {
    if (image.width(), image.height()) != (number(width), number(height)) {
        return Some(format!("{image:?}"));
    }
    (digest(image) != *digested).then(|| "other pixels".to_owned())
}

#[test]
fn decodes_to_the_pixels_of_pillow() {
    let mut wrong = Vec::new();
    for (bytes, row) in files() {
        let laxer = LAXER.iter().any(|name| row["file"] == *name);
        let found = match decode(&bytes, &DecodeLimits::default()) {
            Ok(_) if laxer => None,
            Ok(_) if row.get("refused").is_some() => Some("Pillow refuses it".to_owned()),
            Err(_) if row.get("refused").is_some() => None,
            Err(error) => Some(error.to_string()),
            Ok(image) => difference(&image, &row["width"], &row["height"], &row["sha256"]),
        };
        wrong.extend(found.map(|what| format!("{} ({}): {what}", row["file"], row["mode"])));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn turns_images_upright_as_pillow_does() {
    let (mut wrong, mut turned) = (Vec::new(), 0);
    for (bytes, row) in files() {
        // The older table does not say what is turned.
        if row.get("refused").is_some() || row["file"] == "orientation6.jpg" {
            continue;
        }
        let image = match decode_oriented(&bytes, &DecodeLimits::default(), Exif::Apply) {
            Ok(image) => image,
            Err(error) => {
                wrong.push(format!("{}: {error}", row["file"]));
                continue;
            }
        };
        let found = if let Some(digested) = row.get("upright_sha256") {
            turned += 1;
            difference(&image, &row["upright"][0], &row["upright"][1], digested)
        } else {
            difference(&image, &row["width"], &row["height"], &row["sha256"])
        };
        wrong.extend(found.map(|what| format!("{}: {what}", row["file"])));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(turned > 20, "{turned} files were turned");
}

#[test]
fn the_content_decides_not_a_name() {
    let cases = [
        ("rgb.png", Format::Png),
        ("420.jpg", Format::Jpeg),
        ("lossy.webp", Format::WebP),
        ("rgb.bmp", Format::Bmp),
        ("p.gif", Format::Gif),
        ("rgb_lzw.tif", Format::Tiff),
        ("rgb16_big_endian.tif", Format::Tiff),
    ];
    for (name, format) in cases {
        assert_eq!(Format::of(&read(name)), Some(format), "{name}");
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let limits = DecodeLimits::default();
    let message = |bytes: &[u8]| decode(bytes, &limits).unwrap_err().to_string();
    assert_eq!(message(b""), "the image is empty: send the bytes of an image file");
    assert_eq!(
        message(b"{\"a\": 1}"),
        "not an image; known formats: PNG, JPEG, WebP, BMP, GIF, TIFF"
    );
    let png = read("rgb.png");
    assert_eq!(message(&png[..png.len() / 2]), "the PNG image is truncated");
    let mut damaged = png.clone();
    damaged[60] ^= 0x55;
    assert!(message(&damaged).starts_with("the PNG image is damaged: "), "{}", message(&damaged));
    assert_eq!(
        decode(&png, &DecodeLimits::for_pixels(37 * 29 - 1)).unwrap_err().to_string(),
        "the image has 37x29 pixels, more than the limit of 1072; send a smaller one or raise max_image_pixels"
    );
    assert!(decode(&png, &DecodeLimits::for_pixels(37 * 29)).is_ok());
}
