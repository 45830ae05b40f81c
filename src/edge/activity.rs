//! Pure. Whether a connection is in use, so that an unused one can be closed, and one
//! whose client does not take its answers.

use std::time::Duration;

use parking_lot::Mutex;

/// How long a connection may go on without anything happening.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Before its first request.
    pub(super) first: Duration,
    /// After any other.
    pub(super) idle: Duration,
    /// With a piece of an answer that the client does not take.
    pub(super) stall: Duration,
}

/// What one connection is doing. Times are counted from its handshake.
#[derive(Debug, Default)]
pub(super) struct Activity(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    under_way: Vec<UnderWay>,
    begun: u64,
    /// When the last request ended. None: none has come yet.
    quiet_since: Option<Duration>,
}

#[derive(Debug)]
struct UnderWay {
    ticket: Ticket,
    /// Since when a piece of the answer waits for its client.
    offered: Option<Duration>,
}

/// One request under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ticket(u64);

/// What to do about a connection now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Nothing happens on it.
    Idle,
    /// Its client does not take what it asked for.
    Stalled,
    LookAgainIn(Duration),
}

impl Activity {
    pub(super) fn verdict(&self, patience: Patience, age: Duration) -> Verdict {
        let state = self.0.lock();
        let offered = state.under_way.iter().filter_map(|one| one.offered).min();
        let (deadline, late) = match (offered, state.quiet_since) {
            (Some(offered), _) => (offered + patience.stall, Verdict::Stalled),
            // Not before it could have been quiet, or stalled, for long enough.
            _ if !state.under_way.is_empty() => {
                return Verdict::LookAgainIn(patience.idle.min(patience.stall));
            }
            (None, None) => (patience.first, Verdict::Idle),
            (None, Some(since)) => (since + patience.idle, Verdict::Idle),
        };
        match deadline.checked_sub(age) {
            None | Some(Duration::ZERO) => late,
            Some(left) => Verdict::LookAgainIn(left),
        }
    }

    /// A request has come. Pair it with one `end`.
    pub(super) fn begin(&self) -> Ticket {
        let mut state = self.0.lock();
        let ticket = Ticket(state.begun);
        state.begun += 1;
        let offered = None;
        state.under_way.push(UnderWay { ticket, offered });
        ticket
    }

    /// A piece of its answer is for the client to take, from this age on; or, with `None`,
    /// it has taken all that there is so far.
    pub(super) fn offer(&self, ticket: Ticket, age: Option<Duration>) {
        let mut state = self.0.lock();
        let mut under_way = state.under_way.iter_mut();
        if let Some(one) = under_way.find(|one| one.ticket == ticket) {
            one.offered = age;
        }
    }

    /// A request's answer is written or given up, at this age of the connection.
    pub(super) fn end(&self, ticket: Ticket, age: Duration) {
        let mut state = self.0.lock();
        state.under_way.retain(|one| one.ticket != ticket);
        state.quiet_since = state.quiet_since.max(Some(age));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        first: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        stall: Duration::from_secs(30),
    };

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_connection_without_a_first_request_is_closed_sooner_than_an_idle_one() {
        let activity = Activity::default();
        let verdict = |age| activity.verdict(PATIENCE, secs(age));
        assert_eq!(verdict(4), Verdict::LookAgainIn(secs(6)));
        assert_eq!(verdict(10), Verdict::Idle);
        activity.end(activity.begin(), secs(5));
        assert_eq!(verdict(10), Verdict::LookAgainIn(secs(55)));
        assert_eq!(verdict(65), Verdict::Idle);
    }

    #[test]
    fn a_request_that_the_relay_works_on_is_never_cut_off() {
        let activity = Activity::default();
        let ticket = activity.begin();
        let verdict = |age| activity.verdict(PATIENCE, secs(age));
        assert_eq!(verdict(400), Verdict::LookAgainIn(secs(30)));
        activity.end(ticket, secs(500));
        assert_eq!(verdict(500), Verdict::LookAgainIn(secs(60)));
    }

    #[test]
    fn each_answer_must_be_taken_and_a_slow_client_takes_it_piece_by_piece() {
        let activity = Activity::default();
        let (taken, left) = (activity.begin(), activity.begin());
        let verdict = |age| activity.verdict(PATIENCE, secs(age));
        activity.offer(left, Some(secs(1)));
        for age in 1..31 {
            activity.offer(taken, Some(secs(age)));
            assert_eq!(verdict(age), Verdict::LookAgainIn(secs(31 - age)));
        }
        assert_eq!(verdict(31), Verdict::Stalled);
        activity.end(left, secs(31));
        assert_eq!(verdict(31), Verdict::LookAgainIn(secs(29)));
        activity.offer(taken, None);
        assert_eq!(verdict(400), Verdict::LookAgainIn(secs(30)));
    }
}
