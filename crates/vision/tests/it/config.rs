use mar_vision::{
    ChannelOrder, ColorMode, CropRounding, Exif, Factor, Filter, Layout, PadMode, Parity,
    PerChannel, Pipeline, PipelineConfig, ResizeMethod, SampleType, Sides,
};

/// The message for a configuration that cannot be used, whichever stage refuses it.
fn refusal(yaml: &str) -> String {
    match serde_saphyr::from_str::<PipelineConfig>(yaml) {
        Err(error) => error.to_string(),
        Ok(config) => Pipeline::new(config).expect_err(yaml).to_string(),
    }
}

fn read(yaml: &str) -> PipelineConfig {
    serde_saphyr::from_str(yaml).unwrap()
}

#[test]
fn reads_what_people_write() {
    let yaml = "
parity: fast
exif: apply
color_mode: rgb
size: [96, 128]
resize: pad
max_size: 300
pad_mode: border
filter: lanczos
antialias: true
center_crop: 64
crop_rounding: fastai
channel_order: bgr
layout: hwc
scale: 1/127.5
mean: [0, 0.5, 1]
std: 1
dtype: float16
max_image_pixels: 1000000
";
    let expected = PipelineConfig {
        parity: Some(Parity::Fast),
        exif: Some(Exif::Apply),
        color_mode: Some(ColorMode::Rgb),
        size: Some(Sides::Both { height: 96, width: 128 }),
        resize: Some(ResizeMethod::Pad),
        max_size: Some(300),
        pad_mode: Some(PadMode::Border),
        filter: Some(Filter::Lanczos),
        antialias: Some(true),
        center_crop: Some(Sides::One(64)),
        crop_rounding: Some(CropRounding::Fastai),
        channel_order: Some(ChannelOrder::Bgr),
        layout: Some(Layout::Hwc),
        scale: Some(Factor(1.0 / 127.5)),
        mean: Some(PerChannel::Three([0.0, 0.5, 1.0])),
        std: Some(PerChannel::One(1.0)),
        dtype: Some(SampleType::Float16),
        max_image_pixels: Some(1_000_000),
    };
    assert_eq!(read(yaml), expected);
    for key in PipelineConfig::KEYS {
        assert!(yaml.contains(&format!("\n{key}: ")), "{key} is not tried here");
    }
    let json = r#"{"size": 224, "resize": "shorter", "center_crop": null, "scale": "1/255"}"#;
    let config: PipelineConfig = serde_json::from_str(json).unwrap();
    assert_eq!((config.size, config.scale), (Some(Sides::One(224)), Some(Factor::UNIT)));
    assert!(Pipeline::new(config).is_ok());
    assert_eq!(read("{}"), PipelineConfig::default());
    assert_eq!(read("resize: exact").resize, Some(ResizeMethod::Squish));
    assert_eq!(read("mean: [0.5]").mean, Some(PerChannel::One(0.5)));
    assert_eq!(read("scale: 2").scale, Some(Factor(2.0)));
    for mode in ["l", "L"] {
        assert_eq!(read(&format!("color_mode: {mode}")).color_mode, Some(ColorMode::L));
    }
}

#[test]
fn an_unknown_key_is_named_with_the_known_ones() {
    let message = refusal("sise: 224");
    assert!(message.contains("sise"), "{message}");
    for key in PipelineConfig::KEYS {
        assert!(message.contains(key), "{key} is missing in: {message}");
    }
}

#[test]
fn a_bad_value_names_its_key_and_what_is_wrong() {
    let cases = [
        ("size: 0", "size: sides must be 1 to 16384 pixels, not 0"),
        ("size: [224, 16385]", "size: sides must be 1 to 16384 pixels, not 16385"),
        ("size: 99999999999", "size: sides must be 1 to 16384 pixels, not 4294967295"),
        ("size: -3", "size: "),
        ("size: big", "size: "),
        ("size: [1, 2, 3]", "size: "),
        ("size: [1]", "size: "),
        ("size: [8, 8]\nresize: shorter", "size: must be one number where resize is shorter"),
        ("size: 8\nresize: native", "size: is not used with resize: native"),
        ("size: 8\nmax_size: 9", "max_size: bounds the longer side with resize: shorter"),
        (
            "size: 8\nresize: shorter\nmax_size: 8",
            "max_size: must be above size, which is 8, not 8",
        ),
        ("size: 8\nresize: shorter\nmax_size: 16385", "max_size: must be at most 16384 pixels"),
        ("size: 8\nresize: squish\npad_mode: border", "pad_mode: nothing is padded"),
        ("center_crop: 8\npad_mode: border", "pad_mode: nothing is padded"),
        (
            "size: 8\nresize: pad\npad_mode: mirror",
            "pad_mode: unknown variant `mirror`, expected one of ",
        ),
        ("crop_rounding: fastai", "crop_rounding: needs a centre crop; add center_crop"),
        ("crop_rounding: up\ncenter_crop: 8", "crop_rounding: unknown variant `up`"),
        ("center_crop: 0", "center_crop: sides must be 1 to 16384 pixels, not 0"),
        ("center_crop: {}", "center_crop: "),
        ("size: 8\nresize: stretch", "resize: unknown variant `stretch`, expected one of "),
        ("resize: crop", "resize: needs a target; add size"),
        ("filter: cubic", "filter: unknown variant `cubic`, expected one of "),
        ("antialias: maybe", "antialias: "),
        ("size: 8\nantialias: false\nfilter: box", "antialias: there is no box without it"),
        (
            "size: 8\nantialias: false\nparity: fast",
            "antialias: false is known to parity: exact alone",
        ),
        ("filter: box", "filter: nothing is resized; add size, or leave it out"),
        ("antialias: true\ncenter_crop: 8", "antialias: nothing is resized"),
        ("size: 8\nresize: pad\nparity: fast", "parity: fast is not known to resize: pad"),
        ("parity: close", "parity: unknown variant `close`, expected one of exact, fast"),
        ("exif: turn", "exif: unknown variant `turn`, expected one of ignore, apply"),
        ("color_mode: CMYK", "color_mode: no mode \"CMYK\"; known modes: RGB, L"),
        ("color_mode: L\nchannel_order: bgr", "channel_order: there is one channel"),
        ("channel_order: grb", "channel_order: unknown variant `grb`, expected one of rgb, bgr"),
        ("layout: nchw", "layout: unknown variant `nchw`, expected one of chw, hwc"),
        ("scale: 0", "scale: must be a finite number other than 0"),
        ("scale: 1/0", "scale: must be a finite number other than 0"),
        ("scale: small", "scale: invalid value: string \"small\""),
        (
            "scale: 1e30\ndtype: float16",
            "scale: with mean and std it leads beyond the numbers of float16",
        ),
        ("scale: 1e300", "scale: with mean and std it leads beyond the numbers of float32"),
        ("dtype: double", "dtype: unknown variant `double`, expected one of "),
        ("dtype: uint8\nscale: 1", "scale: levels stay as they are with dtype: uint8"),
        ("dtype: uint8\nmean: 1", "mean: levels stay as they are with dtype: uint8"),
        ("dtype: uint8\nstd: 1", "std: levels stay as they are with dtype: uint8"),
        ("mean: [0, 0]", "mean: "),
        ("mean: [0, 0, .nan]", "mean: must be finite numbers"),
        ("mean: red", "mean: "),
        (
            "color_mode: L\nmean: [0, 0, 0]",
            "mean: three numbers for the one channel of color_mode: L",
        ),
        (
            "color_mode: L\nstd: [1, 1, 1]",
            "std: three numbers for the one channel of color_mode: L",
        ),
        ("std: [1, 0, 1]", "std: must be finite numbers above 0"),
        ("std: -1", "std: must be finite numbers above 0"),
        ("std: [1, .inf, 1]", "std: must be finite numbers above 0"),
        ("max_image_pixels: 0", "max_image_pixels: must be at least 1"),
        ("max_image_pixels: many", "max_image_pixels: "),
    ];
    for (yaml, expected) in cases {
        let message = refusal(yaml);
        assert!(message.contains(expected), "{yaml:?} gave {message:?}, not {expected:?}");
    }
}

#[test]
fn a_handlers_defaults_fill_what_an_archive_leaves_open() {
    let defaults = PipelineConfig::torchvision_imagenet();
    let or = |yaml: &str| read(yaml).or(PipelineConfig::torchvision_imagenet());
    assert_eq!(or("{}"), defaults);
    assert_eq!(
        or("filter: bicubic\nmean: 0.5"),
        PipelineConfig {
            filter: Some(Filter::Bicubic),
            mean: Some(PerChannel::One(0.5)),
            ..defaults
        }
    );
    assert_eq!(or("max_size: 400"), PipelineConfig { max_size: Some(400), ..defaults });
}

#[test]
fn an_archives_size_is_not_mixed_with_the_defaults() {
    let shapes = ["size: 64", "center_crop: 100", "resize: native", "size: 64\nresize: pad"];
    for yaml in shapes {
        let defaults = PipelineConfig {
            mean: Some(PerChannel::One(0.25)),
            crop_rounding: Some(CropRounding::Fastai),
            ..PipelineConfig::torchvision_imagenet()
        };
        let expected = PipelineConfig { mean: Some(PerChannel::One(0.25)), ..read(yaml) };
        assert_eq!(read(yaml).or(defaults), expected, "{yaml}");
    }
}

#[test]
fn levels_as_they_are_take_no_moments_from_the_defaults() {
    let config = read("dtype: uint8").or(PipelineConfig::to_tensor());
    assert_eq!(config, read("dtype: uint8"));
    assert!(Pipeline::new(config).is_ok());
}

#[test]
fn a_pipeline_describes_itself() {
    let describe = |yaml| Pipeline::new(read(yaml)).unwrap().describe();
    let imagenet =
        "scale by 1/255, normalise with mean [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225]";
    assert_eq!(
        describe("{}"),
        format!("decode as Pillow does to RGB, {imagenet}, as float32 [3, height, width]")
    );
    assert_eq!(
        Pipeline::new(PipelineConfig::torchvision_imagenet()).unwrap().describe(),
        format!(
            "decode as Pillow does to RGB, resize the shorter side to 256 (bilinear, antialiased), \
             crop the centre 224x224, {imagenet}, as float32 [3, 224, 224]"
        )
    );
    assert_eq!(
        describe(
            "exif: apply\nsize: [96, 128]\nresize: pad\nchannel_order: bgr\nlayout: hwc\ndtype: uint8"
        ),
        "decode as Pillow does to RGB, turn it as its EXIF orientation says, \
         pad with its reflection to the aspect of 96x128 and resize to it (bilinear, antialiased), \
         put blue before green and red, as uint8 [96, 128, 3]"
    );
    assert_eq!(
        describe(
            "color_mode: L\nsize: 9\nresize: shorter\nmax_size: 20\nantialias: false\ndtype: float16"
        ),
        "decode as Pillow does to gray (L), resize the shorter side to 9, the longer to at most 20 \
         (bilinear, not antialiased), scale by 1/255, as float16 [1, height, width]"
    );
    assert_eq!(
        describe(
            "size: 9\nresize: crop\ncenter_crop: 12\ncrop_rounding: fastai\nscale: 0.5\nmean: 3"
        ),
        "decode as Pillow does to RGB, crop to the aspect of 9x9 and resize to it (bilinear, antialiased), \
         crop the centre 12x12 as FastAI does (smaller images padded with black), \
         scale by 1/2, normalise with mean 3 and std 1, as float32 [3, 12, 12]"
    );
    let fast = describe("parity: fast\nsize: 9\nfilter: nearest");
    assert!(
        fast.starts_with("decode fast, not quite as Pillow does, to RGB, squish to 9x9 (nearest),"),
        "{fast}"
    );
    assert!(describe("channel_order: bgr").contains("mean [0.406, 0.456, 0.485]"));
    assert!(describe("scale: 1").contains("scale by 1, as float32"));
}

#[test]
fn every_key_is_documented_and_every_example_holds() {
    #[derive(serde::Deserialize)]
    struct File {
        handler: PipelineConfig,
    }
    let page = [env!("CARGO_MANIFEST_DIR"), "../../docs/preprocessing.md"];
    let page = std::fs::read_to_string(page.iter().collect::<std::path::PathBuf>()).unwrap();
    for key in PipelineConfig::KEYS {
        assert!(page.contains(&format!("\n| `{key}` | ")), "{key} has no row");
    }
    let examples: Vec<_> = page.split("```yaml\n").skip(1).collect();
    assert!(examples.len() >= 5);
    for example in examples {
        let example = example.split("```").next().unwrap();
        let File { handler } = serde_saphyr::from_str(example).unwrap();
        assert!(Pipeline::new(handler).is_ok(), "{example}");
    }
    let described = Pipeline::new(PipelineConfig::torchvision_imagenet()).unwrap().describe();
    assert!(page.contains(&format!("> {described}")), "{described}");
}
