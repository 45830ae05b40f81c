//! A panic ends one piece of work, and not the task that does one after the other.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// Does one piece. Nothing comes of it if it panics, which the process's hook has told by
/// then. What pieces share must bear that one of them ends anywhere.
pub(crate) async fn survive<F: Future>(piece: F) -> Option<F::Output> {
    AssertUnwindSafe(piece).catch_unwind().await.ok()
}
