//! Telling formats apart by their first bytes.

/// The image formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// JPEG, baseline or progressive.
    Jpeg,
    /// WebP, lossy or lossless.
    WebP,
    /// Windows bitmap.
    Bmp,
    /// Graphics Interchange Format; the first frame.
    Gif,
    /// Tagged Image File Format; the first page.
    Tiff,
}

impl Format {
    /// Every format, in the order in which messages list them.
    pub const ALL: [Self; 6] =
        [Self::Png, Self::Jpeg, Self::WebP, Self::Bmp, Self::Gif, Self::Tiff];

    /// The format that `bytes` begin with.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            [b'B', b'M', ..] => Some(Self::Bmp),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(Self::Tiff),
            _ => None,
        }
    }

    /// The format's usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
            Self::Gif => "GIF",
            Self::Tiff => "TIFF",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn short_or_foreign_bytes_are_no_format() {
        assert_eq!(Format::of(b"\x89PNG\r\n\x1a\n"), Some(Format::Png));
        for bytes in [&b""[..], b"\x89PNG", b"RIFFxxxxWAVE", b"GIF8", b"%PDF-1.7", b"<svg/>"] {
            assert_eq!(Format::of(bytes), None, "{bytes:?}");
        }
    }
}
