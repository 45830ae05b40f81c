//! Which relay was measured: what it answers at `/xrpc/_health`.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::timeout;

use crate::ask;
use crate::relay::Relay;

const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Health {
    version: String,
}

/// None when it does not say: no reason not to measure it.
pub(super) async fn version_of(relay: &Relay) -> Option<String> {
    let answer = timeout(PATIENCE, ask::public(relay, "/xrpc/_health")).await;
    let (_, health) = answer.ok()?.ok()?;
    let health: Health = serde_json::from_slice(&health).ok()?;
    Some(health.version)
}
