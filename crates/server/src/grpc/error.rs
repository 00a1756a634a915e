//! What a failure is over gRPC: in the Open Inference Protocol, in TorchServe's predictions and in its
//! management, one table beside the other.

use mar_engine::{Error, ErrorCode};
use tonic::{Code, Status};

/// A failure in the Open Inference Protocol.
pub(super) fn oip(error: &Error) -> Status {
    Status::new(oip_code(error.code()), error.message())
}

/// A failure of TorchServe's predictions: the message, and in a line of its own the class of TorchServe's
/// exception.
pub(super) fn prediction(error: &Error) -> Status {
    let (code, class) = prediction_code(error.code());
    torchserve(code, error.message(), class)
}

/// A failure of TorchServe's management, told in the same way.
pub(super) fn management(error: &Error) -> Status {
    let (code, class) = management_code(error.code());
    torchserve(code, error.message(), class)
}

/// A status as TorchServe describes it.
pub(super) fn torchserve(code: Code, message: &str, class: &str) -> Status {
    Status::new(code, format!("{message}\n{class}"))
}

/// The answer would be larger than the server sends.
pub(super) fn too_long(bytes: usize, limit: usize) -> Status {
    Status::resource_exhausted(format!(
        "the answer has {bytes} bytes, and max_response_size is {limit}"
    ))
}

/// TorchServe's classes of exceptions.
pub(super) mod class {
    pub(in crate::grpc) const BAD_REQUEST: &str = "org.pytorch.serve.http.BadRequestException";
    pub(in crate::grpc) const CONFLICT: &str = "org.pytorch.serve.http.ConflictStatusException";
    pub(in crate::grpc) const INTERNAL: &str = "org.pytorch.serve.http.InternalServerException";
    pub(in crate::grpc) const INVALID_KEY: &str = "org.pytorch.serve.http.InvalidKeyException";
    pub(in crate::grpc) const UNAVAILABLE: &str =
        "org.pytorch.serve.http.ServiceUnavailableException";
    pub(in crate::grpc) const NOT_ALLOWED: &str =
        "org.pytorch.serve.http.MethodNotAllowedException";
    pub(in crate::grpc) const DOWNLOAD: &str = "org.pytorch.serve.archive.DownloadArchiveException";
    pub(in crate::grpc) const NO_MODEL: &str =
        "org.pytorch.serve.archive.model.ModelNotFoundException";
    pub(in crate::grpc) const NO_VERSION: &str =
        "org.pytorch.serve.archive.model.ModelVersionNotFoundException";
    pub(in crate::grpc) const INVALID_MODEL: &str =
        "org.pytorch.serve.archive.model.InvalidModelException";
    pub(in crate::grpc) const INVALID_VERSION: &str =
        "org.pytorch.serve.archive.model.InvalidModelVersionException";
}

fn oip_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::InvalidInput => Code::InvalidArgument,
        ErrorCode::ModelNotFound => Code::NotFound,
        ErrorCode::VersionNotFound => Code::NotFound,
        ErrorCode::Conflict => Code::AlreadyExists,
        ErrorCode::InvalidModel => Code::InvalidArgument,
        ErrorCode::DefaultVersion => Code::FailedPrecondition,
        ErrorCode::Overloaded => Code::Unavailable,
        ErrorCode::Unavailable => Code::Unavailable,
        ErrorCode::Timeout => Code::DeadlineExceeded,
        ErrorCode::Unsupported => Code::Unimplemented,
        ErrorCode::PredictionFailed => Code::Internal,
        ErrorCode::WorkerDied => Code::Internal,
        ErrorCode::OutOfMemory => Code::ResourceExhausted,
        ErrorCode::DeviceLost => Code::Internal,
        ErrorCode::Internal => Code::Internal,
    }
}

/// TorchServe says `INTERNAL` of whatever keeps a request from a worker, and what HTTP's status would be of
/// what happens there.
fn prediction_code(code: ErrorCode) -> (Code, &'static str) {
    match code {
        ErrorCode::InvalidInput => (Code::InvalidArgument, class::INTERNAL),
        ErrorCode::ModelNotFound => (Code::Internal, class::NO_MODEL),
        ErrorCode::VersionNotFound => (Code::Internal, class::NO_VERSION),
        ErrorCode::Conflict => (Code::Aborted, class::INTERNAL),
        ErrorCode::InvalidModel => (Code::Internal, class::INVALID_MODEL),
        ErrorCode::DefaultVersion => (Code::PermissionDenied, class::INVALID_VERSION),
        ErrorCode::Overloaded => (Code::Internal, "InternalServerException.()"),
        ErrorCode::Unavailable => (Code::Internal, "InternalServerException.()"),
        ErrorCode::Timeout => (Code::DeadlineExceeded, class::INTERNAL),
        ErrorCode::Unsupported => (Code::Unimplemented, class::INTERNAL),
        ErrorCode::PredictionFailed => (Code::Unavailable, class::INTERNAL),
        ErrorCode::WorkerDied => (Code::Internal, class::INTERNAL),
        ErrorCode::OutOfMemory => (Code::Internal, class::INTERNAL),
        ErrorCode::DeviceLost => (Code::Internal, class::INTERNAL),
        ErrorCode::Internal => (Code::Internal, class::INTERNAL),
    }
}

fn management_code(code: ErrorCode) -> (Code, &'static str) {
    match code {
        ErrorCode::InvalidInput => (Code::InvalidArgument, class::BAD_REQUEST),
        ErrorCode::ModelNotFound => (Code::NotFound, class::NO_MODEL),
        ErrorCode::VersionNotFound => (Code::NotFound, class::NO_VERSION),
        // These two end in TorchServe as an exception that nobody caught, `UNKNOWN` without a message.
        ErrorCode::Conflict => (Code::AlreadyExists, class::CONFLICT),
        ErrorCode::DefaultVersion => (Code::FailedPrecondition, class::INVALID_VERSION),
        ErrorCode::InvalidModel => (Code::InvalidArgument, class::INVALID_MODEL),
        ErrorCode::Overloaded => (Code::Unavailable, class::UNAVAILABLE),
        ErrorCode::Unavailable => (Code::Unavailable, class::UNAVAILABLE),
        ErrorCode::Timeout => (Code::DeadlineExceeded, class::INTERNAL),
        ErrorCode::Unsupported => (Code::Unimplemented, class::INTERNAL),
        ErrorCode::PredictionFailed => (Code::Internal, class::INTERNAL),
        ErrorCode::WorkerDied => (Code::Internal, class::INTERNAL),
        ErrorCode::OutOfMemory => (Code::ResourceExhausted, class::INTERNAL),
        ErrorCode::DeviceLost => (Code::Internal, class::INTERNAL),
        ErrorCode::Internal => (Code::Internal, class::INTERNAL),
    }
}

/// What TorchServe makes of the status that a worker answers with; `None` where it is no failure.
pub(super) fn of_http(status: u16) -> Option<Code> {
    Some(match status {
        ..400 => return None,
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        409 => Code::Aborted,
        413 | 429 => Code::ResourceExhausted,
        416 => Code::OutOfRange,
        499 => Code::Cancelled,
        501 => Code::Unimplemented,
        503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        402..=498 => Code::FailedPrecondition,
        _ => Code::Internal,
    })
}

/// The status of HTTP that stands for a code in the access log and in the counts of answers.
pub(super) fn http(code: Code) -> u16 {
    match code {
        Code::Ok => 200,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::Aborted | Code::AlreadyExists => 409,
        Code::ResourceExhausted => 429,
        Code::Cancelled => 499,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workers_status_is_the_code_that_torchserve_makes_of_it() {
        assert_eq!((of_http(200), of_http(399)), (None, None));
        for (status, code) in [
            (400, Code::InvalidArgument),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::NotFound),
            (409, Code::Aborted),
            (413, Code::ResourceExhausted),
            (416, Code::OutOfRange),
            (418, Code::FailedPrecondition),
            (429, Code::ResourceExhausted),
            (499, Code::Cancelled),
            (500, Code::Internal),
            (501, Code::Unimplemented),
            (503, Code::Unavailable),
            (504, Code::DeadlineExceeded),
            (507, Code::Internal),
        ] {
            assert_eq!(of_http(status), Some(code), "{status}");
        }
    }

    #[test]
    fn torchserves_description_ends_with_the_class() {
        let error = Error::new(ErrorCode::ModelNotFound, "no model \"m\"");
        let (asked, managed) = (prediction(&error), management(&error));
        assert_eq!((asked.code(), managed.code()), (Code::Internal, Code::NotFound));
        assert_eq!(asked.message(), managed.message());
        assert!(
            asked
                .message()
                .ends_with("\"m\"\norg.pytorch.serve.archive.model.ModelNotFoundException")
        );
        assert_eq!(oip(&error).message(), "no model \"m\"");
    }
}
