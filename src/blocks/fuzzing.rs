//! The way in for `fuzz/`: what the AppView answers.

use super::relationships::{Evidence, read};
use crate::types::Did;

/// The record of a block, if one can be passed on.
pub type Record = Option<String>;

/// Of each of `others` whether it is blocked by `one` and whether it blocks it; nothing, if that
/// is no answer to the question.
pub fn blocks(one: &Did, others: &[&Did], answer: &[u8]) -> Option<Vec<[Option<Record>; 2]>> {
    let record = |evidence: Option<Evidence>| evidence.map(|Evidence(uri)| uri);
    let read = read(one, others, answer).ok()?;
    let both = read.into_iter();
    Some(
        both.map(|between| [between.blocking, between.blocked_by].map(record))
            .collect(),
    )
}
