//! From a text to words, step by step as TorchServe's text handler does it: markup out, lower case,
//! contractions written out, accents and punctuation off, cut at white space.
//!
//! The steps keep TorchServe's oddities, because networks are trained behind them: "won't" becomes "will
//! not" and "ain't" becomes "as not".

use unicode_normalization::UnicodeNormalization as _;

/// Contractions and what they stand for, a line each, in the order they are tried. A fact of TorchServe's
/// `ts/torch_handler/contractions.py`, in lower case, without the entries that an earlier one hides.
const CONTRACTIONS: &str = include_str!("contractions.txt");

/// Cuts texts into words.
#[derive(Debug)]
pub(super) struct Words {
    /// By the first byte of the contraction, in order.
    contractions: Vec<Vec<(&'static str, &'static str)>>,
}

impl Words {
    pub(super) fn new() -> Self {
        let mut contractions = vec![Vec::new(); 256];
        let lines = CONTRACTIONS.lines().filter(|line| !line.starts_with('#'));
        for (short, long) in lines.filter_map(|line| line.split_once('\t')) {
            contractions[usize::from(short.as_bytes()[0])].push((short, long));
        }
        Self { contractions }
    }

    /// The words of a text.
    pub(super) fn of(&self, text: &str) -> Vec<String> {
        let text = self.written_out(&without_markup(text).to_lowercase());
        let ascii = text.nfkd().filter(|c| c.is_ascii() && !c.is_ascii_punctuation());
        // Lower case once more: signs such as that of a trade mark hold capitals, and only now show them.
        let ascii: String = ascii.map(|c| c.to_ascii_lowercase()).collect();
        // Python's white space, which is more than Rust's: the four separators of files and records.
        let is_space = |c: char| c.is_ascii_whitespace() || matches!(c, '\x0b' | '\x1c'..='\x1f');
        let words = ascii.split(is_space).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    }

    /// The text with contractions written out. Their first letter stays, and then comes what they stand for
    /// without its first.
    fn written_out(&self, text: &str) -> String {
        if !text.contains('\'') {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let known = &self.contractions[usize::from(rest.as_bytes()[0])];
            if let Some((short, long)) = known.iter().find(|(short, _)| rest.starts_with(short)) {
                out.push(first);
                out.push_str(&long[1..]);
                rest = &rest[short.len()..];
            } else {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        out
    }
}

/// The words, then all runs of 2 of them, then of 3, up to `longest`.
pub(super) fn runs(words: &[String], longest: usize) -> impl Iterator<Item = String> {
    let longer = (2..=longest).flat_map(|n| words.windows(n).map(|run| run.join(" ")));
    words.iter().cloned().chain(longer)
}

/// The text without tags and entities: `<.*?>|&([a-z0-9]+|#[0-9]{1,6}|#x[0-9a-f]{1,6});`, in one pass.
fn without_markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // Bytes before this place of the text hold no tag: its line has no `>` any more.
    let mut no_tag_before = 0;
    while let Some(at) = rest.find(['<', '&']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let place = text.len() - rest.len();
        let length = if rest.starts_with('&') {
            entity(rest.as_bytes())
        } else if place < no_tag_before {
            None
        } else {
            let end = rest.find(['>', '\n']).unwrap_or(rest.len());
            if rest.as_bytes().get(end) == Some(&b'>') {
                Some(end + 1)
            } else {
                no_tag_before = place + end;
                None
            }
        };
        let (kept, skipped) = length.map_or((1, 1), |length| (0, length));
        out.push_str(&rest[..kept]);
        rest = &rest[skipped..];
    }
    out.push_str(rest);
    out
}

/// How long the entity is that this begins with.
fn entity(text: &[u8]) -> Option<usize> {
    let run = |from: usize, most: usize, is_part: fn(&u8) -> bool| {
        let length = text.get(from..)?.iter().take(most + 1).take_while(|c| is_part(c)).count();
        let end = from + length;
        let ends = (1..=most).contains(&length) && text.get(end) == Some(&b';');
        ends.then_some(end + 1)
    };
    let is_name = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_hex = |c: &u8| c.is_ascii_digit() || (b'a'..=b'f').contains(c);
    run(1, usize::MAX - 1, is_name)
        .or_else(|| if text.get(1) == Some(&b'#') { run(2, 6, u8::is_ascii_digit) } else { None })
        .or_else(|| if text.get(1..3) == Some(b"#x") { run(3, 6, is_hex) } else { None })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        Words::new().of(text)
    }

    #[test]
    fn tags_and_entities_go() {
        for (text, kept) in [
            ("a<b>c</b>d", "acd"),
            ("a<>b", "ab"),
            ("a < b\n> c", "a < b\n> c"),
            ("<a\n<b>c", "<a\nc"),
            ("<<<", "<<<"),
            ("a &lt; b &#60; &#x3c; c", "a  b   c"),
            ("&LT; &#1234567; &#xg; & ; &;", "&LT; &#1234567; &#xg; & ; &;"),
            ("&#x; &a<b>", "&#x; &a"),
            ("&&amp;", "&"),
        ] {
            assert_eq!(without_markup(text), kept, "{text}");
        }
    }

    #[test]
    fn markup_that_never_ends_is_read_once() {
        let text = "<".repeat(2_000_000);
        assert_eq!(without_markup(&text).len(), text.len());
    }

    #[test]
    fn contractions_are_written_out_as_torchserve_does() {
        for (text, expected) in [
            ("It's", "it is"),
            ("I'd've", "i wouldve"),
            ("won't", "will not"),
            ("ain't", "as not"),
            ("'cause", "ecause"),
            ("bit's", "bit is"),
            ("y'all're", "you allre"),
            ("don\u{2019}t", "dont"),
        ] {
            assert_eq!(words(text).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn accents_and_punctuation_go_and_white_space_cuts() {
        assert_eq!(words("Caf\u{e9}, d\u{e9}j\u{e0}-vu!"), ["cafe", "dejavu"]);
        assert_eq!(words("\u{fb01}ne \u{2167}\u{2026} \u{4f60}"), ["fine", "viii"]);
        assert_eq!(words("Windows\u{2122} 20\u{2103}"), ["windowstm", "20c"], "TM and \u{b0}C");
        assert_eq!(words("a\tb\x0bc\x1cd\r\ne"), ["a", "b", "c", "d", "e"]);
        assert!(words(" !? ").is_empty());
    }

    #[test]
    fn runs_come_after_the_words_that_they_are_made_of() {
        let words = words("here we are");
        let all = |longest| runs(&words, longest).collect::<Vec<_>>();
        assert_eq!(all(1), ["here", "we", "are"]);
        assert_eq!(all(2), ["here", "we", "are", "here we", "we are"]);
        assert_eq!(all(4), ["here", "we", "are", "here we", "we are", "here we are"]);
    }

    #[test]
    fn texts_are_cut_as_torchserves_own_handler_cuts_them() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/parity/handlers/texts.json");
        let table: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let texts = table["texts"].as_array().unwrap();
        for row in texts {
            let text = row["text"].as_str().unwrap();
            let found = words(text);
            assert_eq!(Value::from(found.clone()), row["words"], "{text}");
            for (longest, expected) in row["runs"].as_object().unwrap() {
                let runs = runs(&found, longest.parse().unwrap()).collect::<Vec<_>>();
                assert_eq!(Value::from(runs), *expected, "{text}, up to {longest} words");
            }
        }
        assert!(texts.len() >= 10);
    }
}
