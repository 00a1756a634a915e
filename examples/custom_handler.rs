//! A server with a handler of its own beside the built-in ones: a `main` and a line in a list.
//!
//! ```sh
//! cargo run --release --example custom_handler -- --foreground --model-store model_store --models all
//! ```
//!
//! An archive chooses it with `mar pack --handler mean_colour`. The handler asks the network for nothing
//! but a pass over the image's mean colour: the shape of a handler, not a useful one.

use std::process::ExitCode;
use std::sync::Arc;

use mar_handler::{Context, Error, Handler, Registration, Request, Response, Result, Tensor};
use mar_vision::{DecodeLimits, decode};

/// Sends the mean red, green and blue (0 to 255) of an image through the network: `[batch, 3]` floats.
#[derive(Debug)]
struct MeanColour;

impl Handler for MeanColour {
    fn initialize(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean needs no exact count")]
    fn preprocess(&self, request: &Request) -> Result<Vec<Tensor>> {
        let image = decode(&request.payload()?.data, &DecodeLimits::default())
            .map_err(|error| Error::invalid_input(error.to_string()))?;
        let mut mean = [0.0_f32; 3];
        let pixels = image.width() as f32 * image.height() as f32;
        for pixel in image.data().chunks_exact(3) {
            for (mean, sample) in mean.iter_mut().zip(pixel) {
                *mean += f32::from(*sample) / pixels;
            }
        }
        Ok(vec![Tensor::from_vec(&[3], mean.to_vec())?])
    }

    fn postprocess(&self, outputs: Vec<Tensor>, _: &Request) -> Result<Response> {
        Response::json(&outputs[0].as_slice::<f32>()?)
    }
}

fn main() -> ExitCode {
    let mut handlers = mar_handlers::all();
    handlers.push(Registration::of::<MeanColour>("mean_colour"));
    mar_server::run(std::env::args_os(), handlers, || vec![Arc::new(mar_runtime::Torch::start())])
}
