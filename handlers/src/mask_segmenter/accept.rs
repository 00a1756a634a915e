//! Which of several content types a client would rather have: its `Accept` header.

/// The index of the offer that `accept` weighs most, the first of several; `None` where it takes none of
/// them. Each offer is a type and a subtype, such as `image/png`.
pub(super) fn preferred(accept: &str, offers: &[&str]) -> Option<usize> {
    let ranges: Vec<Range> = accept.split(',').filter_map(Range::parse).collect();
    let mut best = None;
    for (index, offer) in offers.iter().enumerate() {
        // Of the ranges that an offer is in, the narrowest says how welcome it is.
        let narrowest = ranges.iter().filter_map(|range| Some((range.narrowness(offer)?, range)));
        let weight =
            narrowest.max_by_key(|(narrowness, _)| *narrowness).map_or(0, |(_, r)| r.weight);
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((index, weight));
        }
    }
    best.map(|(index, _)| index)
}

/// One range of an `Accept` header.
struct Range<'a> {
    media: &'a str,
    /// Thousandths, as the header has three digits.
    weight: u16,
}

impl<'a> Range<'a> {
    /// `None` where it cannot be read, and says nothing then.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().filter(|media| media.contains('/'))?;
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let weight = match weight {
            None => 1000,
            Some(weight) => {
                let weight: f32 = weight.parse().ok()?;
                if !(0.0..=1.0).contains(&weight) {
                    return None;
                }
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a number from 0 to 1000"
                )]
                let thousandths = (weight * 1000.0).round() as u16;
                thousandths
            }
        };
        Some(Self { media, weight })
    }

    /// How closely the range names the offer, if that is in it.
    fn narrowness(&self, offer: &str) -> Option<u8> {
        if self.media.eq_ignore_ascii_case(offer) {
            return Some(2);
        }
        let kind = offer.split('/').next().unwrap_or_default();
        match self.media.strip_suffix("/*")? {
            "*" => Some(0),
            range if range.eq_ignore_ascii_case(kind) => Some(1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::preferred;

    #[test]
    fn the_weightiest_offer_is_chosen_and_the_first_of_several() {
        let offers = ["application/json", "image/png", "application/octet-stream"];
        let chosen = |accept| preferred(accept, &offers);
        for (accept, expected) in [
            ("*/*", Some(0)),
            ("image/png", Some(1)),
            ("Image/PNG", Some(1)),
            ("image/*", Some(1)),
            ("application/json, image/png", Some(0)),
            ("application/json;q=0.5, image/png;q=0.6", Some(1)),
            ("application/json;q=0.5,*/*;q=0.6", Some(1)),
            ("image/avif,image/webp,image/*,*/*;q=0.8", Some(1)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some(0)),
            ("*/*, application/json;q=0, image/*; q=0.1", Some(2)),
            ("application/json; charset=utf-8", Some(0)),
            ("text/html", None),
            ("image/png;q=0", None),
            ("", None),
            ("json, image/png;q=high, image/png;q=2", None),
        ] {
            assert_eq!(chosen(accept), expected, "{accept}");
        }
    }
}
