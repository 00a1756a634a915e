use mar_vision::{DecodeLimits, Format, decode};

use crate::golden::{digest, number, read, rows};

#[test]
fn decodes_to_the_pixels_of_pillow() {
    let mut wrong = Vec::new();
    for row in rows("decode") {
        let name = row["file"].as_str().unwrap();
        match decode(&read(name), &DecodeLimits::default()) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(image) => {
                let size = (number(&row["width"]), number(&row["height"]));
                if (image.width(), image.height()) != size {
                    wrong.push(format!("{name}: {image:?}"));
                } else if digest(&image) != row["sha256"] {
                    wrong.push(format!("{name} ({}): other pixels", row["mode"]));
                }
            }
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
    assert_eq!(
        decode(&png, &DecodeLimits::for_pixels(37 * 29 - 1)).unwrap_err().to_string(),
        "the image has 37x29 pixels, more than the limit of 1072; send a smaller one or raise max_image_pixels"
    );
    assert!(decode(&png, &DecodeLimits::for_pixels(37 * 29)).is_ok());
}
