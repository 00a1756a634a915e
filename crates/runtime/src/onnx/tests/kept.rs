//! Graphs that are kept: what comes out of them, and what happens to those that are damaged.

use std::cell::Cell;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ort::session::Session;
use tempfile::TempDir;

use super::super::files::Files;
use super::super::kept::{Graph, Kept};
use super::super::library::Library;
use super::super::options::Options;
use super::*;

fn keeping(file: PathBuf, cache: &Path) -> LoadSpec {
    LoadSpec { cache: Some(cache.to_owned()), ..LoadSpec::new(file) }
}

/// Loads a network; whether its graph was there already.
fn opened(spec: &LoadSpec) -> (Arc<dyn Model>, bool) {
    let model = Onnx::start().load(spec).unwrap();
    let from_cache = model.describe()["graph_from_cache"].as_bool().unwrap();
    (model, from_cache)
}

fn three(model: &dyn Model) -> Vec<u8> {
    let row = |value: i32| Tensor::from_vec(&[1, 16], vec![value; 16]).unwrap();
    let answer = model.forward(vec![row(5), row(2)], Epilogue::None).unwrap();
    answer[1].bytes().to_vec()
}

fn entries(cache: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(cache.path().join("onnxruntime")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_network_answers_the_same_from_what_is_kept_of_it() {
    for level in ["basic", "extended", "layout", "all"] {
        let cache = tempfile::tempdir().unwrap();
        for expected in [false, true] {
            ask_all(|name| {
                let level = [("graph_optimization_level".to_owned(), level.into())];
                let (model, from_cache) = opened(&LoadSpec {
                    options: level.into_iter().collect(),
                    ..keeping(fixture(&format!("{name}.onnx")), cache.path())
                });
                assert_eq!(from_cache, expected, "{name}");
                model
            });
        }
    }
}

#[test]
fn a_kept_graph_is_private_and_that_of_another_network_or_level_is_another_one() {
    let cache = tempfile::tempdir().unwrap();
    let spec = keeping(fixture("segmenter.onnx"), cache.path());
    assert!(!opened(&spec).1);
    assert!(opened(&LoadSpec { intra_op_threads: 2, ..spec.clone() }).1, "for any threads");
    let basic = [("graph_optimization_level".to_owned(), "basic".into())].into_iter().collect();
    assert!(!opened(&LoadSpec { options: basic, ..spec.clone() }).1);
    assert!(!opened(&keeping(fixture("simple.onnx"), cache.path())).1);
    assert_eq!(entries(&cache).len(), 3);
    for entry in entries(&cache) {
        assert_eq!(fs::metadata(&entry).unwrap().permissions().mode() & 0o777, 0o700);
        for file in fs::read_dir(entry).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
    }
    let as_exported = [("graph_optimization_level".to_owned(), "disable".into())];
    let spec = LoadSpec { options: as_exported.into_iter().collect(), ..spec };
    let model = Onnx::start().load(&spec).unwrap();
    assert_eq!(model.describe().get("graph_from_cache"), None, "there is nothing to keep");
}

#[test]
fn weights_of_their_own_count_as_the_network_does() {
    let (cache, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for file in ["external.onnx", "external.weights"] {
        fs::copy(fixture(file), folder.path().join(file)).unwrap();
    }
    let spec = keeping(folder.path().join("external.onnx"), cache.path());
    let ask = |model: Arc<dyn Model>| {
        let row = Tensor::from_vec(&[1, 2], vec![1_f32, 2.0]).unwrap();
        let answer = model.forward(vec![row], Epilogue::None).unwrap();
        answer[0].as_slice::<f32>().unwrap().to_vec()
    };
    let (model, from_cache) = opened(&spec);
    assert_eq!((ask(model), from_cache), (vec![210.0, 5.0], false));
    let (model, from_cache) = opened(&spec);
    assert_eq!((ask(model), from_cache), (vec![210.0, 5.0], true));
    let weights = folder.path().join("external.weights");
    let ones = 1_f32.to_le_bytes().repeat(4);
    fs::write(&weights, ones).unwrap();
    let (model, from_cache) = opened(&spec);
    assert_eq!((ask(model), from_cache), (vec![3.0, 3.0], false));
    fs::remove_file(weights).unwrap();
    assert!(Onnx::start().load(&spec).is_err(), "what is kept does not stand in for it");
}

#[test]
fn an_entry_that_is_damaged_is_made_anew() {
    let cache = tempfile::tempdir().unwrap();
    let spec = keeping(fixture("simple.onnx"), cache.path());
    let right = three(&*opened(&spec).0);
    let entry = entries(&cache).remove(0);
    let (graph, digests) = (entry.join("model.onnx"), entry.join("digests.json"));
    let good = fs::read(&graph).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    // As it would be told of a graph that the library wrote badly.
    let no_network = format!(r#"{{"model.onnx": "{}"}}"#, blake3::hash(b"none").to_hex());
    let damages: [(&str, &dyn Fn()); 9] = [
        ("cut off", &|| fs::write(&graph, &good[..good.len() / 2]).unwrap()),
        ("a bit", &|| fs::write(&graph, &flipped).unwrap()),
        ("no graph", &|| fs::remove_file(&graph).unwrap()),
        ("no digests", &|| fs::remove_file(&digests).unwrap()),
        ("no list", &|| fs::write(&digests, "{").unwrap()),
        ("another list", &|| fs::write(&digests, r#"{"model.onnx": 7}"#).unwrap()),
        ("no network", &|| {
            fs::write(&graph, "none").unwrap();
            fs::write(&digests, &no_network).unwrap();
        }),
        ("a link", &|| {
            fs::remove_dir_all(&entry).unwrap();
            symlink("nowhere", &entry).unwrap();
        }),
        ("a file", &|| {
            fs::remove_dir_all(&entry).unwrap();
            fs::write(&entry, "").unwrap();
        }),
    ];
    for (damage, make) in damages {
        make();
        let (model, from_cache) = opened(&spec);
        assert_eq!((three(&*model), from_cache), (right.clone(), false), "{damage}");
        let (model, from_cache) = opened(&spec);
        assert_eq!((three(&*model), from_cache), (right.clone(), true), "after {damage}");
        assert_eq!(entries(&cache), std::slice::from_ref(&entry), "after {damage}");
    }
}

#[test]
fn a_folder_that_cannot_be_used_fails_no_load() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let spec = keeping(fixture("simple.onnx"), &file);
    let model = Onnx::start().load(&spec).unwrap();
    assert_eq!(model.describe().get("graph_from_cache"), None);
    assert_eq!(three(&*model), 3_i32.to_le_bytes().repeat(16));
    let open = folder.path().join("onnxruntime");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    let model = Onnx::start().load(&keeping(fixture("simple.onnx"), folder.path())).unwrap();
    assert_eq!(model.describe().get("graph_from_cache"), None, "anybody may write there");
    assert_eq!(fs::read_dir(open).unwrap().count(), 0);
}

#[test]
fn several_who_load_at_the_same_time_do_not_disturb_each_other() {
    let cache = tempfile::tempdir().unwrap();
    let spec = keeping(fixture("simple.onnx"), cache.path());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..4 {
                    assert_eq!(three(&*opened(&spec).0), 3_i32.to_le_bytes().repeat(16));
                }
            });
        }
    });
    assert!(opened(&spec).1);
    assert_eq!(entries(&cache).len(), 1);
}

#[test]
fn a_network_that_does_not_open_is_told_as_without_a_cache_and_leaves_nothing() {
    let (cache, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = folder.path().join("cut.onnx");
    let good = fs::read(fixture("classifier.onnx")).unwrap();
    fs::write(&file, &good[..good.len() / 2]).unwrap();
    let told = |spec: &LoadSpec| match Onnx::start().load(spec) {
        Ok(_) => panic!("it loads"),
        Err(error) => error.message().to_owned(),
    };
    assert_eq!(told(&keeping(file.clone(), cache.path())), told(&LoadSpec::new(file)));
    assert!(entries(&cache).is_empty());
}

/// A place to keep a network, and how it is opened.
fn kept(
    cache: &TempDir,
    file: PathBuf,
) -> (Kept, impl Fn(&Path, Graph<'_>) -> Result<Session, ort::Error>) {
    let library = Library::start().unwrap();
    let options = Options::new(&Map::new(), 1).unwrap();
    let spec = keeping(file, cache.path());
    let kept = Kept::of(&library, &spec, &options, &Files::checked(&spec.file).unwrap()).unwrap();
    let open = move |file: &Path, graph: Graph<'_>| {
        let builder = options.apply(Session::builder(&library.environment)?)?;
        graph.apply(builder)?.commit_from_file(file)
    };
    (kept, open)
}

#[test]
fn a_disk_that_is_full_and_a_graph_that_is_not_read_again_fail_no_load() {
    let cache = tempfile::tempdir().unwrap();
    let file = fixture("simple.onnx");
    let (kept, open) = kept(&cache, file.clone());
    let full = |path: &Path, graph: Graph<'_>| match graph {
        Graph::Written { .. } => Err(ort::Error::new("No space left on device")),
        other => open(path, other),
    };
    assert!(!kept.open(&file, full).unwrap().1);
    assert!(entries(&cache).is_empty());

    // Weights of their own are given up first.
    let inline = |path: &Path, graph: Graph<'_>| match graph {
        Graph::Written { weights: Some(_), graph } => {
            fs::write(graph, "nonsense").unwrap();
            open(path, Graph::AsAsked)
        }
        other => open(path, other),
    };
    assert!(!kept.open(&file, inline).unwrap().1);
    assert!(kept.open(&file, inline).unwrap().1);

    fs::remove_dir_all(entries(&cache).remove(0)).unwrap();
    let writes = Cell::new(0);
    let never = |path: &Path, graph: Graph<'_>| match graph {
        Graph::Written { graph, .. } => {
            writes.set(writes.get() + 1);
            fs::write(graph, "nonsense").unwrap();
            open(path, Graph::AsAsked)
        }
        other => open(path, other),
    };
    assert!(!kept.open(&file, never).unwrap().1);
    assert!(!kept.open(&file, never).unwrap().1);
    assert_eq!(writes.get(), 2, "once with and once without, and never again");
}

#[test]
fn a_network_that_is_exchanged_while_it_is_read_is_not_kept_as_the_one_before() {
    let (cache, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = folder.path().join("model.onnx");
    fs::copy(fixture("simple.onnx"), &file).unwrap();
    let (kept, open) = kept(&cache, file.clone());
    let exchanged = |path: &Path, graph: Graph<'_>| {
        if let Graph::Written { .. } = graph {
            fs::copy(fixture("add_fp32.onnx"), &file).unwrap();
        }
        open(path, graph)
    };
    assert!(!kept.open(&file, exchanged).unwrap().1);
    assert!(entries(&cache).is_empty());
}
