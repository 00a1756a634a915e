use std::path::PathBuf;
use std::time::Duration;

use mar_handler::{Epilogue, Model};
use serde_json::json;
use tempfile::TempDir;

use super::super::model::TorchModel;
use super::*;

fn fixture(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file)
}

/// A fixture that is tuned on numbers of this shape, briefly, and what is found kept.
fn keeping(file: PathBuf, shape: &[usize], cache: &Path) -> LoadSpec {
    let options = Map::from_iter([("optimize_seconds".to_owned(), 0.1.into())]);
    let count = shape.iter().product();
    let inputs = match shape {
        [] => Vec::new(),
        _ => vec![Tensor::from_vec(shape, vec![0.5_f32; count]).unwrap()],
    };
    LoadSpec { options, inputs, cache: Some(cache.to_owned()), ..LoadSpec::new(file) }
}

fn images(cache: &TempDir) -> LoadSpec {
    keeping(fixture("images.pt"), &[1, 3, 64, 64], cache.path())
}

fn told(spec: &LoadSpec) -> Value {
    Value::Object(TorchModel::load(spec).unwrap().describe())
}

/// Loads a network; whether its form was known.
fn from_cache(spec: &LoadSpec) -> bool {
    told(spec)["form_from_cache"].as_bool().unwrap()
}

fn entries(cache: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(cache.path().join("libtorch")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// What a network was told to be at an earlier load, in a way that no trial tells.
fn as_if_told(spec: &LoadSpec, form: &str) {
    let told = json!({ "optimize": form, "milliseconds": { form: 0.125 } });
    let kept = Kept::of(spec, &Options::of(spec).unwrap()).unwrap();
    kept.keep(true, told.as_object().unwrap());
}

#[test]
fn the_second_load_tells_what_the_first_found() {
    let cache = tempfile::tempdir().unwrap();
    let mut first = told(&images(&cache));
    assert_eq!(first["form_from_cache"], false);
    assert_eq!(first["milliseconds"].as_object().unwrap().len(), 4);
    first["form_from_cache"] = true.into();
    for _ in 0..2 {
        assert_eq!(told(&images(&cache)), first, "to the microsecond, so nothing was timed");
    }
    assert_eq!(entries(&cache).len(), 1);
}

#[test]
fn a_form_that_was_found_is_opened_and_answers_as_the_network_itself() {
    let shape = [2, 3, 32, 96];
    let answer = |spec: &LoadSpec| {
        let image = Tensor::from_vec(&shape, vec![0.25_f32; 2 * 3 * 32 * 96]).unwrap();
        let model = TorchModel::load(spec).unwrap();
        assert!(model.is_shareable());
        let answer = model.forward(vec![image], Epilogue::None).unwrap();
        (answer[0].as_slice::<f32>().unwrap().to_vec(), model.describe())
    };
    let by_name = |form: &str, cache: &TempDir| {
        let options = Map::from_iter([("optimize".to_owned(), form.into())]);
        LoadSpec { options, ..images(cache) }
    };
    for form in ["freeze", "channels_last", "inference"] {
        let cache = tempfile::tempdir().unwrap();
        as_if_told(&images(&cache), form);
        let (known, told) = answer(&images(&cache));
        assert_eq!(
            Value::Object(told),
            json!({"optimize": form, "milliseconds": {form: 0.125}, "form_from_cache": true})
        );
        let (named, told) = answer(&by_name(form, &cache));
        assert_eq!(known, named, "{form}");
        assert_eq!(Value::Object(told), json!({ "optimize": form }), "nothing is kept of a name");
    }
}

#[test]
fn another_choice_is_made_for_whatever_is_another() {
    let cache = tempfile::tempdir().unwrap();
    let spec = images(&cache);
    assert!(!from_cache(&spec));
    let with = |name: &str, value: Value| {
        let mut options = spec.options.clone();
        options.insert(name.to_owned(), value);
        LoadSpec { options, ..spec.clone() }
    };
    let numbers = Tensor::from_vec(&[1, 3, 64, 64], vec![0.75_f32; 3 * 64 * 64]).unwrap();
    for (what, other) in [
        ("size", keeping(fixture("images.pt"), &[1, 3, 32, 64], cache.path())),
        ("numbers", LoadSpec { inputs: vec![numbers], ..spec.clone() }),
        ("inputs", keeping(fixture("images.pt"), &[], cache.path())),
        ("time", with("optimize_seconds", 0.2.into())),
        ("share of the cores", LoadSpec { intra_op_threads: 2, ..spec.clone() }),
        ("threads", with("INTRA_OP_THREAD_COUNT", 3.into())),
        ("network", keeping(fixture("convolution.pt"), &[1, 3, 64, 64], cache.path())),
    ] {
        assert!(!from_cache(&other), "another {what}");
        assert!(from_cache(&other), "the same {what}");
    }
    assert!(from_cache(&with("INTRA_OP_THREAD_COUNT", 1.into())), "as many threads as before");
    assert!(from_cache(&spec));
    let copy = cache.path().join("copy.pt");
    fs::copy(fixture("images.pt"), &copy).unwrap();
    assert!(from_cache(&LoadSpec { file: copy, ..spec }), "wherever it lies");
}

#[test]
fn variables_of_the_libraries_count_in_any_order() {
    let read = |variables: &[(&str, &str)]| {
        of_libraries(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    };
    let isa = ("ONEDNN_MAX_CPU_ISA", "AVX2");
    let both = ["OMP_WAIT_POLICY=PASSIVE", "ONEDNN_MAX_CPU_ISA=AVX2"];
    assert_eq!(read(&[isa, ("HOME", "/h"), ("OMP_WAIT_POLICY", "PASSIVE")]), both);
    let cache = tempfile::tempdir().unwrap();
    let (spec, options) = (images(&cache), Options::default());
    let key = |variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        key(&spec, &options, variables).unwrap()
    };
    assert_eq!(key(&[]), key(&[("HOME", "/h")]));
    assert_ne!(key(&[]), key(&[isa]));
}

#[test]
fn that_a_network_is_left_alone_is_kept_where_finding_out_took_time() {
    for (file, shape, shareable) in [
        ("counter.pt", &[1, 2][..], false),
        ("busy.pt", &[4], true),
        ("noise.pt", &[4], true),
        // Frozen to see whether it may be shared.
        ("images.pt", &[], true),
    ] {
        let cache = tempfile::tempdir().unwrap();
        let spec = keeping(fixture(file), shape, cache.path());
        let mut first = told(&spec);
        assert!(first["not_optimized"].is_string(), "{first}");
        assert_eq!(first["form_from_cache"], false, "{file}");
        first["form_from_cache"] = true.into();
        let second = TorchModel::load(&spec).unwrap();
        assert_eq!(Value::Object(second.describe()), first, "{file}");
        assert_eq!(second.is_shareable(), shareable, "{file}");
    }
    let cache = tempfile::tempdir().unwrap();
    let mut spec = images(&cache);
    spec.options.insert("DISABLE_OPTIMIZED_EXECUTION".into(), true.into());
    for _ in 0..2 {
        assert_eq!(told(&spec).get("form_from_cache"), None, "there was nothing to find out");
    }
    assert!(!cache.path().join("libtorch").exists());
}

#[test]
fn an_entry_that_is_damaged_or_of_no_use_is_made_anew() {
    let cache = tempfile::tempdir().unwrap();
    let spec = images(&cache);
    assert!(!from_cache(&spec));
    let entry = entries(&cache).remove(0);
    let (choice, digests) = (entry.join("choice.json"), entry.join("digests.json"));
    let rewritten = |text: &str| {
        let list = json!({ "choice.json": blake3::hash(text.as_bytes()).to_hex().as_str() });
        fs::write(&choice, text).unwrap();
        fs::write(&digests, list.to_string()).unwrap();
    };
    let told_of =
        |form: &str| json!({ "shareable": true, "execution": { "optimize": form } }).to_string();
    let damages: [(&str, &dyn Fn()); 6] = [
        ("another byte", &|| fs::write(&choice, "{}").unwrap()),
        ("no choice", &|| fs::write(&digests, "{}").unwrap()),
        ("no JSON", &|| rewritten("{")),
        ("no form", &|| rewritten(r#"{"shareable": true, "execution": {}}"#)),
        ("an unknown form", &|| rewritten(&told_of("quantum"))),
        ("nothing of sharing", &|| rewritten(r#"{"execution": {"optimize": "none"}}"#)),
    ];
    for (damage, make) in damages {
        make();
        let anew = told(&spec);
        assert_eq!(anew["form_from_cache"], false, "{damage}");
        assert_eq!(anew["milliseconds"].as_object().unwrap().len(), 4, "{damage}");
        assert!(from_cache(&spec), "after {damage}");
        assert_eq!(entries(&cache), std::slice::from_ref(&entry), "after {damage}");
    }
}

#[test]
fn a_form_that_does_not_open_any_more_is_forgotten() {
    let cache = tempfile::tempdir().unwrap();
    let file = cache.path().join("network.pt");
    fs::write(&file, "no network").unwrap();
    let spec = keeping(file, &[1, 2], cache.path());
    as_if_told(&spec, "freeze");
    let error = TorchModel::load(&spec).unwrap_err();
    assert!(error.message().starts_with("network.pt does not open"), "{error}");
    assert!(entries(&cache).is_empty());
}

#[test]
fn what_lasts_is_kept_and_what_was_short_of_memory_is_not() {
    let cache = tempfile::tempdir().unwrap();
    let spec = images(&cache);
    let other = cache.path().join("other.pt");
    fs::copy(fixture("images.pt"), &other).unwrap();
    let exchanged = LoadSpec { file: other.clone(), ..spec.clone() };
    let kept = Kept::of(&exchanged, &Options::of(&spec).unwrap()).unwrap();
    fs::copy(fixture("convolution.pt"), other).unwrap();
    kept.keep(true, &Map::new());
    assert!(entries(&cache).is_empty(), "it was exchanged meanwhile");

    let failed = |text: &str| {
        let error = super::super::error::prediction(tch::TchError::Torch(text.to_owned()));
        let mut report = super::super::report::Report::of(Form::Plain);
        report.pass_over(Form::Inference, &error);
        report.is_lasting()
    };
    assert!(failed("could not create a primitive"));
    assert!(!failed("DefaultCPUAllocator: not enough memory: you tried to allocate 7 bytes"));
}

#[test]
fn without_a_folder_that_can_be_used_networks_load_as_before() {
    let cache = tempfile::tempdir().unwrap();
    let file = cache.path().join("file");
    fs::write(&file, "").unwrap();
    for folder in [None, Some(file)] {
        let told = told(&LoadSpec { cache: folder, ..images(&cache) });
        assert_eq!(told.get("form_from_cache"), None);
        assert_eq!(told["milliseconds"].as_object().unwrap().len(), 4);
    }
    let cuda = LoadSpec { device: Device::Cuda(0), ..images(&cache) };
    assert!(Kept::of(&cuda, &Options::default()).is_none(), "whose number says too little");
    assert!(!cache.path().join("libtorch").exists());
}

#[test]
fn several_who_load_at_the_same_time_do_not_disturb_each_other() {
    let cache = tempfile::tempdir().unwrap();
    let mut spec = images(&cache);
    spec.options.insert("optimize_seconds".into(), Duration::from_millis(1).as_secs_f64().into());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(told(&spec)["optimize"].is_string()));
        }
    });
    assert!(from_cache(&spec));
    assert_eq!(entries(&cache).len(), 1);
}
