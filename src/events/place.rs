//! Pure. Where one session is in the stream: what it has had, where it starts,
//! and whether it gets anywhere.

use std::time::Duration;

use crate::types::{Cursor, Seq};

/// The last event a session has had, and with it all before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(Cursor);

impl Place {
    pub(super) fn new(cursor: Cursor) -> Self {
        Self(cursor)
    }

    /// What a client can resume from.
    pub(super) fn cursor(self) -> Cursor {
        self.0
    }

    pub(super) fn seq(self) -> Seq {
        self.0.seq()
    }

    /// Goes on to an event; false if the session had it. That happens only when a
    /// client comes with a cursor that this node has yet to reach.
    #[must_use = "an event that the session had must not be sent again"]
    pub(super) fn advance(&mut self, to: Cursor) -> bool {
        let forward = to.seq() > self.0.seq();
        if forward {
            self.0 = to;
        }
        forward
    }
}

/// Where a subscriber starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Start {
    /// After its cursor, or with what comes next if it has none.
    Here(Option<Cursor>),
    /// Its cursor is older than the oldest event: say so, and begin there.
    Outdated { after: Cursor, floor: Seq },
    /// Its cursor was never given out.
    Future,
}

/// Decides where a subscriber starts, given what the database holds: the events
/// of `(floor, head]`.
pub(super) fn start(requested: Option<Cursor>, floor: Seq, head: Seq) -> Start {
    match requested {
        Some(cursor) if cursor.seq() > head => Start::Future,
        Some(cursor) if cursor.seq() < floor => Start::Outdated {
            after: cursor,
            floor,
        },
        here => Start::Here(here),
    }
}

/// Whether a session that fell back to the database gains on the stream. One that
/// does will be live some day and may take its time; one that after a whole
/// `window` is no nearer than before is too slow for good.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CatchUp {
    /// Since when it is behind, and by how many places it was then.
    behind: Option<(Duration, u64)>,
}

impl CatchUp {
    /// It is behind by `distance` places. False if it should give up.
    #[must_use = "a session without a chance must be closed"]
    pub(super) fn is_gaining(&mut self, now: Duration, distance: u64, window: Duration) -> bool {
        match self.behind {
            Some((since, before)) if now.saturating_sub(since) >= window => {
                self.behind = Some((now, distance));
                distance < before
            }
            Some(_) => true,
            None => {
                self.behind = Some((now, distance));
                true
            }
        }
    }

    /// It has had everything.
    pub(super) fn caught_up(&mut self) {
        self.behind = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(seq: u64) -> Cursor {
        Cursor::parse(&seq.to_string()).unwrap()
    }

    #[test]
    fn a_subscriber_starts_where_its_cursor_says() {
        let at = |seq| start(Some(cursor(seq)), Seq::new(10), Seq::new(20));
        assert_eq!(start(None, Seq::new(10), Seq::new(20)), Start::Here(None));
        assert_eq!(at(21), Start::Future);
        assert_eq!(at(20), Start::Here(Some(cursor(20))));
        assert_eq!(at(10), Start::Here(Some(cursor(10))));
        let outdated = Start::Outdated {
            after: cursor(9),
            floor: Seq::new(10),
        };
        assert_eq!(at(9), outdated);
    }

    #[test]
    fn a_place_never_goes_back() {
        let mut place = Place::new(cursor(5));
        assert!(!place.advance(cursor(5)));
        assert!(place.advance(cursor(7)));
        assert!(!place.advance(cursor(6)));
        assert_eq!(place.seq(), Seq::new(7));
    }

    #[test]
    fn who_gains_may_be_slow_and_who_does_not_must_go() {
        let (minute, mut catch_up) = (Duration::from_secs(60), CatchUp::default());
        assert!(catch_up.is_gaining(Duration::ZERO, 100, minute));
        assert!(catch_up.is_gaining(minute / 2, 200, minute));
        assert!(catch_up.is_gaining(minute, 99, minute));
        assert!(!catch_up.is_gaining(minute * 2, 99, minute));
        catch_up.caught_up();
        assert!(catch_up.is_gaining(minute * 3, 500, minute));
    }
}
