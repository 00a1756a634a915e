//! The flags of Triton that mean something here, under its names. The others are not known, and end the start.

use anyhow::{Result, bail};
use clap::Args;

use crate::settings::Flag;

/// Triton's flags.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Triton")]
pub(super) struct TritonArgs {
    /// Open Triton's addresses too: 8000 for HTTP, 8001 for gRPC, 8002 for metrics; and load every model
    #[arg(long)]
    triton: bool,

    /// The port of Triton's HTTP [default with --triton: 8000]
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,

    /// The port of Triton's gRPC [default with --triton: 8001]
    #[arg(long, value_name = "PORT")]
    grpc_port: Option<u16>,

    /// The port of Triton's metrics [default with --triton: 8002]
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,

    /// The host of Triton's HTTP and metrics [default: 127.0.0.1]
    #[arg(long, value_name = "HOST")]
    http_address: Option<String>,

    /// The host of Triton's gRPC [default: 127.0.0.1]
    #[arg(long, value_name = "HOST")]
    grpc_address: Option<String>,

    /// Whether Triton's HTTP is there [default with --triton: true]
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set)]
    allow_http: Option<bool>,

    /// Whether Triton's gRPC is there [default with --triton: true]
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set)]
    allow_grpc: Option<bool>,

    /// Whether Triton's metrics are there [default with --triton: true]
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set)]
    allow_metrics: Option<bool>,

    /// Who loads models: none (the start alone) or explicit (clients too)
    #[arg(long, value_name = "MODE")]
    model_control_mode: Option<String>,

    /// A model to load at the start, or * for all; may be repeated
    #[arg(long, value_name = "NAME")]
    load_model: Vec<String>,

    /// Fail the start when a model does not load [default with --triton: true]
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set)]
    exit_on_error: Option<bool>,

    /// As --grace-period
    #[arg(long, value_name = "SECONDS", conflicts_with = "grace_period")]
    exit_timeout_secs: Option<String>,
}

impl TritonArgs {
    /// The models that are to be loaded.
    pub(super) fn models(&self) -> impl Iterator<Item = String> {
        let word = |name: &String| if name == "*" { "all".to_owned() } else { name.clone() };
        self.load_model.iter().map(word)
    }

    /// Whether the last run is forgotten, as with `--ncs`: Triton serves what its repository holds.
    pub(super) fn starts_afresh(&self) -> bool {
        self.triton
    }

    /// What the flags set.
    ///
    /// # Errors
    /// Where two of them contradict each other.
    pub(super) fn flags(&self) -> Result<Vec<Flag>> {
        let mut flags = Vec::new();
        let mut set = |name, key, value: Option<String>| {
            flags.extend(value.map(|value| Flag { name, key, value }));
        };
        set("--triton", "triton", self.triton.then(|| "true".to_owned()));
        let (http, grpc) = (self.http_address.as_deref(), self.grpc_address.as_deref());
        for (name, key, allowed, host, (port, usual)) in [
            ("--http-port", "triton_http_address", self.allow_http, http, (self.http_port, 8000)),
            ("--grpc-port", "triton_grpc_address", self.allow_grpc, grpc, (self.grpc_port, 8001)),
            // Triton's figures are where its HTTP is.
            (
                "--metrics-port",
                "triton_metrics_address",
                self.allow_metrics,
                http,
                (self.metrics_port, 8002),
            ),
        ] {
            let asked = port.is_some() || host.is_some() || allowed == Some(true);
            let host = host.unwrap_or("127.0.0.1");
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            let place = format!("http://{host}:{}", port.unwrap_or(usual));
            let value = match allowed {
                Some(false) => Some("off".to_owned()),
                _ => asked.then_some(place),
            };
            set(name, key, value);
        }
        set("--model-control-mode", "model_control_mode", self.model_control_mode.clone());
        set("--exit-on-error", "strict", self.exit_on_error.map(|on| on.to_string()));
        set("--exit-timeout-secs", "grace_period", self.exit_timeout_secs.clone());
        if !self.load_model.is_empty()
            && self.model_control_mode.as_deref().is_some_and(|mode| mode != "explicit")
        {
            bail!("--load-model needs --model-control-mode explicit, as in Triton");
        }
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[arg(long)]
        grace_period: Option<String>,
        #[command(flatten)]
        triton: TritonArgs,
    }

    fn set(words: &str) -> Vec<String> {
        let args = Alone::parse_from(words.split_whitespace());
        assert_eq!(args.grace_period, None);
        let flags = args.triton.flags().unwrap().into_iter();
        flags.map(|flag| format!("{}={}", flag.key, flag.value)).collect()
    }

    #[test]
    fn ports_and_hosts_become_addresses() {
        assert_eq!(set("x"), [""; 0]);
        assert_eq!(set("x --triton"), ["triton=true"]);
        assert!(Alone::parse_from(["x", "--triton"]).triton.starts_afresh());
        assert!(!Alone::parse_from(["x", "--http-port=1"]).triton.starts_afresh());
        assert_eq!(
            set("x --http-port=9000 --allow-metrics=false --exit-on-error=false"),
            [
                "triton_http_address=http://127.0.0.1:9000",
                "triton_metrics_address=off",
                "strict=false"
            ]
        );
        assert_eq!(
            set("x --http-address 0.0.0.0 --grpc-address ::1 --metrics-port 7"),
            [
                "triton_http_address=http://0.0.0.0:8000",
                "triton_grpc_address=http://[::1]:8001",
                "triton_metrics_address=http://0.0.0.0:7",
            ]
        );
        assert_eq!(
            set("x --allow-grpc true --exit-timeout-secs 3"),
            ["triton_grpc_address=http://127.0.0.1:8001", "grace_period=3"]
        );
    }

    #[test]
    fn models_are_named_where_clients_may_load_them() {
        let args = |words: &str| Alone::parse_from(words.split_whitespace()).triton;
        let explicit = args("x --model-control-mode explicit --load-model a --load-model=*");
        assert_eq!(explicit.models().collect::<Vec<_>>(), ["a", "all"]);
        assert!(explicit.flags().is_ok());
        let error = args("x --model-control-mode=none --load-model a").flags().unwrap_err();
        assert!(error.to_string().contains("--load-model needs"), "{error}");
        for unknown in ["x --backend-directory=/", "x --repository-poll-secs=1", "x --allow-http=1"]
        {
            assert!(Alone::try_parse_from(unknown.split_whitespace()).is_err(), "{unknown}");
        }
    }
}
