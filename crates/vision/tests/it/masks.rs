use std::path::PathBuf;
use std::sync::LazyLock;

use mar_vision::{Polygon, Rle, class_areas, npy_f32, npy_u8, polygons, rle, rles};
use proptest::prelude::*;
use serde_json::Value;

use crate::golden::number;

static TABLE: LazyLock<Value> = LazyLock::new(|| {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../../tests/parity/masks/masks.json"].iter().collect();
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
});

/// A mask as the table has it.
struct Mask {
    pixels: Vec<u8>,
    width: u32,
    height: u32,
}

fn rows(name: &str) -> impl Iterator<Item = &'static Value> {
    let rows = TABLE[name].as_array().unwrap();
    assert!(rows.len() > 2, "{name}: the table is there");
    rows.iter()
}

fn bytes(hexadecimal: &Value) -> Vec<u8> {
    let digits = hexadecimal.as_str().unwrap().as_bytes();
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    digits.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn mask(row: &Value) -> Mask {
    Mask {
        pixels: bytes(&row["mask"]),
        width: number(&row["width"]),
        height: number(&row["height"]),
    }
}

impl Mask {
    fn rle(&self, class: u8) -> Rle {
        rle(&self.pixels, self.width, self.height, class).unwrap()
    }

    fn polygons(&self) -> Vec<Polygon> {
        polygons(&self.pixels, self.width, self.height, None).unwrap()
    }

    /// 1 where the class is.
    fn one(&self, class: u8) -> Vec<u8> {
        self.pixels.iter().map(|pixel| u8::from(*pixel == class)).collect()
    }

    /// How many groups of pixels of a class touch each other by a side or a corner, found by painting.
    fn groups(&self, class: u8) -> usize {
        let (width, height) = (self.width as usize, self.height as usize);
        let mut left = self.one(class);
        let mut groups = 0;
        while let Some(first) = left.iter().position(|pixel| *pixel == 1) {
            groups += 1;
            left[first] = 0;
            let mut open = vec![first];
            while let Some(at) = open.pop() {
                let (x, y) = (at % width, at / width);
                for y in y.saturating_sub(1)..(y + 2).min(height) {
                    for x in x.saturating_sub(1)..(x + 2).min(width) {
                        if std::mem::take(&mut left[y * width + x]) == 1 {
                            open.push(y * width + x);
                        }
                    }
                }
            }
        }
        groups
    }

    /// How often each pixel lies in a polygon: its centre is inside where the outline crosses the line to its
    /// left an odd number of times.
    fn filled<'a>(&self, polygons: impl Iterator<Item = &'a Polygon>) -> Vec<u8> {
        let width = self.width as usize;
        let mut filled = vec![0; self.pixels.len()];
        for polygon in polygons {
            let mut crossed = vec![false; (width + 1) * self.height as usize];
            let next = polygon.points.iter().cycle().skip(1);
            for ([x, y], [next_x, next_y]) in polygon.points.iter().zip(next) {
                assert!((x == next_x) != (y == next_y), "along the pixels: {polygon:?}");
                if x == next_x {
                    for y in *y.min(next_y)..*y.max(next_y) {
                        crossed[y as usize * (width + 1) + *x as usize] ^= true;
                    }
                }
            }
            for (row, crossed) in filled.chunks_exact_mut(width).zip(crossed.chunks(width + 1)) {
                let mut inside = false;
                for (pixel, crossed) in row.iter_mut().zip(crossed) {
                    inside ^= crossed;
                    *pixel += u8::from(inside);
                }
            }
        }
        filled
    }

    fn check_polygons(&self) {
        let polygons = self.polygons();
        let areas = class_areas(&self.pixels, self.width, self.height, None).unwrap();
        for area in &areas {
            let of_class = || polygons.iter().filter(|polygon| polygon.class == area.class);
            assert!(self.filled(of_class()) == self.one(area.class), "class {}", area.class);
            assert_eq!(of_class().map(|polygon| polygon.area).sum::<u64>(), area.pixels);
            assert_eq!(of_class().count(), self.groups(area.class));
            for polygon in of_class() {
                let one =
                    class_areas(&self.filled([polygon].into_iter()), self.width, self.height, None);
                let one = one.unwrap().into_iter().find(|area| area.class == 1).unwrap();
                assert_eq!((one.pixels, one.bbox), (polygon.area, polygon.bbox));
            }
            let only =
                mar_vision::polygons(&self.pixels, self.width, self.height, Some(area.class));
            assert!(only.unwrap().iter().eq(of_class()));
        }
    }
}

#[test]
fn run_lengths_are_those_of_pycocotools() {
    for row in rows("masks") {
        let (name, mask) = (&row["name"], mask(row));
        let all = rles(&mask.pixels, mask.width, mask.height).unwrap();
        for expected in row["classes"].as_array().unwrap() {
            let class = u8::try_from(number(&expected["class"])).unwrap();
            let made = mask.rle(class);
            assert_eq!(made.counts, expected["counts"].as_str().unwrap(), "{name}, class {class}");
            assert_eq!(made.size, [mask.height, mask.width]);
            assert_eq!(made.decode().unwrap(), mask.one(class), "{name}, class {class}");
            let among = all.iter().find(|(found, _)| *found == class);
            assert_eq!(among.map(|(_, rle)| rle), (expected["area"] != 0).then_some(&made));
        }
    }
}

#[test]
fn areas_and_boxes_are_those_of_pycocotools() {
    for row in rows("masks") {
        let mask = mask(row);
        let areas = class_areas(&mask.pixels, mask.width, mask.height, None).unwrap();
        let there = row["classes"].as_array().unwrap().iter().filter(|class| class["area"] != 0);
        assert_eq!(areas.len(), there.clone().count());
        for (area, expected) in areas.iter().zip(there) {
            assert_eq!(Value::from(area.class), expected["class"], "{}", row["name"]);
            assert_eq!(Value::from(area.pixels), expected["area"], "{}", row["name"]);
            assert_eq!(Value::from(&area.bbox[..]), expected["bbox"], "{}", row["name"]);
        }
    }
}

#[test]
fn polygons_are_the_drawn_ones() {
    for row in rows("polygons") {
        let found = mask(row).polygons();
        let of_class_one = found.iter().filter(|polygon| polygon.class == 1);
        let points: Vec<_> =
            of_class_one.map(|polygon| Value::from(polygon.points.as_flattened())).collect();
        assert_eq!(Value::from(points), row["polygons"], "{}", row["name"]);
    }
}

#[test]
fn polygons_filled_again_are_the_mask() {
    for row in rows("masks").chain(rows("polygons")) {
        mask(row).check_polygons();
    }
}

#[test]
fn files_for_numpy_are_numpys_own() {
    for row in rows("npy") {
        let shape = [number(&row["height"]) as usize, number(&row["width"]) as usize];
        let values = 0..u8::try_from(shape[0] * shape[1]).unwrap();
        assert_eq!(npy_u8(shape, &values.clone().collect::<Vec<u8>>()), bytes(&row["uint8"]));
        #[expect(clippy::cast_possible_truncation, reason = "so are the expected ones rounded")]
        let sevenths: Vec<f32> = values.map(|value| (f64::from(value) / 7.0) as f32).collect();
        assert_eq!(npy_f32(shape, &sevenths), bytes(&row["float32"]));
    }
}

proptest! {
    #[test]
    fn any_mask_comes_back_from_its_polygons(
        width in 1_u32..24,
        seed in proptest::collection::vec(0_u8..3, 1..400),
    ) {
        let height = u32::try_from(seed.len()).unwrap().div_ceil(width);
        let pixels = seed.iter().cycle().take((width * height) as usize).copied().collect();
        Mask { pixels, width, height }.check_polygons();
    }
}
