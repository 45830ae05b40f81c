//! Keeps a certificate: takes what another node has got, and orders well before the end.

use std::time::{Duration, SystemTime};

use tokio::time::{sleep, timeout};

use super::client::DirectoryClient;
use super::error::AcmeError;
use super::order::Ordering;
use super::{Challenges, Domain, Settings};
use crate::runtime::{Backoff, Shutdown, random};
use crate::store::{AcmeRecord, Store};
use crate::telemetry::with_causes;
use crate::tls::certificate::Certificate;
use crate::tls::{Certificates, TlsError};

/// One node's part.
pub struct Acme {
    settings: Settings,
    store: Store,
    client: DirectoryClient,
    certificates: Certificates,
    held: Option<Held>,
    /// Where in the span of renewal this node's moment is, so that relays that began
    /// together do not renew together: 0 to 1.
    jitter: f64,
}

/// What this node serves.
struct Held {
    pem: String,
    certificate: Certificate,
}

impl Acme {
    /// Begins to keep a certificate for the settings' domains in force, looking every so
    /// often what other nodes have got. Says how challenges are answered.
    pub fn start(
        settings: Settings,
        look_every: Duration,
        store: Store,
        certificates: Certificates,
        shutdown: &Shutdown,
    ) -> Result<Challenges, TlsError> {
        let challenges = Challenges::new(&settings.domains, store.clone());
        let acme = Self {
            client: DirectoryClient::new(settings.ca_file.as_deref())?,
            settings,
            store,
            certificates,
            held: None,
            jitter: f64::from(u32::try_from(random() >> 32).unwrap_or(0)) / f64::from(u32::MAX),
        };
        shutdown.spawn_lasting("acme", acme, move |acme| {
            Box::pin(acme.keep_fresh(look_every))
        });
        Ok(challenges)
    }

    async fn keep_fresh(&mut self, look_every: Duration) {
        let mut was_well = true;
        loop {
            let looked = self.look().await;
            // Said once: without a database there is more to be heard.
            if let (Err(error), true) = (&looked, was_well) {
                tracing::warn!(error = %with_causes(error), "certificates of ACME were not looked at");
            }
            if looked.is_ok() && !was_well {
                tracing::warn!("certificates of ACME are looked at again");
            }
            was_well = looked.is_ok();
            sleep(look_every).await;
        }
    }

    async fn look(&mut self) -> Result<(), AcmeError> {
        let directory = self.settings.directory.clone();
        let record = self.store.acme_record(&directory).await?;
        self.adopt(record.certificate.as_deref())?;
        if let Some(pem) = self.unsaved(record.certificate.as_deref()) {
            // The database went away when it was issued.
            self.store.keep_acme_certificate(&directory, pem).await?;
        }
        if !self.is_due() || !self.store.take_acme_turn(&directory, TURN).await? {
            return Ok(());
        }
        // Whoever had the turn before us may have succeeded since we looked.
        let record = self.store.acme_record(&directory).await?;
        self.adopt(record.certificate.as_deref())?;
        if !self.is_due() {
            return Ok(());
        }
        self.store.forget_acme_challenges().await?;
        match self.order(&record).await {
            Ok(pem) => {
                metrics::counter!("relay_acme_orders_total", "outcome" => "issued").increment(1);
                match record.failures {
                    0 => tracing::info!("a certificate was issued"),
                    _ => tracing::warn!("a certificate was issued, after failures"),
                }
                self.store.keep_acme_certificate(&directory, &pem).await?;
                Ok(())
            }
            Err(error) => self.fail(&record, &error).await,
        }
    }

    /// Has a certificate issued, and serves it.
    async fn order(&mut self, record: &AcmeRecord) -> Result<String, AcmeError> {
        let ordering = Ordering {
            settings: &self.settings,
            store: &self.store,
            client: &self.client,
            challenge_ttl: TURN,
        };
        let obtain = ordering.obtain(record.account.as_deref());
        // The turn must not end while we still think that we have it.
        let pem = timeout(TURN / 2, obtain).await;
        let pem = pem.map_err(|_| AcmeError::Late)??;
        self.adopt(Some(&pem))?;
        Ok(pem)
    }

    async fn fail(&self, record: &AcmeRecord, error: &AcmeError) -> Result<(), AcmeError> {
        let directory = &self.settings.directory;
        metrics::counter!("relay_acme_orders_total", "outcome" => "failed").increment(1);
        if error.is_unknown_account() {
            self.store.keep_acme_account(directory, None).await?;
        }
        let backoff = Backoff::new(self.settings.retry_first, RETRY_MAX);
        let wait = backoff.after(record.failures).next(random());
        tracing::warn!(
            error = %with_causes(error),
            retry_seconds = wait.as_secs(),
            "no certificate was issued; what is in force stays"
        );
        Ok(self.store.fail_acme_turn(directory, wait).await?)
    }

    /// Serves a certificate, unless what is served is better.
    fn adopt(&mut self, pem: Option<&str>) -> Result<(), AcmeError> {
        let Some(pem) = pem else {
            return Ok(());
        };
        if self.held.as_ref().is_some_and(|held| held.pem == pem) {
            return Ok(());
        }
        let certificate = Certificate::from_pem(pem.as_bytes(), pem.as_bytes())?;
        let domains = &self.settings.domains;
        let is_better = |held: &Held| {
            let lasts = certificate.ends > held.certificate.ends;
            covers(&certificate, domains) && (lasts || !covers(&held.certificate, domains))
        };
        if self.held.as_ref().is_none_or(is_better) {
            self.certificates.issue(certificate.clone());
            self.held = Some(Held {
                pem: pem.to_owned(),
                certificate,
            });
        }
        Ok(())
    }

    /// What is served, if it was not saved and is better than what was.
    fn unsaved(&self, saved: Option<&str>) -> Option<&str> {
        let held = self.held.as_ref()?;
        let saved =
            saved.and_then(|pem| Certificate::from_pem(pem.as_bytes(), pem.as_bytes()).ok());
        let is_better = outlives(&held.certificate, saved.as_ref(), &self.settings.domains);
        is_better.then_some(held.pem.as_str())
    }

    fn is_due(&self) -> bool {
        self.held.as_ref().is_none_or(|Held { certificate, .. }| {
            !covers(certificate, &self.settings.domains)
                || is_due(certificate, SystemTime::now(), self.jitter)
        })
    }
}

/// When a third of its life is left, or up to a tenth of that later.
fn is_due(certificate: &Certificate, now: SystemTime, jitter: f64) -> bool {
    let third = certificate.lifetime() / 3;
    certificate.left(now) <= third - (third / 10).mul_f64(jitter)
}

fn covers(certificate: &Certificate, domains: &[Domain]) -> bool {
    let mut domains = domains.iter();
    domains.all(|domain| certificate.is_for(domain.as_str()))
}

/// Whether all nodes should have a certificate in place of the one that is saved for them. What
/// the saved one is for does not count, as it does in `adopt`: nodes with other domains would
/// save theirs in turn, for ever.
fn outlives(held: &Certificate, saved: Option<&Certificate>, domains: &[Domain]) -> bool {
    covers(held, domains) && saved.is_none_or(|saved| held.ends > saved.ends)
}

/// How long one node has the turn: twice what an order may take. A node that stops within
/// an order leaves the others, and itself, to wait for so long.
const TURN: Duration = Duration::from_secs(240);

/// Two tries a day, which no directory minds.
const RETRY_MAX: Duration = Duration::from_secs(12 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::certificate::tests::{certificate, pem};

    #[test]
    fn what_was_issued_but_not_saved_is_saved_later() {
        let domains: Vec<Domain> = vec!["a.example".parse().unwrap()];
        let of = |name: &str, end: i32| {
            let (chain, key) = pem(&[name], (2020, end));
            Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
        };
        let (older, newer) = (of("a.example", 2080), of("a.example", 2090));
        assert!(outlives(&newer, Some(&older), &domains));
        assert!(outlives(&newer, None, &domains));
        assert!(!outlives(&newer, Some(&newer), &domains));
        assert!(!outlives(&older, Some(&newer), &domains));
        let others = of("b.example", 2090);
        assert!(!outlives(&others, Some(&older), &domains));
    }

    #[test]
    fn renewal_begins_when_a_third_of_the_life_is_left_or_a_little_later() {
        let it = certificate(&["a.example"]);
        let third = it.lifetime() / 3;
        let at = |left: Duration| it.ends - left;
        let day = Duration::from_secs(86_400);
        assert!(!is_due(&it, at(third + day), 0.0));
        assert!(is_due(&it, at(third - day), 0.0));
        assert!(!is_due(&it, at(third - day), 1.0));
        assert!(is_due(&it, at(third * 9 / 10 - day), 1.0));
        assert!(is_due(&it, it.ends + day, 1.0));
    }
}
