//! Pure. Bytes and JSON on one side, values on the other; the only place that
//! knows a format.

mod body;
mod bounded;
mod bytes;
pub mod calls;
mod client_frame;
mod close;
mod decode;
mod envelope;
mod error;
mod fault;
mod field;
mod frame;
mod object;
mod padding;
mod passing;
mod query;
mod respond;

pub use self::bytes::{Blob, BytesOut, Sha256Hex, TextBytesOut};
pub use body::{Body, full};
pub use bounded::{Int, List, Text, Unkept};
pub use client_frame::ClientFrame;
pub use close::CloseReason;
pub use decode::{THE_REQUEST, decode_body, decode_query, invalid};
pub use envelope::{Change, Envelope, EnvelopeError, Route, envelopes};
pub use error::{Instead, XrpcError, XrpcStatus};
pub use frame::{
    ErrorNotice, Frame, FrameError, Framing, Info, JSON_SUBPROTOCOL, LimitsNotice, Notice,
    Standing, Standings, event_frame, notice_frame, passing_frame,
};
pub use object::Object;
pub use padding::{MESSAGE_BYTES_MAX, PaddedSize};
pub use passing::{EPHEMERAL_BYTES_MAX, Ephemeral, Passing, Typing};
