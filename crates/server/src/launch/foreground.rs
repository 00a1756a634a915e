//! The server's own process, from the settings to the last answer.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use mar_engine::{Engine, Registration, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::background::{STARTED, leave_terminal, release_output};
use super::pid_file::PidFile;
use super::{files, say};
use crate::logging;
use crate::metrics::Metrics;
use crate::report;
use crate::server::Server;
use crate::settings::{Configuration, GrpcService, Settings};

/// What a start or a stop came to.
enum Ended {
    InGoodOrder,
    /// `--strict`, and a model did not load.
    ModelFailed,
    /// A device failed for good; whoever supervises the process starts it anew.
    DeviceLost,
    /// Requests were cut off: the grace period passed or a second signal came.
    CutOff,
}

/// Serves until a signal ends it. Returns only where the start failed: at its end, the process ends here.
/// From here on, whatever is said on standard error is a record of the log, in the form asked for.
pub(super) fn serve(
    configuration: &Configuration,
    handlers: Vec<Registration>,
    runtimes: impl FnOnce() -> Vec<Arc<dyn Runtime>>,
) -> Result<ExitCode> {
    leave_terminal();
    logging::init(configuration.settings.log_format);
    files::allow_all();
    for warning in &configuration.warnings {
        log::warn!("{warning}");
    }
    start(&configuration.settings, handlers, runtimes).or_else(|error| {
        log::error!("{error:#}");
        Ok(ExitCode::FAILURE)
    })
}

fn start(
    settings: &Settings,
    handlers: Vec<Registration>,
    runtimes: impl FnOnce() -> Vec<Arc<dyn Runtime>>,
) -> Result<ExitCode> {
    let pid_file = PidFile::claim()?;
    let metrics = Metrics::new(&settings.measuring)?;
    let events = Arc::<Metrics>::clone(&metrics);
    let engine = Arc::new(Engine::new(settings.engine.clone(), handlers, runtimes(), events)?);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    let ended = runtime.block_on(answer(settings, engine, metrics));
    runtime.shutdown_background();
    let status = match ended? {
        Ended::InGoodOrder => 0,
        Ended::ModelFailed | Ended::DeviceLost | Ended::CutOff => 1,
    };
    drop(pid_file);
    // Not by returning from `main`: that runs the C++ destructors of libtorch under threads that may be in
    // the midst of a forward pass or of loading a model, and the process would end by a segmentation fault.
    signal_hook::low_level::exit(status)
}

async fn answer(settings: &Settings, engine: Arc<Engine>, metrics: Arc<Metrics>) -> Result<Ended> {
    let mut signals = Signals::listen()?;
    let server = Server::bind(settings, Arc::clone(&engine), metrics)?;
    for address in addresses(&server) {
        log::info!("{address}");
    }

    let loading = server.load();
    let loaded = tokio::select! {
        loaded = loading => loaded.context("loading the models panicked")?,
        () = signals.next() => return Ok(shut_down(server, signals).await),
    };
    say(&report::table(&engine));
    if settings.triton.told {
        for line in report::in_tritons_words(&engine, server.triton_urls()) {
            log::info!("{line}");
        }
    }
    if settings.strict && !loaded {
        log::error!(
            "a model did not load, and strict is set (--strict, --triton, --exit-on-error): the server ends"
        );
        server.shut_down().await.ok();
        return Ok(Ended::ModelFailed);
    }
    for address in addresses(&server) {
        say(&address);
    }
    say(STARTED);
    release_output()?;
    log::info!("started");

    tokio::select! {
        () = signals.next() => Ok(shut_down(server, signals).await),
        device = engine.device_lost() => {
            log::error!("{device} is lost; what is on its way is finished where it can be");
            shut_down(server, signals).await;
            Ok(Ended::DeviceLost)
        }
    }
}

/// What answers where, a sentence each.
fn addresses(server: &Server) -> Vec<String> {
    let mut addresses = vec![
        format!("predictions on {}", server.inference_url()),
        format!("management on {}", server.management_url()),
    ];
    addresses.extend(server.metrics_url().map(|url| format!("metrics on {url}")));
    addresses.extend(grpc(server).map(|(what, address)| format!("{what} on {address}")));
    let triton = server.triton_urls();
    addresses.extend(triton.http.map(|url| format!("Triton's HTTP on {url}")));
    addresses.extend(triton.grpc.map(|address| format!("Triton's gRPC on grpc://{address}")));
    addresses.extend(triton.metrics.map(|url| format!("Triton's metrics on {url}")));
    addresses
}

/// What gRPC answers, and where.
fn grpc(server: &Server) -> impl Iterator<Item = (&'static str, SocketAddr)> {
    let services = [
        ("gRPC predictions", GrpcService::Predictions),
        ("gRPC management", GrpcService::Management),
    ];
    services.into_iter().filter_map(|(what, service)| Some((what, server.grpc_address(service)?)))
}

/// Ends in good order, or at once where another signal comes.
async fn shut_down(server: Server, mut signals: Signals) -> Ended {
    let engine = Arc::clone(server.engine());
    log::info!("stopping: {} requests on their way", engine.in_flight());
    let ended = tokio::select! {
        drained = server.shut_down() => match drained {
            Ok(()) => Ended::InGoodOrder,
            Err(left) => {
                log::error!("the grace period is over with {left} requests unanswered");
                Ended::CutOff
            }
        },
        () = signals.next() => {
            log::error!("second signal: {} requests are cut off", engine.in_flight());
            Ended::CutOff
        }
    };
    engine.remove_files();
    log::info!("stopped");
    ended
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
