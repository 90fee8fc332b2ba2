//! How a gRPC call ended, in the words of the kubelet's gRPC library.

use std::fmt;

use tonic::Code;

/// Why a gRPC call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The status code.
    pub code: Code,
    /// The server's words, or what kept the call from reaching it.
    pub message: String,
}

impl Status {
    /// A status of `code` and `message`.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The call's time ran out.
    pub(super) fn deadline_exceeded() -> Self {
        Self::new(Code::DeadlineExceeded, "context deadline exceeded")
    }
}

impl From<tonic::Status> for Status {
    fn from(status: tonic::Status) -> Self {
        // tonic's timer for the same deadline, which may be the first to ring.
        if status.code() == Code::Cancelled && status.message() == "Timeout expired" {
            return Self::deadline_exceeded();
        }
        Self::new(status.code(), status.message())
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The kubelet's library writes its code names as Rust's does, but for this one.
        match self.code {
            Code::Ok => write!(f, "rpc error: code = OK desc = {}", self.message),
            Code::Cancelled => write!(f, "rpc error: code = Canceled desc = {}", self.message),
            code => write!(f, "rpc error: code = {code:?} desc = {}", self.message),
        }
    }
}

impl std::error::Error for Status {}
