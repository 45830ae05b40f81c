//! What a client may say on a WebSocket, well and badly, as bytes.

use super::MARK;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const PING: u8 = 0x89;

/// One frame, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length @ 0..126) => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Everything that a good client says; the last is answered with `#pong`. Not all of it means
/// something to the relay.
pub(super) fn good(convo: &str) -> Vec<u8> {
    [
        frame(TEXT, br##"{"$type":"#ack","cursor":"0"}"##),
        frame(
            TEXT,
            format!(r##"{{"$type":"#typing","convoId":"{convo}"}}"##).as_bytes(),
        ),
        frame(TEXT, format!(r##"{{"$type":"#{MARK}"}}"##).as_bytes()),
        frame(TEXT, MARK.as_bytes()),
        frame(BINARY, MARK.as_bytes()),
        frame(PING, MARK.as_bytes()),
        frame(TEXT, br##"{"$type":"#ping"}"##),
    ]
    .concat()
}

/// Each of these ends the socket that it is said on.
pub(super) fn bad() -> Vec<(&'static str, Vec<u8>)> {
    let unmasked = [&[TEXT, MARK.len() as u8], MARK.as_bytes()].concat();
    let fragments = (0..40).map(|nth| frame(if nth == 0 { 0x01 } else { 0x00 }, MARK.as_bytes()));
    let flood = (0..400).map(|_| frame(TEXT, br##"{"$type":"#ping"}"##));
    vec![
        ("unmasked", unmasked),
        ("of no kind", frame(0x8b, MARK.as_bytes())),
        ("with a reserved bit", frame(0xc1, MARK.as_bytes())),
        (
            "not UTF-8",
            frame(TEXT, &[MARK.as_bytes(), &[0xff]].concat()),
        ),
        ("oversized", frame(TEXT, MARK.repeat(200).as_bytes())),
        ("in fragments", fragments.flatten().collect()),
        ("a flood", flood.flatten().collect()),
    ]
}
