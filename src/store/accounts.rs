//! The end of an account, and of the tickets that an account was given.

use chrono::{DateTime, Utc};

use tokio_postgres::Row;

use super::rows::{count, get};
use super::{Params, Store, StoreError};
use crate::types::{Did, sha256};

/// What a deleted account had.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DeletedAccount {
    pub devices: u64,
    pub key_packages: u64,
    pub welcomes: u64,
    pub conversations: u64,
    pub opt_ins: u64,
}

impl Store {
    /// Ends an account: its devices, key packages, Welcomes, seats, cursors and
    /// consent, and the tickets that it was given before `now`. Then the events that told of
    /// its devices tell of nobody. All of it in bites that no sender feels: where one fails, the
    /// same call goes on from there.
    pub async fn delete_account(
        &self,
        user: &Did,
        now: DateTime<Utc>,
    ) -> Result<DeletedAccount, StoreError> {
        let (mark, until) = (ticket_mark(user), marked_until(now));
        let mut gone = DeletedAccount::default();
        let mut after = Some(String::new());
        while let Some(last) = &after {
            // The statement counts by what was there when it began.
            let sql = concat!(
                "SELECT devices, packages, welcomes, seats, after, \
                        (SELECT count(*) FROM opt_ins WHERE user_did = $1) AS opt_ins \
                 FROM delete_account(",
                planned_anew!("$1"),
                ", $2, $3, $4, $5)"
            );
            let params: Params<'_> = &[user, &mark.as_slice(), &until, &CONVOS_BITE, last];
            let bite = |row: &Row| {
                gone.devices += count(row, "devices")?;
                gone.key_packages += count(row, "packages")?;
                gone.welcomes += count(row, "welcomes")?;
                gone.conversations += count(row, "seats")?;
                gone.opt_ins += count(row, "opt_ins")?;
                get(row, "after")
            };
            after = self.calls().one(sql, params, bite).await?;
        }
        self.blank_events(user).await?;
        Ok(gone)
    }

    /// Looks through what was told of the account's devices; where it was looked through in the
    /// last day, only at what came since.
    async fn blank_events(&self, user: &Did) -> Result<(), StoreError> {
        let mut found = i64::from(EVENTS_BITE);
        while found == i64::from(EVENTS_BITE) {
            let sql = "SELECT blank_own_events($1, $2)";
            found = self.calls().value(sql, &[user, &EVENTS_BITE]).await?;
        }
        let looked = marked(user, "\0\0events");
        let times = |row: &Row| Ok((get(row, "since")?, get(row, "until")?));
        let looking = self
            .calls()
            .one(LOOKED, &[&looked.as_slice()], times)
            .await?;
        let (since, until): (i64, DateTime<Utc>) = looking;
        let mut next = Some((String::new(), since));
        while let Some((convo, after)) = next {
            let sql = "SELECT convo, after FROM blank_device_events($1, $2, $3, $4, $5)";
            let params: Params<'_> = &[user, &since, &convo, &after, &EVENTS_BITE];
            let place = |row: &Row| Ok((get(row, "convo")?, get(row, "after")?));
            next = self.calls().first(sql, params, place).await?;
        }
        // A mark, like that of tickets which are revoked.
        let mark = "SELECT revoke_tickets($1, $2)";
        self.calls()
            .execute(mark, &[&looked.as_slice(), &until])
            .await
    }

    /// Whether the tickets that the account was given at `issued_at` (seconds since
    /// 1970) were revoked: it, or a device of it, was deleted since.
    pub async fn are_tickets_revoked(
        &self,
        user: &Did,
        issued_at: i64,
    ) -> Result<bool, StoreError> {
        let issued_at = DateTime::from_timestamp(issued_at, 0).ok_or(StoreError::Shape)?;
        let sql = "SELECT FROM used_jti u WHERE u.key = $1 AND u.expires_at >= $2";
        let mark = ticket_mark(user);
        let params: Params<'_> = &[&mark.as_slice(), &marked_until(issued_at)];
        Ok(!self.calls().query(sql, params).await?.is_empty())
    }
}

/// What stands for the account's tickets among the used nonces. No nonce hashes to
/// it: theirs is the hash of an issuer, one zero byte and printable text.
pub(super) fn ticket_mark(user: &Did) -> [u8; 32] {
    marked(user, "\0\0tickets")
}

/// A hash of an account for one purpose.
pub(super) fn marked(user: &Did, purpose: &str) -> [u8; 32] {
    let text = [user.expose(), purpose].concat();
    sha256(text.as_bytes())
}

/// Until when a mark made now is kept: as long as any ticket of before can live, so
/// that the same number also tells when it was made.
pub(super) fn marked_until(now: DateTime<Utc>) -> DateTime<Utc> {
    now + TICKET_LIFE_MAX
}

/// The first parameter of a function whose statements are planned anew with each call. Postgres
/// would keep plans that are good for an account in few conversations. Of one in thousands they
/// compare each with each, while everybody's sends wait.
macro_rules! planned_anew {
    ($parameter:literal) => {
        concat!(
            "CASE WHEN set_config('plan_cache_mode', 'force_custom_plan', true) <> '' THEN ",
            $parameter,
            "::text END"
        )
    };
}

pub(super) use planned_anew;

/// Conversations that are told of something in one transaction: everybody's sends wait for its
/// events, some ten milliseconds.
pub(super) const CONVOS_BITE: i32 = 500;

/// Up to which event what was told of an account was looked through, and until when a mark of
/// doing so now is kept. The mark tells when that was; what was under way then came within a
/// minute.
const LOOKED: &str = "SELECT coarse_now() + interval '1 day' AS until, coalesce((\
        SELECT e.seq FROM event_stream e WHERE e.emitted_at < (\
            SELECT u.expires_at - interval '1 day 1 minute' FROM used_jti u WHERE u.key = $1) \
        ORDER BY e.emitted_at DESC, e.seq DESC LIMIT 1), 0) AS since";

/// Events, and conversations, that are looked at in one transaction, for a few milliseconds.
const EVENTS_BITE: i32 = 2000;

/// The most that `auth.ticket_ttl_seconds` can say.
const TICKET_LIFE_MAX: chrono::TimeDelta = chrono::TimeDelta::seconds(600);
