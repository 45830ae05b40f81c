//! The figures of all sessions, looked up once and not with every frame.

use metrics::{Counter, Gauge};

use crate::wire::CloseReason;

#[derive(Debug)]
pub(super) struct Meters {
    pub(super) open: Gauge,
    frames: Counter,
    bytes: Counter,
    writes: Counter,
}

impl Meters {
    pub(super) fn new() -> Self {
        Self {
            open: metrics::gauge!("relay_sessions_open"),
            frames: metrics::counter!("relay_sessions_frames_written_total"),
            bytes: metrics::counter!("relay_sessions_bytes_written_total"),
            writes: metrics::counter!("relay_sessions_writes_total"),
        }
    }

    pub(super) fn closed(&self, reason: CloseReason) {
        let name = reason.name();
        metrics::counter!("relay_sessions_closed_total", "close_reason" => name).increment(1);
    }

    pub(super) fn wrote(&self, frames: usize, bytes: usize) {
        self.writes.increment(1);
        self.frames.increment(frames as u64);
        self.bytes.increment(bytes as u64);
    }
}
