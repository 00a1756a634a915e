//! Generates the messages and services, without `protoc`: protox compiles the files.

use std::path::PathBuf;

use prost::Message;

const FILES: [&str; 5] = [
    "open_inference.proto",
    "model_config.proto",
    "torchserve_inference.proto",
    "torchserve_management.proto",
    "google/rpc/error_details.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let folder = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(folder.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_transport(false)
        // Tensors and images: shared with the buffer that they came in.
        .bytes(".")
        .codec_path("crate::codec::Codec")
        .compile_fds(descriptors)?;
    Ok(())
}
