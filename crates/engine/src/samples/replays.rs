//! Replays: how much of an archive is replayed, what is asked of a handler and a model on the way, and what
//! becomes of the weights.

use std::cell::Cell;
use std::fs;
use std::time::Duration;

use mar::{
    Digest, Input, Known, KnownAnswer, KnownStage, KnownTensor, Opened, SAMPLES_FORMAT, Sample,
    Samples, Summary,
};
use mar_handler::{
    Batch, Context, Device, Epilogue, Error, ErrorCode, Handler, Model, Request, Response, Result,
    Stage, Tensor,
};
use tempfile::TempDir;

use super::at_load::{AfterReplay, KnownAnswers};
use super::replay::{Limit, Replay};
use super::report::{SampleReport, SamplesReport, SamplesVerdict, StageVerdict, VerifySamples};

/// Answers with the input; what it says is what the model does.
struct Echo;

impl Handler for Echo {
    fn initialize(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    fn preprocess(&self, request: &Request) -> Result<Vec<Tensor>> {
        let data = request.payload()?.data.to_vec();
        Ok(vec![Tensor::from_vec(&[data.len()], data)?])
    }

    fn inference(&self, model: &dyn Model, batch: Batch) -> Result<Vec<Vec<Tensor>>> {
        batch.through(model, Epilogue::Softmax { dim: 1 })
    }

    fn postprocess(&self, outputs: Vec<Tensor>, request: &Request) -> Result<Response> {
        let text = request.parameter("say").unwrap_or_default();
        Ok(Response::bytes("text/plain", [text.as_bytes(), outputs[0].bytes()].concat()))
    }
}

/// As [`Echo`], with a stage of its own.
struct Image;

impl Handler for Image {
    fn initialize(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    fn preprocess(&self, request: &Request) -> Result<Vec<Tensor>> {
        Echo.preprocess(request)
    }

    fn stages(&self, request: &Request) -> Result<Vec<Stage>> {
        Ok(vec![Stage { name: Stage::NORMALISE, tensors: self.preprocess(request)? }])
    }

    fn postprocess(&self, outputs: Vec<Tensor>, request: &Request) -> Result<Response> {
        Echo.postprocess(outputs, request)
    }
}

struct Does;

impl Model for Does {
    fn forward(&self, inputs: Vec<Tensor>, _: Epilogue) -> Result<Vec<Tensor>> {
        let input = inputs[0].bytes();
        assert!(!input.starts_with(b"panic"), "a tensor of lead");
        if input.starts_with(b"full") {
            return Err(Error::new(ErrorCode::OutOfMemory, "no room"));
        }
        if input.starts_with(b"no") {
            let said = String::from_utf8_lossy(input);
            return Err(Error::prediction_failed(format!("the model said {said}")));
        }
        if input.starts_with(b"lost") {
            return Err(Error::new(ErrorCode::DeviceLost, "no device"));
        }
        Ok(inputs)
    }

    fn device(&self) -> Device {
        Device::Cpu
    }
}

/// An archive whose samples are these inputs with these answers.
fn archive(samples: &[(&str, &str)]) -> (TempDir, Opened) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("samples")).unwrap();
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        name.to_owned()
    };
    let sample = |(index, (input, output)): (usize, &(&str, &str))| Sample {
        name: format!("{index}"),
        input: Input {
            file: write(&format!("samples/{index}.txt"), input),
            content_type: None,
            sha256: Digest::of(input.as_bytes()).to_string(),
        },
        known: Known {
            answers: vec![KnownAnswer {
                query: Vec::new(),
                file: write(&format!("samples/{index}.out"), output),
                content_type: "text/plain".into(),
                tolerance: 0.0,
                agreement: 1.0,
            }],
            ..Known::default()
        },
    };
    let samples = samples.iter().enumerate().map(sample).collect();
    let index = Samples { format: SAMPLES_FORMAT, samples };
    write(mar::SAMPLES_NAME, &serde_json::to_string(&index).unwrap());
    let opened = mar::read_samples(folder.path()).unwrap().unwrap();
    (folder, opened)
}

/// The tensor that these bytes are sent as.
fn known(bytes: &[u8]) -> KnownTensor {
    KnownTensor {
        dtype: "uint8".into(),
        shape: vec![bytes.len()],
        sha256: Digest::of(bytes).to_string(),
        channel_means: Vec::new(),
        copy: None,
    }
}

/// What comes of one sample, once its entry in the index was changed.
fn replayed(
    (input, output): (&str, &str),
    change: impl FnOnce(&mut Sample),
    handler: &dyn Handler,
    model: &dyn Model,
) -> SampleReport {
    let (folder, opened) = archive(&[(input, output)]);
    let mut index = opened.samples().clone();
    change(&mut index.samples[0]);
    let index = serde_json::to_string(&index).unwrap();
    fs::write(folder.path().join(mar::SAMPLES_NAME), index).unwrap();
    let opened = mar::read_samples(folder.path()).unwrap().unwrap();
    let replay = Replay { opened: &opened, handler, model };
    replay.within(Limit::NONE, || Duration::ZERO).reports.remove(0)
}

/// Its stages in words.
fn told(report: &SampleReport) -> Vec<(&str, StageVerdict)> {
    report.stages.iter().map(|stage| (stage.stage.as_str(), stage.verdict)).collect()
}

/// An output of the network of one byte.
fn output(value: u8, shape: &[usize]) -> Summary {
    let value = f64::from(value);
    Summary {
        name: None,
        dtype: "uint8".into(),
        shape: shape.to_vec(),
        min: value,
        max: value,
        mean: value,
        std: 0.0,
        values: vec![value],
    }
}

/// Gives `b` where nothing is to be done to it, else `B`; in lists `b` alone.
struct Lower;

impl Model for Lower {
    fn forward(&self, _: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
        let value = if epilogue == Epilogue::None { b'b' } else { b'B' };
        Ok(vec![Tensor::from_vec(&[1, 1], vec![value])?])
    }

    fn forward_list(&self, _: Vec<Tensor>) -> Result<Vec<Vec<Tensor>>> {
        Ok(vec![vec![Tensor::from_vec(&[1, 1], vec![b'b'])?]])
    }

    fn device(&self) -> Device {
        Device::Cpu
    }
}

/// As [`Echo`], in lists; and gives `self.0` answers to each batch.
struct Lists(usize);

impl Handler for Lists {
    fn initialize(_: &Context) -> Result<Self> {
        Ok(Self(1))
    }

    fn preprocess(&self, request: &Request) -> Result<Vec<Tensor>> {
        Echo.preprocess(request)
    }

    fn inference(&self, model: &dyn Model, batch: Batch) -> Result<Vec<Vec<Tensor>>> {
        let answers = model.forward_list(batch.into_tensors())?;
        Ok(answers.into_iter().cycle().take(self.0).collect())
    }

    fn postprocess(&self, outputs: Vec<Tensor>, request: &Request) -> Result<Response> {
        Echo.postprocess(outputs, request)
    }
}

/// Answers with what it is told of the body's type.
struct Types;

impl Handler for Types {
    fn initialize(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    fn preprocess(&self, request: &Request) -> Result<Vec<Tensor>> {
        Echo.preprocess(request)
    }

    fn postprocess(&self, _: Vec<Tensor>, request: &Request) -> Result<Response> {
        let of_part = request.payload()?.content_type.clone().unwrap_or_default();
        let of_header = request.header("Content-Type").unwrap_or_default();
        Ok(Response::bytes("text/plain", format!("{of_part}|{of_header}")))
    }
}

#[test]
fn the_network_is_held_against_what_it_gives_and_the_answer_against_what_is_made_of_it() {
    use StageVerdict::Reproduced;
    let knows = |output| move |sample: &mut Sample| sample.known.output = vec![output];
    let both = [("forward", Reproduced), ("answer", Reproduced)];
    assert_eq!(told(&replayed(("a", "B"), knows(output(b'b', &[1])), &Echo, &Lower)), both);
    // In a list an output is what it is, whatever its first side.
    let listed = replayed(("a", "b"), knows(output(b'b', &[1, 1])), &Lists(1), &Lower);
    assert_eq!(told(&listed), both);
    let two = replayed(("a", "b"), |_| (), &Lists(2), &Lower);
    let first = two.first_difference().unwrap();
    let words = "the handler answered 2 of 1 request; what the network gave is not known";
    assert!(first.figures.starts_with(words), "{first}");
}

#[test]
fn a_handler_that_fails_on_what_the_network_gave_differs_at_the_answer() {
    use StageVerdict::{Differs, Reproduced};
    let knows = |sample: &mut Sample| sample.known.output = vec![output(b'b', &[1, 1])];
    let report = replayed(("a", "b"), knows, &Lists(2), &Lower);
    assert_eq!(told(&report), [("forward", Reproduced), ("answer", Differs)]);
    // A network that fails, or gives something else, is to blame itself.
    let report = replayed(("no", "b"), |_| (), &Echo, &Does);
    assert_eq!(told(&report), [("forward", Differs)]);
    let knows = |sample: &mut Sample| sample.known.output = vec![output(b'c', &[1, 1])];
    let report = replayed(("a", "b"), knows, &Lists(2), &Lower);
    assert_eq!(report.first_difference().unwrap().stage, "forward");
}

#[test]
fn a_handler_without_stages_shows_what_it_has_in_the_end() {
    use StageVerdict::{Differs, NotCompared, Reproduced};
    let stages = |of: &'static [(&'static str, &'static [&'static [u8]])]| {
        move |sample: &mut Sample| {
            let stage = |(name, tensors): &(&str, &[&[u8]])| KnownStage {
                stage: (*name).into(),
                tensors: tensors.iter().map(|bytes| known(bytes)).collect(),
            };
            sample.known.stages = of.iter().map(stage).collect();
        }
    };
    let report =
        replayed(("a", "a"), stages(&[("decode", &[b"x"]), ("normalise", &[b"a"])]), &Echo, &Does);
    let expected = [("decode", NotCompared), ("normalise", Reproduced), ("answer", Reproduced)];
    assert_eq!(told(&report), expected);
    let report = replayed(("a", "a"), stages(&[("normalise", &[b"b"])]), &Echo, &Does);
    assert_eq!(told(&report)[0], ("normalise", Differs));
    let report = replayed(("a", "a"), stages(&[("normalise", &[b"a", b"a"])]), &Echo, &Does);
    assert_eq!(report.first_difference().unwrap().figures, "1 tensors where 2 were known");
}

#[test]
fn a_sample_goes_under_the_type_that_it_is_sent_as() {
    let answered = |content_type: Option<&str>, answer: &str| {
        let sent_as = |sample: &mut Sample| {
            sample.input.content_type = content_type.map(str::to_owned);
        };
        let report = replayed(("a", answer), sent_as, &Types, &Does);
        assert!(report.first_difference().is_none(), "{report:?}");
    };
    answered(Some("text/csv; charset=utf-8"), "text/csv|text/csv; charset=utf-8");
    answered(None, "|");
}

#[test]
fn figures_are_one_line_whatever_a_message_holds() {
    let report = replayed(("no\u{1b}[2J\nb", "x"), |_| (), &Echo, &Does);
    assert_eq!(report.first_difference().unwrap().figures, "the model said no [2J b");
}

#[test]
fn of_several_devices_the_worst_is_told_and_each_as_it_was_loaded_last() {
    use SamplesVerdict::{Differs, Reproduced, Unreadable};
    let (folder, _opened) = archive(&[("a", "a")]);
    let answers = KnownAnswers::open(VerifySamples::Warn, folder.path()).unwrap();
    let keep = |device, verdict| {
        let report = SamplesReport { verdict, ..answers.report() };
        answers.keep("a worker", Device::Cuda(device), report);
        answers.report().verdict
    };
    assert_eq!(keep(0, Differs), Differs);
    assert_eq!(keep(1, Reproduced), Differs);
    assert_eq!(keep(2, Unreadable), Differs);
    assert_eq!(keep(0, Reproduced), Unreadable);
    assert_eq!(keep(2, Reproduced), Reproduced);
}

#[test]
fn no_sample_is_begun_when_the_time_is_over_but_the_first_always_is() {
    let (_folder, opened) = archive(&[("a", "a"), ("b", "b"), ("c", "c"), ("d", "d")]);
    let replay = Replay { opened: &opened, handler: &Echo, model: &Does };
    let limit = Limit { samples: 3, time: Duration::from_secs(2) };
    // Each look at the clock finds it so much later.
    let replayed = |step: u64| {
        let now = Cell::new(0);
        let elapsed = || {
            now.set(now.get() + step);
            Duration::from_millis(now.get())
        };
        replay.within(limit, elapsed).reports.len()
    };
    assert_eq!(replayed(0), 3, "no more than three");
    assert_eq!(replayed(999), 3);
    assert_eq!(replayed(1000), 2);
    assert_eq!(replayed(2000), 1);
    assert_eq!(replayed(60_000), 1);
}

#[test]
fn no_answer_is_asked_for_when_the_time_is_over_but_the_first_always_is() {
    let (folder, opened) = archive(&[("a", "a")]);
    let mut index = opened.samples().clone();
    let answer = index.samples[0].known.answers[0].clone();
    index.samples[0].known.answers = vec![answer; 9];
    let index = serde_json::to_string(&index).unwrap();
    fs::write(folder.path().join(mar::SAMPLES_NAME), index).unwrap();
    let opened = mar::read_samples(folder.path()).unwrap().unwrap();
    let replay = Replay { opened: &opened, handler: &Echo, model: &Does };
    let limit = Limit { samples: 3, time: Duration::from_secs(2) };
    let asked = |elapsed: Duration| {
        let stages = replay.within(limit, || elapsed).reports.remove(0).stages;
        let left = stages.iter().position(|stage| stage.verdict == StageVerdict::NotCompared);
        (left.unwrap_or(stages.len()), stages.last().unwrap().figures.clone())
    };
    assert_eq!(asked(Duration::from_secs(1)).0, 9);
    let (asked, figures) = asked(Duration::from_secs(2));
    assert_eq!(
        (asked, figures.as_str()),
        (1, "the time was over before the last 8 were asked for")
    );
}

fn after(mode: VerifySamples, samples: &[(&str, &str)]) -> AfterReplay {
    let (folder, opened) = archive(samples);
    KnownAnswers::open(mode, folder.path()).unwrap().replay(&opened, &Echo, &Does)
}

#[test]
fn weights_serve_or_not_by_the_mode_and_by_what_failed() {
    use VerifySamples::{Strict, Warn};
    let AfterReplay::Serve(report) = after(Strict, &[("a", "a"), ("b", "b")]) else { panic!() };
    assert_eq!((report.verdict, report.replayed, report.of), (SamplesVerdict::Reproduced, 2, 2));
    let AfterReplay::Serve(report) = after(Warn, &[("a", "a"), ("b", "x")]) else { panic!() };
    assert_eq!((report.verdict, report.differing), (SamplesVerdict::Differs, 1));
    assert_eq!(report.first_difference.unwrap().sample, "1");
    let refused = |samples| match after(Strict, samples) {
        AfterReplay::Refuse { error, may_pass, .. } => (error.code(), may_pass),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&[("a", "x")]), (ErrorCode::InvalidModel, false));
    assert_eq!(refused(&[("panic", "x")]), (ErrorCode::InvalidModel, false));
    assert_eq!(refused(&[("full", "x")]), (ErrorCode::OutOfMemory, true));
    assert_eq!(refused(&[("lost", "x")]), (ErrorCode::DeviceLost, false));
    // A panic leaves the weights in an unknown state.
    let AfterReplay::LoadAgain(report) = after(Warn, &[("panic", "x")]) else { panic!() };
    let first = report.first_difference.unwrap();
    assert_eq!(first.stage, "forward");
    assert!(first.figures.contains("panicked in inference: a tensor of lead"), "{first}");
    let AfterReplay::Refuse { error, .. } = after(Warn, &[("lost", "x")]) else { panic!() };
    assert_eq!(error.code(), ErrorCode::DeviceLost);
}

#[test]
fn the_worst_that_happened_to_the_weights_decides_not_the_first() {
    use VerifySamples::{Strict, Warn};
    let again = |samples| matches!(after(Warn, samples), AfterReplay::LoadAgain(_));
    assert!(again(&[("full", "x"), ("panic", "x")]));
    assert!(again(&[("panic", "x"), ("full", "x")]));
    let AfterReplay::Refuse { error, .. } = after(Warn, &[("panic", "x"), ("lost", "x")]) else {
        panic!()
    };
    assert_eq!(error.code(), ErrorCode::DeviceLost);
    let AfterReplay::Refuse { may_pass, .. } = after(Strict, &[("full", "x"), ("panic", "x")])
    else {
        panic!()
    };
    assert!(!may_pass, "it would panic again");
}

#[test]
fn what_was_found_before_a_sample_that_cannot_be_read_counts() {
    let after = |first: &str, mode| {
        let (folder, opened) = archive(&[(first, "x"), ("b", "b")]);
        fs::write(folder.path().join("samples/1.txt"), "changed").unwrap();
        KnownAnswers::open(mode, folder.path()).unwrap().replay(&opened, &Echo, &Does)
    };
    let AfterReplay::LoadAgain(report) = after("panic", VerifySamples::Warn) else { panic!() };
    assert_eq!((report.verdict, report.replayed), (SamplesVerdict::Differs, 1));
    assert_eq!(report.first_difference.unwrap().sample, "0");
    assert!(report.reason.unwrap().contains("samples/1.txt is not the file"));
    let lost = after("lost", VerifySamples::Warn);
    assert!(matches!(lost, AfterReplay::Refuse { .. }), "{lost:?}");
    let AfterReplay::Serve(report) = after("x", VerifySamples::Warn) else { panic!() };
    assert_eq!((report.verdict, report.differing), (SamplesVerdict::Unreadable, 0));
    let AfterReplay::Refuse { error, .. } = after("x", VerifySamples::Strict) else { panic!() };
    assert!(error.message().contains("samples/1.txt"), "{error}");
}

#[test]
fn samples_of_which_nothing_can_be_compared_prove_nothing() {
    let (folder, opened) = archive(&[("a", "a")]);
    let mut index = opened.samples().clone();
    let tensor = known(b"a");
    // Misspelt, with another after it: the last one would be what the handler has in the end.
    index.samples[0].known = Known {
        stages: vec![KnownStage { stage: "decoed".into(), tensors: vec![tensor] }; 2],
        ..Known::default()
    };
    index.samples[0].known.stages[1].stage = "resize".into();
    index.samples[0].known.stages[1].tensors.clear();
    let index = serde_json::to_string(&index).unwrap();
    fs::write(folder.path().join(mar::SAMPLES_NAME), index).unwrap();
    let opened = mar::read_samples(folder.path()).unwrap().unwrap();
    let of = |mode| KnownAnswers::open(mode, folder.path()).unwrap().replay(&opened, &Image, &Does);
    let AfterReplay::Serve(report) = of(VerifySamples::Warn) else { panic!() };
    assert_eq!(report.verdict, SamplesVerdict::Unreadable);
    let reason = report.reason.unwrap();
    let words = "nothing that is known can be compared: decoed: the handler shows no such stage";
    assert!(reason.starts_with(words), "{reason}");
    let AfterReplay::Refuse { error, may_pass, .. } = of(VerifySamples::Strict) else { panic!() };
    assert!(error.message().contains(words) && !may_pass, "{error}");
}

#[test]
fn figures_are_no_longer_than_a_person_reads() {
    let long = format!("no {}", "o".repeat(1 << 20));
    let AfterReplay::Serve(report) = after(VerifySamples::Warn, &[(&long, "x")]) else { panic!() };
    let figures = report.first_difference.unwrap().figures;
    assert!(figures.len() < 3000, "{}", figures.len());
    assert!(figures.starts_with("the model said no oooo") && figures.ends_with("ooo..."));
}

#[test]
fn an_input_that_changed_cannot_be_replayed() {
    let (folder, opened) = archive(&[("a", "a")]);
    fs::write(folder.path().join("samples/0.txt"), "b").unwrap();
    let of = |mode| KnownAnswers::open(mode, folder.path()).unwrap().replay(&opened, &Echo, &Does);
    let AfterReplay::Serve(report) = of(VerifySamples::Warn) else { panic!() };
    assert_eq!((report.verdict, report.replayed), (SamplesVerdict::Unreadable, 0));
    assert!(report.reason.is_some());
    let AfterReplay::Refuse { error, .. } = of(VerifySamples::Strict) else { panic!() };
    assert!(error.message().starts_with("the known answers cannot be replayed"), "{error}");
}
