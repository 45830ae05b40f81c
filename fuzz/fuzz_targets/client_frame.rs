//! What a client says on its subscription. JSON and DAG-CBOR of the same value are the same
//! frame; a cursor is written as it was read.

#![cfg_attr(fuzzing, no_main)]

use mls_relay::types::Cursor;
use mls_relay::wire::ClientFrame;
use serde_json::Value;

/// A frame, in text or in binary.
pub(crate) fn run(data: &[u8]) {
    let _ = ClientFrame::from_binary(data);
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Ok(cursor) = Cursor::parse(text) {
        let shown = cursor.expose();
        assert!(shown == text.to_ascii_uppercase() || text.parse().ok() == Some(low_bits(&shown)));
        assert_eq!(Cursor::parse(&shown), Ok(cursor));
    }
    // Once more as it is written by a program: a name that is said twice is said once then.
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return;
    };
    if let Ok(cbor) = serde_ipld_dagcbor::to_vec(&value) {
        let frame = ClientFrame::from_binary(&cbor);
        assert_eq!(ClientFrame::from_text(&value.to_string()), frame);
        assert!(value.is_object() || frame == ClientFrame::Unknown);
    }
}

/// The number in a cursor without a time.
fn low_bits(cursor: &str) -> u64 {
    let digit = |digit: u8| {
        "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
            .bytes()
            .position(|d| d == digit)
    };
    cursor
        .bytes()
        .fold(0, |sum, byte| sum * 32 + digit(byte).unwrap() as u64)
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
