//! Pure. What an operator may change about the limits, all of it while running.

use std::time::Duration;

use ipnet::IpNet;

use super::rule::{Rule, RuleSet};
use super::window::Quota;

/// Every limit. `Default` is what the documentation says.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub connections: Connections,
    pub requests: Requests,
    pub calls: Calls,
    /// The least that must move of bodies, or of answers, while half of the memory for them
    /// is held.
    pub scarce_bytes_per_second: u64,
    pub sockets: Sockets,
    pub penalties: Penalties,
    pub good_standing: GoodStanding,
    pub tables: Tables,
    /// Rules that only count what they would have refused.
    pub dry_run: RuleSet,
    /// Addresses that no rule by address applies to, such as a monitor's.
    pub exempt: Vec<IpNet>,
}

/// Layer 1: connections, before TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct Connections {
    /// Open at once on this node.
    pub total: u32,
    /// Open at once from one address. A carrier puts thousands behind one.
    pub per_ip: u32,
    /// Open at once from one address, in percent of the free places: so many when all are
    /// free, and a smaller part the fewer there are.
    pub share_percent: u16,
    /// New in any second from one address.
    pub per_ip_per_second: u16,
    /// TLS handshakes under way: each costs about a millisecond of a core.
    pub handshakes: u32,
    /// The part of those that one IPv6 /32 may have, in percent.
    pub handshakes_network_percent: u32,
    /// Frames of one HTTP/2 connection in a minute, but for those that bring much of a body.
    pub http2_frames: u32,
}

/// Layer 2: requests, before their tokens are looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Requests {
    /// `RATE_LIMIT_IP_PER_MINUTE`: requests in any minute that proved nothing.
    pub per_ip: u16,
    /// `IP_RATE_BURST`: how many more pass before the first refusal.
    pub burst: u16,
    /// Tokens of one address that are checked in any minute.
    pub verifications: u16,
    /// Requests of one address that bear tokens and wait at once for a place, while
    /// others' tokens are checked.
    pub waiting_per_ip: u32,
    /// And of the whole node.
    pub waiting_total: u32,
    /// How long one waits.
    pub wait_for: Duration,
    /// How long an account that proved itself from an address is known there.
    pub familiar_for: Duration,
    /// What such an account may still ask for when its neighbours have spent the
    /// window: unproven requests in any minute.
    pub familiar: u16,
}

/// Layer 3: an account's calls in any minute.
#[derive(Clone, Debug, PartialEq)]
pub struct Calls {
    /// `RATE_LIMIT_SEND_MESSAGE`.
    pub send_message: u16,
    /// `RATE_LIMIT_SEND_EPHEMERAL`. Apart, so that signs of life take nothing from
    /// messages.
    pub send_ephemeral: u16,
    /// `RATE_LIMIT_PUBLISH_KEY_PACKAGE`: publishKeyPackage and publishKeyPackages.
    pub publish_key_package: u16,
    /// `RATE_LIMIT_ADD_MEMBERS`.
    pub add_members: u16,
    /// `RATE_LIMIT_REMOVE_MEMBER`.
    pub remove_member: u16,
    /// `RATE_LIMIT_CREATE_CONVO`.
    pub create_convo: u16,
    /// `RATE_LIMIT_REPORT_MEMBER`.
    pub report_member: u16,
    /// `RATE_LIMIT_DID_DEFAULT`: each other call.
    pub default: u16,
    /// `BODY_BYTES_PER_MINUTE`: bytes of the bodies of all of them in a minute, on average.
    pub body_bytes: u32,
    /// `BODY_BYTES_PER_DAY`: and in a day, on average.
    pub body_bytes_day: u64,
    /// `ANSWER_BYTES_PER_MINUTE`: bytes of large answers to them in a minute, on average.
    pub answer_bytes: u32,
    /// `ANSWER_BYTES_PER_DAY`: and in a day, on average.
    pub answer_bytes_day: u64,
}

/// Layer 4: subscriptions and their frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Sockets {
    pub per_ip: u32,
    pub per_did: u32,
    /// Upgrades in any minute.
    pub upgrades_per_ip: u16,
    pub upgrades_per_did: u16,
    /// Inbound frames of one socket in any minute that carry something.
    pub frames: u16,
    /// Inbound bytes of one socket in a minute, on average.
    pub bytes: u32,
    /// Pings and pongs of one socket in any minute.
    pub control_frames: u16,
    /// How many sockets' worth of frames and bytes one account has.
    pub did_share: u16,
    /// How many sockets' worth of frames and bytes one address has.
    pub ip_share: u16,
    /// Refused frames in any minute until the socket is closed.
    pub strikes: u16,
    /// How long a client with too many sockets is told to wait for one to close.
    pub full_retry_after: Duration,
}

/// Layer 5: whoever keeps hitting limits waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Penalties {
    /// Refusals within `strikes_within` that lead into the box.
    pub strikes: u16,
    pub strikes_within: Duration,
    /// The first stay; each further one is twice as long.
    pub first: Duration,
    pub most: Duration,
    /// Good conduct after which the next stay is one step shorter.
    pub forgiven_after: Duration,
    /// How often the nodes tell each other.
    pub shared_every: Duration,
    /// Shared state older than this counts as away.
    pub away_after: Duration,
}

/// Limits that grow with an account's time without a refusal. Off by default.
#[derive(Clone, Debug, PartialEq)]
pub struct GoodStanding {
    pub enabled: bool,
    /// Time without a refusal for one step.
    pub step_after: Duration,
    /// How much one step adds, in percent of the limit.
    pub step_percent: u16,
    /// The most that all steps add, in percent of the limit.
    pub most_percent: u16,
}

/// Bounds of the limiter's own memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    /// Addresses with an entry of their own, one for each rule they met. About 43
    /// bytes each, from the start; two bytes for each admission past four in a window.
    pub ip_keys: u32,
    /// Accounts with an entry of their own, one for each rule they met.
    pub did_keys: u32,
    /// Offenders that are remembered.
    pub penalties: u32,
    /// An entry leaves after this long without an admission.
    pub idle_after: Duration,
    /// How often idle entries are looked for.
    pub sweep_every: Duration,
    /// How long the key that blinds addresses and accounts is used.
    pub blind_key_for: Duration,
}

impl Requests {
    pub(super) fn familiar_ms(&self) -> u32 {
        millis_of(self.familiar_for)
    }
}

impl Tables {
    pub(super) fn idle_ms(&self) -> u32 {
        millis_of(self.idle_after)
    }

    /// Offenders that the other nodes have yet to hear of: as many as a node decides in an
    /// outage of minutes under attack.
    pub(super) fn untold(&self) -> usize {
        (self.penalties as usize / 10).max(1)
    }
}

fn millis_of(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

impl Settings {
    /// The quota of a rule that counts admissions in a window.
    pub(super) fn quota(&self, rule: Rule) -> Quota {
        Quota::per_minute(match rule {
            Rule::ConnectionRate => return Quota::per_second(self.connections.per_ip_per_second),
            Rule::Ip => {
                return Quota::per_minute(self.requests.per_ip).with_burst(self.requests.burst);
            }
            Rule::Verifications => self.requests.verifications,
            Rule::Familiar => self.requests.familiar,
            Rule::AddMembers => self.calls.add_members,
            Rule::CreateConvo => self.calls.create_convo,
            Rule::PublishKeyPackage => self.calls.publish_key_package,
            Rule::RemoveMember => self.calls.remove_member,
            Rule::ReportMember => self.calls.report_member,
            Rule::SendEphemeral => self.calls.send_ephemeral,
            Rule::SendMessage => self.calls.send_message,
            Rule::UpgradesIp => self.sockets.upgrades_per_ip,
            Rule::UpgradesDid => self.sockets.upgrades_per_did,
            Rule::Frames => self.sockets.frames,
            Rule::ControlFrames => self.sockets.control_frames,
            _ => self.calls.default,
        })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: Connections {
                total: 50_000,
                per_ip: 4_096,
                share_percent: 50,
                per_ip_per_second: 200,
                handshakes: 1_024,
                handshakes_network_percent: 50,
                // Some clients open their window twice for each 4 KiB that they read: 60 MiB so.
                http2_frames: 30_000,
            },
            requests: Requests {
                per_ip: 60,
                burst: 6,
                verifications: 6_000,
                waiting_per_ip: 1_024,
                waiting_total: 10_000,
                wait_for: Duration::from_secs(5),
                familiar_for: Duration::from_secs(600),
                familiar: 20,
            },
            calls: Calls {
                send_message: 100,
                send_ephemeral: 120,
                publish_key_package: 20,
                add_members: 10,
                remove_member: 10,
                create_convo: 5,
                report_member: 5,
                default: 200,
                body_bytes: 128 << 20,
                body_bytes_day: 2 << 30,
                answer_bytes: 256 << 20,
                answer_bytes_day: 16 << 30,
            },
            scarce_bytes_per_second: 32 << 10,
            sockets: Sockets {
                per_ip: 4_096,
                per_did: 5,
                upgrades_per_ip: 3_000,
                upgrades_per_did: 30,
                frames: 300,
                bytes: 1 << 20,
                control_frames: 600,
                did_share: 3,
                ip_share: 100,
                strikes: 10,
                full_retry_after: Duration::from_secs(10),
            },
            penalties: Penalties {
                strikes: 120,
                strikes_within: Duration::from_secs(60),
                first: Duration::from_secs(15),
                most: Duration::from_secs(3_600),
                forgiven_after: Duration::from_secs(600),
                shared_every: Duration::from_secs(2),
                away_after: Duration::from_secs(30),
            },
            good_standing: GoodStanding {
                enabled: false,
                step_after: Duration::from_secs(24 * 3_600),
                step_percent: 10,
                most_percent: 100,
            },
            tables: Tables {
                ip_keys: 200_000,
                did_keys: 400_000,
                penalties: 100_000,
                idle_after: Duration::from_secs(600),
                sweep_every: Duration::from_secs(300),
                blind_key_for: Duration::from_secs(24 * 3_600),
            },
            dry_run: RuleSet::default(),
            exempt: Vec::new(),
        }
    }
}
