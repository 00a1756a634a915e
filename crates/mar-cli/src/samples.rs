//! Known answers at packing: reading what was given, and finding out what preprocessing makes of it.
//!
//! The handlers that are built in run here without a network, so that an archive says of each stage what it
//! should make, and a `model-config.yaml` that is not the model's is seen before anything is served.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use mar::{
    Archive, Digest, Known, KnownAnswer, KnownStage, KnownTensor, PackFormat, PackOptions,
    PackSample, Packed,
};
use mar_handlers::{Preprocessing, Seen, SeenTensor};

/// Who finds out what is not given.
const MADE_BY: &str = concat!("mar ", env!("CARGO_PKG_VERSION"));
/// How far means of channels may be apart, of 1 where they are smaller: as far as `marserve check` lets them.
const MEANS_APART: f64 = 2e-4;
/// The share of a mask's pixels that must be as they are known: on another machine a few at the edges of
/// classes are not.
const MASK_AGREEMENT: f64 = 0.999;

/// The samples that were given, each with what is expected of it.
pub(crate) fn read(samples: &[PathBuf], expects: &[PathBuf]) -> Result<Vec<PackSample>> {
    if samples.len() != expects.len() {
        bail!(
            "{} --sample and {} --expect: each sample needs what is expected of it, in the same order",
            samples.len(),
            expects.len()
        );
    }
    let pairs = samples.iter().zip(expects);
    pairs.map(|(sample, expect)| Ok(PackSample::read(sample, expect)?)).collect()
}

/// Adds to the samples what preprocessing makes of them, where that is not known. Returns what their packer may
/// want to know: above all, where it makes something else of them than is known.
pub(crate) fn complete(options: &mut PackOptions) -> Result<Vec<String>> {
    if options.samples.is_empty() {
        return Ok(Vec::new());
    }
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut samples = std::mem::take(&mut options.samples);
    let warnings = match preprocessing(options, &scratch)? {
        Ok(preprocessing) => complete_with(&preprocessing, &mut samples)?,
        Err(warning) => vec![warning],
    };
    options.samples = samples;
    Ok(warnings)
}

fn complete_with(preprocessing: &Preprocessing, samples: &mut [PackSample]) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for sample in samples {
        let of = format!("sample {:?}", sample.name);
        match preprocessing.stages(sample.input.clone(), sample.content_type.as_deref()) {
            Ok(seen) => {
                as_classes(sample, preprocessing, &seen)?;
                warnings.extend(compare(sample, &seen).map(|what| format!("{of}: {what}")));
                fill(sample, seen);
            }
            Err(error) => warnings.push(format!("{of}: the handler refuses it: {error}")),
        }
    }
    Ok(warnings)
}

/// The preprocessing of what will be packed, or why there is none. Handlers read labels and vocabularies from
/// files, so the archive is made in a folder first, without its weights.
fn preprocessing(
    options: &PackOptions,
    scratch: &tempfile::TempDir,
) -> Result<Result<Preprocessing, String>> {
    let light = PackOptions {
        serialized_file: None,
        export_path: scratch.path().to_owned(),
        format: PackFormat::NoArchive,
        ..options.clone()
    };
    let Packed { path, .. } = mar::pack(&light, &mut |_, _| ())?;
    let archive = Archive::open(&path)?;
    let model = archive.manifest().model.clone();
    let unknown = "what preprocessing makes of the samples is not known but for what --expect says";
    // Packing warns of a configuration that cannot be read.
    let Ok(config) = archive.config() else { return Ok(Err(unknown.to_owned())) };
    let handler = model.handler.unwrap_or_default();
    let config = config.unwrap_or_default();
    // A file that cannot be read is told by who opens it as a network.
    let file = options.serialized_file.as_ref().filter(|file| mar_onnx::is_network(file));
    let signature = file.and_then(|file| mar_onnx::signature(file).ok()).unwrap_or_default();
    let made = Preprocessing::of(&handler, path, config, model.extra, signature);
    Ok(match made {
        Some(Ok(preprocessing)) => Ok(preprocessing),
        Some(Err(error)) => Err(format!("no server will load the archive: {error}; {unknown}")),
        None => Err(format!("the handler {handler:?} is not built in; {unknown}")),
    })
}

/// A mask that is expected as a file becomes the answer that holds its classes.
fn as_classes(sample: &mut PackSample, preprocessing: &Preprocessing, seen: &[Seen]) -> Result<()> {
    let PackSample { known, files, .. } = sample;
    for answer in &mut known.answers {
        // An answer that is asked for in a certain way is what it is.
        let format = [("format".to_owned(), "npy".to_owned())];
        if !(answer.query.is_empty() || answer.query == format) {
            continue;
        }
        let Some(file) = files.get(&answer.file) else { continue };
        let Some(mask) = preprocessing.mask(file, seen) else { continue };
        let mask = mask.with_context(|| format!("expected answer {}", answer.file))?;
        *answer = KnownAnswer {
            query: mask.query,
            file: add(files, format!("{}.raw", answer.file), mask.classes),
            content_type: "application/octet-stream".to_owned(),
            tolerance: answer.tolerance,
            agreement: answer.agreement.min(MASK_AGREEMENT),
        };
    }
    let tensors = known.stages.iter().flat_map(|stage| &stage.tensors);
    let copies = tensors.filter_map(|tensor| tensor.copy.as_ref());
    let named: Vec<_> = copies.chain(known.answers.iter().map(|answer| &answer.file)).collect();
    files.retain(|file, _| named.contains(&file));
    Ok(())
}

/// Adds a file under a name that no other has, and returns that.
fn add(files: &mut BTreeMap<String, Vec<u8>>, mut name: String, bytes: Vec<u8>) -> String {
    while files.contains_key(&name) {
        name.insert(0, '_');
    }
    files.insert(name.clone(), bytes);
    name
}

/// The first stage of which something else is known than preprocessing makes here.
fn compare(sample: &PackSample, seen: &[Seen]) -> Option<String> {
    let known = &sample.known.stages;
    let here = |stage: &KnownStage| seen.iter().any(|seen| seen.stage == stage.stage);
    let differs = seen.iter().find_map(|seen| {
        let known = known.iter().find(|known| known.stage == seen.stage)?;
        difference(known, seen, sample).map(|what| (seen.stage, what))
    });
    if let Some((stage, what)) = differs {
        return Some(format!(
            "the handler makes something else at the stage {stage} than is known: {what}; is model-config.yaml the model's?"
        ));
    }
    let strange = known.iter().find(|known| !here(known))?;
    Some(format!("the handler has no stage {:?}, which is never compared", strange.stage))
}

fn difference(known: &KnownStage, seen: &Seen, sample: &PackSample) -> Option<String> {
    let (there, here) = (known.tensors.len(), seen.tensors.len());
    if there != here {
        return Some(format!("{here} tensors instead of {there}"));
    }
    let mut pairs = known.tensors.iter().zip(&seen.tensors);
    pairs.find_map(|(known, seen)| apart(known, seen, sample))
}

fn apart(known: &KnownTensor, seen: &SeenTensor, sample: &PackSample) -> Option<String> {
    if known.dtype != seen.dtype() || known.shape != seen.shape() {
        return Some(format!(
            "{} of shape {:?} instead of {} of shape {:?}",
            seen.dtype(),
            seen.shape(),
            known.dtype,
            known.shape
        ));
    }
    if Digest::of(seen.bytes()).to_string() == known.sha256 {
        return None;
    }
    let copy = known.copy.as_ref().and_then(|file| sample.files.get(file));
    if let Some(copy) = copy {
        // One of a wrong length is refused when it is packed.
        let distance = seen.distance(copy)?;
        if distance.share > 0.0 {
            let percent = 100.0 * distance.share;
            return Some(format!("{percent:.2} % of it differ, by up to {:.4}", distance.most));
        }
    }
    let means = seen.channel_means();
    let is_near =
        |(here, there): (&f64, &f64)| (here - there).abs() <= MEANS_APART * there.abs().max(1.0);
    let is_exact = !known.dtype.contains("float");
    // Of floating point the last digits differ from machine to machine; its digest alone says nothing.
    if !is_exact && means.iter().zip(&known.channel_means).all(is_near) {
        return None;
    }
    Some(format!("its digest is another; channel means {means:?}, known {:?}", known.channel_means))
}

/// Adds the stages that are not known, in the order in which they happen.
fn fill(sample: &mut PackSample, seen: Vec<Seen>) {
    let mut rest = std::mem::take(&mut sample.known.stages);
    let mut filled = Vec::new();
    for seen in seen {
        let given = rest.iter().position(|known| known.stage == seen.stage);
        let stage = if let Some(place) = given {
            rest.remove(place)
        } else {
            filled.push(seen.stage);
            written(&seen, sample)
        };
        sample.known.stages.push(stage);
    }
    sample.known.stages.append(&mut rest);
    if !filled.is_empty() {
        let here = format!("{} by {MADE_BY}", filled.join(", "));
        let Known { made_by, .. } = &mut sample.known;
        *made_by = Some(made_by.take().map_or(here.clone(), |before| format!("{before}; {here}")));
    }
}

fn written(seen: &Seen, sample: &mut PackSample) -> KnownStage {
    let mut tensors = Vec::new();
    for (place, tensor) in seen.tensors.iter().enumerate() {
        let number = if seen.tensors.len() > 1 { format!("-{place}") } else { String::new() };
        let copy = tensor.copy().map(|(ending, bytes)| {
            add(&mut sample.files, format!("{}{number}.{ending}", seen.stage), bytes)
        });
        tensors.push(KnownTensor {
            dtype: tensor.dtype().to_owned(),
            shape: tensor.shape().to_owned(),
            sha256: Digest::of(tensor.bytes()).to_string(),
            channel_means: tensor.channel_means(),
            copy,
        });
    }
    KnownStage { stage: seen.stage.to_owned(), tensors }
}
