//! Pure. How a subscription ends: the WebSocket close code and its reason.
//!
//! ATProto clients do not come back after 1000, 1002, 1003, 1007 or 1009, and do
//! after anything else; so a client that should return never hears one of those.

/// Why the relay closes a subscription.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CloseReason {
    /// The client closed, or its connection broke.
    ClientGone,
    /// The one conversation of this subscription has ended for its subscriber:
    /// there is nothing to come back for, so this alone is the normal end.
    ConvoEnded,
    ConsumerTooSlow,
    Draining,
    FrameTooLarge,
    FutureCursor,
    Internal,
    /// Text that is not UTF-8.
    InvalidPayload,
    PeerSilent,
    ProtocolError,
    RateLimited,
    /// Postgres cannot be reached for a replay; the cursor stays good.
    Unavailable,
}

impl CloseReason {
    /// The close code (RFC 6455 section 7.4 and its IANA registry).
    pub fn code(self) -> u16 {
        match self {
            Self::ClientGone | Self::ConvoEnded => 1000,
            Self::PeerSilent => 1001,
            Self::ProtocolError => 1002,
            Self::InvalidPayload => 1007,
            Self::ConsumerTooSlow | Self::FutureCursor | Self::RateLimited => 1008,
            Self::FrameTooLarge => 1009,
            Self::Internal => 1011,
            Self::Draining => 1012,
            Self::Unavailable => 1013,
        }
    }

    /// The reason on the wire, and the label of the metric. After an error frame
    /// it is the error's name, as ATProto's own server does it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientGone => "ClientGone",
            Self::ConsumerTooSlow => "ConsumerTooSlow",
            Self::ConvoEnded => "ConvoEnded",
            Self::Draining => "Draining",
            Self::FrameTooLarge => "FrameTooLarge",
            Self::FutureCursor => "FutureCursor",
            Self::Internal => "InternalError",
            Self::InvalidPayload => "InvalidPayload",
            Self::PeerSilent => "PeerSilent",
            Self::ProtocolError => "ProtocolError",
            Self::RateLimited => "RateLimited",
            Self::Unavailable => "Unavailable",
        }
    }

    /// Whether nothing is to be waited for: nobody is there, or what comes means nothing.
    pub fn expects_no_answer(self) -> bool {
        self == Self::PeerSilent || self.fails_the_protocol()
    }

    /// Whether what the client sends after it means nothing (RFC 6455 section 7.1.7).
    pub fn fails_the_protocol(self) -> bool {
        matches!(
            self,
            Self::FrameTooLarge | Self::InvalidPayload | Self::ProtocolError
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_should_return_never_hears_a_fatal_code() {
        for reason in [
            CloseReason::ConsumerTooSlow,
            CloseReason::Draining,
            CloseReason::FutureCursor,
            CloseReason::Internal,
            CloseReason::PeerSilent,
            CloseReason::RateLimited,
            CloseReason::Unavailable,
        ] {
            assert!(![1000, 1002, 1003, 1007, 1009].contains(&reason.code()));
            // A close frame's reason has at most 123 bytes.
            assert!(reason.name().len() <= 123);
        }
    }
}
