//! A server in this process, on free ports, stopped with its value.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use mar_engine::{Engine, EngineConfig, VersionState};
use mar_handler::{Registration, Runtime};
use mar_server::{Address, Endpoint, GrpcService, GrpcSite, Metrics, Server, Settings};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::fake::{self, Control};
use super::store::Store;

pub(crate) struct TestServer {
    pub(crate) engine: Arc<Engine>,
    inference: String,
    management: String,
    metrics: Option<String>,
    grpc: Vec<(GrpcService, SocketAddr)>,
    /// Where Triton's clients are answered: HTTP, figures.
    triton: [Option<String>; 2],
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), usize>>>,
    temp: TempDir,
}

/// Every service of gRPC.
const SERVICES: [GrpcService; 3] =
    [GrpcService::Predictions, GrpcService::Management, GrpcService::OpenInference];

/// Settings for tests: free ports, small limits, no waiting.
pub(crate) fn settings() -> Settings {
    let free = || Endpoint { address: Address::Tcp("127.0.0.1:0".parse().unwrap()), tls: false };
    let mut settings = Settings {
        inference: free(),
        management: free(),
        metrics: free(),
        grpc: vec![GrpcSite::inference(free()), GrpcSite::management(free())],
        max_request_size: 100_000,
        grace_period: Duration::from_mins(1),
        ..Settings::default()
    };
    settings.engine.backoff_step = Duration::from_millis(1);
    settings.engine.defaults.workers = Some(1);
    // Many tests share the cores, and libtorch's threads wait for each other by spinning.
    settings.engine.cores = 1;
    settings
}

/// The same settings with one address for everything. Port 0 cannot be shared, so each test names a port
/// of its own, on a loopback address that no other process of tests has.
pub(crate) fn shared(settings: Settings, port: u16) -> Settings {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let address = Address::Tcp(([127, 64 + high, middle, low], port).into());
    let one = Endpoint { address, tls: false };
    Settings { inference: one.clone(), management: one.clone(), metrics: one, ..settings }
}

impl TestServer {
    /// Serves these archives on the fake runtime.
    pub(crate) fn fake(archives: &[&Path]) -> (Self, Control) {
        Self::fake_with(settings(), archives)
    }

    pub(crate) fn fake_with(settings: Settings, archives: &[&Path]) -> (Self, Control) {
        let (runtime, control) = fake::runtime();
        let server = Self::start(settings, fake::handlers(), runtime);
        for archive in archives {
            server.engine.load(None, archive).unwrap();
        }
        (server, control)
    }

    /// Serves nothing yet, from this store, and lets models come and go over the network.
    pub(crate) fn managed(store: &Store) -> (Self, Control) {
        Self::managed_with(settings(), store)
    }

    pub(crate) fn managed_with(mut settings: Settings, store: &Store) -> (Self, Control) {
        settings.store.dir = store.path().into();
        settings.access.model_api = true;
        Self::fake_with(settings, &[])
    }

    pub(crate) fn start(
        settings: Settings,
        handlers: Vec<Registration>,
        runtime: Arc<dyn Runtime>,
    ) -> Self {
        Self::start_with(settings, handlers, vec![runtime])
    }

    /// Starts with several runtimes.
    pub(crate) fn start_with(
        settings: Settings,
        handlers: Vec<Registration>,
        runtimes: Vec<Arc<dyn Runtime>>,
    ) -> Self {
        Self::try_start_with(settings, handlers, runtimes).unwrap()
    }

    /// A server of one archive on libtorch, under this name, in batches of so many requests.
    #[cfg(feature = "torch")]
    pub(crate) fn of_archive(archive: PathBuf, name: &str, batch: usize) -> Self {
        let settings = Settings { max_request_size: 1_000_000, ..settings() };
        let runtime = Arc::new(mar_runtime::Torch::start());
        let server = Self::start(settings, mar_handlers::all(), runtime);
        let overrides = mar_engine::Overrides {
            batch_size: Some(batch),
            // No test outlives it: a batch goes once it is full.
            max_batch_delay: (batch > 1).then_some(Duration::from_secs(1000)),
            ..mar_engine::Overrides::default()
        };
        let named = Some(name.to_owned());
        let request =
            mar_engine::LoadRequest { archive, name: named, overrides, ..Default::default() };
        server.engine.load_as(&request).unwrap();
        assert_eq!(server.state(name), VersionState::Ready);
        server
    }

    /// Starts, or says why not.
    pub(crate) fn try_start(
        settings: Settings,
        handlers: Vec<Registration>,
        runtime: Arc<dyn Runtime>,
    ) -> anyhow::Result<Self> {
        Self::try_start_with(settings, handlers, vec![runtime])
    }

    /// Serves nothing yet, on libtorch and ONNX Runtime, with the built-in handlers.
    #[cfg(all(feature = "torch", feature = "onnx"))]
    pub(crate) fn of_both_runtimes(settings: Settings) -> Self {
        let runtimes: Vec<Arc<dyn Runtime>> =
            vec![Arc::new(mar_runtime::Torch::start()), Arc::new(mar_runtime::Onnx::start())];
        Self::try_start_with(settings, mar_handlers::all(), runtimes).unwrap()
    }

    fn try_start_with(
        settings: Settings,
        handlers: Vec<Registration>,
        runtimes: Vec<Arc<dyn Runtime>>,
    ) -> anyhow::Result<Self> {
        let temp = tempfile::tempdir().unwrap();
        let config = EngineConfig { temp_dir: temp.path().into(), ..settings.engine.clone() };
        let metrics = Metrics::new(&settings.measuring)?;
        let events = Arc::<Metrics>::clone(&metrics);
        let engine = Arc::new(Engine::new(config, handlers, runtimes, events).unwrap());
        let (stop, stopped) = oneshot::channel();
        let (send, receive) = mpsc::channel();
        let thread = std::thread::spawn({
            let engine = Arc::clone(&engine);
            let folder = temp.path().to_owned();
            move || {
                tokio::runtime::Runtime::new().unwrap().block_on(async move {
                    let server = match Server::bind_in(&settings, engine, metrics, &folder) {
                        Ok(server) => server,
                        Err(error) => {
                            send.send(Err(error)).unwrap();
                            return Ok(());
                        }
                    };
                    let urls = (
                        server.inference_url().to_owned(),
                        server.management_url().to_owned(),
                        server.metrics_url().map(str::to_owned),
                        SERVICES
                            .into_iter()
                            .filter_map(|service| Some((service, server.grpc_address(service)?)))
                            .collect(),
                        {
                            let urls = server.triton_urls();
                            [urls.http, urls.metrics].map(|url| url.map(str::to_owned))
                        },
                    );
                    server.load().await.unwrap();
                    send.send(Ok(urls)).unwrap();
                    stopped.await.ok();
                    server.shut_down().await
                })
            }
        });
        let (inference, management, metrics, grpc, triton) = receive.recv().unwrap()?;
        let (stop, thread) = (Some(stop), Some(thread));
        Ok(Self { engine, inference, management, metrics, grpc, triton, stop, thread, temp })
    }

    pub(crate) fn inference(&self, path: &str) -> String {
        format!("{}{path}", self.inference)
    }

    /// Host and port of the predictions.
    pub(crate) fn inference_address(&self) -> &str {
        self.inference.trim_start_matches("http://")
    }

    pub(crate) fn management(&self, path: &str) -> String {
        format!("{}{path}", self.management)
    }

    /// Where the figures answer, if they do.
    pub(crate) fn metrics(&self) -> Option<&str> {
        self.metrics.as_deref()
    }

    /// A path where Triton's clients look for it.
    pub(crate) fn triton(&self, path: &str) -> String {
        format!("{}{path}", self.triton[0].as_deref().unwrap())
    }

    /// Where Triton's clients look for the figures.
    pub(crate) fn triton_metrics(&self) -> String {
        format!("{}/metrics", self.triton[1].as_deref().unwrap())
    }

    /// Where gRPC answers a service, if it does.
    pub(crate) fn grpc(&self, service: GrpcService) -> Option<SocketAddr> {
        self.grpc.iter().find(|(known, _)| *known == service).map(|(_, address)| *address)
    }

    /// Where gRPC answers predictions and the Open Inference Protocol.
    pub(crate) fn grpc_inference(&self) -> SocketAddr {
        self.grpc(GrpcService::OpenInference).unwrap()
    }

    /// Where gRPC answers management.
    pub(crate) fn grpc_management(&self) -> SocketAddr {
        self.grpc(GrpcService::Management).unwrap()
    }

    /// Where this server's tokens lie.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.temp.path().join("key_file.json")
    }

    pub(crate) fn state(&self, model: &str) -> VersionState {
        self.engine.version(model, None).unwrap().state()
    }

    /// Begins to shut down, as a signal does.
    pub(crate) fn begin_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the end; what `Server::shut_down` came to.
    pub(crate) fn join(mut self) -> Result<(), usize> {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().unwrap().unwrap();
        }
    }
}
