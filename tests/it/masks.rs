use std::sync::Arc;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mar_handler::{Device, Epilogue, Error, LoadSpec, Model, Result, Runtime, Tensor};
use mar_vision::{RgbImage8, rgb_png};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::http::{Answer, agent, answer, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

/// How many requests were in each forward pass, and what was done with its output.
type Passes = Arc<Mutex<Vec<(usize, Epilogue)>>>;

/// A network whose class is the level of red, and which is as sure of it as green is bright.
struct Reds(Passes);

impl Runtime for Reds {
    fn name(&self) -> &'static str {
        "reds"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["fake"]
    }

    fn cuda_devices(&self) -> usize {
        0
    }

    fn load(&self, _: &LoadSpec) -> Result<Arc<dyn Model>> {
        Ok(Arc::new(Self(Arc::clone(&self.0))))
    }
}

impl Model for Reds {
    fn forward(&self, inputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
        let [input] = &inputs[..] else {
            return Err(Error::invalid_input("the network has one input"));
        };
        let &[len, _, height, width] = input.shape() else { panic!("{:?}", input.shape()) };
        self.0.lock().push((len, epilogue));
        let values = input.as_slice::<f32>()?;
        let plane = |channel: usize| {
            let images = values.chunks_exact(3 * height * width);
            images
                .flat_map(move |image| image[channel * height * width..][..height * width].to_vec())
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "levels")]
        let classes = plane(0).map(|value| (value * 255.0).round() as u8).collect();
        let mut outputs = vec![Tensor::from_vec(&[len, height, width], classes)?];
        if epilogue == (Epilogue::ArgMaxWithProbability { dim: 1 }) {
            outputs.push(Tensor::from_vec(&[len, height, width], plane(1).collect())?);
        }
        Ok(outputs)
    }

    fn device(&self) -> Device {
        Device::Cpu
    }
}

/// A server of this network, whose archive says this besides.
fn serve(more: &str) -> (Store, TestServer, Passes) {
    let store = Store::new();
    let config = format!("handler: {{mean: [0, 0, 0], std: [1, 1, 1]}}\n{more}");
    let archive = store.fake_with("m", "1.0", "reds", &config);
    let manifest = archive.join("MAR-INF/MANIFEST.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"echo\"", "\"mask_segmenter\"")).unwrap();
    let passes = Passes::default();
    let runtime = Arc::new(Reds(Arc::clone(&passes)));
    let server = TestServer::start(settings(), mar_handlers::all(), runtime);
    server.engine.load(None, &archive).unwrap();
    (store, server, passes)
}

fn url(server: &TestServer, query: &str) -> String {
    server.inference(&format!("/predictions/m?{query}"))
}

/// A picture of 2 x 2 pixels of these classes.
fn picture(classes: [u8; 4]) -> Vec<u8> {
    let pixels = classes.map(|class| [class, 255, 0]).as_flattened().to_vec();
    rgb_png(&RgbImage8::new(2, 2, pixels).unwrap()).unwrap()
}

fn entry(answer: &Answer, list: &str) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()[list][0].clone()
}

#[test]
fn each_format_comes_as_its_type_with_what_it_has_no_room_for_in_headers() {
    let (_store, server, _) = serve("");
    for (query, content_type) in [
        ("", "application/json"),
        ("format=png", "image/png"),
        ("format=rle", "application/json"),
        ("format=polygons", "application/json"),
        ("format=areas&confidence=true", "application/json"),
        ("format=npy", "application/x-npy"),
        ("format=npy&map=confidence", "application/x-npy"),
        ("format=raw", "application/octet-stream"),
        ("format=overlay&opacity=0.25", "image/png"),
    ] {
        let got = post(&url(&server, query), &picture([0, 1, 1, 2]));
        assert_eq!(got.status, 200, "{query}: {}", String::from_utf8_lossy(&got.body));
        assert_eq!(got.header("content-type"), Some(content_type), "{query}");
        assert_eq!(got.header("x-parity"), Some("exact"), "{query}");
        if content_type == "application/json" {
            assert_eq!(got.json()["shape"], json!([2, 2]), "{query}");
            assert_eq!(got.json()["geometry"]["original"], json!([2, 2]), "{query}");
        } else {
            assert_eq!(got.header("x-shape"), Some("2,2"), "{query}");
            let geometry: Value = serde_json::from_str(got.header("x-geometry").unwrap()).unwrap();
            assert_eq!(geometry["scaled"], json!([2, 2]), "{query}");
        }
    }
    let raw = post(&url(&server, "format=raw"), &picture([0, 1, 1, 2]));
    assert_eq!(raw.body, [0, 1, 1, 2]);
}

#[test]
fn the_accept_header_chooses_where_the_query_does_not() {
    let (_store, server, _) = serve("");
    let ask = |query: &str, accept: &str| {
        let got =
            agent().post(url(&server, query)).header("accept", accept).send(&picture([7; 4])[..]);
        answer(got).header("content-type").unwrap().to_owned()
    };
    assert_eq!(ask("", "image/png, application/json;q=0.9"), "image/png");
    assert_eq!(ask("", "application/x-npy"), "application/x-npy");
    assert_eq!(ask("", "text/html, */*;q=0.8"), "application/json");
    assert_eq!(ask("", "video/mp4"), "application/json");
    assert_eq!(ask("format=raw", "image/png"), "application/octet-stream");
}

#[test]
fn a_wrong_parameter_is_refused_and_told_what_it_takes() {
    let (_store, server, passes) = serve("");
    for (query, words) in [
        ("format=jpeg", ["parameter format", "`polygons`"]),
        ("class=sky", ["parameter class", "0 to 255"]),
        ("format=png&confidence=true", ["parameter confidence", "format=areas"]),
    ] {
        let (code, kind, message) = post(&url(&server, query), &picture([0; 4])).error();
        assert_eq!((code, kind.as_str()), (400, "BadRequestException"), "{query}");
        assert!(words.iter().all(|word| message.contains(word)), "{query}: {message}");
    }
    assert!(passes.lock().is_empty(), "none of them came to the network");
}

#[test]
fn clients_of_different_formats_share_a_batch_and_those_who_want_the_confidence_have_their_own() {
    // A delay that no test outlives, so that only full batches go.
    let (_store, server, passes) = serve("batchSize: 3\nmaxBatchDelay: 100000\n");
    let queries = [
        "format=raw",
        "",
        "format=rle",
        "format=areas&confidence=true",
        "confidence=true",
        "format=raw&map=confidence",
    ];
    let answers: Vec<Answer> = thread::scope(|scope| {
        let ask = |(query, class): (&&str, u8)| {
            let (url, picture) = (url(&server, query), picture([class; 4]));
            scope.spawn(move || post(&url, &picture))
        };
        let asked: Vec<_> = queries.iter().zip(1..).map(ask).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert_eq!(answers[0].body, [1; 4]);
    assert_eq!(answers[1].json()["base64_prediction"], STANDARD.encode([2; 4]));
    assert_eq!(entry(&answers[2], "rle")["class"], 3);
    let area = entry(&answers[3], "areas");
    assert_eq!((&area["class"], &area["confidence"]), (&json!(4), &json!(1.0)));
    let ones = 1_f32.to_le_bytes().repeat(4);
    assert_eq!(answers[4].json()["base64_prediction"], STANDARD.encode([5; 4]));
    assert_eq!(answers[4].json()["base64_confidence"], STANDARD.encode(&ones));
    assert_eq!(answers[5].body, ones);
    let mut passes = passes.lock().clone();
    passes.sort_by_key(|(_, epilogue)| *epilogue != Epilogue::ArgMax { dim: 1 });
    let confident = Epilogue::ArgMaxWithProbability { dim: 1 };
    assert_eq!(passes, [(3, Epilogue::ArgMax { dim: 1 }), (3, confident)]);
}

/// What the promise of `docs/masks.md` rests on, with plenty of room: a forward pass over a sixteenth of the
/// pixels against the PNG of all of them, on one core each.
#[cfg(feature = "torch")]
#[test]
fn the_png_of_a_4k_mask_takes_less_time_than_the_network() {
    use std::time::{Duration, Instant};

    use mar_vision::{palette_png, voc_palette};

    use crate::support::store::repository;

    const HEIGHT: u32 = 2160;
    const WIDTH: u32 = 3840;
    const CLASSES: u32 = 21;

    fn fastest(mut work: impl FnMut()) -> Duration {
        let mut once = || {
            let start = Instant::now();
            work();
            start.elapsed()
        };
        (0..3).map(|_| once()).min().unwrap()
    }

    // Patches of a hundred pixels with ragged edges, which are harder to compress than a network's.
    let noise = |at: u32| at.wrapping_mul(2_654_435_761) >> 28;
    let class = |y: u32, x: u32| {
        let patch = (x + noise(y)) / 97 + (y + noise(x)) / 113 * 7;
        u8::try_from(patch % CLASSES).unwrap()
    };
    let mask: Vec<u8> = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| class(y, x))).collect();
    let palette = voc_palette(CLASSES as usize);
    let png = fastest(|| {
        palette_png(&mask, WIDTH, HEIGHT, &palette).unwrap();
    });

    let spec = LoadSpec::new(repository("examples/street_scenes/fastunet.pt"));
    let network = mar_runtime::Torch::start().load(&spec).unwrap();
    network.use_threads(1);
    let shape = [1, 3, HEIGHT as usize / 4, WIDTH as usize / 4];
    let image = Tensor::from_vec(&shape, vec![0.5_f32; shape.iter().product()]).unwrap();
    let forward = fastest(|| {
        network.forward(vec![image.clone()], Epilogue::ArgMax { dim: 1 }).unwrap();
    });
    println!("PNG of {WIDTH}x{HEIGHT}: {png:?}; forward pass of a sixteenth of it: {forward:?}");
    assert!(png < forward, "the PNG took {png:?}, a sixteenth of the forward pass {forward:?}");
}
