//! Sessions whose threads follow the worker's.

use std::fs;

use super::super::files::Files;
use super::super::following::Following;
use super::super::library::Library;
use super::*;

fn threads(following: &Following) -> u64 {
    following.settle();
    following.current().describe()["intra_op_thread_count"].as_u64().unwrap()
}

#[test]
fn a_session_is_opened_anew_when_the_workers_share_changes_and_once_only() {
    let library = Library::start().unwrap();
    let spec = LoadSpec { intra_op_threads: 2, ..LoadSpec::new(fixture("simple.onnx")) };
    let following = Following::open(&library, &spec, Files::checked(&spec.file).unwrap()).unwrap();
    let first = following.current();
    following.use_threads(2);
    assert!(Arc::ptr_eq(&first, &following.current()), "nothing has changed");
    following.use_threads(1);
    assert_eq!(threads(&following), 1);
    let second = following.current();
    following.use_threads(1);
    following.use_threads(0);
    assert_eq!(threads(&following), 1);
    assert!(Arc::ptr_eq(&second, &following.current()), "one for one change");
    assert_eq!(following.changes(), 1, "of which whoever asked before can learn");
    for wanted in 1..=4 {
        following.use_threads(wanted);
    }
    assert_eq!(threads(&following), 4, "the last one counts");
}

#[test]
fn threads_given_by_hand_stay() {
    let options = [("intra_op_thread_count".to_owned(), 3.into())].into_iter().collect();
    let spec = LoadSpec { options, ..LoadSpec::new(fixture("simple.onnx")) };
    let following =
        Following::open(&Library::start().unwrap(), &spec, Files::checked(&spec.file).unwrap())
            .unwrap();
    let first = following.current();
    following.use_threads(2);
    assert_eq!(threads(&following), 3);
    assert!(Arc::ptr_eq(&first, &following.current()));
}

#[test]
fn a_file_that_is_another_one_or_gone_is_not_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.onnx");
    fs::copy(fixture("simple.onnx"), &file).unwrap();
    let following = Following::open(
        &Library::start().unwrap(),
        &LoadSpec::new(&file),
        Files::checked(&file).unwrap(),
    )
    .unwrap();
    fs::copy(fixture("add_fp32.onnx"), folder.path().join("next.onnx")).unwrap();
    fs::rename(folder.path().join("next.onnx"), &file).unwrap();
    following.use_threads(2);
    assert_eq!(threads(&following), 1);
    fs::remove_file(&file).unwrap();
    following.use_threads(3);
    assert_eq!(threads(&following), 1);
}

#[test]
fn weights_that_were_exchanged_are_not_opened_under_the_graph_that_serves() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["external.onnx", "external.weights"] {
        fs::copy(fixture(file), folder.path().join(file)).unwrap();
    }
    let spec = LoadSpec::new(folder.path().join("external.onnx"));
    let following =
        Following::open(&Library::start().unwrap(), &spec, Files::checked(&spec.file).unwrap())
            .unwrap();
    let next = folder.path().join("next.weights");
    fs::write(&next, 1_f32.to_le_bytes().repeat(4)).unwrap();
    fs::rename(next, folder.path().join("external.weights")).unwrap();
    following.use_threads(2);
    assert_eq!(threads(&following), 1);
}

#[test]
fn answers_go_on_while_sessions_come_and_go() {
    let model = load("simple");
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for round in 0..300_i32 {
                    model.use_threads(usize::try_from(round / 20 % 3).unwrap() + 1);
                    let row = |value| Tensor::from_vec(&[1, 16], vec![value; 16]).unwrap();
                    let answer = model.forward(vec![row(round), row(7)], Epilogue::None).unwrap();
                    assert_eq!(answer[0].as_slice::<i32>().unwrap(), [round + 7; 16]);
                }
            });
        }
    });
}
