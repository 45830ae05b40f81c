//! Pure. Bytes and JSON on one side, values on the other; the only place that
//! knows a format.

mod body;
mod bounded;
mod bytes;
pub mod calls;
mod decode;
mod error;
mod padding;
mod query;

pub use self::bytes::{Blob, BytesOut, Sha256Hex, TextBytesOut};
pub use body::{Body, full};
pub use bounded::{Int, List, Text};
pub use decode::{decode_body, decode_query, invalid};
pub use error::{XrpcError, XrpcStatus};
pub use padding::{MESSAGE_BYTES_MAX, PaddedSize};
