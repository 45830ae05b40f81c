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
        self.code_and_name().0
    }

    /// The reason on the wire, and the label of the metric. After an error frame
    /// it is the error's name, as ATProto's own server does it.
    pub fn name(self) -> &'static str {
        self.code_and_name().1
    }

    fn code_and_name(self) -> (u16, &'static str) {
        match self {
            Self::ClientGone => (1000, "ClientGone"),
            Self::ConvoEnded => (1000, "ConvoEnded"),
            Self::PeerSilent => (1001, "PeerSilent"),
            Self::ProtocolError => (1002, "ProtocolError"),
            Self::InvalidPayload => (1007, "InvalidPayload"),
            Self::ConsumerTooSlow => (1008, "ConsumerTooSlow"),
            Self::FutureCursor => (1008, "FutureCursor"),
            Self::RateLimited => (1008, "RateLimited"),
            Self::FrameTooLarge => (1009, "FrameTooLarge"),
            Self::Internal => (1011, "InternalError"),
            Self::Draining => (1012, "Draining"),
            Self::Unavailable => (1013, "Unavailable"),
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
