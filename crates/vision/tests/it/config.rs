use mar_vision::{Filter, Pipeline, PipelineConfig, ResizeMethod, Sides};

/// The message for a configuration that cannot be used, whichever stage refuses it.
fn refusal(yaml: &str) -> String {
    match serde_saphyr::from_str::<PipelineConfig>(yaml) {
        Err(error) => error.to_string(),
        Ok(config) => Pipeline::new(config).expect_err(yaml).to_string(),
    }
}

#[test]
fn reads_what_people_write() {
    let yaml = "size: [96, 128]\nresize: crop\nfilter: lanczos\ncenter_crop: 64\nmean: [0, 0.5, 1]\nstd: [1, 1, 0.5]\nmax_image_pixels: 1000000\n";
    let config: PipelineConfig = serde_saphyr::from_str(yaml).unwrap();
    let expected = PipelineConfig {
        size: Some(Sides::Both { height: 96, width: 128 }),
        resize: Some(ResizeMethod::Crop),
        filter: Some(Filter::Lanczos),
        center_crop: Some(Sides::One(64)),
        mean: Some([0.0, 0.5, 1.0]),
        std: Some([1.0, 1.0, 0.5]),
        max_image_pixels: Some(1_000_000),
    };
    assert_eq!(config, expected);
    let json = r#"{"size": 224, "resize": "shorter", "center_crop": null}"#;
    let config: PipelineConfig = serde_json::from_str(json).unwrap();
    assert_eq!(config.size, Some(Sides::One(224)));
    assert!(Pipeline::new(config).is_ok());
    assert_eq!(serde_saphyr::from_str::<PipelineConfig>("{}").unwrap(), PipelineConfig::default());
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
        ("center_crop: 0", "center_crop: sides must be 1 to 16384 pixels, not 0"),
        ("center_crop: {}", "center_crop: "),
        (
            "size: 8\nresize: pad",
            "resize: pad is not supported yet; known methods: squish, crop, shorter",
        ),
        (
            "size: 8\nresize: stretch",
            "resize: no method \"stretch\"; known methods: squish, crop, shorter",
        ),
        ("resize: crop", "resize: needs a target; add size"),
        ("filter: cubic", "filter: unknown variant `cubic`, expected one of "),
        ("mean: [0, 0]", "mean: "),
        ("mean: [0, 0, .nan]", "mean: must be three finite numbers"),
        ("mean: 0.5", "mean: "),
        ("std: [1, 0, 1]", "std: must be three finite numbers above 0"),
        ("std: [1, .inf, 1]", "std: must be three finite numbers above 0"),
        ("max_image_pixels: 0", "max_image_pixels: must be at least 1"),
        ("max_image_pixels: many", "max_image_pixels: "),
    ];
    for (yaml, expected) in cases {
        let message = refusal(yaml);
        assert!(message.contains(expected), "{yaml:?} gave {message:?}, not {expected:?}");
    }
}

#[test]
fn a_pipeline_describes_itself() {
    let describe = |yaml| Pipeline::new(serde_saphyr::from_str(yaml).unwrap()).unwrap().describe();
    assert_eq!(
        describe("size: [96, 128]"),
        "decode to RGB, squish to 96x128 (height x width), bilinear, scale to 0..1, \
         normalise with mean [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225]"
    );
    assert_eq!(
        describe("size: 256\nresize: shorter\ncenter_crop: 224\nmean: [0, 0, 0]\nstd: [1, 1, 1]"),
        "decode to RGB, resize the shorter side to 256, bilinear, crop the centre 224x224 (height x width), \
         scale to 0..1, normalise with mean [0.0, 0.0, 0.0] and std [1.0, 1.0, 1.0]"
    );
    assert!(describe("{}").starts_with("decode to RGB, keep the size, scale to 0..1"));
}
