//! How much of a mask each class has, where, and how sure the network was of it.

use super::{MaskError, check_size};

/// What a mask has of one class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassArea {
    /// The class.
    pub class: u8,
    /// Its pixels, at least one.
    pub pixels: u64,
    /// The smallest box around them, as COCO writes it: left, top, width, height.
    pub bbox: [u32; 4],
    /// The mean of the confidence over them, where one was given.
    pub confidence: Option<f64>,
}

/// What has been seen of one class.
#[derive(Clone, Copy)]
struct Seen {
    pixels: u64,
    /// First and last column, first and last row.
    columns: [usize; 2],
    rows: [usize; 2],
    confidence: f64,
}

/// The classes that `mask` (`width * height` bytes, row by row) has, by class, in one pass. `confidence` has
/// one value a pixel.
///
/// # Errors
/// Where a length is not the size.
pub fn class_areas(
    mask: &[u8],
    width: u32,
    height: u32,
    confidence: Option<&[f32]>,
) -> Result<Vec<ClassArea>, MaskError> {
    check_size(mask, width, height)?;
    if let Some(values) = confidence.map(<[f32]>::len).filter(|values| *values != mask.len()) {
        return Err(MaskError::Confidence { values, pixels: mask.len() });
    }
    let none = Seen { pixels: 0, columns: [usize::MAX, 0], rows: [usize::MAX, 0], confidence: 0.0 };
    let mut classes = [none; 256];
    let width = width as usize;
    for (y, row) in mask.chunks_exact(width).enumerate() {
        let mut x = 0;
        for run in row.chunk_by(|a, b| a == b) {
            let end = x + run.len();
            let seen = &mut classes[usize::from(run[0])];
            seen.pixels += run.len() as u64;
            seen.columns = [seen.columns[0].min(x), seen.columns[1].max(end - 1)];
            seen.rows = [seen.rows[0].min(y), y];
            if let Some(confidence) = confidence {
                let values = &confidence[y * width + x..y * width + end];
                seen.confidence += values.iter().map(|value| f64::from(*value)).sum::<f64>();
            }
            x = end;
        }
    }
    let found = (0..=u8::MAX).zip(classes).filter(|(_, seen)| seen.pixels > 0);
    Ok(found.map(|(class, seen)| seen.area(class, confidence.is_some())).collect())
}

impl Seen {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "columns and rows are below 2^32, and no mask has 2^52 pixels"
    )]
    fn area(&self, class: u8, confident: bool) -> ClassArea {
        let start = |side: [usize; 2]| side[0] as u32;
        let length = |side: [usize; 2]| (side[1] - side[0] + 1) as u32;
        let (columns, rows) = (self.columns, self.rows);
        ClassArea {
            class,
            pixels: self.pixels,
            bbox: [start(columns), start(rows), length(columns), length(rows)],
            confidence: confident.then(|| self.confidence / self.pixels as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ClassArea, class_areas};
    use crate::MaskError;

    #[test]
    fn areas_have_their_pixels_box_and_mean_confidence() {
        let mask = [0, 0, 0, 7, 0, 7, 7, 0, 0, 7, 0, 0];
        let confidence: Vec<f32> = (0_u8..12).map(|i| f32::from(i) / 16.0).collect();
        let areas = class_areas(&mask, 4, 3, Some(&confidence)).unwrap();
        let zero = f64::from(1 + 2 + 4 + 7 + 8 + 10 + 11) / 16.0 / 8.0;
        let seven = f64::from(3 + 5 + 6 + 9) / 16.0 / 4.0;
        assert_eq!(
            areas,
            [
                ClassArea { class: 0, pixels: 8, bbox: [0, 0, 4, 3], confidence: Some(zero) },
                ClassArea { class: 7, pixels: 4, bbox: [1, 0, 3, 3], confidence: Some(seven) },
            ]
        );
        assert_eq!(class_areas(&[255], 1, 1, None).unwrap()[0].confidence, None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(matches!(class_areas(&[0; 5], 2, 3, None), Err(MaskError::Size { .. })));
        let error = class_areas(&[0; 6], 2, 3, Some(&[0.5; 5])).unwrap_err();
        assert_eq!(error.to_string(), "the confidence has 5 values for 6 pixels");
    }
}
