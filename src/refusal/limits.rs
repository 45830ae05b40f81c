//! Pure. What a limit says: which one it was, in a few words, and never of whom.

use super::{too_often, unavailable};
use crate::limits::{LimitError, Rule};
use crate::wire::XrpcError;

impl From<LimitError> for XrpcError {
    fn from(error: LimitError) -> Self {
        let wait = error.retry_after();
        match error {
            LimitError::Reached { rule, .. } => too_often(words(rule), wait),
            LimitError::AllOpen { rule, open, .. } => too_often(all_open(rule, open), wait),
            LimitError::NodeFull { .. } => unavailable("the relay is full at the moment", wait),
            LimitError::SharedStateAway { .. } => {
                unavailable("the relay cannot count this call at the moment", wait)
            }
        }
    }
}

/// Whoever only waited might wait for ever: what is open may stay so.
fn all_open(rule: Rule, open: u32) -> String {
    let are = match open {
        1 => "subscription is",
        _ => "subscriptions are",
    };
    let whose = match rule {
        Rule::SocketsIp => "from this address",
        _ => "for this account",
    };
    format!("{open} {are} open {whose}, so close one")
}

/// Which limit it was.
pub fn words(rule: Rule) -> &'static str {
    match rule {
        Rule::ConnectionsTotal | Rule::ConnectionsIp | Rule::ConnectionsShare => {
            "too many connections are open"
        }
        Rule::ConnectionRate => "too many new connections from this address",
        Rule::Handshakes => "too many TLS handshakes are under way",
        Rule::HandshakesNetwork => "too many TLS handshakes of this network are under way",
        Rule::Http2Frames => "too many frames on this HTTP/2 connection",
        Rule::Ip => "too many requests from this address that proved no account",
        Rule::Verifications => "too many tokens from this address to check",
        Rule::Familiar => "too many requests from this address, by this account as well",
        Rule::AddMembers
        | Rule::CreateConvo
        | Rule::DidDefault
        | Rule::PublishKeyPackage
        | Rule::RemoveMember
        | Rule::ReportMember
        | Rule::SendEphemeral
        | Rule::SendMessage => "too many calls of this kind by this account",
        Rule::BodyBytes => "too many bytes in requests of this account in a minute",
        Rule::BodyBytesDay => "too many bytes in requests of this account in a day",
        Rule::AnswerBytes => "too many bytes in answers to this account in a minute",
        Rule::AnswerBytesDay => "too many bytes in answers to this account in a day",
        Rule::Bodies => "too many bytes in requests of this account under way",
        Rule::Answers => "too many bytes in answers to this account under way",
        Rule::SocketsIp => "too many subscriptions are open from this address",
        Rule::SocketsDid => "too many subscriptions are open for this account",
        Rule::UpgradesIp => "too many subscriptions opened from this address",
        Rule::UpgradesDid => "too many subscriptions opened by this account",
        Rule::Frames => "too many frames",
        Rule::FrameBytes => "too many bytes in frames",
        Rule::ControlFrames => "too many pings and pongs",
        Rule::PenaltyBox => "refused too often before, so this address or account waits",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_rule_says_something_else_and_how_many_are_open_is_counted() {
        let retry_after = Duration::from_secs(10);
        let mut told: Vec<_> = Rule::ALL
            .iter()
            .map(|rule| {
                let rule = *rule;
                XrpcError::from(LimitError::Reached { rule, retry_after })
            })
            .inspect(|error| assert_eq!(error.retry_after, Some(retry_after)))
            .map(|error| error.message)
            .collect();
        told.sort_unstable();
        told.dedup();
        // Connections have one answer, which nobody hears, and calls have one.
        assert_eq!(told.len(), Rule::ALL.len() - 2 - 7);
        let open = |rule, open| {
            XrpcError::from(LimitError::AllOpen {
                rule,
                open,
                retry_after,
            })
            .message
        };
        assert_eq!(
            open(Rule::SocketsDid, 5),
            "5 subscriptions are open for this account, so close one; come back in 10 s"
        );
        assert!(open(Rule::SocketsIp, 1).starts_with("1 subscription is open from this address"));
    }
}
