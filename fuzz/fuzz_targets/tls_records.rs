//! A TLS client that breaks the rules with its keys in its own hands: records of any type and
//! content, good, spoilt or cut anywhere, while the relay says what it has to say and leaves.
//!
//! The relay hears what was said to it up to the first fault, and the same however the bytes
//! were cut; each record that it sends can be opened, and nothing of what it said is missing.

#![cfg_attr(fuzzing, no_main)]

use std::sync::{Arc, LazyLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use mls_relay::tls::fuzzing::{self, PARTIAL_LEN_MAX, Server};
use rustls::ConnectionTrafficSecrets::{self, Aes256Gcm};
use rustls::{ClientConfig, ClientConnection, ServerConfig};

static CONFIGS: LazyLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = LazyLock::new(|| {
    let (mut server, mut client) = fuzzing::configs();
    // Then what the client hears is what the relay was told to say.
    server.send_tls13_tickets = 0;
    client.enable_secret_extraction = true;
    (Arc::new(server), Arc::new(client))
});

const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
/// More empty records in a row rustls takes for an attack.
const EMPTY_MAX: u32 = 32;
/// Of it the version means nothing.
const HEADER_LEN: usize = 5;

/// A list of deeds, each a letter and a number, and for some so many bytes.
pub(crate) fn run(deeds: &[u8]) {
    let outcome = play(deeds, false);
    let at_once = play(deeds, true);
    assert!(at_once.heard.starts_with(&outcome.heard));
    // Who leaves hears no more.
    assert!(outcome == at_once || outcome.has_left);
}

/// What came of it for the relay.
#[derive(Debug, PartialEq)]
struct Outcome {
    heard: Vec<u8>,
    is_broken: bool,
    has_ended: bool,
    has_left: bool,
}

/// Does them all; or, at once, only what is the client's to do, and delivers it in one piece.
fn play(mut deeds: &[u8], at_once: bool) -> Outcome {
    let (mut relay, mut out, mut back) = connected();
    let (mut wire, mut said_to, mut said_by) = (Vec::new(), Vec::new(), Vec::new());
    let (mut is_honest, mut has_left, mut empty) = (true, false, 0);
    while let [letter, number, rest @ ..] = deeds {
        let len = usize::from(*number);
        let (content, after) = rest.split_at(len.min(rest.len()));
        // Some fill a record, or more than that.
        let content = content.repeat(if letter & 0x80 == 0 { 1 } else { 66 });
        deeds = if letter % 8 < 5 { after } else { rest };
        match letter % 8 {
            kind @ 0..3 => {
                let kind = [DATA, HANDSHAKE, letter >> 3][usize::from(kind)];
                empty = if content.is_empty() { empty + 1 } else { 0 };
                is_honest &= empty <= EMPTY_MAX;
                wire.extend(out.seal(&content, kind));
                said_to.extend(data_in([&content[..], &[kind]].concat()));
            }
            3 => wire.extend(content),
            4 => {
                let mut record = out.seal(&content, DATA);
                let place = HEADER_LEN + len % (record.len() - HEADER_LEN);
                record[place] ^= 1;
                wire.extend(record);
            }
            5 if !at_once => deliver(&mut relay, &mut wire, len),
            6 if !at_once => {
                let plain = vec![*letter; len + 1];
                if relay.say(&plain).is_ok() {
                    assert!(!has_left);
                    said_by.extend(plain);
                }
            }
            7 if !at_once => has_left |= relay.end().is_ok() && !relay.is_broken(),
            _ => {}
        }
        is_honest &= !(1..5).contains(&(letter % 8)) && content_fits(letter, len);
    }
    let len = wire.len();
    deliver(&mut relay, &mut wire, len);
    back.is_told(&relay.sent(), &said_by);
    let heard = relay.heard().to_vec();
    assert!(said_to.starts_with(&heard));
    assert!(!is_honest || has_left || said_to == heard);
    Outcome {
        heard,
        is_broken: relay.is_broken(),
        has_ended: relay.has_ended(),
        has_left,
    }
}

/// Whether that is not more than a record may hold.
fn content_fits(letter: &u8, len: usize) -> bool {
    letter & 0x80 == 0 || len * 66 <= 1 << 14
}

/// What is said in a record: zeros behind its type are padding.
fn data_in(mut plain: Vec<u8>) -> Vec<u8> {
    while plain.last() == Some(&0) {
        plain.pop();
    }
    let is_data = plain.pop() == Some(DATA);
    if is_data { plain } else { Vec::new() }
}

fn deliver(relay: &mut Server, wire: &mut Vec<u8>, len: usize) {
    let piece: Vec<u8> = wire.drain(..len.min(wire.len())).collect();
    let taken = relay.take(&piece);
    assert_eq!(taken.is_err(), relay.is_broken());
    assert!(relay.partial_len() <= PARTIAL_LEN_MAX);
}

/// The relay and both directions' keys, after a handshake.
fn connected() -> (Server, Direction, Direction) {
    let (server, client) = &*CONFIGS;
    let mut client = ClientConnection::new(Arc::clone(client), fuzzing::localhost()).unwrap();
    let mut relay = Server::new(Arc::clone(server)).unwrap();
    while client.wants_write() {
        let mut sent = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut sent).unwrap();
        }
        relay.take(&sent).unwrap();
        let answer = relay.sent();
        let mut answer = &answer[..];
        while !answer.is_empty() {
            client.read_tls(&mut answer).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    assert!(!relay.is_handshaking());
    let keys = client.dangerous_extract_secrets().unwrap();
    (relay, Direction::of(keys.tx), Direction::of(keys.rx))
}

/// One direction's records (RFC 8446 section 5.2).
struct Direction {
    key: LessSafeKey,
    iv: [u8; 12],
    number: u64,
}

impl Direction {
    fn of((number, secrets): (u64, ConnectionTrafficSecrets)) -> Self {
        let Aes256Gcm { key, iv } = secrets else {
            panic!("both sides prefer it");
        };
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap();
        Self {
            key: LessSafeKey::new(key),
            iv: iv.as_ref().try_into().unwrap(),
            number,
        }
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        self.number += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&mut self, content: &[u8], kind: u8) -> Vec<u8> {
        let mut record = [content, &[kind]].concat();
        let [high, low] = u16::try_from(record.len() + 16).unwrap().to_be_bytes();
        let header = [DATA, 3, 3, high, low];
        let nonce = self.nonce();
        let sealed = self
            .key
            .seal_in_place_append_tag(nonce, Aad::from(header), &mut record);
        sealed.unwrap();
        [&header, &record[..]].concat()
    }

    /// Opens what was sent: all that was said is in it, up to a change of keys.
    fn is_told(&mut self, mut sent: &[u8], said: &[u8]) {
        let mut told = Vec::new();
        while let [a, b, c, high, low, rest @ ..] = sent {
            let header = [*a, *b, *c, *high, *low];
            let (sealed, next) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            sent = next;
            let mut sealed = sealed.to_vec();
            let nonce = self.nonce();
            let opened = self
                .key
                .open_in_place(nonce, Aad::from(header), &mut sealed)
                .unwrap();
            match opened {
                [content @ .., DATA] => told.extend_from_slice(content),
                [.., HANDSHAKE] => {
                    assert!(said.starts_with(&told));
                    return;
                }
                // A goodbye, or what was wrong.
                _ => {}
            }
        }
        assert!(sent.is_empty() && told == said);
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
