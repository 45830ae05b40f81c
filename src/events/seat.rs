//! Pure. One session's place at the hub, and what the stream does to it.

use std::sync::Arc;

use super::circle::Circle;
use super::outbox::Outbox;
use super::topics::{Listener, SeatId, Topics};
use crate::store::Membership;
use crate::types::{ConvoId, Did, Seq};
use crate::wire::Change;

/// One session.
#[derive(Debug)]
pub(super) struct Seat {
    id: SeatId,
    pub(super) did: Arc<Did>,
    pub(super) filter: Option<ConvoId>,
    pub(super) outbox: Arc<Outbox>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Between registering and attaching: what changed since.
    Registered {
        since: Seq,
        changes: Vec<(Seq, ConvoId, Change)>,
    },
    /// Subscribed to these.
    Attached {
        convos: Vec<Arc<ConvoId>>,
        returned: Seq,
    },
}

impl Seat {
    /// A session that registered when the hub was at `since`.
    pub(super) fn new(
        id: SeatId,
        (did, filter): (Arc<Did>, Option<ConvoId>),
        outbox: Arc<Outbox>,
        since: Seq,
    ) -> Self {
        Self {
            id,
            did,
            filter,
            outbox,
            phase: Phase::Registered {
                since,
                changes: Vec::new(),
            },
        }
    }

    /// Whose own news it hears: a session of one conversation hears only that.
    pub(super) fn owner(&self) -> Option<&Did> {
        self.filter.is_none().then_some(&*self.did)
    }

    /// The conversations it hears, once it is attached.
    pub(super) fn convos(&self) -> Option<&[Arc<ConvoId>]> {
        match &self.phase {
            Phase::Registered { .. } => None,
            Phase::Attached { convos, .. } => Some(convos),
        }
    }

    /// Where its account was put into its one conversation the last time, as far as it has read,
    /// and whether that is over for it, once it is attached: it is not in it at this place of the
    /// stream, which has lost nothing, and will not bring it there again.
    pub(super) fn stay(&self, at: Seq) -> Option<(Seq, bool)> {
        let Phase::Attached { convos, returned } = &self.phase else {
            return None;
        };
        let is_nowhere = self.filter.is_some() && convos.is_empty();
        let is_over = is_nowhere && at >= *returned && !self.outbox.has_hole();
        Some((*returned, is_over))
    }

    // Registered → Attached. `None` if it is not waiting for that, or if too much has changed
    // meanwhile.
    pub(super) fn attach(
        &mut self,
        reading: Vec<Membership>,
        topics: &mut Topics,
    ) -> Option<Circle> {
        let Phase::Registered { since, changes } = &mut self.phase else {
            return None;
        };
        if changes.len() >= CHANGES_MAX {
            return None;
        }
        let of_its_convo = reading
            .iter()
            .filter(|stay| self.filter.as_ref() == Some(&stay.convo));
        let returned = of_its_convo.map(|stay| stay.joined).max();
        let mut circle = Circle::as_of(*since, reading);
        for (at, convo, change) in changes.drain(..) {
            circle.step(at, &convo, change);
        }
        circle.narrow(self.filter.as_ref());
        let listener = self.listener();
        let convos: Vec<_> = circle
            .present()
            .map(|convo| topics.join(convo, listener.clone()))
            .collect();
        self.outbox.open();
        self.phase = Phase::Attached {
            convos,
            returned: returned.unwrap_or(Seq::ZERO),
        };
        Some(circle)
    }

    /// Its account joins or leaves a conversation at this place of the stream.
    pub(super) fn change(&mut self, at: Seq, convo: &ConvoId, change: Change, topics: &mut Topics) {
        let listener = self.listener();
        let wanted = self.filter.as_ref().is_none_or(|filter| filter == convo);
        match &mut self.phase {
            Phase::Registered { changes, .. } => {
                if changes.len() < CHANGES_MAX {
                    changes.push((at, convo.clone(), change));
                }
            }
            Phase::Attached { convos, .. } => {
                let known = convos.iter().position(|known| **known == *convo);
                match (change, known) {
                    (Change::Joined, None) if wanted => convos.push(topics.join(convo, listener)),
                    (Change::Left, Some(index)) => {
                        convos.swap_remove(index);
                        topics.leave(convo, self.id);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Leaves every conversation.
    pub(super) fn leave(self, topics: &mut Topics) {
        for convo in self.convos().unwrap_or_default() {
            topics.leave(convo, self.id);
        }
    }

    fn listener(&self) -> Listener {
        Listener {
            seat: self.id,
            outbox: Arc::clone(&self.outbox),
        }
    }
}

/// Membership changes of one account between registering and attaching, which
/// takes milliseconds. Beyond, the session begins anew.
const CHANGES_MAX: usize = 1024;
