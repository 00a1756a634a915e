//! Any bytes sent as a request of tensors: a request whose tensors lie within the body, or an error that is
//! short, never a panic.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mar_oip::decode;

fuzz_target!(|data: &[u8]| {
    // The first two bytes say how long the JSON is; none of it where they say more than there is.
    let Some((length, body)) = data.split_first_chunk() else { return };
    let length = usize::from(u16::from_le_bytes(*length));
    let body = Bytes::copy_from_slice(body);
    let whole = decode(&body, None);
    let parted = decode(&body, Some(length));
    assert!(length <= body.len() || parted.is_err());
    for decoded in [whole, parted] {
        match decoded {
            Ok(request) => {
                let held = request.inputs.iter().filter_map(|input| input.data.as_ref());
                assert!(held.map(Bytes::len).sum::<usize>() <= 8 * body.len());
            }
            Err(error) => assert!(error.message().len() < 600),
        }
    }
});
