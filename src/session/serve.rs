//! One session: what its subscription says goes to the client, what the client says
//! is heard, silence is noticed, and a drain sends it away in its turn.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;

use super::keepalive::{Silence, judge, slot};
use super::socket::Socket;
use super::{Meters, Settings};
use crate::events::{Event, News, Subscription, SubscriptionError};
use crate::limits::{FrameKind, FrameVerdict, SocketPermit};
use crate::runtime::Shutdown;
use crate::wire::{
    ClientFrame, CloseReason, ErrorNotice, Framing, Info, Limits, Notice, notice_frame,
};

/// Everything one session needs. Small: there are many.
pub(super) struct Session<S> {
    pub(super) socket: Socket<S>,
    pub(super) subscription: Subscription,
    pub(super) framing: Framing,
    pub(super) permit: SocketPermit,
    pub(super) settings: Arc<Settings>,
    pub(super) meters: Arc<Meters>,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Session<S> {
    /// Serves the session to its end; why it ended.
    pub(super) async fn serve(&mut self, shutdown: &Shutdown) -> CloseReason {
        let _open = self.meters.open();
        let meters = Arc::clone(&self.meters);
        let reason = self.run(shutdown).await;
        meters.closed(reason);
        // Of a client that is gone nobody is there to hear it.
        if reason != CloseReason::ClientGone {
            Box::pin(self.socket.close(reason)).await;
        }
        reason
    }

    async fn run(&mut self, shutdown: &Shutdown) -> CloseReason {
        let mut heard = Instant::now();
        let mut farewell = None;
        let mut draining = pin!(shutdown.draining());
        // One timer for all, moved when it rings and not with every frame.
        let mut alarm = pin!(sleep_until(heard + self.settings.ping_after));
        loop {
            let done = tokio::select! {
                news = self.subscription.next() => self.tell(news).await,
                message = self.socket.read() => {
                    heard = Instant::now();
                    self.hear(message).await
                }
                () = alarm.as_mut() => {
                    let (next, done) = self.look(heard, farewell).await;
                    alarm.as_mut().reset(next);
                    done
                }
                () = draining.as_mut(), if farewell.is_none() => {
                    let at = Instant::now() + slot(self.settings.drain_window, random());
                    farewell = Some(at);
                    alarm.as_mut().reset(at);
                    Ok(())
                }
            };
            if let Err(reason) = done {
                return reason;
            }
        }
    }

    /// The alarm rang: is it time to go, to ask, or to wait on?
    async fn look(
        &mut self,
        heard: Instant,
        farewell: Option<Instant>,
    ) -> (Instant, Result<(), CloseReason>) {
        let now = Instant::now();
        if farewell.is_some_and(|at| at <= now) {
            return (now, self.send_away().await);
        }
        let settings = &self.settings;
        let silence = judge(now - heard, settings.ping_after, settings.silence_max);
        let (wait, done) = match silence {
            Silence::Wait(wait) => (wait, Ok(())),
            Silence::Ping(wait) => (wait, Box::pin(self.socket.ping()).await),
            Silence::GiveUp => (Duration::ZERO, Err(CloseReason::PeerSilent)),
        };
        let next = now + wait;
        (farewell.map_or(next, |at| at.min(next)), done)
    }

    async fn tell(&mut self, news: Result<News, SubscriptionError>) -> Result<(), CloseReason> {
        match news {
            Ok(News::Events(events)) => self.write_events(&events).await,
            Ok(News::Gap(standings)) => self.write_notice(&Notice::Gap(standings)).await,
            Ok(News::Synced(standings)) => self.write_notice(&Notice::Synced(standings)).await,
            Ok(News::Outdated) => {
                let message = "the cursor is older than the oldest event; this is all there is";
                self.write_info("OutdatedCursor", message, None).await
            }
            Ok(News::Ended) => {
                let message = "this conversation is over for you";
                self.write_info("ConvoEnded", message, None).await?;
                Err(CloseReason::ConvoEnded)
            }
            Err(error) => Box::pin(self.write_error(error)).await,
        }
    }

    async fn write_events(&mut self, events: &[Arc<Event>]) -> Result<(), CloseReason> {
        let framing = self.framing;
        let frames: Vec<&[u8]> = events
            .iter()
            .filter_map(|event| event.frame(framing))
            .map(|frame| frame.bytes().as_ref())
            .collect();
        self.socket.write(&frames).await?;
        self.meters.wrote(&frames);
        Ok(())
    }

    /// Boxed, for it is rare and its state would lie in every session for ever.
    fn write_notice(&mut self, notice: &Notice) -> BoxFuture<'_, Result<(), CloseReason>> {
        let frame = notice_frame(self.framing, notice);
        Box::pin(async move {
            let frame = frame.map_err(|_| CloseReason::Internal)?;
            self.socket.write(&[frame.bytes()]).await
        })
    }

    async fn write_info(
        &mut self,
        name: &'static str,
        message: &'static str,
        reconnect_after: Option<Duration>,
    ) -> Result<(), CloseReason> {
        let info = Info {
            name,
            message,
            reconnect_after,
        };
        self.write_notice(&Notice::Info(info)).await
    }

    /// The stream has failed: says so, with the place to resume from.
    async fn write_error(&mut self, error: SubscriptionError) -> Result<(), CloseReason> {
        let (reason, message) = match &error {
            SubscriptionError::ConsumerTooSlow => (
                CloseReason::ConsumerTooSlow,
                "the client does not keep up; resume from the cursor",
            ),
            SubscriptionError::FutureCursor => {
                (CloseReason::FutureCursor, "the cursor is in the future")
            }
            SubscriptionError::Hub(_) | SubscriptionError::Store(_) => {
                tracing::warn!(%error, "a subscription failed");
                (
                    CloseReason::Unavailable,
                    "the relay cannot read events now; resume later",
                )
            }
        };
        let resumable = reason != CloseReason::FutureCursor;
        let notice = ErrorNotice {
            error: reason.name().into(),
            message: message.into(),
            cursor: self.subscription.cursor().filter(|_| resumable),
            retry_after: None,
        };
        self.write_notice(&Notice::Error(notice)).await?;
        Err(reason)
    }

    /// The node goes away: the client should return, elsewhere or later.
    async fn send_away(&mut self) -> Result<(), CloseReason> {
        let wait = slot(self.settings.reconnect_spread, random());
        let message = "this node is going away; reconnect with your cursor";
        self.write_info("Draining", message, Some(wait)).await?;
        Err(CloseReason::Draining)
    }

    async fn hear(&mut self, message: Result<Message, CloseReason>) -> Result<(), CloseReason> {
        let (frame, kind, len) = match message? {
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
            Message::Close(_) => {
                Box::pin(self.socket.end()).await;
                return Err(CloseReason::ClientGone);
            }
            // Only writers see raw frames.
            Message::Frame(_) => return Ok(()),
        };
        let kind = match &frame {
            Some(ClientFrame::Ack(_)) => FrameKind::Ack,
            _ => kind,
        };
        match self.permit.frame(kind, len) {
            FrameVerdict::Pass | FrameVerdict::Tolerate { .. } => {}
            FrameVerdict::Warn(left) => {
                let notice = Notice::Limits(Limits {
                    policy: left.policy.name(),
                    remaining: left.remaining.into(),
                    reset: left.reset,
                });
                self.write_notice(&notice).await?;
            }
            FrameVerdict::Ignore => return Ok(()),
            FrameVerdict::Refuse { retry_after, .. } => {
                return self.write_notice(&rate_limited(Some(retry_after))).await;
            }
            FrameVerdict::Close { .. } => {
                self.write_notice(&rate_limited(None)).await?;
                return Err(CloseReason::RateLimited);
            }
        }
        match frame {
            Some(frame) => self.obey(frame).await,
            None => Ok(()),
        }
    }

    async fn obey(&mut self, frame: ClientFrame) -> Result<(), CloseReason> {
        match frame {
            // Where a client resumes is for it to say.
            ClientFrame::Ack(_) => Ok(()),
            ClientFrame::Ping => self.write_notice(&Notice::Pong).await,
            ClientFrame::Typing { convo, is_typing } => {
                self.subscription.type_in(convo, is_typing);
                Ok(())
            }
            ClientFrame::Unknown => {
                metrics::counter!("relay_sessions_frames_unknown_total").increment(1);
                Ok(())
            }
        }
    }
}

fn rate_limited(retry_after: Option<Duration>) -> Notice {
    Notice::Error(ErrorNotice {
        error: CloseReason::RateLimited.name().into(),
        message: "too many frames".into(),
        cursor: None,
        retry_after,
    })
}

fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}
