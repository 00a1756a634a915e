//! What a call asks for by its path, and who may ask it.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::sync::Arc;
use tonic::{Code, Request, Status};

use super::error::{class, torchserve};
use crate::access::{Denied, Keyring, Surface};
use crate::settings::GrpcService;

/// The Open Inference Protocol's service.
const OPEN_INFERENCE: &str = "/inference.GRPCInferenceService/";

/// The same service, as TorchServe's protocol files call it.
const TORCHSERVES_OPEN_INFERENCE: &str =
    "/org.pytorch.serve.grpc.openinference.GRPCInferenceService/";

/// Characters that the log has of a model's name at most: a client may send millions.
const LONGEST: usize = 1024;

/// A call under way: put into its request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The server's identifier of it.
    pub(super) id: Arc<str>,
    /// The model that it turned out to be for, for the log.
    model: Arc<Mutex<Option<String>>>,
    /// Whether its key is good for management.
    manages: Result<(), Arc<str>>,
}

/// Which key a call needs, and how it is refused without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    key: Key,
    torchserve: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// Probes ask without.
    None,
    Inference,
    Management,
    /// That of either: what is asked for shows in the message alone.
    Either,
}

impl Call {
    /// A call, where its key is good.
    ///
    /// # Errors
    /// The status of the refusal.
    pub(super) fn admitted(
        id: &str,
        (path, headers): (&str, &HeaderMap),
        services: &[GrpcService],
        keyring: &Keyring,
    ) -> Result<Self, Status> {
        let authorization = headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes);
        let check = |surface| keyring.check(surface, authorization, Timestamp::now());
        let manages = check(Surface::Management);
        let need = Need::of(path, services);
        let checked = match need.key {
            Key::None => Ok(()),
            Key::Inference => check(Surface::Inference),
            Key::Management => manages.clone(),
            Key::Either if manages.is_ok() => Ok(()),
            Key::Either => check(Surface::Inference),
        };
        checked.map_err(|denied| refusal(&denied, need.torchserve))?;
        let manages = manages.map_err(|denied| denied.to_string().into());
        Ok(Self { id: id.into(), model: Arc::default(), manages })
    }

    /// The call of a request.
    ///
    /// # Errors
    /// Never behind [`Front`](super::front::Front), which puts it there.
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let call = request.extensions().get::<Self>().cloned();
        call.ok_or_else(|| Status::internal("the call has no identifier"))
    }

    /// Refuses what only whoever manages models may ask.
    ///
    /// # Errors
    /// Where the key is not the management's.
    pub(super) fn must_manage(&self) -> Result<(), Status> {
        self.manages.clone().map_err(|denied| Status::unauthenticated(&*denied))
    }

    /// The log's line names this model.
    pub(super) fn is_for(&self, model: &str) {
        *self.model.lock() = Some(model.chars().take(LONGEST).collect());
    }

    /// The model that it was for.
    pub(super) fn model(&self) -> Option<String> {
        self.model.lock().clone()
    }
}

/// The path under which a service answers, where it has another name too.
pub(super) fn own_path(path: &str) -> Option<String> {
    let method = path.strip_prefix(TORCHSERVES_OPEN_INFERENCE)?;
    Some(format!("{OPEN_INFERENCE}{method}"))
}

impl Need {
    fn of(path: &str, services: &[GrpcService]) -> Self {
        let oip = |key| Self { key, torchserve: false };
        if let Some(method) = path.strip_prefix(OPEN_INFERENCE) {
            return oip(match method {
                "ServerLive" | "ServerReady" => Key::None,
                "RepositoryModelLoad" | "RepositoryModelUnload" => Key::Management,
                "TraceSetting" | "LogSettings" => Key::Either,
                _ => Key::Inference,
            });
        }
        if path.starts_with("/org.pytorch.serve.grpc.management.") {
            return Self { key: Key::Management, torchserve: true };
        }
        if path.starts_with("/org.pytorch.serve.grpc.inference.") {
            return Self { key: Key::Inference, torchserve: true };
        }
        if path.starts_with("/grpc.health.v1.Health/") {
            return oip(Key::None);
        }
        // Reflection, and what leads nowhere: the key of what is here, so that nobody learns without.
        let manages_alone = services == [GrpcService::Management];
        oip(if manages_alone { Key::Management } else { Key::Inference })
    }
}

fn refusal(denied: &Denied, of_torchserve: bool) -> Status {
    if of_torchserve {
        return torchserve(Code::PermissionDenied, &denied.to_string(), class::INVALID_KEY);
    }
    Status::unauthenticated(denied.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_needs_the_key_of_its_kind() {
        let all = [GrpcService::Predictions, GrpcService::Management, GrpcService::OpenInference];
        let need = |path: &str| {
            let need = Need::of(path, &all);
            (need.key, need.torchserve)
        };
        let oip = |method: &str| need(&format!("{OPEN_INFERENCE}{method}"));
        assert_eq!(oip("ModelInfer"), (Key::Inference, false));
        assert_eq!(oip("ServerMetadata"), (Key::Inference, false));
        assert_eq!(oip("ServerLive"), (Key::None, false));
        assert_eq!(oip("ServerReady"), (Key::None, false));
        assert_eq!(oip("RepositoryModelLoad"), (Key::Management, false));
        assert_eq!(oip("RepositoryModelUnload"), (Key::Management, false));
        assert_eq!(oip("LogSettings"), (Key::Either, false));
        assert_eq!(oip("TraceSetting"), (Key::Either, false));
        let predictions = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Ping";
        assert_eq!(need(predictions), (Key::Inference, true));
        let management = "/org.pytorch.serve.grpc.management.ManagementAPIsService/ListModels";
        assert_eq!(need(management), (Key::Management, true));
        assert_eq!(need("/grpc.health.v1.Health/Check"), (Key::None, false));
        let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        assert_eq!(need(reflection), (Key::Inference, false));
        assert_eq!(need("/nothing/Nothing"), (Key::Inference, false));
        let alone = Need::of(reflection, &[GrpcService::Management]);
        assert_eq!(alone.key, Key::Management);
    }

    #[test]
    fn torchserves_name_of_the_protocol_is_another_for_the_same() {
        let alias = format!("{TORCHSERVES_OPEN_INFERENCE}ModelInfer");
        assert_eq!(own_path(&alias).unwrap(), "/inference.GRPCInferenceService/ModelInfer");
        assert_eq!(own_path("/inference.GRPCInferenceService/ModelInfer"), None);
    }
}
