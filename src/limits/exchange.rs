//! Tells the other nodes who is in the penalty box, and hears it from them. Every
//! exchange tells before it asks, so what comes back is older only than what was decided
//! meanwhile, which stands.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Limits, Penalties};
use crate::runtime::{Shutdown, queue};
use crate::store::{SharedStay, Store, StoreError};

/// What one node still has to do.
struct Exchange {
    limits: Limits,
    store: Store,
    /// Stays that could not be told yet.
    untold: Vec<SharedStay>,
    /// The day whose keys are in use.
    day: Option<i64>,
    heard: Instant,
}

impl Limits {
    /// Shares the penalty box with all nodes until the process stops.
    pub fn start_sharing(&self, store: Store, shutdown: &Shutdown) {
        let exchange = Exchange {
            limits: self.clone(),
            store,
            untold: Vec::new(),
            day: None,
            heard: Instant::now(),
        };
        // What one node told may be what the others stumble over: they must not all leave.
        shutdown.spawn_lasting("penalties", exchange, |exchange| Box::pin(exchange.go_on()));
    }
}

impl Exchange {
    async fn go_on(&mut self) {
        let settings = self.limits.inner.settings.clone();
        loop {
            let changed = settings.changed();
            let every = settings.load().penalties.shared_every;
            self.step().await;
            let _ = timeout(every, changed).await;
        }
    }

    async fn step(&mut self) {
        let settings = self.limits.inner.settings.load().penalties.clone();
        let told = self.try_step(&settings).await;
        if told.is_ok() {
            self.heard = Instant::now();
        }
        let away = self.heard.elapsed() > settings.away_after;
        metrics::gauge!("relay_limits_shared_state_away").set(if away { 1.0 } else { 0.0 });
        self.limits.set_shared_state_away(away);
    }

    async fn try_step(&mut self, settings: &Penalties) -> Result<(), StoreError> {
        let fresh = self.limits.take_untold_stays();
        self.untold.extend(fresh);
        // The newest are worth most when there is no room for all.
        let most = self.limits.inner.settings.load().tables.untold();
        let surplus = self.untold.len().saturating_sub(most);
        self.untold.drain(..surplus);
        if surplus > 0 {
            queue::full("penalties_untold", surplus as u64);
        }
        let day = self.limits.clock().unix().as_secs() as i64 / SECONDS_PER_DAY;
        let is_new_day = self.day != Some(day);
        if is_new_day {
            let keys = self.store.penalty_keys(day).await?;
            if let Some((current, before)) = keys.split_first() {
                self.limits
                    .use_penalty_keys(*current, before.first().copied());
            }
        }
        let within = match is_new_day {
            // A node that has just come asks for all that may still matter.
            true => settings.most.max(LOOK_BACK),
            // Whatever they decided since they were heard last is news.
            false => self.heard.elapsed() + LOOK_BACK,
        };
        let heard = self.store.exchange_penalties(&self.untold, within).await?;
        self.untold.clear();
        self.day = Some(day);
        self.limits.adopt_stays(&heard);
        Ok(())
    }
}

/// Well over the time that an exchange itself takes, a late one included.
const LOOK_BACK: Duration = Duration::from_secs(60);

const SECONDS_PER_DAY: i64 = 86_400;
