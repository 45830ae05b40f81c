//! What a host that a stranger named answers, and how. It comes to the same in pieces of any
//! size, and to no more than the bound.

#![cfg_attr(fuzzing, no_main)]

use std::time::Duration;

use bytes::Bytes;
use mls_relay::outbound::fuzzing::ask;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;
use tokio::time::timeout;

const DOCUMENT_LEN_MAX: usize = 512;

/// The size of the pieces; then an answer.
pub(crate) fn run(data: &[u8]) {
    let Some((size, answer)) = data.split_first() else {
        return;
    };
    let whole = told(answer, answer.len());
    assert_eq!(told(answer, usize::from(*size)), whole);
    let len = whole.ok().flatten().map_or(0, |document| document.len());
    assert!(len <= DOCUMENT_LEN_MAX);
}

/// What is told of it: a document, that there is none, or why it is neither.
fn told(answer: &[u8], size: usize) -> Result<Option<Bytes>, String> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(async {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let answering = async {
            let asked = far.read(&mut [0; 1 << 10]).await;
            assert!(asked.is_ok_and(|len| len > 0));
            for piece in answer.chunks(size.max(1)) {
                // It may have heard enough.
                let _ = far.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            let _ = far.shutdown().await;
            std::future::pending().await
        };
        let told = timeout(Duration::from_secs(60), ask(near, DOCUMENT_LEN_MAX));
        let told = tokio::select! {
            biased;
            told = told => told.expect("a host that has hung up is not waited for"),
            never = answering => never,
        };
        told.map_err(|error| format!("{error:?}"))
    })
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
