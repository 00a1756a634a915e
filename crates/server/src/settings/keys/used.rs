//! The keys that do something, and what.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::values::{at_least, header, json, path, seconds, switch, words};
use super::{Action, Key};
use crate::fetch;
use crate::settings::address::{Ports, endpoint};
use crate::settings::draft::Draft;
use crate::settings::model_cache::ModelCache;
use crate::settings::models::{Zero, from_json};
use crate::settings::{Envelope, LogFormat, MetricsMode, snapshot};

/// Every key that sets a part of the settings.
pub(crate) const USED: &[Key] = &[
    used(
        "inference_address",
        "http://127.0.0.1:8080",
        "where predictions and `/ping` answer",
        |d, text| {
            d.settings.inference = endpoint(text, Ports { http: 80, https: 443 })?;
            Ok(())
        },
    ),
    used("management_address", "http://127.0.0.1:8081", "where `/models` answers", |d, text| {
        d.settings.management = endpoint(text, Ports { http: 8081, https: 8444 })?;
        Ok(())
    }),
    used("metrics_address", "http://127.0.0.1:8082", "where `/metrics` answers", |d, text| {
        d.settings.metrics = endpoint(text, Ports { http: 8082, https: 8445 })?;
        Ok(())
    }),
    used("model_store", "(required)", "the folder that holds the archives", |d, text| {
        d.model_store = path(text);
        Ok(())
    }),
    used(
        "load_models",
        "(none)",
        "what to load: `all`, `FILE` or `NAME=FILE`, where FILE may be an allowed URL, separated by commas",
        |d, text| {
            text.clone_into(&mut d.load_models);
            Ok(())
        },
    ),
    used(
        "models",
        "(none)",
        "JSON: workers, batching and time-outs by model and version",
        |d, text| {
            d.listed = from_json(json(text)?, Zero::SaysNothing)?;
            Ok(())
        },
    )
    .in_file_only(),
    used(
        "model_snapshot",
        "(none)",
        "JSON: the models of an earlier run, loaded instead of `load_models`",
        |d, text| {
            d.snapshot = Some(snapshot::models(json(text)?)?);
            Ok(())
        },
    )
    .in_file_only(),
    used(
        "default_workers_per_model",
        "0",
        "workers of a model that says nothing of them; 0 is one a GPU, without GPUs one",
        |d, text| {
            d.settings.engine.defaults.workers = Some(at_least(text, 0)?).filter(|n| *n > 0);
            Ok(())
        },
    ),
    used(
        "default_response_timeout",
        "120",
        "seconds from a request's arrival to its answer, and for a batch on a worker",
        |d, text| seconds(text).map(|value| d.settings.engine.defaults.response_timeout = value),
    ),
    used("default_startup_timeout", "120", "seconds for a worker to load its model", |d, text| {
        seconds(text).map(|value| d.settings.engine.defaults.startup_timeout = value)
    }),
    used(
        "unregister_model_timeout",
        "120",
        "seconds for the requests of an unregistered model to end",
        |d, text| seconds(text).map(|value| d.settings.engine.unload_timeout = value),
    ),
    used("job_queue_size", "100", "requests a model lets wait; one more gets 503", |d, text| {
        at_least(text, 1).map(|value| d.settings.engine.defaults.job_queue_size = value)
    }),
    used(
        "max_request_size",
        "6553500",
        "bytes of a request body; a larger one gets 413",
        |d, text| at_least(text, 1).map(|value| d.settings.max_request_size = value),
    ),
    used("max_response_size", "6553500", "bytes of an answer's body", |d, text| {
        at_least(text, 1).map(|value| d.settings.max_response_size = value)
    }),
    used("number_of_gpu", "(all)", "GPUs to use at most", |d, text| {
        d.settings.engine.max_cuda_devices = Some(at_least(text, 0)?);
        Ok(())
    }),
    used(
        "default_service_handler",
        "(none)",
        "the handler of archives that name none",
        |d, text| {
            d.settings.engine.default_handler = words(text);
            Ok(())
        },
    ),
    used(
        "service_envelope",
        "body",
        "`body`: the body is the input; `json` or `kserve`: `{\"instances\": [...]}`",
        |d, text| {
            d.settings.envelope = match text {
                "" | "body" => Envelope::None,
                "json" | "kserve" => Envelope::Instances,
                "kservev2" => bail!("kservev2 is not supported yet; use body, json or kserve"),
                _ => bail!("not body, json or kserve"),
            };
            Ok(())
        },
    ),
    used(
        "metrics_mode",
        "prometheus",
        "`prometheus`: figures on `/metrics`; `log`: in the log; `legacy`: three on `/metrics`, the rest \
         in the log",
        |d, text| {
            d.settings.measuring.mode = match text.to_ascii_lowercase().as_str() {
                "prometheus" => MetricsMode::Prometheus,
                "log" => MetricsMode::Log,
                "legacy" => MetricsMode::Legacy,
                _ => bail!("not prometheus, log or legacy"),
            };
            Ok(())
        },
    ),
    used("enable_metrics_api", "true", "whether there is `/metrics` at all", |d, text| {
        switch(text).map(|value| d.settings.measuring.endpoint = value)
    }),
    used(
        "disable_system_metrics",
        "false",
        "`true`: the machine's own figures are not read",
        |d, text| {
            d.settings.measuring.system = !switch(text)?;
            Ok(())
        },
    ),
    used(
        "metric_time_interval",
        "60",
        "seconds between two readings of the machine's figures",
        |d, text| seconds(text).map(|value| d.settings.measuring.interval = value),
    )
    .in_file_only(),
    used(
        "allowed_urls",
        "(none)",
        "regular expressions, separated by commas, of the URLs that archives may be registered from",
        |d, text| {
            let patterns = text.split(',').map(str::trim).filter(|pattern| !pattern.is_empty());
            d.settings.store.allowed_urls = patterns.map(str::to_owned).collect();
            for pattern in &d.settings.store.allowed_urls {
                fetch::check_pattern(pattern)?;
            }
            Ok(())
        },
    ),
    used(
        "use_env_allowed_urls",
        "false",
        "whether `TS_ALLOWED_URLS` counts, beside `enable_envvars_config`",
        |_, text| switch(text).map(drop),
    )
    .in_file_only(),
    used(
        "enable_envvars_config",
        "false",
        "whether environment variables `TS_<KEY>` count",
        |_, text| switch(text).map(drop),
    )
    .in_file_only(),
    used(
        "cors_allowed_origin",
        "(none)",
        "`access-control-allow-origin` of every answer",
        |d, text| header(text).map(|value| d.settings.cors.origin = value),
    ),
    used(
        "cors_allowed_methods",
        "(none)",
        "`access-control-allow-methods` of every answer",
        |d, text| header(text).map(|value| d.settings.cors.methods = value),
    ),
    used(
        "cors_allowed_headers",
        "(none)",
        "`access-control-allow-headers` of every answer",
        |d, text| header(text).map(|value| d.settings.cors.headers = value),
    ),
    used("private_key_file", "(none)", "PEM file of the key for `https` addresses", |d, text| {
        d.private_key_file = path(text);
        Ok(())
    }),
    used("certificate_file", "(none)", "PEM file of the certificate and its chain", |d, text| {
        d.certificate_file = path(text);
        Ok(())
    }),
    used(
        "disable_token_authorization",
        "(no tokens)",
        "`false`: TorchServe's tokens are made and asked for; `true`: they are not, and addresses that \
         other machines can reach are meant to be open",
        |d, text| {
            d.disable_tokens = Some(switch(text)?);
            Ok(())
        },
    ),
    used(
        "token_expiration_min",
        "60",
        "minutes that a token lives; fractions are allowed",
        |d, text| {
            let minutes = text.parse().ok().filter(|m| (0.0..=f64::from(i32::MAX)).contains(m));
            let minutes = minutes.context("not a number of minutes")?;
            let life = Duration::from_secs_f64(minutes * 60.0);
            ensure!(!life.is_zero(), "not more than 0");
            d.token_life = life;
            Ok(())
        },
    ),
    used(
        "enable_model_api",
        "false",
        "whether models may be registered and unregistered over the network",
        |d, text| switch(text).map(|value| d.settings.access.model_api = value),
    ),
    used(
        "allow_shared_memory",
        "(where all addresses are local)",
        "whether clients may hand over tensors in POSIX shared memory, which the server then reads and writes",
        |d, text| switch(text).map(|value| d.shared_memory = Some(value)),
    ),
    used(
        "api_key_file",
        "(none)",
        "file of a key that is always good, beside the tokens",
        |d, text| {
            d.api_key_file = path(text);
            Ok(())
        },
    ),
    used(
        "grace_period",
        "30",
        "seconds that requests under way may take to finish at the end",
        |d, text| {
            d.settings.grace_period = Duration::from_secs(at_least(text, 0)?);
            Ok(())
        },
    ),
    used(
        "log_format",
        "text",
        "`text`, `json` (an object a line) or `torchserve` (its access log's lines)",
        |d, text| {
            d.settings.log_format = match text {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                "torchserve" => LogFormat::TorchServe,
                _ => bail!("not text, json or torchserve"),
            };
            Ok(())
        },
    ),
    used(
        "model_cache",
        "(`$XDG_CACHE_HOME/marserve/models`, else `~/.cache/marserve/models`)",
        "folder where runtimes keep what they make of models' files, so that the next start takes less time; \
         `none` or empty: nothing is kept",
        |d, text| {
            d.model_cache = ModelCache::of(text);
            Ok(())
        },
    ),
    used(
        "strict",
        "(true with `triton`, else false)",
        "whether a model that does not load ends the server",
        |d, text| switch(text).map(|value| d.strict = Some(value)),
    ),
    used(
        "verify_samples",
        "warn",
        "what becomes of a model whose known answers are not reproduced when it is loaded: `off`: they are \
         not looked at; `warn`: it serves, and the log says what differs; `strict`: it does not load",
        |d, text| {
            let mode = text.parse().map_err(|wrong: String| anyhow!(wrong))?;
            d.settings.engine.defaults.verify_samples = mode;
            Ok(())
        },
    ),
];

pub(super) const fn used(
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
    set: fn(&mut Draft, &str) -> Result<()>,
) -> Key {
    Key { name, default, meaning, by_variable: true, action: Action::Set(set) }
}
