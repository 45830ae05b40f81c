//! Tickets for opening a stream. Nothing opens one that was not issued, and of what was issued
//! only that spelling.

#![cfg_attr(fuzzing, no_main)]

use mls_relay::auth::fuzzing::Tickets;

/// A text that may be a ticket; or what is changed in one that was issued, byte by byte.
pub(crate) fn run(data: &[u8]) {
    let tickets = Tickets::default();
    if let Ok(text) = str::from_utf8(data) {
        assert!(!tickets.open_with(text));
    }
    let issued = tickets.issue();
    assert!(tickets.open_with(&issued));
    let changes = data.iter().copied().chain(std::iter::repeat(0));
    let changed: Vec<u8> = issued.bytes().zip(changes).map(|(a, b)| a ^ b).collect();
    if let Ok(changed) = str::from_utf8(&changed) {
        assert_eq!(tickets.open_with(changed), changed == issued);
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
