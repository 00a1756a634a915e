//! An ONNX file that was read: all of it but the weights.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use mar_handler::{Error, Result, Signature};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::port::{output, spec};
use crate::proto::{Graph, Model};
use crate::source::{Failure, MAX_READ, Source};

/// The fields that a model may have, by their numbers in `onnx.proto`.
const FIELDS: [u32; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26];
const IR_VERSION: u32 = 1;
const GRAPH: u32 = 7;
const GIT_LFS: &[u8] = b"version https://git-lfs";

/// Whether a file is one of ONNX, by its name.
pub fn is_network(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("onnx"))
}

/// The network of an ONNX file.
///
/// Weights are passed over while it is read, so that memory grows with the number of nodes and not with the
/// file. What else lies beside the file is only asked for by [`Network::check`].
#[derive(Debug)]
pub struct Network {
    /// All but its graph.
    pub(crate) model: Model,
    pub(crate) graph: Graph,
    /// Bytes behind the fields that a model has.
    pub(crate) strays: u64,
}

impl Network {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`](mar_handler::ErrorCode::InvalidModel) where it cannot be read or is no
    /// ONNX file: the file's name and the cause.
    pub fn open(file: &Path) -> Result<Self> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let opened = File::open(file).map_err(|error| format!("it cannot be read: {error}"));
        opened
            .and_then(Self::read)
            .map_err(|cause| Error::invalid_model(format!("{name}: {cause}")))
    }

    /// Reads a file that is open, from its start.
    ///
    /// # Errors
    /// Where it cannot be read or is no ONNX file: the cause, and what to do.
    pub fn read(mut file: impl Read + Seek) -> Result<Self, String> {
        let unreadable = |error: std::io::Error| format!("it cannot be read: {error}");
        let strays = outline(&mut file)?;
        let mut source = Source::new(file).map_err(unreadable)?;
        let decoded = Model::decode(&mut source);
        match source.failure() {
            Some(Failure::Io(error)) => return Err(unreadable(error)),
            Some(Failure::TooLarge) => {
                return Err(format!(
                    "its nodes and names take more than {MAX_READ} bytes, which no ONNX file may; export it again"
                ));
            }
            None => {}
        }
        let mut model = decoded.map_err(|error| {
            let error = error.to_string();
            let cause = error.rsplit(": ").next().unwrap_or(&error);
            format!("it is damaged ({cause}); copy or export it again")
        })?;
        match model.graph.take() {
            Some(graph) => Ok(Self { model, graph, strays }),
            None => Err("it holds no network; export it again".to_owned()),
        }
    }

    /// What it takes and gives; old files' weights among the inputs are none.
    pub fn signature(&self) -> Signature {
        let graph = &self.graph;
        Signature {
            inputs: Some(graph.true_inputs().map(spec).collect()),
            outputs: Some(graph.output.iter().map(output).collect()),
        }
    }
}

/// Goes from one of the model's fields to the next without a look into them; how many bytes are in fields that no
/// model has.
///
/// # Errors
/// Where the file is none of ONNX, or ends within a field.
fn outline(file: &mut (impl Read + Seek)) -> Result<u64, String> {
    let unreadable = |error: std::io::Error| format!("it cannot be read: {error}");
    let mut source = Source::new(file).map_err(unreadable)?;
    let no_onnx = || "it is no ONNX file; export the network again".to_owned();
    let whole = remaining(&source);
    if whole == 0 {
        return Err("it is empty; copy or export it again".to_owned());
    }
    if bytes::Buf::chunk(&source).starts_with(GIT_LFS) {
        return Err(
            "it is a pointer of Git LFS and not the file; fetch it with `git lfs pull`".into()
        );
    }
    let (mut is_model, mut strays) = (false, 0);
    while remaining(&source) > 0 {
        let start = remaining(&source);
        let damaged = || {
            let at = whole - start;
            if !is_model {
                return no_onnx();
            }
            format!(
                "it is damaged: what is at byte {at} of {whole} is not ONNX's; copy or export it again"
            )
        };
        let (tag, wire_type) = decode_key(&mut source).map_err(|_| damaged())?;
        if wire_type == WireType::LengthDelimited {
            let length = decode_varint(&mut source).map_err(|_| damaged())?;
            let left = remaining(&source);
            if length > left {
                if !is_model && tag != GRAPH {
                    return Err(no_onnx());
                }
                let least = (whole - left).saturating_add(length);
                return Err(format!(
                    "it is cut off: it has {whole} bytes of at least {least}; copy or export it again"
                ));
            }
            bytes::Buf::advance(&mut source, usize::try_from(length).unwrap_or(usize::MAX));
        } else {
            skip_field(wire_type, tag, &mut source, DecodeContext::default())
                .map_err(|_| damaged())?;
        }
        match source.failure() {
            Some(Failure::Io(error)) => return Err(unreadable(error)),
            Some(Failure::TooLarge) => return Err(damaged()),
            None => {}
        }
        // Few files of other kinds start so.
        is_model |= (tag, wire_type) == (IR_VERSION, WireType::Varint)
            || (tag, wire_type) == (GRAPH, WireType::LengthDelimited);
        if !FIELDS.contains(&tag) {
            strays += start - remaining(&source);
        }
    }
    if is_model { Ok(strays) } else { Err(no_onnx()) }
}

fn remaining(source: &impl bytes::Buf) -> u64 {
    source.remaining() as u64
}
