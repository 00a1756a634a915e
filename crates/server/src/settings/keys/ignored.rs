//! The keys of TorchServe that do nothing here, and why. Whoever sets one is told so once.

use super::{Action, Key};

const NO_PYTHON: &str = "there are no Python workers";
const NO_JVM: &str = "there is no JVM";
const THREADS: &str = "the number of network threads follows the number of cores";
const SEQUENCES: &str = "there are no sequences of requests yet";
const KEYSTORE: &str = "belongs to `keystore`; keys are read from PEM files";
const COLLECTOR: &str = "the machine's figures are read without a script";
const WRITTEN: &str = "TorchServe writes it into snapshots; it says nothing of how to serve";

/// Every key that does nothing, or that nothing can be done with.
pub(crate) const IGNORED: &[Key] = &[
    ignored(
        "ts_open_inference_protocol",
        "the Open Inference Protocol is served always, below /v2",
    ),
    ignored("ts_header_key_sequence_id", SEQUENCES),
    ignored("ts_header_key_sequence_start", SEQUENCES),
    ignored("ts_header_key_sequence_end", SEQUENCES),
    ignored("workflow_store", "there are no workflows"),
    ignored(
        "limit_max_image_pixels",
        "`max_image_pixels` in an archive's `model-config.yaml` sets the limit",
    ),
    ignored("decode_input_request", "a handler gets the body's bytes and decodes them itself"),
    ignored("install_py_dep_per_model", NO_PYTHON),
    ignored("blacklist_env_vars", NO_PYTHON),
    ignored("ipex_enable", NO_PYTHON),
    ignored("ipex_gpu_enable", NO_PYTHON),
    ignored("cpu_launcher_enable", NO_PYTHON),
    ignored("cpu_launcher_args", NO_PYTHON),
    ignored("python", NO_PYTHON),
    ignored("cpp_log_config", "there are no C++ workers"),
    ignored("initial_worker_port", "workers are threads and need no port"),
    ignored("initial_distribution_port", "workers are threads and need no port"),
    ignored("debug", "workers are threads; a debugger attaches to the server itself"),
    ignored("model_server_home", "nothing is read from an installation's folder"),
    ignored("number_of_netty_threads", THREADS),
    ignored("netty_client_threads", THREADS),
    ignored("prefer_direct_buffer", NO_JVM),
    ignored("vmargs", NO_JVM).in_file_only(),
    ignored("plugins_path", "there are no plug-ins").in_file_only(),
    ignored("use_native_io", "the system's own input and output are always used").in_file_only(),
    ignored("io_ratio", "the system's own input and output are always used").in_file_only(),
    ignored("async_logging", "`RUST_LOG` and `log_format` set the log"),
    ignored("metrics_config", "the figures are those of TorchServe's own file"),
    ignored("metrics_format", "`/metrics` has Prometheus' form"),
    ignored("model_metrics_auto_detect", "handlers declare no figures of their own yet"),
    ignored("system_metrics_cmd", COLLECTOR).in_file_only(),
    ignored("NUM_WORKERS", "TorchServe does not read it either; see `default_workers_per_model`")
        .in_file_only(),
    ignored("version", WRITTEN).in_file_only(),
    ignored("tsConfigFile", WRITTEN).in_file_only(),
    Key {
        name: "keystore",
        default: "",
        meaning: "keys are read from PEM files: `openssl pkcs12 -in KEYSTORE -nodes -nocerts -out key.pem` \
                  and `openssl pkcs12 -in KEYSTORE -nokeys -out cert.pem` make them of a PKCS12 keystore; \
                  then set `private_key_file=key.pem` and `certificate_file=cert.pem`",
        by_variable: true,
        action: Action::RefuseUnless("private_key_file"),
    },
    ignored("keystore_pass", KEYSTORE),
    ignored("keystore_type", KEYSTORE),
];

const fn ignored(name: &'static str, why: &'static str) -> Key {
    Key { name, default: "", meaning: why, by_variable: true, action: Action::Ignore }
}
