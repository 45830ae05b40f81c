//! Things that are due at a moment. A runtime's timers have a resolution of 1 ms and are up
//! to 2 ms late, which would be counted as the relay's.

use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, spawn_blocking};
use tokio::time::sleep_until;

/// Waits for a moment, the last bit of it on a thread, which is a fifth of a millisecond
/// late at most on a machine that is not busy. Fails if the runtime ends meanwhile.
pub async fn until(due: Instant) -> Result<(), JoinError> {
    if let Some(before) = due.checked_sub(LAST_BIT) {
        sleep_until(before.into()).await;
    }
    match due > Instant::now() {
        true => spawn_blocking(move || sleep(due.saturating_duration_since(Instant::now()))).await,
        false => Ok(()),
    }
}

/// More than the runtime's timers are late by.
const LAST_BIT: Duration = Duration::from_millis(4);
