use std::time::{Duration, Instant};

use mar_vision::{DecodeError, DecodeLimits, Pipeline, PipelineConfig, Sides, decode};
use proptest::collection::vec;
use proptest::prelude::{any, prop};
use proptest::{prop_assert, prop_oneof, proptest};

use crate::golden::{read, rows};

fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut file = read("rgb.png");
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    // The checksum of the header must fit, or the file is merely damaged.
    let crc = crc32(&file[12..29]);
    file[29..33].copy_from_slice(&crc.to_be_bytes());
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}

fn replaced(name: &str, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = read(name);
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

/// Where the two bytes of height stand in a JPEG's frame header.
fn jpeg_frame(file: &[u8]) -> usize {
    file.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap() + 5
}

/// A page of 60000x60000 in one strip: width, height and rows of a strip in a TIFF made by Pillow.
fn tiff_header() -> Vec<u8> {
    let mut file = read("rgb_lzw.tif");
    let ifd = u32::from_le_bytes(file[4..8].try_into().unwrap()) as usize;
    for entry in 0..usize::from(file[ifd]) {
        let at = ifd + 2 + 12 * entry;
        let tag = u16::from_le_bytes(file[at..at + 2].try_into().unwrap());
        if ![256, 257, 278].contains(&tag) {
            continue;
        }
        file[at + 2..at + 4].copy_from_slice(&4_u16.to_le_bytes());
        file[at + 8..at + 12].copy_from_slice(&60_000_u32.to_le_bytes());
    }
    file
}

#[test]
fn a_header_of_huge_size_costs_nothing() {
    let wide = 60_000_u16;
    let jpeg = read("420.jpg");
    let jpeg_at = jpeg_frame(&jpeg);
    let side = wide.to_be_bytes();
    let lossy_at =
        read("lossy.webp").windows(3).position(|code| code == [0x9d, 1, 0x2a]).unwrap() + 3;
    let bombs = [
        ("PNG", png_header(60_000, 60_000)),
        ("PNG, one row", png_header(2_000_000_000, 1)),
        ("GIF", replaced("p.gif", 6, &[0x60, 0xea, 0x60, 0xea])),
        ("BMP", replaced("rgb.bmp", 18, &[0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0])),
        ("JPEG", replaced("420.jpg", jpeg_at, &[side[0], side[1], side[0], side[1]])),
        ("TIFF", tiff_header()),
        ("WebP, lossy", replaced("lossy.webp", lossy_at, &[0xff, 0x3f, 0xff, 0x3f])),
        ("WebP, lossless", replaced("lossless.webp", 21, &[0xff, 0xff, 0xff, 0x0f])),
    ];
    for (name, file) in bombs {
        let start = Instant::now();
        let error = decode(&file, &DecodeLimits::default()).unwrap_err();
        assert!(matches!(error, DecodeError::TooManyPixels { .. }), "{name}: {error:?}");
        assert!(start.elapsed() < Duration::from_millis(200), "{name} took {:?}", start.elapsed());
    }
}

#[test]
fn a_side_without_end_is_refused_whatever_the_pixels() {
    for (width, height) in [(1 << 21, 1), (1, 170_000_000)] {
        let error = decode(&png_header(width, height), &DecodeLimits::default()).unwrap_err();
        assert!(matches!(error, DecodeError::SideTooLong { .. }), "{error:?}");
    }
    let longest = decode(&png_header(1 << 20, 1), &DecodeLimits::default()).unwrap_err();
    assert!(!matches!(longest, DecodeError::SideTooLong { .. }), "{longest:?}");
}

#[test]
fn a_large_frame_in_a_small_canvas_is_refused() {
    let limits = DecodeLimits::for_pixels(10_000);
    // The screen says 1x1; the frame, and so the image, is what it is.
    let gif = replaced("photo.gif", 6, &[1, 0, 1, 0]);
    assert!(matches!(
        decode(&gif, &limits),
        Err(DecodeError::TooManyPixels { width: 160, height: 120, .. })
    ));
}

/// Each scan costs a pass over the whole image, and takes a few bytes of the file.
#[test]
fn a_jpeg_of_endless_scans_is_refused() {
    let file = read("progressive.jpg");
    let start = file.windows(2).rposition(|marker| marker == [0xff, 0xda]).unwrap();
    let (before, last) = file.split_at(start);
    let scan = &last[..last.len() - 2];
    let times = |count: usize| [before, &scan.repeat(count), &[0xff, 0xd9]].concat();
    let error = decode(&times(1000), &DecodeLimits::default()).unwrap_err();
    assert_eq!(error.to_string(), "this kind of JPEG image is not supported: more than 500 scans");
    assert!(decode(&times(1), &DecodeLimits::default()).is_ok());
}

/// A JPEG within the limit on pixels may need many times the memory of its pixels.
#[test]
fn a_jpegs_coefficients_count() {
    let limits = DecodeLimits { max_pixels: 10_000, max_alloc: 20_000 };
    // 160x120 would be too many pixels; one column of large blocks is not.
    let mut file = read("progressive.jpg");
    let frame = file.windows(2).position(|marker| marker == [0xff, 0xc2]).unwrap() + 5;
    file[frame..frame + 4].copy_from_slice(&[0x20, 0, 0, 1]);
    let error = decode(&file, &limits).unwrap_err();
    assert!(error.to_string().ends_with("it needs too much memory"), "{error}");
}

#[test]
fn a_tag_of_endless_values_costs_nothing() {
    let mut file = read("rgb_lzw.tif");
    let ifd = u32::from_le_bytes(file[4..8].try_into().unwrap()) as usize;
    // The count of the first entry.
    file[ifd + 6..ifd + 10].copy_from_slice(&0x00ff_ffff_u32.to_le_bytes());
    let error = decode(&file, &DecodeLimits::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the TIFF image is damaged: a tag of more values than the file holds"
    );
}

fn pipeline() -> Pipeline {
    let config = PipelineConfig {
        size: Some(Sides::One(32)),
        max_image_pixels: Some(1_000_000),
        ..Default::default()
    };
    Pipeline::new(config).unwrap()
}

proptest! {
    #[test]
    fn random_bytes_are_refused_without_a_panic(bytes in vec(any::<u8>(), 0..300), start in any::<prop::sample::Index>()) {
        let heads: [&[u8]; 8] = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8 ", b"BM", b"GIF89a", b"II*\0", b"MM\0*"];
        let mut file = heads[start.index(heads.len())].to_vec();
        file.extend(bytes);
        drop(pipeline().run(&file));
    }

    #[test]
    fn a_damaged_file_gives_an_image_of_sane_size_or_an_error(
        which in any::<prop::sample::Index>(),
        changes in vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), proptest::strategy::Just(0xff), proptest::strategy::Just(0)]), 1..12),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let files = rows("decode");
        let mut file = read(files[which.index(files.len())]["file"].as_str().unwrap());
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        if let Some(cut) = cut {
            let length = cut.index(file.len());
            file.truncate(length);
        }
        if let Ok(prepared) = pipeline().run(&file) {
            prop_assert!(prepared.shape == [3, 32, 32]);
        }
    }
}
