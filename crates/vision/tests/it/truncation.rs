use mar_vision::{DecodeLimits, decode};

use crate::golden::{digest, read, rows};

/// A cut file is refused or gives the whole image, never a part of it. Refused wherever Pillow refuses, but
/// for a GIF that lacks no more than the code that ends its pixels.
#[test]
fn a_cut_file_is_refused_or_whole() {
    let limits = DecodeLimits::default();
    let mut wrong = Vec::new();
    for row in rows("cuts") {
        let name = row["file"].as_str().unwrap();
        let file = read(name);
        let accepted = row["accepted"].as_array().unwrap();
        let (mut refused, mut stricter, mut laxer) = (0, 0, 0);
        let whole = digest(&decode(&file, &limits).unwrap());
        for cut in row["cuts"].as_array().unwrap() {
            let length = usize::try_from(cut.as_u64().unwrap()).unwrap();
            let pillow = accepted.iter().find(|pair| pair[0] == *cut);
            match (decode(&file[..length], &limits), pillow) {
                (Err(_), None) => refused += 1,
                (Err(_), Some(_)) => stricter += 1,
                (Ok(image), Some(pair)) if digest(&image) == whole && whole == pair[1] => {}
                (Ok(image), None) if digest(&image) == whole => laxer += 1,
                (Ok(_), _) => wrong.push(format!("{name} cut to {length} of {}", file.len())),
            }
        }
        println!("{name}: {refused} cuts refused as by Pillow, {stricter} that Pillow accepts");
        assert_eq!(laxer, usize::from(name == "p.gif"), "{name}");
        assert!(refused > 0, "{name}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
