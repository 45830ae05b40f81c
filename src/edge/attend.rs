//! A connection's time: to its own end, or until nothing happens on it, its client takes
//! nothing, is refused on and on, or the node drains.

use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::activity::{Patience, Verdict};
use super::connection::Connection;
use super::server::{ROUND_TRIP, Server};

impl Server {
    fn patience(&self) -> Patience {
        let settings = self.settings.load();
        Patience {
            first: settings.header_timeout,
            idle: settings.idle_timeout,
            stall: settings.stall_timeout,
            pace: self.limits.least_pace_of_answers(),
        }
    }

    /// With a client that has been told to go, and may be gone without a word.
    fn last_patience(&self) -> Patience {
        Patience {
            first: ROUND_TRIP,
            idle: ROUND_TRIP,
            ..self.patience()
        }
    }

    /// Drives a connection: to its own end, or until it idles, or until the drain;
    /// then it has `linger` to ask once more and be told that the connection closes.
    pub(super) async fn run<C: Future<Output = hyper::Result<()>>>(
        &self,
        mut connection: Pin<&mut C>,
        wind_down: fn(Pin<&mut C>),
        state: &Connection,
        linger: Duration,
    ) -> Attended {
        tokio::select! {
            attended = self.attend(connection.as_mut(), state, Self::patience) => {
                if attended != Attended::Idle {
                    return attended;
                }
                metrics::counter!("relay_edge_idle_closed_total").increment(1);
                wind_down(connection.as_mut());
                // A request may have crossed with the goodbye: it is served.
                return self.attend(connection, state, Self::last_patience).await;
            }
            () = self.shutdown.draining() => {}
            () = state.is_unwelcome() => {
                metrics::counter!("relay_edge_refused_closed_total").increment(1);
                wind_down(connection.as_mut());
                tokio::select! {
                    biased;
                    _ = timeout(ROUND_TRIP, connection) => {}
                    // Over HTTP/2, the goodbye lets it ask on until it has answered.
                    () = state.is_unwelcome() => {}
                }
                return Attended::Ended;
            }
        }
        // Draining: what is under way may finish; the drain's grace bounds it. Closing an
        // idle connection at once would cross with the request that is on its way.
        if let Ok(ended) = timeout(linger, connection.as_mut()).await {
            return self.ended(&ended, state);
        }
        wind_down(connection.as_mut());
        self.attend(connection, state, Self::last_patience).await
    }

    /// Drives a connection to its own end, or to that of patience with its client.
    async fn attend<C: Future<Output = hyper::Result<()>>>(
        &self,
        mut connection: Pin<&mut C>,
        state: &Connection,
        patience: fn(&Self) -> Patience,
    ) -> Attended {
        let mut changed = pin!(self.settings.changed());
        let mut wait = patience(self).first;
        loop {
            tokio::select! {
                ended = connection.as_mut() => return self.ended(&ended, state),
                () = changed.as_mut() => {
                    changed.set(self.settings.changed());
                    wait = Duration::ZERO;
                }
                () = sleep(wait) => match state.verdict(patience(self)) {
                    Verdict::LookAgainIn(next) => wait = next,
                    Verdict::Stalled => {
                        metrics::counter!("relay_edge_answers_stalled_total").increment(1);
                        if !state.cut_stalled(patience(self)) {
                            return Attended::Ended;
                        }
                        wait = Duration::ZERO;
                    }
                    Verdict::Idle => return Attended::Idle,
                },
            }
        }
    }

    /// A head that cannot be read is refused by hyper, before any rule has seen it.
    fn ended(&self, ended: &hyper::Result<()>, state: &Connection) -> Attended {
        if !ended.as_ref().is_err_and(hyper::Error::is_parse) {
            return Attended::Ended;
        }
        metrics::counter!("relay_edge_heads_refused_total").increment(1);
        if let Some(offender) = state.offender {
            self.limits.misspoke(offender);
        }
        Attended::Refused
    }
}

/// What became of a connection.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Attended {
    /// It has ended, or must.
    Ended,
    /// Nothing happens on it.
    Idle,
    /// It has ended with the answer to a head that could not be read.
    Refused,
}
