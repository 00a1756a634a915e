//! Base64 with the widest instructions that this processor has. What is said of texts that are none is the caller's.

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurposeConfig, PAD};

/// Puts bytes behind a text, in the standard alphabet and with padding.
pub(crate) fn append(bytes: &[u8], text: &mut String) {
    engine(PAD).encode_string(bytes, text);
}

/// The bytes of a text in the standard alphabet, with padding or without. `None` where it is in another one, has line
/// breaks, or is no base64 at all.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    engine(lenient()).decode(text).ok()
}

/// Takes padding or none, and bits behind the last byte, as Python's decoder does.
pub(crate) fn lenient() -> GeneralPurposeConfig {
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true)
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn engine(config: GeneralPurposeConfig) -> impl Engine {
    base64::engine::simd::Simd::standard(config)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn engine(config: GeneralPurposeConfig) -> impl Engine {
    base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, config)
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE};

    use super::*;

    /// Of lengths that fill the widest instructions, and of those that do not; of every byte.
    fn samples() -> impl Iterator<Item = Vec<u8>> {
        (0..300_usize).map(|length| (0_u8..=255).cycle().skip(7 * length).take(length).collect())
    }

    #[test]
    fn what_is_written_is_what_the_plain_engine_writes() {
        for bytes in samples() {
            let mut text = "before ".to_owned();
            append(&bytes, &mut text);
            assert_eq!(text, format!("before {}", BASE64_STANDARD.encode(&bytes)));
        }
    }

    #[test]
    fn texts_are_read_with_padding_and_without_and_no_other_is_read() {
        for bytes in samples() {
            let text = BASE64_STANDARD.encode(&bytes);
            assert_eq!(decode(text.as_bytes()).as_ref(), Some(&bytes));
            let unpadded = BASE64_STANDARD_NO_PAD.encode(&bytes);
            assert_eq!(decode(unpadded.as_bytes()), Some(bytes));
            for place in (0..text.len()).step_by(41) {
                let mut broken = text.clone().into_bytes();
                broken[place] = b'\n';
                assert_eq!(decode(&broken), None, "{place} of {text}");
            }
        }
        let for_urls = BASE64_URL_SAFE.encode([0xff; 99]);
        assert_eq!(decode(for_urls.as_bytes()), None);
    }
}
