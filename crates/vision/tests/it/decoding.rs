use mar_vision::{DecodeError, DecodeLimits, Format, decode};

use crate::golden::{digest, load, number, read, rows};

/// Largest difference from Pillow in one sample, by the end of the file's name, measured. On photographs of
/// 1920x1080 JPEG was measured to differ by up to 5; saturated edges one pixel wide, as no camera takes them,
/// get more.
const LOSSY: [(&str, u8); 4] = [("edges.jpg", 11), ("jpg", 6), ("webp", 0), ("jpeg.tif", 1)];

/// Refused here, read by Pillow.
const REFUSED: [&str; 1] = ["p.tif"];

#[test]
fn decodes_to_the_pixels_of_pillow() {
    let mut wrong = Vec::new();
    for row in rows("decode") {
        let name = row["file"].as_str().unwrap();
        let image = match decode(&read(name), &DecodeLimits::default()) {
            Err(DecodeError::Unsupported { .. }) if REFUSED.contains(&name) => continue,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
            Ok(image) => image,
        };
        if (image.width(), image.height()) != (number(&row["width"]), number(&row["height"])) {
            wrong.push(format!("{name}: {image:?}"));
            continue;
        }
        if let Some(expected) = row["expected"].as_str() {
            let expected = load(expected);
            let differences = image.data().iter().zip(expected.data()).map(|(a, b)| a.abs_diff(*b));
            let differing = differences.clone().filter(|d| *d > 0).count();
            let worst = differences.max().unwrap();
            println!("{name}: max {worst}, {differing} of {} samples differ", image.data().len());
            let bound = LOSSY.iter().find(|(end, _)| name.ends_with(end)).unwrap().1;
            if worst > bound {
                wrong.push(format!("{name}: differs by {worst}, more than {bound}"));
            }
        } else if digest(&image) != row["sha256"] {
            wrong.push(format!("{name} ({}): other pixels", row["mode"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
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
    assert!(message(&read("p.tif")).starts_with("this kind of TIFF image is not supported: "));
    assert_eq!(
        decode(&png, &DecodeLimits::for_pixels(37 * 29 - 1)).unwrap_err().to_string(),
        "the image has 37x29 pixels, more than the limit of 1072; send a smaller one or raise max_image_pixels"
    );
    assert!(decode(&png, &DecodeLimits::for_pixels(37 * 29)).is_ok());
}
