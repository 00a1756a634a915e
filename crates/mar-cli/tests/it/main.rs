//! The `mar` binary and library from outside, one module a capability. Everything runs offline and
//! in temporary folders, so that two runs do not meet.
#![expect(clippy::unwrap_used, reason = "these are tests, helper functions included")]

mod assault; // bytes of any kind against the reader; shared with the fuzz target
mod bench; // commands, temporary folders, sample inputs
mod cli; // what people and scripts see: text, JSON, exit statuses
mod crash; // kill -9
mod deterministic; // same inputs, same bytes
mod diff; // comparing
mod hostile_folders;
mod hostile_tars;
mod hostile_zips;
mod known_answers; // samples and what is expected of them
mod mutations; // proptest
mod networks; // ONNX files
mod official; // archives made by torch-model-archiver
mod optimize; // what is handed over to marserve
mod pack; // flags, handlers, extra files
mod raw_zip; // a zip writer without scruples
mod zip_layout; // alignment, headers, compression
