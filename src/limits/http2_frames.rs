//! Layer 1, continued: the frames of one HTTP/2 connection.

use super::bucket::{Bucket, Rate};
use super::frames::Moment;
use super::{Limits, Rule};
use crate::types::ClientIp;

/// What one HTTP/2 connection has said.
pub struct Http2Frames {
    limits: Limits,
    client: ClientIp,
    budget: Bucket,
}

impl Limits {
    /// For a connection of this client that has said nothing yet.
    pub fn http2_frames(&self, client: ClientIp) -> Http2Frames {
        Http2Frames {
            limits: self.clone(),
            client,
            budget: Bucket::default(),
        }
    }
}

impl Http2Frames {
    /// Whether so many more may be heard. If not, it is an offence.
    pub fn admit(&mut self, frames: u64) -> bool {
        let inner = &*self.limits.inner;
        let settings = inner.settings.load();
        let now = Moment::at(inner.clock.elapsed());
        let rate = Rate::a_minute(settings.connections.http2_frames.into());
        let spent = self.budget.spend(now.micros, frames, rate);
        if spent.is_ok() || !settings.enforces(Rule::Http2Frames) {
            return true;
        }
        inner.blame(&settings, inner.address_subject(self.client));
        false
    }
}
