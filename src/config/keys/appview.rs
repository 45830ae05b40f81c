//! Pure. `[appview]`: who is asked about blocks, and how much.

use super::SERVICE;
use crate::config::key::Key;
use crate::config::kinds::{Maybe, Number, millis, seconds};

pub(super) const KEYS: &[Key] = keys![
    /// The AppView that is asked who blocks whom, such as https://public.api.bsky.app. It learns
    /// who may be about to meet. Not set: no block is known, and none is checked.
    appview.url, APPVIEW_URL, Restart:
        Maybe(SERVICE) => blocks.url;

    /// How long one question may take, and how long it may wait for its turn.
    appview.timeout_ms, APPVIEW_TIMEOUT_MS, Restart:
        millis(100..=60_000) => blocks.timeout;

    /// How long after a failed question no other is asked. Where the AppView asks for a longer
    /// pause, it has that, up to a minute.
    appview.pause_seconds, APPVIEW_PAUSE_SECONDS, Restart:
        seconds(0..=600) => blocks.pause;

    /// Questions under way at once; those of checkBlocks, getBlockStatus and handleBlockChange take
    /// half of them at most.
    appview.questions_max, APPVIEW_QUESTIONS_MAX, Restart:
        Number(1..=1000) => blocks.questions_max;

    /// Questions for one call, each about one account and up to 30 others. In a conversation that
    /// would take more, newcomers are checked against the caller, and for blocks that the relay was
    /// told of.
    appview.questions_per_call, APPVIEW_QUESTIONS_PER_CALL, Restart:
        Number(4..=1000) => blocks.questions_per_call;

    /// Questions a minute that one account may cause by checkBlocks, getBlockStatus and
    /// handleBlockChange. Thirty accounts that nothing is remembered of take 29.
    appview.questions_per_account, APPVIEW_QUESTIONS_PER_ACCOUNT, Restart:
        Number(1..=100_000) => blocks.questions_per_account;

    /// And that all accounts together may cause by these calls on one node: well below what the
    /// AppView allows, so that createConvo and addMembers find answers left.
    appview.questions_per_minute, APPVIEW_QUESTIONS_PER_MINUTE, Restart:
        Number(1..=1_000_000) => blocks.questions_per_minute;

    /// Pairs of accounts that are remembered, at about 300 bytes each.
    appview.pairs_max, APPVIEW_PAIRS_MAX, Restart:
        Number(100..=100_000_000) => blocks.pairs_max;

    /// How long an answer is used without a thought.
    appview.fresh_seconds, APPVIEW_FRESH_SECONDS, Restart:
        seconds(0..=86_400) => blocks.fresh_for;

    /// How long an answer is used while the AppView does not answer. Nothing known: the call is
    /// refused.
    appview.stale_seconds, APPVIEW_STALE_SECONDS, Restart:
        seconds(0..=604_800) => blocks.stale_for;
];
