//! Any bytes as a model archive. What is checked is in the crate's own tests, which feed the same
//! function with proptest: nothing outside the target folder changes, and a refusal leaves nothing.
//!
//! Seeds: `cargo +nightly fuzz run archive fuzz/corpus/archive crates/mar-cli/tests/fixtures`.
#![no_main]

#[path = "../../crates/mar-cli/tests/it/assault.rs"]
mod assault;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assault::assault(bytes);
});
