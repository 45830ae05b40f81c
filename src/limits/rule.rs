//! Pure. The closed list of rules, in the order in which a stranger meets them.

use crate::types::Nsid;

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// One rule: the label of its metrics, and its name in `dry_run`.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Rule { $($(#[$doc])* $variant),+ }

        impl Rule {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

rules! {
    // Layer 1: a connection, before TLS.
    /// All connections of this node.
    ConnectionsTotal = "connections_total",
    /// Connections of one address.
    ConnectionsIp = "connections_ip",
    /// Connections of one address or IPv6 network, by what is still free.
    ConnectionsShare = "connections_share",
    /// New connections of one address in a second.
    ConnectionRate = "connection_rate",
    /// TLS handshakes under way on this node.
    Handshakes = "handshakes",
    /// Those of one IPv6 /32.
    HandshakesNetwork = "handshakes_network",
    /// Frames of one HTTP/2 connection that bring little.
    Http2Frames = "http2_frames",
    // Layer 2: a request, before its token is looked at.
    /// Requests of one address that proved nothing.
    Ip = "ip",
    /// Tokens that one address may have checked.
    Verifications = "verifications",
    /// The reserve of an account that proved itself lately from this address.
    Familiar = "familiar",
    // Layer 3: an account's calls, after its token has been verified.
    AddMembers = "add_members",
    CreateConvo = "create_convo",
    DidDefault = "did_default",
    PublishKeyPackage = "publish_key_package",
    RemoveMember = "remove_member",
    ReportMember = "report_member",
    SendEphemeral = "send_ephemeral",
    SendMessage = "send_message",
    /// Bytes in the bodies of an account's calls, in a minute.
    BodyBytes = "body_bytes",
    /// And in a day.
    BodyBytesDay = "body_bytes_day",
    /// Bytes of large answers to an account, in a minute.
    AnswerBytes = "answer_bytes",
    /// And in a day.
    AnswerBytesDay = "answer_bytes_day",
    /// Memory for bodies, of the node and of one account.
    Bodies = "bodies",
    /// Memory for answers, of the node and of one account.
    Answers = "answers",
    // Layer 4: subscriptions and their frames.
    SocketsIp = "sockets_ip",
    SocketsDid = "sockets_did",
    UpgradesIp = "upgrades_ip",
    UpgradesDid = "upgrades_did",
    /// Frames that carry something, on one socket, of one account, of one address.
    Frames = "frames",
    FrameBytes = "frame_bytes",
    /// Pings and pongs.
    ControlFrames = "control_frames",
    // Layer 5.
    /// Whoever kept hitting limits waits.
    PenaltyBox = "penalty_box",
}

impl Rule {
    /// The rule of this name; `None` if there is none.
    pub fn parse(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|rule| rule.name() == name)
    }

    /// The rule that a call counts against.
    pub const fn of_call(call: Nsid) -> Self {
        match call {
            Nsid::AddMembers => Self::AddMembers,
            Nsid::CreateConvo => Self::CreateConvo,
            // Each has signatures to check.
            Nsid::PublishKeyPackage | Nsid::PublishKeyPackages | Nsid::RegisterDevice => {
                Self::PublishKeyPackage
            }
            Nsid::RemoveMember => Self::RemoveMember,
            Nsid::ReportMember => Self::ReportMember,
            Nsid::SendEphemeral => Self::SendEphemeral,
            Nsid::SendMessage => Self::SendMessage,
            _ => Self::DidDefault,
        }
    }
}

/// Whether a call is refused while the state that the nodes share cannot be reached: what these
/// use up does not come back. One-time key packages are spent by being claimed, and a registered
/// device is in every group from then on. All else goes on with what this node knows: losing a
/// message is worse.
pub(super) const fn needs_shared_state(call: Nsid) -> bool {
    matches!(call, Nsid::GetKeyPackages | Nsid::RegisterDevice)
}

/// A set of rules.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RuleSet(u32);

impl RuleSet {
    #[must_use]
    pub const fn with(self, rule: Rule) -> Self {
        Self(self.0 | 1 << rule as u32)
    }

    #[must_use]
    pub const fn without(self, rule: Rule) -> Self {
        Self(self.0 & !(1 << rule as u32))
    }

    pub const fn contains(self, rule: Rule) -> bool {
        self.0 & 1 << rule as u32 != 0
    }
}

impl FromIterator<Rule> for RuleSet {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        rules.into_iter().fold(Self::default(), Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_found_by_its_name() {
        for rule in Rule::ALL {
            assert_eq!(Rule::parse(rule.name()), Some(*rule));
        }
    }

    #[test]
    fn a_set_holds_what_was_put_in_until_it_is_taken_out() {
        assert!(Rule::ALL.len() <= 32, "a RuleSet has 32 bits");
        let all: RuleSet = Rule::ALL.iter().copied().collect();
        for rule in Rule::ALL {
            let others = Rule::ALL.iter().copied().filter(|other| other != rule);
            let others: RuleSet = others.collect();
            assert!(all.contains(*rule) && !others.contains(*rule));
            assert_eq!(all.without(*rule), others);
            assert_eq!([all.with(*rule), others.with(*rule)], [all, all]);
        }
    }
}
