//! The handlers that marserve brings along, one module each.
//!
//! A handler depends on the contract and on pixels, never on a protocol or a tensor library.
#![warn(missing_docs)]

mod mask_segmenter;
mod object_detector;

use mar_handler::Registration;

pub use mask_segmenter::MaskSegmenter;
pub use object_detector::ObjectDetector;

/// Every handler here, under the name that archives know it by.
pub fn all() -> Vec<Registration> {
    vec![
        Registration::of::<MaskSegmenter>("mask_segmenter"),
        Registration::of::<ObjectDetector>("object_detector"),
    ]
}
