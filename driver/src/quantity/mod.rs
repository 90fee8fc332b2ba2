//! Kubernetes quantities: read as the API server reads them, compared and added up exactly, and written as it writes
//! them, so that what is read back compares equal.

mod amount;
mod parse;
mod text;
mod written;

pub use amount::{Format, Quantity};
pub use parse::ParseError;
pub use written::{of_bytes, of_count};
