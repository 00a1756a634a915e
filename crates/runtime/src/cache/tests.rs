use super::*;

#[test]
fn what_was_used_longest_ago_goes_first_and_what_is_not_ours_stays() {
    let folder = tempfile::tempdir().unwrap();
    let entry = |text: &str| {
        let made = tempfile::tempdir_in(folder.path().join("runtime")).unwrap();
        fs::write(made.path().join("model.onnx"), text.repeat(400)).unwrap();
        let source = folder.path().join(text);
        fs::write(&source, text).unwrap();
        (made, Key::of(&[source], &[]).unwrap())
    };
    let mut cache = Cache::open(folder.path(), "runtime").unwrap();
    let own = folder.path().join("runtime/notes");
    fs::create_dir(&own).unwrap();
    let (made, first) = entry("a");
    cache.keep(made, &first).unwrap();
    let (made, second) = entry("b");
    cache.keep(made, &second).unwrap();
    // The second one was used a minute before the first.
    let used = |key: &Key, ago: Duration| {
        let digests = folder.path().join("runtime").join(key.as_str()).join("digests.json");
        let digests = fs::File::options().write(true).open(digests).unwrap();
        digests.set_modified(SystemTime::now() - ago).unwrap();
    };
    used(&first, Duration::from_mins(1));
    used(&second, Duration::from_mins(2));
    cache.max_bytes = 1200;
    let (made, third) = entry("c");
    cache.keep(made, &third).unwrap();
    let there = |key| cache.find(key).is_some();
    assert_eq!([there(&first), there(&second), there(&third)], [true, false, true]);
    used(&third, Duration::from_hours(24 * 31));
    let (made, fourth) = entry("d");
    cache.keep(made, &fourth).unwrap();
    let there = |key| cache.find(key).is_some();
    assert_eq!([there(&first), there(&third), there(&fourth)], [true, false, true]);
    let (made, large) = entry("e");
    fs::write(made.path().join("weights.bin"), "e".repeat(2000)).unwrap();
    assert!(cache.keep(made, &large).is_err(), "more than all may take");
    let there = |key| cache.find(key).is_some();
    assert_eq!([there(&first), there(&large)], [true, false]);
    assert!(own.exists());
}
