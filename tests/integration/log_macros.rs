//! What may be written to the log, read from the sources: fields from a closed list,
//! identities by pseudonym only, and sentences without anything spliced into them.
//!
//! The audit of a running relay (`log_audit`) finds an identity that was logged; this
//! refuses the line that would log it, also on a path that no test takes.

use std::fs;
use std::path::Path;

use crate::sources::{code, rust_files};

/// Every field, and why it tells nothing of anybody. A new one is a decision: is it a
/// count, or a word of a closed list? Then it may be added. Is it text that came from
/// outside? Then it may not be logged.
const FIELDS: &[(&str, &str)] = &[
    ("account", "a pseudonym"),
    ("ahead_seconds", "a difference of two clocks"),
    ("call", "the name of a call, of a closed list"),
    (
        "certificate",
        "the number of a file, or the name of a setting",
    ),
    ("client", "a pseudonym"),
    ("conversations", "a count"),
    ("devices", "a count"),
    (
        "doubt",
        "a name of a setting or variable, and a line of the operator's own file",
    ),
    ("ending", "a count"),
    (
        "error",
        "an error of ours or of the system, which holds no identity",
    ),
    (
        "fault",
        "what is wrong with the operator's own file: line, key, what is allowed",
    ),
    ("file", "a source file"),
    ("forgotten", "a count"),
    ("is_well", "yes or no"),
    ("key", "the name of a setting"),
    ("key_packages", "a count"),
    ("left", "a count"),
    ("line", "a source line"),
    ("missing", "a count"),
    ("most", "a limit"),
    ("opt_ins", "a count"),
    ("reason", "a close reason, of a closed list"),
    ("refusal", "the name of an error in the lexicon"),
    ("resumes", "yes or no"),
    ("retry_seconds", "a time"),
    (
        "statement",
        "the first words of a statement in the sources, whose values are parameters",
    ),
    ("room", "a limit"),
    ("service", "the name of a setting"),
    ("status", "an HTTP status"),
    ("task", "the name of a background task"),
    ("thread", "the name of a thread"),
    ("value", "a setting of the operator's; secrets show as ***"),
    ("version", "the number of a schema"),
    ("welcomes", "a count"),
    ("why", "an error of ours, which holds no identity"),
];

/// Fields that stand for an identity: their value is a pseudonym.
const PSEUDONYMS: &[&str] = &["account", "client"];

/// Parts of names by which code calls identities. A value that mentions one must be
/// `redacted()`, whatever its field is called.
const IDENTITIES: &[&str] = &[
    "account",
    "address",
    "addr",
    "bearer",
    "caller",
    "claims",
    "client",
    "convo",
    "cursor",
    "device",
    "did",
    "host",
    "ip",
    "issuer",
    "jti",
    "member",
    "nonce",
    "path",
    "peer",
    "query",
    "sender",
    "subject",
    "subscriber",
    "target",
    "ticket",
    "token",
    "uri",
    "url",
    "user",
];

const LEVELS: &[&str] = &["trace", "debug", "info", "warn", "error", "event"];

/// Spans would put their fields on every line below them; the relay has none.
const SPANS: &[&str] = &[
    "span!(",
    "_span!(",
    "instrument",
    ".record_debug(",
    "Span::current",
];

#[test]
fn the_log_holds_counts_closed_words_and_pseudonyms() {
    let mut faults = Vec::new();
    let mut calls = 0;
    for path in rust_files(Path::new("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let code = code(&text);
        calls += log_calls(&code).count();
        faults.extend(
            faults_of(&code)
                .into_iter()
                .map(|fault| format!("{}: {fault}", path.display())),
        );
    }
    assert!(faults.is_empty(), "not for the log:\n{}", faults.join("\n"));
    // A lint that finds no log macros checks nothing.
    assert!(calls >= 20, "only {calls} log macros were found");
}

fn faults_of(code: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for word in SPANS.iter().filter(|word| code.contains(**word)) {
        faults.push(format!("opens a span: {word}"));
    }
    for imported in LEVELS.iter().filter(|level| imports(code, level)) {
        faults.push(format!("imports {imported}!: write tracing::{imported}!"));
    }
    for call in log_calls(code) {
        faults.extend(
            arguments(call)
                .iter()
                .filter_map(|argument| judge(argument)),
        );
    }
    faults
}

/// `use tracing::info` or `use tracing::{…, info…}`, and the `log` crate's.
fn imports(code: &str, level: &str) -> bool {
    let uses = code
        .split("use ")
        .skip(1)
        .filter(|rest| rest.starts_with("tracing::") || rest.starts_with("log::"));
    uses.map(|rest| rest.split(';').next().unwrap())
        .any(|names| {
            names
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|name| name == level)
        })
}

/// What stands between the parentheses of each log macro.
fn log_calls(code: &str) -> impl Iterator<Item = &str> {
    LEVELS.iter().flat_map(move |level| {
        let name = format!("tracing::{level}!(");
        let found: Vec<&str> = code
            .match_indices(&name)
            .map(|(at, _)| parenthesised(&code[at + name.len()..]))
            .collect();
        found
    })
}

/// Up to the parenthesis that closes what was opened before.
fn parenthesised(text: &str) -> &str {
    let mut depth = 1;
    let mut walk = Walk::default();
    for (at, character) in text.char_indices() {
        match (walk.is_in_text(character), character) {
            (true, _) => {}
            (false, '(' | '[' | '{') => depth += 1,
            (false, ')' | ']' | '}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

/// The arguments of a macro, split at its own commas.
fn arguments(call: &str) -> Vec<String> {
    let (mut depth, mut walk) = (0, Walk::default());
    let mut found = vec![String::new()];
    for character in call.chars() {
        match (walk.is_in_text(character), character) {
            (true, _) => {}
            (false, '(' | '[' | '{') => depth += 1,
            (false, ')' | ']' | '}') => depth -= 1,
            (false, ',') if depth == 0 => {
                found.push(String::new());
                continue;
            }
            _ => {}
        }
        found.last_mut().unwrap().push(character);
    }
    let trimmed = found.iter().map(|argument| argument.trim().to_owned());
    trimmed.filter(|argument| !argument.is_empty()).collect()
}

/// Tells code from string literals.
#[derive(Default)]
struct Walk {
    in_text: bool,
    is_escaped: bool,
}

impl Walk {
    fn is_in_text(&mut self, character: char) -> bool {
        let was_in_text = self.in_text;
        match character {
            _ if self.is_escaped => self.is_escaped = false,
            '\\' if self.in_text => self.is_escaped = true,
            '"' => self.in_text = !self.in_text,
            _ => {}
        }
        was_in_text || self.in_text
    }
}

/// What is wrong with one argument, if anything.
fn judge(argument: &str) -> Option<String> {
    if argument.starts_with('"') {
        let spliced = argument.contains(['{', '}']);
        return spliced.then(|| format!("splices a value into {argument}"));
    }
    let (name, value) = match argument.split_once('=') {
        Some((name, value)) => (name.trim(), value.trim()),
        None => {
            let bare = argument.trim_start_matches(['%', '?']);
            (bare.rsplit('.').next().unwrap(), bare)
        }
    };
    if !FIELDS.iter().any(|(known, _)| *known == name) {
        return Some(format!("{name} is not in the list of fields"));
    }
    if value.starts_with("format!") || value.contains("to_string()") || value.contains(".expose()")
    {
        return Some(format!("{name} is text made for the log"));
    }
    let is_pseudonym = value.contains(".redacted()") || PSEUDONYM_FIELDS.contains(&value);
    if PSEUDONYMS.contains(&name) && !is_pseudonym {
        return Some(format!("{name} must be redacted()"));
    }
    let identity = value
        .split(|c: char| !c.is_alphanumeric())
        .flat_map(|word| word.split('_'))
        .find(|word| IDENTITIES.contains(&word.to_lowercase().as_str()));
    match identity {
        Some(word) if !is_pseudonym && !tells_nothing(value) => {
            Some(format!("{name} shows a {word}: log its redacted()"))
        }
        _ => None,
    }
}

/// Where a pseudonym was kept, in place of the identity.
const PSEUDONYM_FIELDS: &[&str] = &["%account", "known.account.map(tracing::field::display)"];

/// Whether there is something, or how much of it; not what.
fn tells_nothing(value: &str) -> bool {
    let ends = [".is_some()", ".is_none()", ".is_empty()", ".len()"];
    ends.iter().any(|end| value.ends_with(end)) || COUNTS.contains(&value)
}

/// Counts that are called after what they count.
const COUNTS: &[&str] = &["gone.devices", "gone.key_packages", "gone.welcomes"];

#[test]
fn whatever_would_log_an_identity_is_refused() {
    let planted = [
        (
            r#"tracing::info!(user_did = %did, "hello")"#,
            "not in the list",
        ),
        (r#"tracing::info!(%did, "hello")"#, "not in the list"),
        (r#"tracing::warn!(caller, "hello")"#, "not in the list"),
        (
            r#"tracing::debug!(account = %did.expose(), "x")"#,
            "text made",
        ),
        (
            r#"tracing::debug!(account = ?did, "x")"#,
            "must be redacted()",
        ),
        (r#"tracing::debug!(task = %convo_id, "x")"#, "shows a convo"),
        (
            r#"tracing::debug!(error = caller.did(), "x")"#,
            "shows a caller",
        ),
        (r#"tracing::error!("no {did} here")"#, "splices"),
        (r#"tracing::error!("no {} here", did)"#, "splices"),
        (
            r#"tracing::error!(error = format!("{x}"), "x")"#,
            "text made",
        ),
        ("use tracing::{Level, info};", "imports info!"),
        ("use tracing::warn;", "imports warn!"),
        ("#[tracing::instrument]\nfn f(did: Did) {}", "opens a span"),
        (
            r#"let s = tracing::info_span!("call", did = %did);"#,
            "opens a span",
        ),
    ];
    for (code, wanted) in planted {
        let faults = faults_of(code);
        assert!(
            faults.iter().any(|fault| fault.contains(wanted)),
            "{code} passed: {faults:?}"
        );
    }
}

#[test]
fn what_is_fit_for_the_log_passes() {
    for code in [
        r#"tracing::debug!(account = %did.redacted(), client = %client.redacted(), "a, b (c)")"#,
        r#"tracing::warn!(task = task.name(), %error, "retention failed and will retry")"#,
        r#"tracing::warn!(value = ?error.kind(), version = self.version(), "a, b (c)")"#,
        "use tracing::{Level, Metadata};",
    ] {
        assert_eq!(faults_of(code), Vec::<String>::new(), "{code}");
    }
}
