//! The protocol's words for the types of elements.

use mar_engine::DType;

/// Each type and its word.
const WORDS: [(DType, &str); 14] = [
    (DType::Bool, "BOOL"),
    (DType::U8, "UINT8"),
    (DType::U16, "UINT16"),
    (DType::U32, "UINT32"),
    (DType::U64, "UINT64"),
    (DType::I8, "INT8"),
    (DType::I16, "INT16"),
    (DType::I32, "INT32"),
    (DType::I64, "INT64"),
    (DType::F16, "FP16"),
    (DType::BF16, "BF16"),
    (DType::F32, "FP32"),
    (DType::F64, "FP64"),
    (DType::Bytes, "BYTES"),
];

/// What the protocol calls a type.
pub fn datatype(dtype: DType) -> &'static str {
    WORDS.iter().find(|(known, _)| *known == dtype).map_or("", |(_, word)| word)
}

/// The type that the protocol calls so.
pub fn dtype(datatype: &str) -> Option<DType> {
    WORDS.iter().find(|(_, word)| *word == datatype).map(|(dtype, _)| *dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_one_word_that_means_it() {
        for (ours, word) in WORDS {
            assert_eq!((datatype(ours), dtype(word)), (word, Some(ours)));
        }
        assert_eq!(dtype("fp32"), None);
        assert_eq!(dtype("STRING"), None);
    }
}
