//! How a refusal is worded: as `XrpcError::message` says.

use mls_relay::wire::THE_REQUEST;

/// What is wrong with a message; `None` if nothing is.
pub(crate) fn fault(message: &str) -> Option<&'static str> {
    let (fields, told) = message.split_once(": ").unwrap_or_default();
    let told = if fields.is_empty() { message } else { told };
    let is_field = |field: &str| field == THE_REQUEST || !field.contains(' ');
    let mut clauses = told.split("; ");
    let mut words = told.split([' ', ',', ';']);
    [
        (
            !fields.split(", ").all(is_field),
            "no field before the colon",
        ),
        (told.contains(": "), "a second colon"),
        (clauses.clone().count() > 2, "a third clause"),
        (
            clauses.any(|clause| !clause.starts_with(|c: char| !c.is_uppercase())),
            "a capital first",
        ),
        (
            told.contains(". ") || told.ends_with(['.', '!']),
            "a full stop",
        ),
        (told.contains('`'), "marks around a name"),
        (told.len() > LEN_MAX, "too long"),
        (words.any(is_identity), "an identity"),
    ]
    .into_iter()
    .find_map(|(is_wrong, what)| is_wrong.then_some(what))
}

/// A DID, or what could be a part of a ULID, a UUID, a group's id or a token.
fn is_identity(word: &str) -> bool {
    let is_did = word.starts_with("did:") && word.matches(':').count() > 1;
    let mut parts = word.split(|c: char| !c.is_ascii_alphanumeric());
    let is_id = parts.any(|part| part.len() >= 12 && part.contains(|c: char| c.is_ascii_digit()));
    is_id || is_did && word.ends_with(|c: char| c.is_ascii_alphanumeric())
}

const LEN_MAX: usize = 160;
