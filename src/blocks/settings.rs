//! Pure. What an operator may say about asking the AppView.

use std::time::Duration;

/// Settings of this area, all read at start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The AppView that knows who blocks whom. Without one nobody is asked, and no
    /// block is known.
    pub url: Option<String>,
    /// How long one question may take, and how long it may wait for its turn.
    pub timeout: Duration,
    /// How long after a failed question no other is asked.
    pub pause: Duration,
    /// Questions under way at once.
    pub questions_max: usize,
    /// Questions for one call; a question is about one account and up to 30 others.
    pub questions_per_call: usize,
    /// Questions in a minute that one account may cause that only wants to know.
    pub questions_per_account: u32,
    /// And that all of them together may cause on this node.
    pub questions_per_minute: u32,
    /// Pairs of accounts that are remembered, at about 300 bytes each.
    pub pairs_max: usize,
    /// How long an answer is used without a thought.
    pub fresh_for: Duration,
    /// How long an answer is used while the AppView does not answer.
    pub stale_for: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            timeout: Duration::from_secs(3),
            pause: Duration::from_secs(2),
            questions_max: 16,
            questions_per_call: 32,
            questions_per_account: 60,
            questions_per_minute: 300,
            pairs_max: 100_000,
            fresh_for: Duration::from_secs(60),
            stale_for: Duration::from_secs(24 * 60 * 60),
        }
    }
}
