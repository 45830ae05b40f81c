//! What may not appear in a log, a metric or a database, however it is written.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Everything that may not appear, in any of its spellings.
#[derive(Default)]
pub(crate) struct Secrets(Vec<(String, String)>);

impl Secrets {
    pub(crate) fn add(&mut self, what: &str, text: &str) {
        let mut spellings = vec![
            text.to_owned(),
            text.bytes().map(|b| format!("{b:02x}")).collect(),
            // As `{:?}` writes bytes.
            text.bytes()
                .map(|b| b.to_string())
                .collect::<Vec<_>>()
                .join(", "),
            text.replace(':', "%3A").replace('#', "%23"),
            text.replace(':', "%3a").replace('#', "%23"),
        ];
        // Inside a longer base64 text it may begin at any of three places.
        for shift in 0..3 {
            let padded = format!("{}{text}", "x".repeat(shift));
            for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                let encoded = engine.encode(&padded);
                // Its ends depend on what stands beside it.
                spellings.push(encoded[4..encoded.len() - 4].to_owned());
            }
        }
        spellings.retain(|spelling| spelling.len() >= 8);
        self.0
            .extend(spellings.into_iter().map(|s| (what.to_owned(), s)));
    }

    pub(crate) fn found_in(&self, text: &str) -> Vec<String> {
        let hits = self
            .0
            .iter()
            .filter(|(_, spelling)| text.contains(spelling.as_str()));
        hits.map(|(what, spelling)| format!("{what} as {spelling}"))
            .collect()
    }
}

#[test]
fn the_audit_finds_what_it_looks_for() {
    let mut secrets = Secrets::default();
    secrets.add("an account", "did:plc:abcdefghijklmnop");
    for leak in [
        "caller did:plc:abcdefghijklmnop called".to_owned(),
        "did%3Aplc%3Aabcdefghijklmnop".to_owned(),
        format!(
            "{{\"jwt\":\"{}\"}}",
            URL_SAFE_NO_PAD.encode(r#"{"iss":"did:plc:abcdefghijklmnop"}"#)
        ),
        "6469643a706c633a6162636465666768696a6b6c6d6e6f70".to_owned(),
        format!("{:?}", b"did:plc:abcdefghijklmnop"),
    ] {
        assert!(!secrets.found_in(&leak).is_empty(), "{leak}");
    }
    assert!(secrets.found_in("Did(~)").is_empty());
}
