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

    /// What a server answered. A tonic server has a timer for the deadline, too, which may be the first to ring.
    pub(super) fn answered(code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        match code {
            Code::Cancelled if message == "Timeout expired" => Self::deadline_exceeded(),
            _ => Self::new(code, message),
        }
    }

    /// The call's time ran out.
    pub(super) fn deadline_exceeded() -> Self {
        Self::new(Code::DeadlineExceeded, "context deadline exceeded")
    }
}

impl From<tonic::Status> for Status {
    fn from(status: tonic::Status) -> Self {
        Self::answered(status.code(), status.message())
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
