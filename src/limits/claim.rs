//! The account that a request names before its token has been looked at, and what speaks for
//! it. Anyone can write a token in the name of another; a connection on which the account
//! has proved itself, and what only its owner can show, nobody else has.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Limits;
use super::blind::{Blind, BlindKey, BlindKeys};
use super::domain::PROVED_HERE;
use crate::types::{Did, unprintable};

/// A claim, and what speaks for it.
#[derive(Clone, Copy)]
pub struct Claim<'a> {
    pub(super) did: &'a Did,
    is_sure: Option<&'a (dyn Fn() -> bool + Sync)>,
    connection: Option<&'a ProvedHere>,
    pub(super) may_use_reserve: bool,
}

impl<'a> Claim<'a> {
    /// By a token that says so.
    pub fn of(did: &'a Did) -> Self {
        Self {
            did,
            is_sure: None,
            connection: None,
            may_use_reserve: true,
        }
    }

    /// By something that nobody but its owner can show, if so. Asked only where it matters,
    /// in a window that is spent.
    #[must_use]
    pub fn sure_if(mut self, is_sure: &'a (dyn Fn() -> bool + Sync)) -> Self {
        self.is_sure = Some(is_sure);
        self
    }

    /// On a connection, if it is one client's alone.
    #[must_use]
    pub fn on(mut self, connection: Option<&'a ProvedHere>) -> Self {
        self.connection = connection;
        self
    }

    /// As if its account were not known at the address.
    #[must_use]
    pub fn without_reserve(mut self) -> Self {
        self.may_use_reserve = false;
        self
    }

    /// Whether no neighbour can have made it.
    pub(super) fn is_proved(&self, keys: &BlindKeys) -> bool {
        let is_known_here = self
            .connection
            .is_some_and(|here| here.knows(self.did, keys));
        is_known_here || self.is_sure.is_some_and(|is_sure| is_sure())
    }
}

/// The accounts that proved themselves on one connection: the last few, as keyed hashes.
/// The edge puts it into every request of a connection that no proxy shares out.
#[derive(Clone, Default)]
pub struct ProvedHere(Arc<Mutex<Vec<Blind>>>);

unprintable!(ProvedHere);

impl ProvedHere {
    fn knows(&self, did: &Did, keys: &BlindKeys) -> bool {
        let proved = self.0.lock();
        if proved.is_empty() {
            return false;
        }
        let names = [Some(&keys.current), keys.previous.as_ref()];
        let mut names = names.into_iter().flatten().map(|key| name(key, did));
        names.any(|name| proved.contains(&name))
    }

    fn note(&self, name: Blind) {
        let mut proved = self.0.lock();
        if proved.contains(&name) {
            return;
        }
        if proved.len() >= ACCOUNTS_MAX {
            proved.remove(0);
        }
        proved.push(name);
    }
}

impl Limits {
    /// The account's token verified on this connection.
    pub fn proved_here(&self, connection: &ProvedHere, did: &Did) {
        let keys = self.inner.keys.load().keys;
        connection.note(name(&keys.current, did));
    }
}

fn name(key: &BlindKey, did: &Did) -> Blind {
    key.account(PROVED_HERE, did)
}

/// A client has an account or two; a test of many may have more, and needs no reserve.
const ACCOUNTS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Clock, Settings};
    use crate::runtime::Live;

    fn did(number: usize) -> Did {
        Did::parse(&format!("did:plc:user{number}")).unwrap()
    }

    #[test]
    fn a_connection_knows_the_last_few_that_proved_themselves_on_it() {
        let limits = Limits::new(Live::new(Settings::default()), Clock::manual());
        let (here, elsewhere) = (ProvedHere::default(), ProvedHere::default());
        for _ in 0..3 {
            for number in 0..6 {
                limits.proved_here(&here, &did(number));
            }
        }
        let keys = limits.inner.keys.load().keys;
        let known = |connection, number| {
            let did = did(number);
            Claim::of(&did).on(Some(connection)).is_proved(&keys)
        };
        assert_eq!(
            [0, 1, 2, 5].map(|n| known(&here, n)),
            [false, false, true, true]
        );
        assert!(!known(&elsewhere, 5));
        assert!(!Claim::of(&did(5)).is_proved(&keys));
        assert!(Claim::of(&did(5)).sure_if(&|| true).is_proved(&keys));
    }

    #[test]
    fn one_that_proves_itself_again_and_again_pushes_no_other_out() {
        let limits = Limits::new(Live::new(Settings::default()), Clock::manual());
        let here = ProvedHere::default();
        for number in [1, 2, 2, 2, 2, 2] {
            limits.proved_here(&here, &did(number));
        }
        let keys = limits.inner.keys.load().keys;
        assert!(Claim::of(&did(1)).on(Some(&here)).is_proved(&keys));
    }

    #[test]
    fn a_new_key_does_not_make_it_forget() {
        let mut settings = Settings::default();
        settings.tables.blind_key_for = std::time::Duration::from_secs(60);
        let limits = Limits::new(Live::new(settings), Clock::manual());
        let (here, alice) = (ProvedHere::default(), did(1));
        limits.proved_here(&here, &alice);
        limits.clock().advance(std::time::Duration::from_secs(61));
        limits.sweep();
        let keys = limits.inner.keys.load().keys;
        assert!(keys.previous.is_some());
        assert!(Claim::of(&alice).on(Some(&here)).is_proved(&keys));
    }
}
