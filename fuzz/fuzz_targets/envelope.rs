//! What nodes tell each other through Postgres. A frame says what its envelope does, in JSON
//! and in DAG-CBOR, and a WebSocket client reads it; what is passed on arrives as it was.

#![cfg_attr(fuzzing, no_main)]

use std::io::Cursor;

use mls_relay::events::Event;
use mls_relay::wire::{Framing, Passing, envelopes};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

/// The payload of a notification.
pub(crate) fn run(data: &[u8]) {
    let Ok(payload) = str::from_utf8(data) else {
        return;
    };
    let passing = Passing::list(payload);
    let payloads = Passing::payloads(&passing);
    let told: Vec<_> = payloads.iter().flat_map(|one| Passing::list(one)).collect();
    assert_eq!(told, passing);
    for text in envelopes(payload).unwrap_or_default() {
        if let Ok(event) = Event::parse(text) {
            is_framed(&event, serde_json::from_str(text).unwrap());
        }
    }
}

fn is_framed(event: &Event, mut envelope: Value) {
    let fields = envelope.as_object_mut().unwrap();
    // Our own never have these.
    if fields.contains_key("seq") || fields.contains_key("message") {
        return;
    }
    let name = match fields.remove("type") {
        None => "messageEvent".to_owned(),
        Some(Value::String(name)) => match name.as_str() {
            "membershipChange" | "newDevice" | "readditionRequested" => format!("{name}Event"),
            _ => name,
        },
        // No text says no type, and is no field of the frame.
        Some(_) => "messageEvent".to_owned(),
    };
    let name = format!("#{name}");
    let has_bytes = envelope.to_string().contains("$bytes");
    envelope["seq"] = event.seq().get().into();

    let json = event
        .frame(Framing::Json)
        .expect("JSON has a form for all of it");
    let expected = json!({"op": 1, "t": name, "body": envelope});
    assert_eq!(
        serde_json::from_slice::<Value>(json.payload()).unwrap(),
        expected
    );
    assert_eq!(received(json.bytes()), json.payload());

    let Some(cbor) = event.frame(Framing::DagCbor) else {
        // Only what is said to be base64 and is not has none.
        assert!(has_bytes);
        return;
    };
    assert_eq!(received(cbor.bytes()), cbor.payload());
    if !has_bytes {
        let header = serde_ipld_dagcbor::to_vec(&json!({"op": 1, "t": name})).unwrap();
        let body = serde_ipld_dagcbor::to_vec(&envelope).unwrap();
        assert_eq!(cbor.payload(), [header, body].concat());
    }
}

/// What a client hears of a frame.
fn received(frame: &[u8]) -> Vec<u8> {
    let mut socket = WebSocket::from_raw_socket(Cursor::new(frame.to_vec()), Role::Client, None);
    socket.read().unwrap().into_data().to_vec()
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
