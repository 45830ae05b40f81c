//! Pure. Which local sessions hear of which conversation.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::outbox::Outbox;
use crate::types::{ConvoId, unprintable};

/// A session's place at the hub, never given twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SeatId(pub(super) u64);

impl SeatId {
    /// No session's, ever.
    pub(super) const NOBODYS: Self = Self(0);
}

/// One listener of one conversation: 16 bytes, and the queue is one step away.
#[derive(Clone)]
pub(super) struct Listener {
    pub(super) seat: SeatId,
    pub(super) outbox: Arc<Outbox>,
}

/// Conversation → its local listeners. The names are shared with the seats, which
/// know their conversations in order to leave them all.
#[derive(Default)]
pub(super) struct Topics {
    listeners: HashMap<Arc<ConvoId>, Vec<Listener>>,
}

unprintable!(Topics);

impl Topics {
    /// Adds a listener that is not there yet; returns the shared name.
    pub(super) fn join(&mut self, convo: &ConvoId, listener: Listener) -> Arc<ConvoId> {
        if let Some((name, _)) = self.listeners.get_key_value(convo) {
            let name = Arc::clone(name);
            if let Some(listeners) = self.listeners.get_mut(convo) {
                listeners.push(listener);
            }
            return name;
        }
        let name = Arc::new(convo.clone());
        self.listeners.insert(Arc::clone(&name), vec![listener]);
        name
    }

    /// Removes a listener, and the topic with its last one.
    pub(super) fn leave(&mut self, convo: &ConvoId, seat: SeatId) {
        let Some(listeners) = self.listeners.get_mut(convo) else {
            return;
        };
        // The order of listeners means nothing, so nothing needs to move up.
        if let Some(index) = listeners.iter().position(|l| l.seat == seat) {
            listeners.swap_remove(index);
        }
        if listeners.is_empty() {
            self.listeners.remove(convo);
            give_back(&mut self.listeners);
        } else if listeners.len() * 4 < listeners.capacity() {
            listeners.shrink_to(listeners.len() * 2);
        }
    }

    pub(super) fn listeners(&self, convo: &ConvoId) -> &[Listener] {
        self.listeners.get(convo).map_or(&[], Vec::as_slice)
    }

    pub(super) fn count(&self) -> usize {
        self.listeners.len()
    }
}

/// Halves a table that is nearly empty: what a crowd needed is not kept when it has left.
pub(super) fn give_back<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.len() * 4 < map.capacity() {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_lives_as_long_as_its_last_listener() {
        let convo = ConvoId::parse("ab").unwrap();
        let listener = |id| Listener {
            seat: SeatId(id),
            outbox: Arc::new(Outbox::new(1)),
        };
        let mut topics = Topics::default();
        let first = topics.join(&convo, listener(1));
        let second = topics.join(&convo, listener(2));
        assert!(Arc::ptr_eq(&first, &second));
        topics.leave(&convo, SeatId(1));
        topics.leave(&convo, SeatId(1));
        assert_eq!(topics.listeners(&convo).len(), 1);
        assert_eq!(topics.listeners(&convo)[0].seat, SeatId(2));
        topics.leave(&convo, SeatId(2));
        assert_eq!(topics.count(), 0);
    }

    #[test]
    fn what_a_crowd_needed_is_not_kept_when_it_has_left() {
        let mut topics = Topics::default();
        let convo = |number: u64| ConvoId::of_group(&number.to_be_bytes()).unwrap();
        let listener = |id| Listener {
            seat: SeatId(id),
            outbox: Arc::new(Outbox::new(1)),
        };
        for number in 0..1_000 {
            topics.join(&convo(0), listener(number));
            topics.join(&convo(number + 1), listener(number));
        }
        for number in 8..1_000 {
            topics.leave(&convo(0), SeatId(number));
            topics.leave(&convo(number + 1), SeatId(number));
        }
        let left = [topics.listeners(&convo(0)).len(), topics.count()];
        assert_eq!(left, [8, 9]);
        let rooms = [
            topics.listeners[&convo(0)].capacity(),
            topics.listeners.capacity(),
        ];
        for (left, room) in left.into_iter().zip(rooms) {
            assert!((left..=4 * left).contains(&room), "{room} for {left}");
        }
    }
}
