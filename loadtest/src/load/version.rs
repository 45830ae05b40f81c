//! Which relay was measured: what it answers at `/xrpc/_health`.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::time::timeout;

use crate::relay::Relay;

const PATIENCE: Duration = Duration::from_secs(5);

const LONGEST_ANSWER: usize = 4096;

#[derive(Deserialize)]
struct Health {
    version: String,
}

/// None when it does not say: no reason not to measure it.
pub(super) async fn version_of(relay: &Relay) -> Option<String> {
    let health = timeout(PATIENCE, health(relay)).await.ok()?.ok()?;
    let health: Health = serde_json::from_slice(&health).ok()?;
    Some(health.version)
}

async fn health(relay: &Relay) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TokioIo::new(relay.connect(&[b"http/1.1"]).await?);
    let (mut sender, driver) = http1::handshake(stream).await?;
    tokio::spawn(driver);
    let request = Request::get("/xrpc/_health")
        .header(HOST, relay.authority())
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let body = Limited::new(response.into_body(), LONGEST_ANSWER);
    Ok(body.collect().await?.to_bytes())
}
