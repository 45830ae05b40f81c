//! Idempotency: a call that is repeated under one key runs once, and everybody who
//! asks hears its first answer. Only successes are kept: what was refused may be
//! asked again.

use std::future::Future;
use std::ops::ControlFlow;
use std::time::Duration;

use serde::Deserialize;

use super::context::Context;
use crate::refusal::{Refusal, unavailable};
use crate::store::{Lease, Reservation};
use crate::types::{Did, Nsid, sha256};
use crate::wire::XrpcError;
use crate::wire::calls::IdempotencyKey;

/// One attempt: who asked for what under which key, and with what content.
#[derive(Debug)]
pub(super) struct Attempt {
    key: [u8; 32],
    request: [u8; 32],
}

impl Attempt {
    /// The attempt that a body names, if its call takes such a name and needs it. A message is
    /// repeatable by its id; its key, kept beside an answer that names the message, would tell
    /// anyone who tries the members who sent it.
    pub(super) fn of(call: Nsid, caller: &Did, body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Named {
            idempotency_key: Option<IdempotencyKey>,
        }
        let takes_a_key = matches!(
            call,
            Nsid::AddMembers
                | Nsid::CreateConvo
                | Nsid::LeaveConvo
                | Nsid::ProcessExternalCommit
                | Nsid::PublishKeyPackage
                | Nsid::RemoveMember
                | Nsid::UpdateGroupInfo
        );
        if !takes_a_key {
            return None;
        }
        let named: Named = serde_json::from_slice(body).ok()?;
        let key = named.idempotency_key?;
        // A DID and an NSID hold no NUL: the parts cannot run into each other.
        let scoped = [caller.expose(), "\0", call.as_str(), "\0", key.as_str()].concat();
        Some(Self {
            key: sha256(scoped.as_bytes()),
            request: sha256(body),
        })
    }
}

/// Runs the call unless it ran before; then gives that answer.
pub(super) async fn once(
    cx: &Context,
    attempt: &Attempt,
    run: impl Future<Output = Result<Vec<u8>, XrpcError>>,
) -> Result<Vec<u8>, XrpcError> {
    let lease = match reserve(cx, attempt).await? {
        ControlFlow::Continue(lease) => lease,
        ControlFlow::Break(answer) => {
            metrics::counter!("relay_calls_repeated_total").increment(1);
            return Ok(answer);
        }
    };
    match run.await {
        Ok(answer) => {
            let keep = cx.settings.idempotency_keep;
            // It was done, so it is answered, whether or not that can be remembered.
            let kept = cx
                .store
                .keep_answer(&attempt.key, lease, &answer, keep)
                .await;
            if kept.is_err() {
                metrics::counter!("relay_calls_answers_lost_total").increment(1);
            }
            Ok(answer)
        }
        Err(error) => {
            // A reservation that stays is free again after its lease.
            let _ = cx.store.release(&attempt.key, lease).await;
            Err(error)
        }
    }
}

/// The lease of the first asker; or the answer that the first one got, waiting for it a moment.
async fn reserve(
    cx: &Context,
    attempt: &Attempt,
) -> Result<ControlFlow<Vec<u8>, Lease>, XrpcError> {
    let lease = cx.settings.idempotency_lease;
    let mut pauses = PAUSES.into_iter();
    loop {
        let known = cx
            .store
            .reserve(&attempt.key, &attempt.request, lease)
            .await?;
        match known {
            Reservation::Run(lease) => return Ok(ControlFlow::Continue(lease)),
            Reservation::Answered(answer) => return Ok(ControlFlow::Break(answer)),
            Reservation::Conflict => return Err(Refusal::Conflict.into()),
            Reservation::UnderWay => {}
        }
        let Some(pause) = pauses.next() else {
            let message = "the same call is under way";
            return Err(unavailable(message, Duration::from_secs(1)));
        };
        tokio::time::sleep(pause).await;
    }
}

/// How long the second asker waits for the first, in steps: 2.5 s in all.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(750),
    Duration::from_millis(1000),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_scoped_to_its_caller_and_its_call() {
        let did = |text: &str| Did::parse(text).unwrap();
        let of = |call, caller: &str, body: &str| Attempt::of(call, &did(caller), body.as_bytes());
        let body = r#"{"idempotencyKey":"k"}"#;
        let mine = of(Nsid::AddMembers, "did:plc:a", body).unwrap();
        let same = of(Nsid::AddMembers, "did:plc:a", body).unwrap();
        assert_eq!((mine.key, mine.request), (same.key, same.request));
        let theirs = of(Nsid::AddMembers, "did:plc:b", body).unwrap();
        let other_call = of(Nsid::LeaveConvo, "did:plc:a", body).unwrap();
        let other_body = of(
            Nsid::AddMembers,
            "did:plc:a",
            r#"{"idempotencyKey":"k","x":1}"#,
        );
        assert_ne!(mine.key, theirs.key);
        assert_ne!(mine.key, other_call.key);
        assert_ne!(mine.request, other_body.unwrap().request);
        assert!(of(Nsid::AddMembers, "did:plc:a", "{}").is_none());
        assert!(of(Nsid::UpdateCursor, "did:plc:a", body).is_none());
    }
}
