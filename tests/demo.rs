//! The demo, as `make demo` plays it, against the relay that was just built: real
//! TLS, sockets, Postgres and MLS from end to end.

use std::path::PathBuf;
use std::time::Duration;

use mls_relay_loadtest::demo::{Screen, Settings, play};

#[tokio::test(flavor = "multi_thread")]
async fn everyone_reads_what_they_may_and_nothing_else() {
    let settings = Settings {
        relay: PathBuf::from(env!("CARGO_BIN_EXE_mls-relay")),
        pace: Duration::from_millis(10),
    };
    let clean = play(&settings, &mut Screen::new(false)).await.unwrap();
    assert!(clean, "the account above says what went wrong");
}
