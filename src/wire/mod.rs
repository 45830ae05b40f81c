//! Pure. Bytes and JSON on one side, values on the other; the only place that
//! knows a format.

mod body;
mod error;

pub use body::{Body, full};
pub use error::{XrpcError, XrpcStatus};
