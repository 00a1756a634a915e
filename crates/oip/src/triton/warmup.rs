//! The requests of `model_warmup`: what each worker answers before it is ready.

use std::path::Path;

use bytes::Bytes;
use mar_engine::{DType, Network, Result, Tensor, Warmup};
use mar_proto::inference::model_warmup::input::InputDataType;
use mar_proto::inference::{ModelConfig, ModelWarmup, model_warmup};

use super::layout::beside;
use super::reshape::to_network;
use super::text::Source;
use super::types::dtype;

/// Bytes of a tensor at most, as no client can send more in a message. A side that is mistyped asks for memory that
/// no machine has, which would end the server.
const LARGEST: usize = i32::MAX as usize;

/// Every warm-up request of a configuration, for this network.
pub(super) fn requests(
    config: &ModelConfig,
    network: &Network,
    folder: &Path,
    source: &Source,
) -> Result<Vec<Warmup>> {
    let of = |warmup: &ModelWarmup| request(warmup, network, folder, source);
    config.model_warmup.iter().map(of).collect()
}

fn request(
    warmup: &ModelWarmup,
    network: &Network,
    folder: &Path,
    source: &Source,
) -> Result<Warmup> {
    let name = &warmup.name;
    let refuse = |why: &str| source.refuse("model_warmup", &format!("\"{name}\" {why}"));
    let rows = warmup.batch_size.max(1) as usize;
    if rows > network.max_batch_size.max(1) {
        let why =
            format!("has a batch_size of {rows}; max_batch_size is {}", network.max_batch_size);
        return Err(refuse(&why));
    }
    let specs = network.signature.inputs.as_deref().unwrap_or_default();
    let known = |input: &&String| specs.iter().any(|spec| spec.name == **input);
    if let Some(other) = warmup.inputs.keys().find(|input| !known(input)) {
        return Err(refuse(&format!("has an input \"{other}\" that the model has not")));
    }
    let mut inputs = Vec::new();
    for spec in specs {
        let Some(input) = warmup.inputs.get(&spec.name) else {
            return Err(refuse(&format!("has no input \"{}\"", spec.name)));
        };
        let batch = (network.max_batch_size > 0).then_some(rows);
        let tensor = tensor(input, batch, folder)
            .map_err(|why| refuse(&format!("input \"{}\" {why}", spec.name)))?;
        if spec.dtype != Some(tensor.dtype()) {
            return Err(refuse(&format!("input \"{}\" is of another data_type", spec.name)));
        }
        inputs.push(tensor.named(spec.name.as_str()));
    }
    let inputs = to_network(network, inputs).map_err(|error| refuse(error.message()))?;
    Ok(Warmup { name: name.clone(), inputs, count: warmup.count.max(1) as usize })
}

fn tensor(
    input: &model_warmup::Input,
    batch: Option<usize>,
    folder: &Path,
) -> std::result::Result<Tensor, String> {
    let dtype = dtype(input.data_type).ok_or("has no data_type")?;
    let sides = input.dims.iter().map(|dim| {
        usize::try_from(*dim).map_err(|_| format!("has a side of {dim}; give each a length"))
    });
    let shape =
        batch.map(Ok).into_iter().chain(sides).collect::<std::result::Result<Vec<_>, _>>()?;
    let elements = shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side));
    // A string without letters is its length, in four bytes.
    let bytes = elements.and_then(|n| n.checked_mul(dtype.size().unwrap_or(4)));
    let bytes = bytes.filter(|bytes| *bytes <= LARGEST);
    let (elements, bytes) = elements.zip(bytes).ok_or("is larger than 2 GiB")?;
    let data = match &input.input_data_type {
        Some(InputDataType::ZeroData(true)) => vec![0; bytes].into(),
        Some(InputDataType::RandomData(true)) => random(dtype, elements, bytes),
        Some(InputDataType::InputDataFile(name)) => {
            let path = beside(&folder.join("warmup"), name).map_err(|error| error.to_string())?;
            std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?.into()
        }
        _ => return Err("has no data: say zero_data, random_data or input_data_file".into()),
    };
    let length = data.len();
    Tensor::from_bytes(dtype, &shape, data)
        .map_err(|_| format!("has {length} bytes of data, which its dims do not"))
}

/// Numbers from 0 to 1, whole ones 0 or 1, so that no network is given an index that it has not; strings
/// without letters. The same ones at every start.
fn random(dtype: DType, elements: usize, bytes: usize) -> Bytes {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bits = || {
        // Marsaglia's xorshift: any numbers will do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    #[expect(clippy::cast_precision_loss, reason = "the bits that are lost are random ones")]
    let mut unit = || (bits() >> 40) as f32 / (1_u32 << 24) as f32;
    let mut data = Vec::with_capacity(bytes);
    for _ in 0..elements {
        let number = unit();
        match dtype {
            DType::F32 => data.extend_from_slice(&number.to_ne_bytes()),
            DType::F64 => data.extend_from_slice(&f64::from(number).to_ne_bytes()),
            DType::F16 => data.extend_from_slice(&half::f16::from_f32(number).to_ne_bytes()),
            DType::BF16 => data.extend_from_slice(&half::bf16::from_f32(number).to_ne_bytes()),
            DType::Bytes => data.extend_from_slice(&[0; 4]),
            whole => {
                let size = whole.size().unwrap_or(1);
                let mut one = vec![0; size];
                one[0] = u8::from(number < 0.5);
                data.extend_from_slice(&one);
            }
        }
    }
    data.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_that_no_client_could_send_is_refused_before_there_is_one() {
        let of = |dims: &[i64], batch| {
            let data = Some(InputDataType::ZeroData(true));
            let input =
                model_warmup::Input { data_type: 10, dims: dims.to_vec(), input_data_type: data };
            tensor(&input, batch, Path::new(".")).map(|tensor| tensor.shape().to_vec())
        };
        assert_eq!(of(&[3], Some(2)), Ok(vec![2, 3]));
        for (dims, batch) in
            [(&[1 << 40][..], None), (&[1 << 29, 2], Some(2)), (&[i64::MAX, 8], None)]
        {
            assert_eq!(of(dims, batch), Err("is larger than 2 GiB".into()), "{dims:?}");
        }
    }
}
