//! The first bytes of a TLS client. In pieces of any size they come to the same, and to the
//! same as where rustls keeps the bytes itself: the same records in answer, the same alert.

#![cfg_attr(fuzzing, no_main)]

use std::sync::{Arc, LazyLock};

use mls_relay::tls::fuzzing::{self, PARTIAL_LEN_MAX, Server};
use rustls::{ServerConfig, ServerConnection};

static CONFIG: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| Arc::new(fuzzing::configs().0));

/// The size of the pieces; then what the client sends.
pub(crate) fn run(data: &[u8]) {
    let Some((size, said)) = data.split_first() else {
        return;
    };
    let whole = answer(said, said.len());
    assert_eq!(answer(said, usize::from(*size)), whole);
    // More than this waits for its rest with rustls, and not with us.
    if said.len() <= PARTIAL_LEN_MAX {
        assert_eq!(answer_of_rustls(said), whole);
    }
}

/// How it ended, and what was answered.
#[derive(Debug, PartialEq)]
struct Answer {
    is_refused: bool,
    /// The type of each record; of an alert in the clear, what it says.
    records: Vec<(u8, Option<[u8; 2]>)>,
}

fn answer(said: &[u8], size: usize) -> Answer {
    let mut server = Server::new(Arc::clone(&CONFIG)).unwrap();
    let taken = said.chunks(size.max(1)).try_for_each(|piece| {
        assert!(server.partial_len() <= PARTIAL_LEN_MAX);
        server.take(piece)
    });
    assert_eq!(taken.is_err(), server.is_broken());
    // Nobody finishes a handshake without its keys.
    assert!(server.is_handshaking() && server.heard().is_empty());
    Answer {
        is_refused: taken.is_err(),
        records: records(&server.sent()),
    }
}

fn answer_of_rustls(mut said: &[u8]) -> Answer {
    let mut server = ServerConnection::new(Arc::clone(&CONFIG)).unwrap();
    let mut is_refused = false;
    while !said.is_empty() && !is_refused {
        is_refused = match server.read_tls(&mut said) {
            Ok(0) | Err(_) => true,
            Ok(_) => server.process_new_packets().is_err(),
        };
    }
    let mut sent = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut sent).unwrap();
    }
    Answer {
        is_refused,
        records: records(&sent),
    }
}

fn records(mut sent: &[u8]) -> Vec<(u8, Option<[u8; 2]>)> {
    let mut records = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = sent {
        let (content, next) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        let alert = content.try_into().ok().filter(|_| *kind == 21);
        records.push((*kind, alert));
        sent = next;
    }
    assert!(sent.is_empty());
    records
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
