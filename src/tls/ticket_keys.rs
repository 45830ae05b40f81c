//! The keys under which sessions are handed to clients as tickets (RFC 5077, RFC 8446
//! section 4.6.1), so that any node can resume what any other began.
//!
//! A key encrypts for one rotation and decrypts for two more; then it is deleted
//! everywhere, and what was sent under it is as secret as if there had been no tickets.
//! It is named by the second at which its rotation begins, which all nodes know by their
//! clocks. The next one is there before its time, so that nodes whose clocks differ meet.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use rustls::server::ProducesTickets;

use crate::types::unprintable;

/// The keys in force.
pub struct TicketKeys {
    keys: ArcSwap<Vec<TicketKey>>,
    /// Seconds.
    rotation: u64,
}

unprintable!(TicketKeys);

struct TicketKey {
    begins: u64,
    key: RandomizedNonceKey,
}

impl TicketKeys {
    /// No key yet: nothing is encrypted.
    pub(super) fn new(rotation: Duration) -> Self {
        Self {
            keys: ArcSwap::default(),
            rotation: rotation.as_secs().max(1),
        }
    }

    /// Puts keys in force, each with the second at which it begins.
    pub(super) fn replace(&self, keys: &[(u64, [u8; 32])]) -> Result<(), Unspecified> {
        let keys = keys.iter().map(|(begins, key)| {
            Ok(TicketKey {
                begins: *begins,
                // Two tickets under one nonce would reveal that they are equal, no more.
                key: RandomizedNonceKey::new(&AES_256_GCM_SIV, key)?,
            })
        });
        let keys = keys.collect::<Result<Vec<_>, Unspecified>>()?;
        self.keys.store(keys.into());
        Ok(())
    }

    /// The beginnings of the oldest key that is still good at `now`, of the one that
    /// encrypts, and of the next.
    pub(super) fn beginnings(&self, now: u64) -> [u64; 3] {
        let current = now - now % self.rotation;
        let oldest = current.saturating_sub(OLD_KEYS * self.rotation);
        [oldest, current, current + self.rotation]
    }

    /// From the second at which a key begins to the one at which it is over.
    pub(super) fn life(&self) -> Duration {
        Duration::from_secs((1 + OLD_KEYS) * self.rotation)
    }

    /// Whether new sessions get tickets.
    pub(super) fn can_encrypt(&self, now: u64) -> bool {
        let [_, current, _] = self.beginnings(now);
        self.keys.load().iter().any(|key| key.begins == current)
    }

    fn seal(&self, plain: &[u8], now: u64) -> Option<Vec<u8>> {
        let [_, current, _] = self.beginnings(now);
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.begins == current)?;
        let name = current.to_be_bytes();
        let mut sealed = plain.to_vec();
        let nonce = key
            .key
            .seal_in_place_append_tag(Aad::from(name), &mut sealed)
            .ok()?;
        Some([&name[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<8>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let begins = u64::from_be_bytes(*name);
        let [oldest, _, next] = self.beginnings(now);
        if !(oldest..=next).contains(&begins) {
            return None;
        }
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.begins == begins)?;
        let mut opened = sealed.to_vec();
        let plain = key
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(*name),
                &mut opened,
            )
            .ok()?;
        Some(plain.to_vec())
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(OLD_KEYS * self.rotation).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, unix_now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, unix_now())
    }
}

/// Seconds since 1970.
pub(super) fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

/// How many keys before the one that encrypts are still good.
const OLD_KEYS: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;
    const NOON: u64 = 1_800_000_000 - 1_800_000_000 % HOUR;

    fn keys(held: &[(u64, u8)]) -> TicketKeys {
        let keys = TicketKeys::new(Duration::from_secs(HOUR));
        let held: Vec<_> = held
            .iter()
            .map(|(begins, key)| (*begins, [*key; 32]))
            .collect();
        keys.replace(&held).unwrap();
        keys
    }

    #[test]
    fn a_ticket_of_one_node_is_read_by_another_while_its_key_is_good() {
        let all = [(NOON, 1), (NOON + HOUR, 2), (NOON + 2 * HOUR, 3)];
        let (here, there) = (keys(&all), keys(&all));
        let ticket = here.seal(b"session", NOON + HOUR / 2).unwrap();
        for (later, is_read) in [(0, true), (HOUR, true), (2 * HOUR, true), (3 * HOUR, false)] {
            let plain = there.open(&ticket, NOON + HOUR / 2 + later);
            assert_eq!(plain.as_deref() == Some(b"session"), is_read, "{later}");
        }
        assert_eq!(u64::from(here.lifetime()), 2 * HOUR);
        assert_eq!(here.life().as_secs(), 3 * HOUR);
        // A node whose clock is behind reads tickets of the next key.
        assert!(there.open(&ticket, NOON - HOUR / 2).is_some());
        assert!(there.open(&ticket, NOON - 3 * HOUR / 2).is_none());
    }

    #[test]
    fn each_rotation_has_its_own_key_and_a_node_without_it_gives_no_tickets() {
        let here = keys(&[(NOON, 1), (NOON + HOUR, 2)]);
        let first = here.seal(b"session", NOON).unwrap();
        let second = here.seal(b"session", NOON + HOUR).unwrap();
        let only_second = keys(&[(NOON + HOUR, 2)]);
        assert!(only_second.open(&first, NOON + HOUR).is_none());
        assert!(only_second.open(&second, NOON + HOUR).is_some());
        assert!(here.seal(b"session", NOON + 2 * HOUR).is_none());
        assert!(here.can_encrypt(NOON) && !here.can_encrypt(NOON + 2 * HOUR));
    }

    #[test]
    fn a_changed_ticket_and_one_of_another_key_are_not_read() {
        let here = keys(&[(NOON, 1), (NOON + HOUR, 2)]);
        let ticket = here.seal(b"session", NOON).unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert!(here.open(&changed, NOON).is_none(), "byte {at}");
            assert!(here.open(&ticket[..at], NOON).is_none(), "length {at}");
        }
        let stranger = keys(&[(NOON, 9)]);
        assert!(stranger.open(&ticket, NOON).is_none());
    }
}
