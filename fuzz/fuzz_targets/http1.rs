//! Requests over HTTP/1.1. What is heard of them does not hang on how the bytes were cut. A body
//! ends where its length or its chunks say, whatever is in it; and behind one that has both,
//! nothing more is heard: a proxy may have gone by the other.

#![cfg_attr(fuzzing, no_main)]

use mls_relay::edge::fuzzing::requests;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;

/// The size of the pieces; then requests, or a body.
pub(crate) fn run(data: &[u8]) {
    let Some((size, bytes)) = data.split_first() else {
        return;
    };
    let size = usize::from(*size).max(1);
    assert_eq!(heard(bytes, size), heard(bytes, bytes.len().max(1)));
    let length = format!("content-length: {}\r\n", bytes.len());
    let chunked = "transfer-encoding: chunked\r\n";
    let chunks = chunks(bytes, size);
    for (lengths, body, goes_on) in [
        (length.clone(), bytes, true),
        (chunked.to_owned(), &chunks, true),
        (length.clone() + chunked, &chunks, false),
        (chunked.to_owned() + &length, &chunks, false),
    ] {
        let head = format!("POST /first HTTP/1.1\r\nhost: a\r\n{lengths}\r\n");
        let both = [
            head.as_bytes(),
            body,
            b"GET /next HTTP/1.1\r\nhost: a\r\n\r\n",
        ]
        .concat();
        let mut expected = told("POST /first", bytes);
        if goes_on {
            expected.extend(told("GET /next", b""));
        }
        assert_eq!(heard(&both, size), expected, "{lengths}");
    }
}

fn told(line: &str, body: &[u8]) -> Vec<String> {
    vec![format!("{line} None"), format!("{body:?}")]
}

fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let chunk =
        |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
    let mut chunks: Vec<u8> = body.chunks(size).flat_map(chunk).collect();
    chunks.extend(b"0\r\n\r\n");
    chunks
}

fn heard(bytes: &[u8], size: usize) -> Vec<String> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(async {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (mut answers, mut asking) = tokio::io::split(far);
        let sending = async {
            for piece in bytes.chunks(size) {
                // Nobody may listen any more.
                let _ = asking.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            let _ = answers.read_to_end(&mut Vec::new()).await;
            std::future::pending().await
        };
        tokio::select! {
            heard = requests(near) => heard,
            never = sending => never,
        }
    })
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
