//! The demo: two people, then three, in one end-to-end-encrypted conversation
//! through a relay that it starts for itself. It acts only through the relay's
//! public TLS port and a local directory, and it is its own referee.

mod handset;
pub mod referee;
mod screen;
mod script;
mod stage;
mod story;
mod user;

use std::path::PathBuf;
use std::time::Duration;

pub use handset::HandsetError;
pub use screen::Screen;
pub use script::LINES;

use crate::directory::Directory;
use crate::identity::IdentityError;
use crate::phone::PhoneError;
use crate::receipt::ReceiptError;
use crate::relay::ConnectError;
use crate::relay_process::{RelayOptions, RelayProcess, RelayProcessError, SERVICE_DID};

/// A conversation of minutes is played in seconds by four phones at one address:
/// more than the quotas that the relay gives an account by default.
const RAISED_LIMITS: [(&str, &str); 3] = [
    ("RATE_LIMIT_IP_PER_MINUTE", "6000"),
    ("RATE_LIMIT_DID_DEFAULT", "6000"),
    ("RATE_LIMIT_SEND_MESSAGE", "600"),
];

/// How the demo is played.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The built relay.
    pub relay: PathBuf,
    /// The time between two messages.
    pub pace: Duration,
    /// More of the relay's settings, by the names that operators use.
    pub environment: Vec<(String, String)>,
}

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("cannot start the directory")]
    Directory(#[source] std::io::Error),
    #[error("cannot start the relay")]
    Relay(#[from] RelayProcessError),
    #[error("cannot use the relay's address or certificate")]
    Connect(#[from] ConnectError),
    #[error("cannot make an account")]
    Identity(#[from] IdentityError),
    #[error("a phone could not be set up")]
    Phone(#[from] PhoneError),
    #[error("the relay's key for receipts cannot be had")]
    Receipts(#[from] ReceiptError),
    #[error("the conversation broke off")]
    Handset(#[from] HandsetError),
    #[error("no latencies can be kept")]
    Histogram(#[from] hdrhistogram::CreationError),
}

/// Plays the whole demo. True when nothing was lost, repeated, out of order, or
/// read by someone who should not.
pub async fn play(settings: &Settings, screen: &mut Screen) -> Result<bool, DemoError> {
    screen.heading("The stage");
    let directory = Directory::start().await.map_err(DemoError::Directory)?;
    screen.done(&format!("a PLC directory on {}", directory.url()));
    let options = RelayOptions {
        binary: settings.relay.clone(),
        service_did: SERVICE_DID.to_owned(),
        plc_url: directory.url(),
        environment: RAISED_LIMITS
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .chain(settings.environment.iter().cloned())
            .collect(),
        survives_ctrl_c: false,
    };
    let started = std::time::Instant::now();
    let relay = RelayProcess::start(&options).await?;
    screen.done(&format!(
        "a relay on https://{} with a Postgres of its own, ready after {:.1} s",
        relay.address(),
        started.elapsed().as_secs_f64()
    ));
    let limits = RAISED_LIMITS.map(|(name, value)| format!("{name}={value}"));
    screen.done(&format!("limits raised for this run: {}", limits.join(" ")));
    let clean = match stage::set(&directory, &relay, screen).await {
        Ok(cast) => story::tell(cast, settings.pace, screen).await,
        Err(error) => Err(error),
    };
    if clean.is_err() {
        screen.wrong(&format!("the relay's last words:\n{}", relay.last_words()));
    }
    clean
}
