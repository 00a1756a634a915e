use mar_vision::{
    DecodeError, DecodeLimits, Exif, Filter, RgbImage8, Size, decode, decode_oriented,
    decode_resized, resize,
};

use crate::decoding::files;
use crate::golden::{read, read_in};

const FILTERS: [Filter; 6] = [
    Filter::Nearest,
    Filter::Box,
    Filter::Bilinear,
    Filter::Hamming,
    Filter::Bicubic,
    Filter::Lanczos,
];

/// The largest difference of a sample, and the mean.
fn deviation(one: &RgbImage8, other: &RgbImage8) -> (u8, f64) {
    assert_eq!((one.width(), one.height()), (other.width(), other.height()));
    let differences = one.data().iter().zip(other.data()).map(|(a, b)| a.abs_diff(*b));
    let sum: u64 = differences.clone().map(u64::from).sum();
    #[expect(clippy::cast_precision_loss, reason = "small sums")]
    let mean = sum as f64 / one.data().len() as f64;
    (differences.max().unwrap(), mean)
}

fn fast(bytes: &[u8], filter: Filter, size: Size) -> RgbImage8 {
    decode_resized(bytes, &DecodeLimits::default(), Exif::Ignore, filter, size).unwrap()
}

fn exact(bytes: &[u8], filter: Filter, size: Size) -> RgbImage8 {
    let image = decode(bytes, &DecodeLimits::default()).unwrap();
    resize(&image, size.width, size.height, filter)
}

#[test]
fn strays_from_pillow_by_a_level_where_nothing_is_decoded_small() {
    for (bytes, row) in files() {
        if row.get("refused").is_some() || row["sha256"].is_null() {
            continue;
        }
        for filter in FILTERS {
            // To more pixels than the file has, so that even a JPEG is decoded whole.
            let image = decode(&bytes, &DecodeLimits::default()).unwrap();
            let size =
                Size { height: image.height() - image.height() / 4, width: image.width().max(53) };
            let (most, mean) = deviation(&fast(&bytes, filter, size), &exact(&bytes, filter, size));
            assert!(most <= 2 && mean < 0.1, "{} {filter}: {most} {mean}", row["file"]);
        }
    }
}

#[test]
fn strays_little_where_a_jpeg_is_decoded_small() {
    let bytes = read("photo.jpg");
    let mut smaller = 0;
    for (width, height) in [(34, 25), (13, 22), (9, 6), (90, 70)] {
        let size = Size { height, width };
        for filter in FILTERS {
            let (most, mean) = deviation(&fast(&bytes, filter, size), &exact(&bytes, filter, size));
            smaller += usize::from(most > 1);
            // The picture is full of edges: a photograph, which is smoother, gets half of this.
            assert!(most <= 24 && mean < 2.0, "{width}x{height} {filter}: {most} {mean}");
        }
    }
    assert!(smaller > 0, "nothing was decoded small");
}

#[test]
fn turns_what_it_decodes_small() {
    let limits = DecodeLimits::default();
    for value in 1..=8 {
        for format in ["jpg", "png"] {
            let bytes = read_in("decode", &format!("exif_{value}.{format}"));
            let upright = decode_oriented(&bytes, &limits, Exif::Apply).unwrap();
            let size = Size { height: upright.height() / 2, width: upright.width() / 2 };
            let expected = resize(&upright, size.width, size.height, Filter::Bilinear);
            let found =
                decode_resized(&bytes, &limits, Exif::Apply, Filter::Bilinear, size).unwrap();
            let (most, mean) = deviation(&found, &expected);
            assert!(most <= 1 && mean < 0.1, "{value}.{format}: {most} {mean}");
        }
    }
}

#[test]
fn refuses_what_the_exact_tier_refuses() {
    let size = Size { height: 8, width: 8 };
    let limits = DecodeLimits::for_pixels(100);
    for name in ["420.jpg", "rgb.png", "rgb_lzw.tif"] {
        let refused = decode_resized(&read(name), &limits, Exif::Ignore, Filter::Box, size);
        assert!(matches!(refused, Err(DecodeError::TooManyPixels { .. })), "{name}: {refused:?}");
    }
    let cut = &read("420.jpg")[..500];
    let refused = decode_resized(cut, &DecodeLimits::default(), Exif::Ignore, Filter::Box, size);
    assert!(matches!(refused, Err(DecodeError::Truncated { .. })), "{refused:?}");
}
