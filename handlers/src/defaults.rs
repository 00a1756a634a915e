//! What a handler does to an image where the archive does not say.

use mar_vision::{PipelineConfig, ResizeMethod, Sides};

/// TorchServe's vision handlers: the shorter side to 256, the middle 224 x 224, `ImageNet`'s moments. An
/// archive that says anything of size, resize or crop says all of it.
pub(crate) fn torchserve(config: PipelineConfig) -> PipelineConfig {
    if config.size.is_some() || config.resize.is_some() || config.center_crop.is_some() {
        return config;
    }
    PipelineConfig {
        size: Some(Sides::One(256)),
        resize: Some(ResizeMethod::Shorter),
        center_crop: Some(Sides::One(224)),
        ..config
    }
}
