//! What lookups ended in. Keys, and what failed or does not exist, each have room of their
//! own: anyone can have us look for accounts that are not there, as many as they like, and
//! none of them takes the place of a key.

use std::sync::Arc;

use metrics::gauge;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::freshness::{Ending, Standing};
use super::signature::PublicKey;
use super::{ResolveError, Settings};
use crate::types::Did;

pub(super) type Outcome = Result<Arc<PublicKey>, ResolveError>;

pub(super) struct Remembered {
    keys: Cache<Did, Entry>,
    /// Those who have none, as far as we could find out.
    keyless: Cache<Did, Entry>,
}

#[derive(Clone)]
struct Entry {
    outcome: Outcome,
    found_at: Instant,
    tried_at: Instant,
}

impl Entry {
    fn standing(&self, settings: &Settings) -> Standing {
        let (age, tried) = (self.found_at.elapsed(), self.tried_at.elapsed());
        Standing::of(Ending::of(&self.outcome), age, tried, settings)
    }
}

impl Remembered {
    pub(super) fn new(keys_max: usize) -> Self {
        Self {
            keys: Cache::new(keys_max),
            keyless: Cache::new((keys_max / KEYLESS_PART).max(1)),
        }
    }

    pub(super) fn of(&self, did: &Did, settings: &Settings) -> Option<(Outcome, Standing)> {
        let entry = self.keys.get(did).or_else(|| self.keyless.get(did))?;
        let standing = entry.standing(settings);
        Some((entry.outcome, standing))
    }

    /// A lookup has ended. A network failure does not displace a key that is still good.
    pub(super) fn note(&self, did: &Did, outcome: &Outcome, settings: &Settings) {
        let now = Instant::now();
        let fresh = Entry {
            outcome: outcome.clone(),
            found_at: now,
            tried_at: now,
        };
        let ending = Ending::of(outcome);
        let good = match ending {
            Ending::Failed => self.keys.get(did),
            Ending::Absent | Ending::Found => None,
        };
        let good = good.filter(|entry| entry.standing(settings) != Standing::Expired);
        if let Some(good) = good {
            let tried = Entry {
                tried_at: now,
                ..good
            };
            self.keys.insert(did.clone(), tried);
        } else if ending == Ending::Found {
            self.keyless.remove(did);
            self.keys.insert(did.clone(), fresh);
        } else {
            self.keys.remove(did);
            self.keyless.insert(did.clone(), fresh);
        }
        gauge!("relay_auth_keys_remembered").set(self.keys.len() as f64);
        gauge!("relay_auth_keyless_remembered").set(self.keyless.len() as f64);
    }
}

/// For those without a key there is this part of the room for keys: they are remembered for
/// a minute, and good keys for a day.
const KEYLESS_PART: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::auth::signature::Curve;

    const MANY: usize = 10_000;

    fn did(number: usize) -> Did {
        Did::parse(&format!("did:plc:{number}")).unwrap()
    }

    fn key() -> Outcome {
        // The generator of P-256 (SEC 2 section 2.4.2), compressed.
        let point = "036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
        let bytes = |text: &str| u8::from_str_radix(text, 16).unwrap();
        let point: Vec<u8> = (0..33).map(|n| bytes(&point[2 * n..2 * n + 2])).collect();
        Ok(Arc::new(PublicKey::of_point(Curve::P256, &point).unwrap()))
    }

    #[test]
    fn strangers_who_are_asked_for_again_and_again_push_out_no_key() {
        let (remembered, settings) = (Remembered::new(1_000), Settings::default());
        // The last of them have come only now.
        for number in 0..900 {
            remembered.note(&did(number), &key(), &settings);
        }
        for stranger in MANY..2 * MANY {
            remembered.note(&did(stranger), &Err(ResolveError::NotFound), &settings);
            for _ in 0..3 {
                remembered.of(&did(stranger), &settings);
            }
        }
        let is_known = |number: &usize| remembered.of(&did(*number), &settings).is_some();
        let known = (0..900).filter(is_known).count();
        assert!(known > 850, "{known}");
    }

    #[test]
    fn an_account_is_in_one_place_as_its_last_lookup_ended() {
        let (remembered, settings) = (Remembered::new(100), Settings::default());
        let did = did(1);
        let of = || remembered.of(&did, &settings).unwrap().0;
        for _ in 0..2 {
            remembered.note(&did, &Err(ResolveError::NotFound), &settings);
            assert!(of().is_err());
            remembered.note(&did, &key(), &settings);
            assert!(of().is_ok());
            remembered.note(&did, &Err(ResolveError::TimedOut), &settings);
            assert!(of().is_ok(), "still good");
        }
        let expired = Settings {
            key_stale_for: Duration::ZERO,
            key_fresh_for: Duration::ZERO,
            ..Settings::default()
        };
        remembered.note(&did, &Err(ResolveError::TimedOut), &expired);
        assert!(of().is_err());
    }
}
