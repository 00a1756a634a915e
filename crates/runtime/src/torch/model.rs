//! A TorchScript module on a device.

use mar_handler::{Device, Epilogue, Error, LoadSpec, Model, Result, Tensor};
use serde_json::{Map, Value};
use tch::{CModule, IValue};

use super::answer::{self, Named};
use super::convert::{borrowed, device, own};
use super::epilogue::apply;
use super::error::{first_cause, prediction};
use super::options::Options;
use super::script::Script;
use super::tuning::{self, Failed, Tuned};
use crate::{failure, memory};

#[derive(Debug)]
pub(crate) struct TorchModel {
    module: CModule,
    device: Device,
    shareable: bool,
    takes_a_list: bool,
    options: Options,
    /// What people may ask of its form.
    told: Map<String, Value>,
}

impl TorchModel {
    /// Opens a TorchScript file.
    pub(crate) fn load(spec: &LoadSpec) -> Result<Self> {
        let options = Options::of(spec)?;
        let script = Script::read(&spec.file);
        options.use_threads(spec.intra_op_threads);
        let tuned = tuning::open(spec, options, script.as_ref()).map_err(|failed| match failed {
            Failed::NotOpened(error) => not_torchscript(spec, error),
            Failed::Refused(error) => error,
        });
        // What was tried and not chosen.
        memory::give_back();
        let Tuned { script: module, shareable, told } = tuned?;
        let takes_a_list = script.is_some_and(|script| script.takes_a_list());
        Ok(Self { module, device: spec.device, shareable, takes_a_list, options, told })
    }

    /// What the network answers to these inputs.
    fn run(&self, inputs: &[IValue]) -> Result<IValue> {
        failure::on(self.device, self.module.forward_is(inputs).map_err(prediction))
    }

    /// The inputs on the network's device.
    fn placed(&self, views: Vec<tch::Tensor>) -> Result<Vec<tch::Tensor>> {
        let place = device(self.device);
        let placed = views.into_iter().map(|view| view.f_to_device(place));
        placed.collect::<Result<_, _>>().map_err(prediction)
    }
}

impl Model for TorchModel {
    fn forward(&self, inputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
        tch::no_grad(|| {
            let outputs = borrowed(&inputs, |views| {
                let inputs =
                    self.placed(views)?.into_iter().map(IValue::Tensor).collect::<Vec<_>>();
                answer::flatten(self.run(&inputs)?)
            })?;
            if epilogue == Epilogue::None {
                return named(outputs, &inputs);
            }
            let outputs = outputs.into_iter().map(|output| output.tensor);
            if here(epilogue, self.device) {
                let first = outputs.take(1).map(|output| own(&output, &inputs));
                return crate::epilogue::apply(first.collect::<Result<_>>()?, epilogue);
            }
            let outputs = outputs.collect();
            apply(outputs, epilogue)?.iter().map(|output| own(output, &inputs)).collect()
        })
    }

    /// A network whose input is no list is run once for each item, as a batch of one.
    fn forward_list(&self, items: Vec<Tensor>) -> Result<Vec<Vec<Tensor>>> {
        tch::no_grad(|| {
            let answers = borrowed(&items, |views| {
                let placed = self.placed(views)?;
                if self.takes_a_list {
                    let answer = self.run(&[IValue::TensorList(placed)])?;
                    return answer::each(answer, items.len());
                }
                let alone = |item: tch::Tensor| {
                    let item = item.f_unsqueeze(0).map_err(prediction)?;
                    answer::each(self.run(&[IValue::Tensor(item)])?, 1)
                };
                let answers = placed.into_iter().map(alone).collect::<Result<Vec<_>>>()?;
                Ok(answers.into_iter().flatten().collect())
            })?;
            answers.into_iter().map(|answer| named(answer, &items)).collect()
        })
    }

    fn device(&self) -> Device {
        self.device
    }

    /// libtorch runs one module on many threads: the graph is compiled under a lock. So it may be shared
    /// unless its code writes into it.
    fn is_shareable(&self) -> bool {
        self.shareable
    }

    fn use_threads(&self, threads: usize) {
        self.options.use_threads(threads);
    }

    fn describe(&self) -> Map<String, Value> {
        self.told.clone()
    }
}

/// Whether an epilogue is better done here than by libtorch, which takes a millisecond for the classes of a small
/// mask on the processor, a twentieth of the network's time.
fn here(epilogue: Epilogue, device: Device) -> bool {
    device == Device::Cpu
        && matches!(epilogue, Epilogue::ArgMax { .. } | Epilogue::ArgMaxWithProbability { .. })
}

/// An answer in host memory, its names kept.
fn named(answer: Vec<Named>, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let host = |Named { name, tensor }| {
        let tensor = own(&tensor, inputs)?;
        Ok(match name {
            Some(name) => tensor.named(name),
            None => tensor,
        })
    };
    answer.into_iter().map(host).collect()
}

fn not_torchscript(spec: &LoadSpec, error: tch::TchError) -> Error {
    let file = spec.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let cause = first_cause(&error.to_string());
    Error::invalid_model(format!(
        "{file} does not open as TorchScript on {}: {cause}; write it with torch.jit.trace and torch.jit.save, a state_dict alone holds no network",
        spec.device
    ))
    .caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use mar_handler::ErrorCode;

    use super::*;

    fn open(file: &str) -> Result<TorchModel> {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file);
        TorchModel::load(&LoadSpec::new(file))
    }

    fn floats(tensor: &Tensor) -> &[f32] {
        tensor.as_slice::<f32>().unwrap()
    }

    #[test]
    fn the_mask_is_the_channel_with_the_larger_score() {
        let model = open("convolution.pt").unwrap();
        let pixels = Tensor::from_vec(&[1, 3, 1, 2], vec![1_f32, 0., 0., 1., 9., 9.]).unwrap();
        let mask = model.forward(vec![pixels], Epilogue::ArgMax { dim: 1 }).unwrap();
        assert_eq!(mask[0].shape(), [1, 1, 2]);
        assert_eq!(mask[0].as_slice::<u8>().unwrap(), [0, 1]);
        assert_eq!(model.device(), Device::Cpu);
    }

    #[test]
    fn tuples_and_dictionaries_are_lists_of_tensors() {
        let x = Tensor::from_vec(&[1, 1], vec![5_f32]).unwrap();
        let y = Tensor::from_vec(&[1, 1], vec![2_f32]).unwrap();
        let pair = open("pair.pt").unwrap();
        let outputs = pair.forward(vec![x.clone(), y], Epilogue::None).unwrap();
        assert_eq!((floats(&outputs[0]), floats(&outputs[1])), (&[7_f32][..], &[3_f32][..]));

        let outputs = open("dictionary.pt").unwrap().forward(vec![x], Epilogue::None).unwrap();
        assert_eq!(floats(&outputs[0]), [6.0], "`out` comes first");
        let names: Vec<_> = outputs.iter().map(Tensor::name).collect();
        assert_eq!(names, [Some("out"), Some("aux")]);
    }

    #[test]
    fn models_run_in_evaluation_mode() {
        let x = Tensor::from_vec(&[1, 1], vec![5_f32]).unwrap();
        let outputs = open("training.pt").unwrap().forward(vec![x], Epilogue::None).unwrap();
        assert_eq!(floats(&outputs[0]), [5.0]);
    }

    #[test]
    fn a_failure_says_the_first_cause_and_the_model_still_works() {
        let model = open("convolution.pt").unwrap();
        let gray = Tensor::from_vec(&[1, 1, 1, 1], vec![1_f32]).unwrap();
        let error = model.forward(vec![gray], Epilogue::None).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PredictionFailed);
        assert!(error.message().contains("to have 3 channels, but got 1"), "{error}");
        assert!(!error.message().contains('\n'), "{error}");
        let pixels = Tensor::from_vec(&[1, 3, 1, 1], vec![1_f32; 3]).unwrap();
        assert!(model.forward(vec![pixels], Epilogue::None).is_ok());
    }

    #[test]
    fn an_answer_without_tensors_is_an_error() {
        let x = Tensor::from_vec(&[1], vec![5_f32]).unwrap();
        let error = open("text.pt").unwrap().forward(vec![x], Epilogue::None).unwrap_err();
        assert!(error.message().contains("holds no tensor"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_torchscript_is_named_with_the_remedy() {
        for file in ["state_dict.pth", "make.py", "missing.pt"] {
            let error = open(file).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidModel);
            assert!(error.message().starts_with(&format!("{file} does not open")), "{error}");
            assert!(error.message().contains("torch.jit.trace"), "{error}");
            assert!(!error.message().contains('\n'), "{error}");
        }
    }
}
