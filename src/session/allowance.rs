//! What an account is given with its events counts as answers do.

use std::sync::Arc;

use super::hearing::rate_limited;
use super::line::Line;
use super::serve::Session;
use crate::events::Event;
use crate::limits::LimitError;
use crate::wire::Notice;

impl<L: Line> Session<L> {
    /// Counts the messages that came with these events, which have been written. Where that was
    /// too much: what to say of it before the close.
    pub(super) fn settle(&mut self, events: &[Arc<Event>]) -> Option<Notice> {
        let bytes: usize = events.iter().map(|event| event.message_bytes()).sum();
        if bytes == 0 {
            return None;
        }
        let charged = self.permit.charge_answer(self.caller.did(), bytes as u64);
        let Err(LimitError::Reached { rule, .. }) = charged else {
            return None;
        };
        Some(rate_limited(rule, None, self.subscription.cursor()))
    }
}
