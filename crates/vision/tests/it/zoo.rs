use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread::spawn;
use std::time::Duration;

use mar_vision::{DecodeLimits, Exif, Filter, RgbImage8, Size, decode_oriented, decode_resized};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::decoding::files;

/// Set in the process that the mutations are decoded in, which the test starts.
const CHILD: &str = "MARSERVE_ZOO_CHILD";
const LIMITS: DecodeLimits = DecodeLimits::for_pixels(100_000);
/// What the process may take besides what the limits allow: the file, the image, what the allocator keeps.
const SLACK: u64 = 8 << 20;
/// No image of the zoo may take so long. They are small, and each is answered within milliseconds.
const PATIENCE: Duration = Duration::from_mins(1);
const MUTATIONS: usize = 14;

/// Whatever is done to a file: an error or an image of sane size, in both tiers, without a panic, without end
/// and within the memory that the limit on pixels stands for. Exceeding that kills the process.
#[test]
fn survives_every_mutation() {
    if std::env::var_os(CHILD).is_some() {
        return decode_the_zoo();
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "zoo::survives_every_mutation", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (send, lines) = channel();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let reader = spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    let mut last = String::new();
    let stuck = loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => last = if line.starts_with("zoo") { line } else { last },
            Err(error) => break error == std::sync::mpsc::RecvTimeoutError::Timeout,
        }
    };
    if stuck {
        child.kill().unwrap();
    }
    reader.join().unwrap();
    let status = child.wait().unwrap();
    assert!(status.success() && !stuck, "{status}, stuck: {stuck}, at: {last}");
    // The last line counts; a child that ran no test would not have written it.
    let counted: usize = last.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(last.starts_with("zoo done") && counted > 5000, "{last}");
}

#[expect(clippy::print_stdout, reason = "the process that waits reads how far this one got")]
fn decode_the_zoo() {
    let files: Vec<_> =
        files().into_iter().map(|(bytes, row)| (bytes, row["file"].to_string())).collect();
    let data = LIMITS.max_alloc + SLACK + used_data();
    let maximum = getrlimit(Resource::Data).maximum;
    setrlimit(Resource::Data, Rlimit { current: Some(data), maximum }).unwrap();

    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut cases = 0;
    for (index, (file, name)) in files.iter().enumerate() {
        for mutation in 0..MUTATIONS {
            let other = &files[random.below(files.len())].0;
            let mutated = mutate(file, other, mutation, &mut random);
            println!("zoo {index} {name} {mutation}");
            cases += 1;
            check(&mutated);
        }
    }
    println!("zoo done, cases: {cases}");
}

/// Decodes in both tiers, which agree on what is an image.
fn check(file: &[u8]) {
    let exact = decode_oriented(file, &LIMITS, Exif::Apply);
    let sane = |image: &RgbImage8| {
        let pixels = u64::from(image.width()) * u64::from(image.height());
        (1..=LIMITS.max_pixels).contains(&pixels) && image.data().len() as u64 == 3 * pixels
    };
    assert!(exact.as_ref().map_or(true, sane), "{exact:?}");
    let size = Size { height: 24, width: 32 };
    let fast = decode_resized(file, &LIMITS, Exif::Apply, Filter::Bilinear, size);
    assert!(fast.as_ref().map_or(true, |image| (image.width(), image.height()) == (32, 24)));
    assert_eq!(exact.is_ok(), fast.is_ok(), "{exact:?} {fast:?}");
}

fn mutate(file: &[u8], other: &[u8], mutation: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = file.to_vec();
    match mutation {
        // Cut anywhere, and near the end.
        0 | 1 => bytes.truncate(random.below(file.len())),
        2 => bytes.truncate(file.len() - 1 - random.below(file.len().min(24))),
        // A few bytes changed, anywhere or in the header.
        3..=5 => {
            for _ in 0..=random.below(6) {
                let at = random.below(bytes.len());
                bytes[at] = random.byte();
            }
        }
        6 | 7 => {
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len().min(80));
                bytes[at] = random.byte();
            }
        }
        // A number in the header made large: sizes, counts, offsets.
        8 | 9 => {
            let at = random.below(bytes.len().min(200));
            let width = [2, 4][random.below(2)].min(bytes.len() - at);
            let value = [0xff, 0x7f, 0x40, 0][random.below(4)];
            bytes[at..at + width].fill(value);
        }
        // The beginning of one file and the end of another, of whatever format.
        10 | 11 => {
            bytes.truncate(random.below(file.len().min(400)));
            bytes.extend(&other[random.below(other.len())..]);
        }
        // Bytes lost, and bytes from elsewhere.
        12 => {
            let at = random.below(bytes.len());
            let end = (at + 1 + random.below(9)).min(bytes.len());
            bytes.drain(at..end);
        }
        _ => {
            let at = random.below(bytes.len());
            let from = random.below(other.len());
            let part = other[from..].iter().take(1 + random.below(40)).copied();
            bytes.splice(at..at, part.collect::<Vec<_>>());
        }
    }
    bytes
}

/// Bytes of data that the process has mapped.
fn used_data() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 11).unwrap() % bound
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}
