//! What a rule does with a request.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

/// What a rule does with a request that it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Gives this answer; the server never sees the request.
    Answer(Answer),
    /// Fails as a lost connection does; the server never sees the request.
    Drop,
    /// Waits, then lets the request through.
    Delay(Duration),
    /// Waits for [`super::Rule::release`], then lets the request through.
    Hold,
    /// Never answers; the server never sees the request. What is left is the caller's own timeout.
    BlackHole,
    /// Lets the request through, and ends the body of the answer early.
    Cut(Cut, Ending),
    /// Lets the request through, waits for the whole answer, and fails as a lost connection does: a write has
    /// happened, and the caller does not know it.
    LoseAnswer,
}

/// Where the body of an answer is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// After that many bytes.
    Bytes(usize),
    /// After that many lines: in the body of a watch each line is an event.
    Lines(usize),
}

/// How a body that is cut ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As if it were whole: the API server ends watches so when their time is over.
    Clean,
    /// With a connection error.
    Broken,
}

/// An answer that no server has given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub(super) code: StatusCode,
    pub(super) retry_after: Option<u64>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// 409 with reason `Conflict`, as for a write with an old resourceVersion.
    #[must_use]
    pub fn conflict() -> Self {
        Self::status(StatusCode::CONFLICT, "Conflict", "the object has been modified")
    }

    /// 409 with reason `AlreadyExists`, as for a second create.
    #[must_use]
    pub fn already_exists() -> Self {
        Self::status(StatusCode::CONFLICT, "AlreadyExists", "the object already exists")
    }

    /// 410 with reason `Expired`, as for a list or watch from a resourceVersion that has been compacted.
    #[must_use]
    pub fn expired() -> Self {
        Self::status(StatusCode::GONE, "Expired", "too old resource version")
    }

    /// The 410 that meets a watch: the answer is 200, and its only event is the error.
    #[must_use]
    pub fn expired_event() -> Self {
        let status = status(StatusCode::GONE, "Expired", "too old resource version");
        let mut body = json!({ "type": "ERROR", "object": status }).to_string();
        body.push('\n');
        Self { code: StatusCode::OK, retry_after: None, body: body.into_bytes() }
    }

    /// 429 with `Retry-After` in seconds, as from priority and fairness. By default a client retries on its own.
    #[must_use]
    pub fn too_many_requests(retry_after: u64) -> Self {
        let answer = Self::status(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "too many requests");
        Self { retry_after: Some(retry_after), ..answer }
    }

    /// 500 with reason `InternalError`.
    #[must_use]
    pub fn internal_error() -> Self {
        Self::status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "internal error")
    }

    /// Any failure: an HTTP status code with a `Status` object of this reason and message.
    #[must_use]
    pub fn status(code: StatusCode, reason: &str, message: &str) -> Self {
        Self { code, retry_after: None, body: status(code, reason, message).to_string().into_bytes() }
    }
}

fn status(code: StatusCode, reason: &str, message: &str) -> serde_json::Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code.as_u16(),
    })
}
