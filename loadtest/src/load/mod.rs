//! The load generator: a scenario's phones against a relay, and what they saw.
//! Latencies count from when a message was due, not from when it could leave, so
//! that a relay which stalls cannot hide it (no coordinated omission).

pub mod abuse;
pub mod buckets;
mod connect;
mod ending;
pub mod files;
pub mod growth;
pub mod html;
mod lateness;
mod listener;
#[cfg(test)]
mod listener_tests;
pub mod machine;
mod measured;
pub mod pace;
pub mod report;
mod run;
mod sampler;
pub mod scenario;
pub mod scenarios;
pub mod slow;
pub mod socket_tally;
mod stop;
pub mod tally;
pub mod timeline;
mod usage;
mod version;
mod world;
mod writer;

pub use run::{Target, run};
pub use stop::Stop;
pub use usage::{Usage, family};

use std::net::SocketAddr;

use crate::identity::IdentityError;
use crate::phone::PhoneError;

/// A load comes from one address, which the relay's limits are there to stop: a
/// relay that is started for it gets these settings, which keep them out of the way.
pub fn raised_limits() -> Vec<(String, String)> {
    [
        ("ANSWER_BYTES_PER_DAY", "1125899906842624"),
        ("ANSWER_BYTES_PER_MINUTE", "4294967295"),
        ("BODY_BYTES_PER_DAY", "1125899906842624"),
        ("BODY_BYTES_PER_MINUTE", "4294967295"),
        ("LIMITS_EXEMPT", "127.0.0.0/8"),
        ("MEMBERS_MAX", "2000"),
        ("RATE_LIMIT_ADD_MEMBERS", "60000"),
        ("RATE_LIMIT_DID_DEFAULT", "60000"),
        ("RATE_LIMIT_SEND_MESSAGE", "60000"),
        ("SOCKETS_PER_DID", "1000"),
        ("UPGRADES_PER_DID", "60000"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the conversations could not be set up")]
    Phone(#[from] PhoneError),
    #[error("cannot make an account")]
    Identity(#[from] IdentityError),
    #[error("a conversation needs at least a writer")]
    NoAccounts,
    #[error("it was told to stop before its first message")]
    ToldToStop,
    #[error("a part of the generator broke")]
    Task(#[from] tokio::task::JoinError),
    #[error("no latencies can be kept")]
    Histogram(#[from] hdrhistogram::CreationError),
    #[error(
        "{needed} file descriptors are needed, and in the relay as many; this process may have \
         {allowed}: raise the hard limit (ulimit -Hn) of both"
    )]
    Files { needed: u64, allowed: u64 },
    #[error(
        "abuse needs a relay on this machine: elsewhere the hostile would share the address of \
         the honest, and the relay would be right to stop both"
    )]
    OneAddress,
    #[error("there is no process {0} on this machine")]
    NoProcess(u32),
    #[error("no metrics of a relay at http://{0}/metrics")]
    NoMetrics(SocketAddr),
    #[error("not everyone could subscribe: {live} of {sockets} did{}", why(.first_refusal.as_ref()))]
    Subscribe {
        live: u64,
        sockets: usize,
        first_refusal: Option<String>,
    },
}

fn why(refusal: Option<&String>) -> String {
    refusal.map_or_else(String::new, |text| format!("; the first refusal: {text}"))
}
