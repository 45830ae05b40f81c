//! What Postgres knows: the oracle.

use std::sync::Arc;

use super::{ACCOUNTS, convo_id, did};
use crate::events::*;
use crate::store::Membership;
use crate::types::{ConvoId, Seq};
use crate::wire::Route;

/// What Postgres knows.
#[derive(Default)]
pub(super) struct Table {
    pub(super) last: u64,
    pub(super) events: Vec<Arc<Event>>,
    /// Of each account.
    pub(super) stays: [Vec<Membership>; ACCOUNTS],
}

impl Table {
    pub(super) fn commit(&mut self, rest: &str) -> Arc<Event> {
        self.last += 1;
        let text = format!(r#"{{"cursor":"{}",{rest}}}"#, self.last);
        let event = Arc::new(Event::parse(&text).unwrap());
        self.events.push(Arc::clone(&event));
        event
    }

    pub(super) fn move_account(&mut self, account: usize, convo: usize) -> Arc<Event> {
        let (name, at) = (convo_id(convo), Seq::new(self.last + 1));
        let stays = &mut self.stays[account];
        let open = stays
            .iter_mut()
            .find(|s| s.convo == name && s.left.is_none());
        let action = match open {
            Some(open) => {
                open.left = Some(at);
                "removed"
            }
            None => {
                let (convo, joined) = (name.clone(), at);
                stays.push(Membership {
                    convo,
                    joined,
                    left: None,
                });
                "joined"
            }
        };
        let (convo, did) = (name.expose(), did(account));
        let did = did.expose();
        self.commit(&format!(
            r#""convoId":"{convo}","type":"membershipChange","did":"{did}","action":"{action}""#
        ))
    }

    /// The events an account may see: the oracle, and what a replay reads.
    pub(super) fn seen(
        &self,
        account: usize,
        filter: Option<&ConvoId>,
        after: Seq,
        through: Seq,
    ) -> Vec<Arc<Event>> {
        let circle = Circle::as_of(Seq::LAST, self.stays[account].clone());
        let visible = |event: &&Arc<Event>| match event.route() {
            Route::Account(did) => filter.is_none() && *did == super::did(account),
            Route::Convo(convo) | Route::Membership { convo, .. } => {
                filter.is_none_or(|filter| filter == convo) && circle.sees(convo, event.seq())
            }
        };
        let range = self
            .events
            .iter()
            .filter(|e| e.seq() > after && e.seq() <= through);
        range.filter(visible).cloned().collect()
    }
}
