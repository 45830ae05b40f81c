//! Pure. `[appview]`: who is asked about blocks, and how much.

use super::{Effect, Key, Maybe, Number, SERVICE, Span, Unit, is_service};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "appview.url",
        env: "APPVIEW_URL",
        effect: Effect::Restart,
        doc: "The AppView that is asked who blocks whom, such as https://public.api.bsky.app. It \
              learns who may be about to meet. Not set: no block is known, and none is checked.",
        setting: &Maybe {
            at: |c| &mut c.blocks.url,
            allowed: SERVICE,
            parse: |url| is_service(url).then(|| url.to_owned()),
            show: String::clone,
        },
    },
    Key {
        name: "appview.timeout_ms",
        env: "APPVIEW_TIMEOUT_MS",
        effect: Effect::Restart,
        doc: "How long one question may take, and how long it may wait for its turn.",
        setting: &Span {
            at: |c| &mut c.blocks.timeout,
            unit: Unit::Millis,
            least: 100,
            most: 60000,
        },
    },
    Key {
        name: "appview.pause_seconds",
        env: "APPVIEW_PAUSE_SECONDS",
        effect: Effect::Restart,
        doc: "How long after a failed question no other is asked. Where the AppView asks for a \
              longer pause, it has that, up to a minute.",
        setting: &Span {
            at: |c| &mut c.blocks.pause,
            unit: Unit::Seconds,
            least: 0,
            most: 600,
        },
    },
    Key {
        name: "appview.questions_max",
        env: "APPVIEW_QUESTIONS_MAX",
        effect: Effect::Restart,
        doc: "Questions under way at once; those of checkBlocks, getBlockStatus and handleBlockChange \
              take half of them at most.",
        setting: &Number {
            at: |c| &mut c.blocks.questions_max,
            least: 1,
            most: 1000,
        },
    },
    Key {
        name: "appview.questions_per_call",
        env: "APPVIEW_QUESTIONS_PER_CALL",
        effect: Effect::Restart,
        doc: "Questions for one call, each about one account and up to 30 others. In a conversation \
              that would take more, newcomers are checked against the caller only.",
        setting: &Number {
            at: |c| &mut c.blocks.questions_per_call,
            least: 4,
            most: 1000,
        },
    },
    Key {
        name: "appview.questions_per_account",
        env: "APPVIEW_QUESTIONS_PER_ACCOUNT",
        effect: Effect::Restart,
        doc: "Questions a minute that one account may cause by checkBlocks, getBlockStatus and \
              handleBlockChange. Thirty accounts that nothing is remembered of take 29.",
        setting: &Number {
            at: |c| &mut c.blocks.questions_per_account,
            least: 1,
            most: 100000,
        },
    },
    Key {
        name: "appview.questions_per_minute",
        env: "APPVIEW_QUESTIONS_PER_MINUTE",
        effect: Effect::Restart,
        doc: "And that all accounts together may cause by these calls on one node: well below what the \
              AppView allows, so that createConvo and addMembers find answers left.",
        setting: &Number {
            at: |c| &mut c.blocks.questions_per_minute,
            least: 1,
            most: 1000000,
        },
    },
    Key {
        name: "appview.pairs_max",
        env: "APPVIEW_PAIRS_MAX",
        effect: Effect::Restart,
        doc: "Pairs of accounts that are remembered, at about 300 bytes each.",
        setting: &Number {
            at: |c| &mut c.blocks.pairs_max,
            least: 100,
            most: 100000000,
        },
    },
    Key {
        name: "appview.fresh_seconds",
        env: "APPVIEW_FRESH_SECONDS",
        effect: Effect::Restart,
        doc: "How long an answer is used without a thought.",
        setting: &Span {
            at: |c| &mut c.blocks.fresh_for,
            unit: Unit::Seconds,
            least: 0,
            most: 86400,
        },
    },
    Key {
        name: "appview.stale_seconds",
        env: "APPVIEW_STALE_SECONDS",
        effect: Effect::Restart,
        doc: "How long an answer is used while the AppView does not answer. Nothing known: the \
              call is refused.",
        setting: &Span {
            at: |c| &mut c.blocks.stale_for,
            unit: Unit::Seconds,
            least: 0,
            most: 604800,
        },
    },
];
