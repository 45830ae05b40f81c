//! How a program that has started a relay learns that it must end.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Waits until somebody wants this program to end, and says who did: the keyboard, another
/// process, or a terminal that has closed. The relay is a process of its own, which nobody
/// else would stop: whatever holds it must be dropped afterwards. An error if signals cannot
/// be waited for.
pub async fn told_to_stop() -> io::Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "interrupted",
        _ = terminate.recv() => "terminated",
        _ = hangup.recv() => "the terminal has closed",
    })
}
