//! Welcomes: kept for each device of a new member until it confirms.

use tokio_postgres::Row;

use super::rows::get;
use super::{Store, StoreError};
use crate::types::{ConvoId, DeviceId, Did, unprintable};

/// The answer to a new member that asks for its Welcome.
#[derive(Clone, Eq, PartialEq)]
pub enum WelcomeAnswer {
    Welcome(Vec<u8>),
    /// Nothing waits for it.
    None,
    NotMember,
}

unprintable!(WelcomeAnswer);

impl Store {
    /// The Welcome that waits for this account (or one device of it): one that was never fetched
    /// first, else the oldest that was not confirmed. A device gets its own; one that never had
    /// any, one that names no device, as does who does not say which device it is, before those
    /// of others.
    pub async fn welcome(
        &self,
        convo: &ConvoId,
        did: &Did,
        device: Option<&DeviceId>,
    ) -> Result<WelcomeAnswer, StoreError> {
        if let Some(answer) = self.fetch(convo, did, device).await? {
            return Ok(answer);
        }
        // Another may have taken its place.
        let second = self.fetch(convo, did, device).await?;
        Ok(second.unwrap_or(WelcomeAnswer::None))
    }

    /// `None`: there was one, and it went while it was waited for.
    async fn fetch(
        &self,
        convo: &ConvoId,
        did: &Did,
        device: Option<&DeviceId>,
    ) -> Result<Option<WelcomeAnswer>, StoreError> {
        let read = |row: &Row| {
            let is_there: bool = get(row, "is_there")?;
            Ok(match (get(row, "is_member")?, get(row, "welcome")?) {
                (false, _) => Some(WelcomeAnswer::NotMember),
                (true, Some(bytes)) => Some(WelcomeAnswer::Welcome(bytes)),
                (true, None) => (!is_there).then_some(WelcomeAnswer::None),
            })
        };
        self.calls().one(FETCH, &[convo, did, &device], read).await
    }

    /// Ends the wait of the Welcome that this device has fetched, by the same rule; its bytes,
    /// which nobody will ask for any more, go at once. Another of its account may have fetched
    /// another: one ends.
    pub async fn confirm_welcome(
        &self,
        convo: &ConvoId,
        did: &Did,
        device: Option<&DeviceId>,
    ) -> Result<(), StoreError> {
        self.calls().execute(CONFIRM, &[convo, did, &device]).await
    }
}

/// The Welcomes that are a device's: its own; one that never had any has that which names no
/// device; and who does not say which device it is, has all.
macro_rules! of_this_device {
    () => {
        "w.user_did = $2 AND w.convo_id = $1 \
         AND ($3::text IS NULL OR w.device_id = $3 OR (w.device_id IS NULL \
             AND NOT EXISTS (SELECT FROM welcomes o WHERE o.user_did = $2 \
                 AND o.device_id = $3 AND o.convo_id = $1)))"
    };
}

const FETCH: &str = concat!(
    "WITH mine AS (SELECT FROM members m WHERE m.convo_id = $1 AND m.user_did = $2 \
         AND m.left_seq IS NULL LIMIT 1), \
     pick AS (SELECT w.id FROM welcomes w WHERE ",
    of_this_device!(),
    " AND w.state <> 'confirmed' AND EXISTS (SELECT FROM mine) \
         ORDER BY w.device_id IS NOT DISTINCT FROM $3 DESC, w.state = 'fetched', w.id LIMIT 1), \
     fetched AS (UPDATE welcomes w SET state = 'fetched' FROM pick \
         WHERE w.id = pick.id AND w.state <> 'confirmed' RETURNING w.welcome) \
     SELECT EXISTS (SELECT FROM mine) AS is_member, EXISTS (SELECT FROM pick) AS is_there, \
         (SELECT welcome FROM fetched) AS welcome"
);
const CONFIRM: &str = concat!(
    "UPDATE welcomes w SET state = 'confirmed', confirmed_at = coarse_now(), welcome = '' \
     WHERE w.id = (SELECT w.id FROM welcomes w WHERE ",
    of_this_device!(),
    " AND w.state = 'fetched' \
         ORDER BY w.device_id IS NOT DISTINCT FROM $3 DESC, w.id LIMIT 1 FOR UPDATE)"
);
