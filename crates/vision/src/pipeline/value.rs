//! Values that may be written in more than one way: one number or several, a number or a fraction.

use std::fmt;

use serde::de::{Error, IgnoredAny, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::config::ColorMode;
use super::settings::MAX_SIDE;

/// One side for both directions, or `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// One number.
    One(u32),
    /// Two numbers, height first.
    Both {
        /// Height in pixels.
        height: u32,
        /// Width in pixels.
        width: u32,
    },
}

/// One number for all channels, or one for each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PerChannel {
    /// The same for every channel.
    One(f32),
    /// Three numbers, in the order of the network's channels.
    Three([f32; 3]),
}

/// What levels are multiplied with: a number, or the quotient of two, written as in `1/255`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factor(pub f64);

impl Factor {
    /// From levels to 0..1.
    pub const UNIT: Self = Self(1.0 / 255.0);
}

impl PerChannel {
    /// Whether every number is as `holds` asks.
    pub(super) fn all(self, holds: fn(f32) -> bool) -> bool {
        self.by_channel().into_iter().all(holds)
    }

    /// One number for each of three channels.
    pub(super) fn by_channel(self) -> [f32; 3] {
        match self {
            Self::One(value) => [value; 3],
            Self::Three(values) => values,
        }
    }
}

impl fmt::Display for PerChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(value) => write!(f, "{value}"),
            Self::Three(values) => write!(f, "{values:?}"),
        }
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divisor = self.0.recip().round();
        #[expect(clippy::float_cmp, reason = "the text must stand for the very same number")]
        let is_quotient = divisor > 1.0 && divisor.recip() == self.0;
        if is_quotient { write!(f, "1/{divisor}") } else { write!(f, "{}", self.0) }
    }
}

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FactorVisitor;

        impl Visitor<'_> for FactorVisitor {
            type Value = Factor;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a fraction such as \"1/255\"")
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Factor, E> {
                Ok(Factor(value))
            }

            #[expect(
                clippy::cast_precision_loss,
                reason = "a factor of that size is refused anyway"
            )]
            fn visit_u64<E: Error>(self, value: u64) -> Result<Factor, E> {
                Ok(Factor(value as f64))
            }

            #[expect(
                clippy::cast_precision_loss,
                reason = "a factor of that size is refused anyway"
            )]
            fn visit_i64<E: Error>(self, value: i64) -> Result<Factor, E> {
                Ok(Factor(value as f64))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Factor, E> {
                let (over, under) = text.split_once('/').unwrap_or((text, "1"));
                match (over.trim().parse::<f64>(), under.trim().parse::<f64>()) {
                    (Ok(over), Ok(under)) => Ok(Factor(over / under)),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(FactorVisitor)
    }
}

impl<'de> Deserialize<'de> for PerChannel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PerChannelVisitor;

        impl<'de> Visitor<'de> for PerChannelVisitor {
            type Value = PerChannel;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one number, or a list of one a channel")
            }

            #[expect(
                clippy::cast_possible_truncation,
                reason = "networks count in single precision"
            )]
            fn visit_f64<E: Error>(self, value: f64) -> Result<PerChannel, E> {
                Ok(PerChannel::One(value as f32))
            }

            #[expect(clippy::cast_precision_loss, reason = "networks count in single precision")]
            fn visit_u64<E: Error>(self, value: u64) -> Result<PerChannel, E> {
                Ok(PerChannel::One(value as f32))
            }

            #[expect(clippy::cast_precision_loss, reason = "networks count in single precision")]
            fn visit_i64<E: Error>(self, value: i64) -> Result<PerChannel, E> {
                Ok(PerChannel::One(value as f32))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<PerChannel, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element::<f32>()? {
                    values.push(value);
                }
                match values[..] {
                    [one] => Ok(PerChannel::One(one)),
                    [first, second, third] => Ok(PerChannel::Three([first, second, third])),
                    _ => Err(A::Error::invalid_length(values.len(), &self)),
                }
            }
        }

        deserializer.deserialize_any(PerChannelVisitor)
    }
}

impl<'de> Deserialize<'de> for Sides {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SidesVisitor;

        impl<'de> Visitor<'de> for SidesVisitor {
            type Value = Sides;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "a number of pixels from 1 to {MAX_SIDE}, or two of them as [height, width]"
                )
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Sides, E> {
                // What does not fit is as wrong as any other number above the bound.
                Ok(Sides::One(u32::try_from(value).unwrap_or(u32::MAX)))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Sides, E> {
                let value = u64::try_from(value)
                    .map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))?;
                self.visit_u64(value)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sides, A::Error> {
                let mut sides = [0; 2];
                for (index, side) in sides.iter_mut().enumerate() {
                    *side =
                        seq.next_element()?.ok_or_else(|| Error::invalid_length(index, &self))?;
                }
                if seq.next_element::<IgnoredAny>()?.is_some() {
                    return Err(Error::invalid_length(3, &self));
                }
                Ok(Sides::Both { height: sides[0], width: sides[1] })
            }
        }

        deserializer.deserialize_any(SidesVisitor)
    }
}

impl<'de> Deserialize<'de> for ColorMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.to_ascii_uppercase().as_str() {
            "RGB" => Ok(Self::Rgb),
            "L" => Ok(Self::L),
            _ => Err(D::Error::custom(format_args!("no mode {name:?}; known modes: RGB, L"))),
        }
    }
}
