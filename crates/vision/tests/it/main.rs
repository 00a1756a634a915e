//! One binary for the tests that need files. The expected pixels were made by Pillow, FastAI and torchvision:
//! see `make.py` in `tests/parity/pixels` and `tests/parity/pipeline`. What is
//! expected of masks is pycocotools' and NumPy's: see `tests/parity/masks/make.py`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod config; // keys, their errors, and the sentence that describes a pipeline
mod declared; // reads the tables of declared pipelines
mod decoding; // every format and mode against Pillow's RGB
mod fast; // how far the fast tier strays
mod geometry; // FastAI's and torchvision's resizes and crops
mod golden; // reads the golden table
mod hostile; // bombs, mutations, random bytes
mod masks; // run lengths, polygons and files of masks against pycocotools and NumPy
mod pipeline; // tensors against FastAI's
mod resizing; // every filter against Pillow's bytes
mod steps; // the pixels on the way from a file to numbers
mod truncation; // files cut short
mod zoo; // thousands of damaged files, in a process that may take little memory
