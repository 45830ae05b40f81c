//! What a client says on its socket: mostly nothing, and that within its limits.

use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;

use super::line::Line;
use super::serve::Session;
use crate::limits::{FrameKind, FrameVerdict, Rule};
use crate::refusal::words;
use crate::types::Cursor;
use crate::wire::{ClientFrame, CloseReason, ErrorNotice, LimitsNotice, Notice};

impl<L: Line> Session<L> {
    /// Does what a message asks for, within its limits: what there is to answer, mostly
    /// nothing, and whether it is over then.
    pub(super) fn hear(
        &mut self,
        message: Result<Message, CloseReason>,
    ) -> (Vec<Notice>, Result<(), CloseReason>) {
        let message = match message {
            Ok(message) => message,
            Err(reason) => return (Vec::new(), Err(reason)),
        };
        let (frame, kind, len) = match message {
            Message::Text(text) => (
                Some(ClientFrame::from_text(&text)),
                FrameKind::Content,
                text.len(),
            ),
            Message::Binary(bytes) => (
                Some(ClientFrame::from_binary(&bytes)),
                FrameKind::Content,
                bytes.len(),
            ),
            // Tungstenite answers pings with its next read.
            Message::Ping(bytes) => (None, FrameKind::Ping, bytes.len()),
            Message::Pong(bytes) => (None, FrameKind::Pong, bytes.len()),
            Message::Close(_) => return (Vec::new(), Err(CloseReason::ClientGone)),
            // Only writers see raw frames.
            Message::Frame(_) => return (Vec::new(), Ok(())),
        };
        let kind = match &frame {
            Some(ClientFrame::Ack) => FrameKind::Ack,
            _ => kind,
        };
        let warning = match self.permit.frame(kind, len) {
            FrameVerdict::Pass => None,
            FrameVerdict::Warn(left) => Some(Notice::Limits(LimitsNotice {
                policy: left.policy.name(),
                remaining: left.remaining.into(),
                reset: left.reset,
            })),
            FrameVerdict::Ignore => return (Vec::new(), Ok(())),
            FrameVerdict::Refuse {
                policy,
                retry_after,
            } => return (vec![rate_limited(policy, Some(retry_after), None)], Ok(())),
            FrameVerdict::Close { policy } => {
                let refused = rate_limited(policy, None, None);
                return (vec![refused], Err(CloseReason::RateLimited));
            }
        };
        let answer = frame.and_then(|frame| self.obey(frame));
        (warning.into_iter().chain(answer).collect(), Ok(()))
    }

    /// Does what a frame asks for; what there is to answer.
    fn obey(&mut self, frame: ClientFrame) -> Option<Notice> {
        match frame {
            // Where a client resumes is for it to say.
            ClientFrame::Ack => None,
            ClientFrame::Ping => Some(Notice::Pong),
            ClientFrame::Typing { convo, is_typing } => {
                self.subscription.type_in(convo, is_typing);
                None
            }
            ClientFrame::Unknown => {
                metrics::counter!("relay_sessions_frames_unknown_total").increment(1);
                None
            }
        }
    }
}

/// What is said of a refusal by a rule. A wait is of one that the stream survives; a cursor, of
/// what was written before the close.
pub(super) fn rate_limited(
    policy: Rule,
    retry_after: Option<Duration>,
    cursor: Option<Cursor>,
) -> Notice {
    Notice::Error(ErrorNotice {
        error: CloseReason::RateLimited.name(),
        message: words(policy),
        cursor,
        retry_after,
    })
}
