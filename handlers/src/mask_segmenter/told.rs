//! What every answer tells beside the mask: in JSON as members, beside other bodies as headers.

use std::borrow::Cow;

use mar_handler::Response;
use mar_vision::{Geometry, Size, Window};
use serde::Serialize;

/// The longest list of labels that goes into a header, in bytes. Proxies refuse headers of some kilobytes.
const LABELS_IN_HEADER: usize = 2048;

/// What every answer tells beside the mask.
#[derive(Serialize)]
pub(super) struct Told<'a> {
    pub(super) shape: [u32; 2],
    pub(super) dtype: &'static str,
    pub(super) labels: Cow<'a, [String]>,
    pub(super) palette: Cow<'a, [[u8; 3]]>,
    pub(super) geometry: Places,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) class: Option<u8>,
    /// Whether the labels are names, and not only numbers.
    #[serde(skip)]
    pub(super) is_named: bool,
}

/// How the image became what the network saw; `docs/masks.md` has the formula.
#[derive(Serialize)]
pub(super) struct Places {
    original: [u32; 2],
    crop: Place,
    scaled: [u32; 2],
    window: Place,
}

#[derive(Serialize)]
struct Place {
    left: i64,
    top: i64,
    width: u32,
    height: u32,
}

impl Told<'_> {
    /// Tells it in headers, beside a body that has no room for it.
    pub(super) fn beside(self, mut response: Response) -> Response {
        let [height, width] = self.shape;
        let mut header =
            |name: &str, value: String| response.headers.push((name.to_owned(), value));
        header("X-Shape", format!("{height},{width}"));
        header("X-Dtype", self.dtype.to_owned());
        header("X-Geometry", ascii(&self.geometry));
        let labels = ascii(&self.labels);
        if self.is_named && labels.len() <= LABELS_IN_HEADER {
            header("X-Labels", labels);
        }
        if let Some(class) = self.class {
            header("X-Class", class.to_string());
        }
        response
    }
}

impl From<&Geometry> for Places {
    fn from(geometry: &Geometry) -> Self {
        let sides = |size: Size| [size.height, size.width];
        Self {
            original: sides(geometry.original),
            crop: geometry.source.into(),
            scaled: sides(geometry.scaled),
            window: geometry.window.into(),
        }
    }
}

impl From<Window> for Place {
    fn from(Window { left, top, size: Size { height, width } }: Window) -> Self {
        Self { left, top, width, height }
    }
}

/// JSON that a header can carry: what is not ASCII is escaped.
fn ascii(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).unwrap_or_default();
    let is_plain = |character: char| character.is_ascii() && character != '\x7f';
    // Most labels are, and need no second text.
    if json.chars().all(is_plain) {
        return json;
    }
    let mut escaped = String::with_capacity(2 * json.len());
    for character in json.chars() {
        if is_plain(character) {
            escaped.push(character);
        } else {
            let mut units = [0; 2];
            let units = character.encode_utf16(&mut units).iter();
            escaped.extend(units.map(|unit| format!("\\u{unit:04x}")));
        }
    }
    escaped
}
