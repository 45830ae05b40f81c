//! The answer to "may this one?", and what the other end hears of it.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::domain::{Domain, RESERVED_VERIFICATIONS};
use super::rule::Rule;
use super::table::Place;
use super::tick::millis;
use super::waiting::UnderWay;
use super::window::{Quota, Verdict};

/// What a window said about one request.
#[derive(Clone, Debug)]
pub struct Decision {
    pub rule: Rule,
    pub limit: u16,
    pub remaining: u16,
    window_ms: u32,
    /// Until the next place comes back.
    pub(super) reset_ms: u32,
    /// Why not, if not.
    pub refused: Option<LimitError>,
    /// The place that was taken, to be given back when the token verifies.
    pub(super) place: Option<Place>,
    /// Where the check of its token is counted: apart, if it came in by a reserve.
    pub(super) verifications: Domain,
    /// The check of its token, which others of its address may wait for.
    pub(super) under_way: Option<Arc<UnderWay>>,
}

/// A refusal. Names the rule and the wait; never who was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LimitError {
    #[error("limit {} reached", rule.name())]
    Reached { rule: Rule, retry_after: Duration },
    /// As many are open as may be, and how long each stays is its owner's affair.
    #[error("limit {} reached: {open} are open", rule.name())]
    AllOpen {
        rule: Rule,
        open: u32,
        retry_after: Duration,
    },
    #[error("node is full: {}", rule.name())]
    NodeFull { rule: Rule, retry_after: Duration },
    #[error("shared limiter state is away")]
    SharedStateAway { retry_after: Duration },
}

impl LimitError {
    /// How long to wait: no shorter than until the next try can pass. Sent as `Retry-After` in whole
    /// seconds (RFC 9110 section 10.2.3).
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Reached { retry_after, .. }
            | Self::AllOpen { retry_after, .. }
            | Self::NodeFull { retry_after, .. }
            | Self::SharedStateAway { retry_after } => *retry_after,
        }
    }
}

impl Decision {
    #[inline]
    pub(super) fn of(rule: Rule, quota: Quota, verdict: Verdict) -> Self {
        Self {
            rule,
            limit: quota.limit,
            remaining: verdict.remaining,
            window_ms: quota.span_ms(),
            reset_ms: verdict.reset_ms,
            refused: verdict.wait_ms.map(|wait| LimitError::Reached {
                rule,
                retry_after: millis(wait),
            }),
            place: None,
            verifications: Rule::Verifications as Domain,
            under_way: None,
        }
    }

    /// For those to whom no rule applies.
    pub(super) fn unlimited(rule: Rule, quota: Quota) -> Self {
        let verdict = Verdict {
            remaining: quota.limit,
            reset_ms: 0,
            wait_ms: None,
        };
        Self::of(rule, quota, verdict)
    }

    /// Refused by something other than its own window.
    #[must_use]
    pub(super) fn refused_by(mut self, error: LimitError) -> Self {
        self.remaining = 0;
        self.refused = Some(error);
        self.reset_after(error.retry_after());
        self
    }

    /// Refused for no less than this.
    #[must_use]
    pub(super) fn for_at_least(mut self, wait: Duration) -> Self {
        if let Some(LimitError::Reached { retry_after, .. }) = &mut self.refused {
            *retry_after = wait.max(*retry_after);
            self.reset_after(wait);
        }
        self
    }

    /// No place comes back sooner than this.
    pub(super) fn reset_after(&mut self, wait: Duration) {
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        self.reset_ms = self.reset_ms.max(wait_ms);
    }

    /// Whether it came in because of an account that is known at its address, which anyone
    /// there can name.
    pub fn is_by_word_alone(&self) -> bool {
        self.verifications == RESERVED_VERIFICATIONS
    }

    /// Whether its token has verified.
    pub(super) fn is_proved(&self) -> bool {
        let under_way = self.under_way.as_ref();
        under_way.is_some_and(|under_way| under_way.is_judged())
    }

    /// Whether its numbers belong on an answer of this status: not on a refusal by another
    /// limit, which ends at another time.
    pub fn tells_of(&self, status: StatusCode) -> bool {
        self.refused.is_some() || status != StatusCode::TOO_MANY_REQUESTS
    }

    /// The refusal as an error, for `?`.
    pub fn admit(&self) -> Result<(), LimitError> {
        self.refused.map_or(Ok(()), Err)
    }

    /// Writes the headers that ATProto servers send: the allowance, what is left of
    /// it, the UNIX second at which the next place comes back, and `limit;w=seconds`. A
    /// refusal's `Retry-After` is there already. `unix_now` is the time since 1970.
    pub fn write_headers(&self, headers: &mut HeaderMap, unix_now: Duration) {
        let reset = seconds_up(unix_now.saturating_add(millis(self.reset_ms)));
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(reset));
        let policy = format!("{};w={}", self.limit, seconds_up(millis(self.window_ms)));
        if let Ok(policy) = HeaderValue::try_from(policy) {
            headers.insert(POLICY, policy);
        }
    }
}

fn seconds_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// The headers, for the list that CORS exposes to scripts.
pub const HEADERS: [HeaderName; 4] = [LIMIT, REMAINING, RESET, POLICY];

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(limit: u16, remaining: u16, wait_ms: Option<u32>) -> Decision {
        let verdict = Verdict {
            remaining,
            reset_ms: wait_ms.unwrap_or(30_000),
            wait_ms,
        };
        Decision::of(Rule::Ip, Quota::per_minute(limit), verdict)
    }

    #[test]
    fn headers_say_what_atproto_clients_read() {
        let mut headers = HeaderMap::new();
        decision(60, 0, Some(1_001)).write_headers(&mut headers, Duration::from_millis(999_500));
        let expected = [
            ("ratelimit-limit", "60"),
            ("ratelimit-remaining", "0"),
            ("ratelimit-reset", "1001"),
            ("ratelimit-policy", "60;w=60"),
        ];
        for (name, value) in expected {
            assert_eq!(headers.get(name).unwrap(), value, "{name}");
        }
    }

    #[test]
    fn whoever_is_refused_by_something_else_has_nothing_left_until_that_ends() {
        let rule = Rule::PenaltyBox;
        let refused_for = |seconds| {
            let retry_after = Duration::from_secs(seconds);
            decision(60, 5, None).refused_by(LimitError::Reached { rule, retry_after })
        };
        let told = |decision: Decision| {
            let mut headers = HeaderMap::new();
            decision.write_headers(&mut headers, Duration::ZERO);
            let number = |name| headers[name].to_str().unwrap().parse::<u32>().unwrap();
            (number(REMAINING), number(RESET))
        };
        assert_eq!(told(refused_for(40)), (0, 40));
        assert_eq!(told(refused_for(20)), (0, 30), "nor before its own window");
        let longer = refused_for(40).for_at_least(Duration::from_secs(50));
        assert_eq!(told(longer), (0, 50));
    }

    #[test]
    fn a_window_with_places_says_nothing_of_another_limits_refusal() {
        let (open, full) = (decision(60, 5, None), decision(60, 0, Some(5)));
        assert!(open.tells_of(StatusCode::OK) && open.tells_of(StatusCode::CONFLICT));
        assert!(!open.tells_of(StatusCode::TOO_MANY_REQUESTS));
        assert!(full.tells_of(StatusCode::TOO_MANY_REQUESTS));
    }
}
