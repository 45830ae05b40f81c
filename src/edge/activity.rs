//! Pure. Whether a connection is in use, so that an unused one can be closed, and one
//! whose client does not take its answers.

use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// How long a connection may go on without anything happening.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Before its first request.
    pub(super) first: Duration,
    /// After any other.
    pub(super) idle: Duration,
    /// With a piece of an answer that the client does not take.
    pub(super) stall: Duration,
    /// The least that must be taken of whole answers, in bytes a second.
    pub(super) pace: u64,
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
    /// Since when the client takes nothing of what waits to be written. None: nothing waits.
    blocked: Option<Duration>,
}

#[derive(Debug)]
struct UnderWay {
    request: RequestId,
    /// Ends this request alone, where a connection has several.
    cut: Option<CancellationToken>,
    answered: Option<Answered>,
    /// Since when a piece of the answer waits for its client.
    offered: Option<Duration>,
}

/// A whole answer that its client is taking.
#[derive(Clone, Copy, Debug)]
struct Answered {
    at: Duration,
    len: u64,
    /// The most that it and all others on their way have weighed at once: those that have
    /// gone since have had their part of the time.
    bytes: u64,
}

/// One request under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct RequestId(u64);

/// What to do about a connection now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Nothing happens on it.
    Idle,
    /// Its client does not take what it asked for.
    Stalled,
    LookAgainIn(Duration),
}

impl UnderWay {
    /// When its client has taken too long: for a piece, whose time stands still while the
    /// connection has no room for any, or for the whole, which has the connection together
    /// with all others.
    fn late_at(&self, patience: Patience, blocked: Option<Duration>) -> Option<Duration> {
        let offered = self.offered.filter(|_| blocked.is_none());
        let piece = offered.map(|offered| offered + patience.stall);
        let whole = self.answered.map(|Answered { at, bytes, .. }| {
            at + patience.stall + Duration::from_secs(bytes / patience.pace)
        });
        piece.into_iter().chain(whole).min()
    }
}

impl Activity {
    pub(super) fn verdict(&self, patience: Patience, age: Duration) -> Verdict {
        let state = self.0.lock();
        let under_way = state.under_way.iter();
        let late_at = under_way.filter_map(|one| one.late_at(patience, state.blocked));
        let late_at = late_at.chain(state.blocked_until(patience));
        let (deadline, late) = match (late_at.min(), state.quiet_since) {
            (Some(late_at), _) => (late_at, Verdict::Stalled),
            // Not before it could have been quiet, or stalled, for long enough.
            _ if !state.under_way.is_empty() => {
                return Verdict::LookAgainIn(patience.idle.min(patience.stall));
            }
            (None, None) => (patience.first, Verdict::Idle),
            (None, Some(since)) => (since + patience.idle, Verdict::Idle),
        };
        match deadline.checked_sub(age) {
            None | Some(Duration::ZERO) => late,
            Some(left) if late == Verdict::Idle => Verdict::LookAgainIn(left),
            // Not later than it could be quiet for long enough.
            Some(left) => Verdict::LookAgainIn(left.min(patience.idle)),
        }
    }

    /// Ends those requests whose answers are not taken. False: one of them has the
    /// connection to itself, which must end with it, or nothing at all is taken.
    pub(super) fn cut_stalled(&self, patience: Patience, age: Duration) -> bool {
        let mut state = self.0.lock();
        if state.blocked_until(patience).is_some_and(|at| at <= age) {
            return false;
        }
        let blocked = state.blocked;
        let is_late =
            |one: &&mut UnderWay| one.late_at(patience, blocked).is_some_and(|at| at <= age);
        state.under_way.iter_mut().filter(is_late).all(|one| {
            // Until it has ended it is late no more.
            (one.offered, one.answered) = (None, None);
            one.cut.as_ref().map(CancellationToken::cancel).is_some()
        })
    }

    /// A request has come. Pair it with one `end`.
    pub(super) fn begin(&self, cut: Option<CancellationToken>) -> RequestId {
        let mut state = self.0.lock();
        let request = RequestId(state.begun);
        state.begun += 1;
        state.under_way.push(UnderWay {
            request,
            cut,
            answered: None,
            offered: None,
        });
        request
    }

    /// Its whole answer, of `len` bytes, is ready at this age.
    pub(super) fn answer(&self, request: RequestId, age: Duration, len: u64) {
        let mut state = self.0.lock();
        let (at, bytes) = (age, len);
        state.change(request, |one| {
            one.answered = Some(Answered { at, len, bytes })
        });
        let answered = state.under_way.iter().filter_map(|one| one.answered);
        let all = answered.map(|one| one.len).sum();
        let answered = state.under_way.iter_mut();
        for one in answered.filter_map(|one| one.answered.as_mut()) {
            one.bytes = one.bytes.max(all);
        }
    }

    /// A piece of its answer is for the client to take, from this age on; or, with `None`,
    /// it has taken all that there is so far.
    pub(super) fn offer(&self, request: RequestId, age: Option<Duration>) {
        self.0.lock().change(request, |one| one.offered = age);
    }

    /// At this age something was to be written: whether it found no room.
    pub(super) fn write(&self, is_blocked: bool, age: Duration) {
        let mut state = self.0.lock();
        if is_blocked {
            state.blocked.get_or_insert(age);
        } else if let Some(blocked) = state.blocked.take() {
            let offered = state.under_way.iter_mut();
            for offered in offered.filter_map(|one| one.offered.as_mut()) {
                *offered += age.saturating_sub(blocked.max(*offered));
            }
        }
    }

    /// A request's answer is written or given up, at this age of the connection.
    pub(super) fn end(&self, request: RequestId, age: Duration) {
        let mut state = self.0.lock();
        state.under_way.retain(|one| one.request != request);
        state.quiet_since = state.quiet_since.max(Some(age));
    }
}

impl State {
    /// When the client will have taken nothing for too long.
    fn blocked_until(&self, patience: Patience) -> Option<Duration> {
        self.blocked.map(|since| since + patience.stall)
    }

    fn change(&mut self, request: RequestId, change: impl FnOnce(&mut UnderWay)) {
        let mut under_way = self.under_way.iter_mut();
        if let Some(one) = under_way.find(|one| one.request == request) {
            change(one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        first: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        stall: Duration::from_secs(30),
        pace: 1 << 10,
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
        activity.end(activity.begin(None), secs(5));
        assert_eq!(verdict(10), Verdict::LookAgainIn(secs(55)));
        assert_eq!(verdict(65), Verdict::Idle);
        activity.end(activity.begin(None), secs(50));
        assert_eq!(verdict(65), Verdict::LookAgainIn(secs(45)));
    }

    #[test]
    fn a_request_that_the_relay_works_on_is_never_cut_off() {
        let activity = Activity::default();
        let request = activity.begin(None);
        let verdict = |age| activity.verdict(PATIENCE, secs(age));
        assert_eq!(verdict(400), Verdict::LookAgainIn(secs(30)));
        activity.end(request, secs(500));
        assert_eq!(verdict(500), Verdict::LookAgainIn(secs(60)));
    }

    #[test]
    fn each_answer_must_be_taken_and_a_slow_client_takes_it_piece_by_piece() {
        let activity = Activity::default();
        let (taken, left) = (activity.begin(None), activity.begin(None));
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

    #[test]
    fn a_whole_answer_must_be_taken_in_its_time() {
        let activity = Activity::default();
        let request = activity.begin(None);
        activity.answer(request, secs(0), 100 * PATIENCE.pace);
        let first = activity.verdict(PATIENCE, secs(0));
        assert_eq!(first, Verdict::LookAgainIn(secs(60)), "or it is idle late");
        for age in 0..130 {
            activity.offer(request, Some(secs(age)));
            let verdict = activity.verdict(PATIENCE, secs(age));
            assert!(matches!(verdict, Verdict::LookAgainIn(_)), "{age}");
        }
        assert_eq!(activity.verdict(PATIENCE, secs(130)), Verdict::Stalled);
    }

    #[test]
    fn answers_that_go_together_have_the_time_of_all_until_the_last_is_taken() {
        let activity = Activity::default();
        let requests: Vec<_> = (0..10).map(|_| activity.begin(None)).collect();
        for request in &requests {
            activity.answer(*request, secs(0), 100 * PATIENCE.pace);
        }
        let (last, others) = requests.split_last().unwrap();
        for request in others {
            activity.end(*request, secs(900));
        }
        activity.offer(*last, Some(secs(1_020)));
        let verdict = |age| activity.verdict(PATIENCE, secs(age));
        assert_eq!(verdict(1_001), Verdict::LookAgainIn(secs(29)));
        assert_eq!(verdict(1_030), Verdict::Stalled);
    }

    #[test]
    fn a_piece_waits_for_its_turn_on_a_slow_connection() {
        let activity = Activity::default();
        let stalled = CancellationToken::new();
        let request = activity.begin(Some(stalled.clone()));
        activity.offer(request, Some(secs(0)));
        // Others' pieces go out meanwhile, one in twenty seconds.
        for age in (10..200).step_by(20) {
            activity.write(true, secs(age));
            let verdict = activity.verdict(PATIENCE, secs(age));
            assert_eq!(verdict, Verdict::LookAgainIn(secs(30)));
            activity.write(false, secs(age + 20));
        }
        let verdict = |age| activity.verdict(PATIENCE, secs(age));
        // There is room since, and was for ten seconds before.
        assert_eq!(verdict(210), Verdict::LookAgainIn(secs(20)));
        assert_eq!(verdict(230), Verdict::Stalled);
        assert!(activity.cut_stalled(PATIENCE, secs(230)) && stalled.is_cancelled());
        // One that comes while there is no room waits from then on.
        activity.write(true, secs(300));
        activity.offer(request, Some(secs(310)));
        activity.write(false, secs(320));
        assert_eq!(verdict(320), Verdict::LookAgainIn(secs(30)));
    }

    #[test]
    fn a_connection_with_something_left_to_write_is_not_idle_and_ends_when_nothing_is_taken() {
        let activity = Activity::default();
        // HTTP/2 has taken the whole answer.
        activity.end(activity.begin(None), secs(0));
        let verdict = |age| activity.verdict(PATIENCE, secs(age));
        for age in 0..100 {
            activity.write(false, secs(age));
            activity.write(true, secs(age));
            assert_eq!(verdict(age), Verdict::LookAgainIn(secs(30)));
        }
        // A further try that finds no room either.
        activity.write(true, secs(120));
        assert_eq!(verdict(129), Verdict::Stalled);
        assert!(!activity.cut_stalled(PATIENCE, secs(129)));
        activity.write(false, secs(130));
        assert_eq!(verdict(130), Verdict::Idle);
    }

    #[test]
    fn one_of_several_requests_ends_alone() {
        let activity = Activity::default();
        let (stalled, fine) = (CancellationToken::new(), CancellationToken::new());
        let requests = [&stalled, &fine].map(|cut| activity.begin(Some(cut.clone())));
        for (request, age) in requests.into_iter().zip([0, 20]) {
            activity.offer(request, Some(secs(age)));
        }
        assert_eq!(activity.verdict(PATIENCE, secs(30)), Verdict::Stalled);
        assert!(activity.cut_stalled(PATIENCE, secs(30)));
        assert!(stalled.is_cancelled() && !fine.is_cancelled());
        let next = activity.verdict(PATIENCE, secs(30));
        assert_eq!(next, Verdict::LookAgainIn(secs(20)));
    }

    #[test]
    fn the_only_request_of_a_connection_ends_with_it() {
        let activity = Activity::default();
        activity.offer(activity.begin(None), Some(secs(0)));
        assert!(!activity.cut_stalled(PATIENCE, secs(30)));
    }
}
