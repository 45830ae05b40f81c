//! Pure. How long a session is patient, and how large its frames may be.

use std::time::Duration;

/// Every field's default is in [`Settings::default`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// A client that says nothing for so long is pinged.
    pub ping_after: Duration,
    /// One that has said nothing for so long, pings or not, is gone.
    pub silence_max: Duration,
    /// How long the other end may take nothing of what is written to it, or be behind
    /// 1 KiB a second.
    pub write_timeout: Duration,
    /// How long it may take to answer a close frame.
    pub close_timeout: Duration,
    /// Messages that are read after our close frame, until the client has answered it.
    pub last_messages_max: u32,
    /// How long the upgrade may take after it was granted.
    pub upgrade_timeout: Duration,
    /// The largest frame and the largest message that a client may send.
    pub frame_len_max: usize,
    /// In how many frames one message may come.
    pub fragments_max: u32,
    /// The time over which a drain spreads the farewells. Shorter than the drain's
    /// grace.
    pub drain_window: Duration,
    /// A client that is sent away is told to come back after a random time up to this.
    pub reconnect_spread: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ping_after: Duration::from_secs(30),
            silence_max: Duration::from_secs(75),
            write_timeout: Duration::from_secs(120),
            close_timeout: Duration::from_secs(2),
            // More than an honest client has on its way when it is sent away.
            last_messages_max: 1_000,
            upgrade_timeout: Duration::from_secs(10),
            frame_len_max: 4 << 10,
            fragments_max: 16,
            drain_window: Duration::from_secs(15),
            reconnect_spread: Duration::from_secs(2),
        }
    }
}
