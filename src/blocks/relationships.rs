//! Pure. `app.bsky.graph.getRelationships`: what is asked, and what the answer says
//! of blocks between one account and others.

use serde::Deserialize;

use crate::types::{Did, unprintable};
use crate::wire::Object;

/// The most that one question may be about (its lexicon: `others`).
pub(super) const OTHERS_MAX: usize = 30;

/// Blocks between one account and another.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Between {
    /// The one blocks the other.
    pub(super) blocking: Option<Evidence>,
    /// The other blocks the one.
    pub(super) blocked_by: Option<Evidence>,
}

/// The record that says so, unless the AppView named none that can be passed on.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Evidence(pub(super) Option<String>);

unprintable!(Evidence);

impl Between {
    /// The same, seen from the other.
    pub(super) fn turned(self) -> Self {
        Self {
            blocking: self.blocked_by,
            blocked_by: self.blocking,
        }
    }
}

/// The answer is not about what was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the AppView's answer is not one to the question")]
pub(super) struct BadAnswer;

/// The path after the AppView's own.
pub(super) fn question(one: &Did, others: &[&Did]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("actor", one.expose());
    for other in others {
        query.append_pair("others", other.expose());
    }
    format!("xrpc/app.bsky.graph.getRelationships?{}", query.finish())
}

/// What the answer says of each of `others`, in their order. An answer that leaves
/// one out is none: silence must not be taken for "no block".
pub(super) fn read(one: &Did, others: &[&Did], answer: &[u8]) -> Result<Vec<Between>, BadAnswer> {
    let Object::<Answer>(answer) = serde_json::from_slice(answer).map_err(|_| BadAnswer)?;
    if answer.actor.is_some_and(|actor| actor != one.expose()) {
        return Err(BadAnswer);
    }
    let of = |other: &&Did| {
        let mut relationships = answer.relationships.iter();
        let found = relationships.find(|Object(found)| found.is_of(other));
        found.map(|Object(found)| found.between()).ok_or(BadAnswer)
    };
    others.iter().map(of).collect()
}

#[derive(Deserialize)]
struct Answer {
    actor: Option<String>,
    relationships: Vec<Object<Relationship>>,
}

/// `app.bsky.graph.defs#relationship`, or `#notFoundActor`, which blocks nobody.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    did: Option<String>,
    actor: Option<String>,
    blocking: Option<String>,
    blocked_by: Option<String>,
    blocking_by_list: Option<String>,
    blocked_by_list: Option<String>,
}

impl Relationship {
    fn is_of(&self, other: &Did) -> bool {
        let named = self.did.as_ref().or(self.actor.as_ref());
        named.is_some_and(|did| did == other.expose())
    }

    fn between(&self) -> Between {
        Between {
            blocking: evidence(self.blocking.as_ref(), self.blocking_by_list.as_ref()),
            blocked_by: evidence(self.blocked_by.as_ref(), self.blocked_by_list.as_ref()),
        }
    }
}

fn evidence(direct: Option<&String>, by_list: Option<&String>) -> Option<Evidence> {
    let uri = direct.or(by_list)?;
    let can_be_passed_on = uri.starts_with("at://") && uri.len() <= URI_LEN_MAX;
    Some(Evidence(can_be_passed_on.then(|| uri.clone())))
}

/// As the lexicons of the calls have it.
const URI_LEN_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:plc:{name}")).unwrap()
    }

    #[test]
    fn a_question_names_everyone_as_a_query_does() {
        let (alice, bob) = (did("alice"), did("bob"));
        assert_eq!(
            question(&alice, &[&bob]),
            "xrpc/app.bsky.graph.getRelationships?actor=did%3Aplc%3Aalice&others=did%3Aplc%3Abob"
        );
    }

    #[test]
    fn blocks_are_read_in_both_directions_direct_and_by_list() {
        let (alice, bob, carol, dave) = (did("alice"), did("bob"), did("carol"), did("dave"));
        let answer = br#"{"actor":"did:plc:alice","relationships":[
            {"$type":"app.bsky.graph.defs#notFoundActor","actor":"did:plc:dave","notFound":true},
            {"did":"did:plc:bob","following":"at://x","blocking":"at://a/b/c"},
            {"did":"did:plc:carol","blockedByList":"https://no.uri"}]}"#;
        let read = read(&alice, &[&bob, &carol, &dave], answer).unwrap();
        let uri = Evidence(Some("at://a/b/c".to_owned()));
        assert_eq!(read[0].blocking, Some(uri));
        assert_eq!(read[0].blocked_by, None);
        assert_eq!(read[1].blocked_by, Some(Evidence(None)));
        assert_eq!(read[2], Between::default());
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        let (alice, bob) = (did("alice"), did("bob"));
        for answer in [
            r#"{"actor":"did:plc:alice","relationships":[]}"#,
            r#"{"actor":"did:plc:carol","relationships":[{"did":"did:plc:bob"}]}"#,
            r#"{"relationships":[{"did":"did:plc:carol"}]}"#,
            r#"{"error":"x"}"#,
            "<html>",
        ] {
            assert_eq!(read(&alice, &[&bob], answer.as_bytes()), Err(BadAnswer));
        }
    }
}
