//! From pixels to the numbers of a network: a table of 256 entries a channel, in the order that is asked for.

use half::f16;

use super::Samples;
use super::config::{ChannelOrder, Layout};
use super::settings::{ConfigError, Moments, Values};
use crate::image::Image8;

/// What each of the 256 levels becomes, by the network's channels.
#[derive(Clone)]
pub(super) enum Levels {
    /// Itself.
    Same,
    /// A number of half precision.
    Half(Box<[[f16; 256]; 3]>),
    /// A number of single precision.
    Single(Box<[[f32; 256]; 3]>),
}

impl Levels {
    /// The tables for `values`.
    ///
    /// # Errors
    /// Where a level would be beyond what the type can hold.
    pub(super) fn new(values: Values) -> Result<Self, ConfigError> {
        let Values::Normalised(moments) = values else { return Ok(Self::Same) };
        let single = single(moments);
        let half = || Box::new(single.map(|channel| channel.map(f16::from_f32)));
        let levels = if moments.half { Self::Half(half()) } else { Self::Single(single.clone()) };
        let finite = match &levels {
            Self::Same => true,
            Self::Half(tables) => tables.as_flattened().iter().all(|value| value.is_finite()),
            Self::Single(tables) => tables.as_flattened().iter().all(|value| value.is_finite()),
        };
        if finite {
            Ok(levels)
        } else {
            let dtype = if moments.half { "float16" } else { "float32" };
            let reason = format!("with mean and std it leads beyond the numbers of {dtype}");
            Err(ConfigError { key: "scale", reason })
        }
    }

    /// The numbers of `image`, and their shape.
    pub(super) fn samples<const C: usize>(
        &self,
        image: &Image8<C>,
        order: ChannelOrder,
        layout: Layout,
    ) -> (Samples, [usize; 3]) {
        let (height, width) = (image.height() as usize, image.width() as usize);
        let shape = match layout {
            Layout::Chw => [C, height, width],
            Layout::Hwc => [height, width, C],
        };
        let arranged = Arranged { image, order, layout };
        let samples = match self {
            Self::Same => Samples::U8(arranged.collect(|_| |level| level)),
            Self::Half(tables) => Samples::F16(arranged.collect(|channel| {
                let table = &tables[channel];
                move |level| table[usize::from(level)]
            })),
            Self::Single(tables) => Samples::F32(arranged.collect(|channel| {
                let table = &tables[channel];
                move |level| table[usize::from(level)]
            })),
        };
        (samples, shape)
    }
}

/// In single precision from the first difference on, and in this order, as `FastAI` and torchvision compute
/// it. The product is made in double precision and rounded once, so that with 1/255 it is the quotient.
fn single(moments: Moments) -> Box<[[f32; 256]; 3]> {
    let mut tables = Box::new([[0.0; 256]; 3]);
    let channels = moments.mean.by_channel().into_iter().zip(moments.std.by_channel());
    for (table, (mean, std)) in tables.iter_mut().zip(channels) {
        for (level, value) in (0_u8..=255).zip(table) {
            #[expect(clippy::cast_possible_truncation, reason = "this is the one rounding")]
            let scaled = (f64::from(level) * moments.factor.0) as f32;
            *value = (scaled - mean) / std;
        }
    }
    tables
}

/// An image in the order of a network's axes and channels.
struct Arranged<'a, const C: usize> {
    image: &'a Image8<C>,
    order: ChannelOrder,
    layout: Layout,
}

impl<const C: usize> Arranged<'_, C> {
    /// `of` gets the network's channel, and answers what a level of it becomes.
    fn collect<T: Copy, V: Fn(u8) -> T>(&self, of: impl Fn(usize) -> V) -> Vec<T> {
        let channels: [(usize, V); C] = std::array::from_fn(|channel| {
            let source = match self.order {
                ChannelOrder::Rgb => channel,
                ChannelOrder::Bgr => C - 1 - channel,
            };
            (source, of(channel))
        });
        let pixels = self.image.data().as_chunks::<C>().0;
        let mut values = Vec::with_capacity(self.image.data().len());
        match self.layout {
            Layout::Chw => {
                for (source, value) in &channels {
                    values.extend(pixels.iter().map(|pixel| value(pixel[*source])));
                }
            }
            Layout::Hwc => {
                for pixel in pixels {
                    values.extend(channels.iter().map(|(source, value)| value(pixel[*source])));
                }
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::{Factor, PerChannel};
    use super::*;

    #[test]
    fn the_default_factor_is_the_quotient_of_single_precision() {
        let moments = Moments {
            factor: Factor::UNIT,
            mean: PerChannel::One(0.0),
            std: PerChannel::One(1.0),
            half: false,
        };
        for (level, value) in (0_u8..=255).zip(single(moments)[0]) {
            assert_eq!(value.to_bits(), (f32::from(level) / 255.0).to_bits(), "level {level}");
        }
    }
}
