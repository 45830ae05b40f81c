//! What one connection is while it is open, and when it counts as in use.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::activity::{Activity, Patience, Verdict};
use crate::runtime::Held;
use crate::wire::Body;

/// What all requests of one connection share.
pub(super) struct Connection {
    pub(super) peer: IpAddr,
    pub(super) held: Held,
    activity: Activity,
    since: Instant,
}

impl Connection {
    /// A connection whose handshake has just ended.
    pub(super) fn new(peer: IpAddr, held: Held) -> Self {
        Self {
            peer,
            held,
            activity: Activity::default(),
            since: Instant::now(),
        }
    }

    pub(super) fn verdict(&self, patience: Patience) -> Verdict {
        self.activity.verdict(patience, self.since.elapsed())
    }
}

/// One request under way, until its answer is written or given up.
pub(super) struct InFlight(Arc<Connection>);

impl InFlight {
    pub(super) fn new(connection: &Arc<Connection>) -> Self {
        connection.activity.begin();
        Self(Arc::clone(connection))
    }

    /// Ties the end to a body's.
    pub(super) fn track(self, body: Body) -> Tracked {
        Tracked {
            body,
            _in_flight: self,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.activity.end(self.0.since.elapsed());
    }
}

/// A response's body that counts as under way until it is written or given up.
pub(super) struct Tracked {
    body: Body,
    _in_flight: InFlight,
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Counts open connections, up to an upgrade.
pub(super) struct Open;

impl Open {
    pub(super) fn new() -> Self {
        metrics::gauge!("relay_edge_connections").increment(1.0);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("relay_edge_connections").decrement(1.0);
    }
}
