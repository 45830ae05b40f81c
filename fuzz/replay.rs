//! Each target of `fuzz/` over its seeds, among them what was once found: so they are
//! compiled and tried wherever the tests are, without a fuzzer.

use std::fs;
use std::path::{Path, PathBuf};

/// The files beside this one, as a fuzzer runs them.
mod fuzz_targets {
    pub(super) mod client_address;
    pub(super) mod client_frame;
    pub(super) mod config;
    pub(super) mod did_document;
    pub(super) mod envelope;
    pub(super) mod fetched;
    pub(super) mod http1;
    pub(super) mod http2;
    pub(super) mod mls;
    pub(super) mod proxy_header;
    pub(super) mod relationships;
    pub(super) mod requests;
    pub(super) mod signature;
    pub(super) mod ticket;
    pub(super) mod tls_handshake;
    pub(super) mod tls_records;
    pub(super) mod token;
    pub(super) mod websocket;
}

macro_rules! replay {
    ($($target:ident),+ $(,)?) => {
        const TARGETS: &[&str] = &[$(stringify!($target)),+];

        $(#[test]
        fn $target() {
            for seed in files(&Path::new("fuzz/seeds").join(stringify!($target))) {
                // A failing test shows what it wrote.
                println!("{}", seed.display());
                fuzz_targets::$target::run(&fs::read(&seed).unwrap());
            }
            fuzz_targets::$target::run(&[]);
        })+
    };
}

replay!(
    client_address,
    client_frame,
    config,
    did_document,
    envelope,
    fetched,
    http1,
    http2,
    mls,
    proxy_header,
    relationships,
    requests,
    signature,
    ticket,
    tls_handshake,
    tls_records,
    token,
    websocket,
);

#[test]
fn every_target_is_built_replayed_and_has_seeds() {
    let mut names: Vec<_> = files(Path::new("fuzz/fuzz_targets"))
        .iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, TARGETS);
    let manifest = fs::read_to_string("fuzz/Cargo.toml").unwrap();
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
        assert!(!files(&Path::new("fuzz/seeds").join(&name)).is_empty());
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}
