//! Any bytes as an ONNX file: what it is made of, what is wrong with it and its drawing, never a panic; sentences of a
//! length that can be read.
//!
//! Seeds: `cargo +nightly fuzz run onnx_file fuzz/corpus/onnx_file tests/parity/onnx`.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use mar_onnx::Network;

fuzz_target!(|bytes: &[u8]| {
    let network = match Network::read(Cursor::new(bytes)) {
        Ok(network) => network,
        Err(cause) => return assert!(cause.len() < 300),
    };
    for size in [None, Some(0), Some(u64::MAX)] {
        let findings = network.check(&|_| size);
        assert!(findings.problems.iter().chain(&findings.warnings).all(|told| told.len() < 1500));
    }
    let about = network.about();
    assert_eq!(network.signature().outputs.map(|outputs| outputs.len()), Some(about.outputs.len()));
    assert!(network.dot().ends_with("}\n"));
});
