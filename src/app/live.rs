//! The settings that can change while the relay runs, one slot an area.

use std::time::Duration;

use tokio::time::sleep;

use crate::config::{Config, Process};
use crate::runtime::Live;
use crate::{auth, edge, events, limits, retention, session, telemetry, xrpc};

#[derive(Clone, Debug)]
pub(super) struct LiveSettings {
    pub(super) auth: Live<auth::Settings>,
    pub(super) edge: Live<edge::Settings>,
    pub(super) events: Live<events::Settings>,
    pub(super) limits: Live<limits::Settings>,
    pub(super) log: Live<telemetry::Settings>,
    pub(super) process: Live<Process>,
    pub(super) retention: Live<retention::Settings>,
    pub(super) session: Live<session::Settings>,
    pub(super) xrpc: Live<xrpc::Settings>,
}

impl LiveSettings {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            auth: Live::new(config.auth.clone()),
            edge: Live::new(config.edge.clone()),
            events: Live::new(events_settings(config)),
            limits: Live::new(config.limits.clone()),
            log: Live::new(config.log.clone()),
            process: Live::new(config.process.clone()),
            retention: Live::new(config.retention.clone()),
            session: Live::new(config.session.clone()),
            xrpc: Live::new(xrpc_settings(config)),
        }
    }

    /// Swaps what is different in `config`. The names of the slots that were swapped.
    pub(super) fn adopt(&self, config: &Config) -> Vec<&'static str> {
        let swapped = [
            ("auth", self.auth.adopt(config.auth.clone())),
            ("edge", self.edge.adopt(config.edge.clone())),
            ("events", self.events.adopt(events_settings(config))),
            ("limits", self.limits.adopt(config.limits.clone())),
            ("log", self.log.adopt(config.log.clone())),
            ("process", self.process.adopt(config.process.clone())),
            ("retention", self.retention.adopt(config.retention.clone())),
            ("session", self.session.adopt(config.session.clone())),
            ("xrpc", self.xrpc.adopt(xrpc_settings(config))),
        ];
        let swapped = swapped.into_iter().filter(|(_, is_new)| *is_new);
        swapped.map(|(slot, _)| slot).collect()
    }

    /// Whoever stands still (sends no more of a body, takes no more of an answer or of events) is
    /// waited for half of what is left of the grace, so that nobody does to its end, whenever it
    /// begins to.
    pub(super) async fn hurry(&self, grace: Duration) -> ! {
        let mut left = grace;
        loop {
            left = (left / 2).max(LEAST_PATIENCE);
            shorten(&self.edge, |edge| &mut edge.stall_timeout, left);
            shorten(&self.session, |session| &mut session.write_timeout, left);
            shorten(&self.xrpc, |xrpc| &mut xrpc.body_timeout, left);
            sleep(left).await;
        }
    }
}

/// Whoever moves on at all is seen to within it.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// Waits no longer than `most` from now on.
fn shorten<T: Clone + PartialEq>(
    live: &Live<T>,
    wait: impl FnOnce(&mut T) -> &mut Duration,
    most: Duration,
) {
    let mut value = T::clone(&live.load());
    let wait = wait(&mut value);
    *wait = most.min(*wait);
    live.adopt(value);
}

/// One number for both: what a device may publish is what it may keep.
fn xrpc_settings(config: &Config) -> xrpc::Settings {
    xrpc::Settings {
        key_packages_max: config.retention.key_packages_per_device_max,
        ..config.xrpc.clone()
    }
}

/// One number for all that sessions wait for together.
fn events_settings(config: &Config) -> events::Settings {
    events::Settings {
        reads_queue_max: config.store.reads_queue_max,
        ..config.events.clone()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::{Instant, sleep_until};

    use super::*;
    use crate::config::{Change, Effect, Key, Source, keys};

    /// Values for every kind of key; each key takes some, and not all are its default.
    const CANDIDATES: &[&str] = &[
        "true",
        "false",
        "json",
        "warn,mls_relay=trace",
        "x-real-ip",
        "ip",
        "10.1.0.0/16",
        "127.0.0.1:7",
        "https://other.example.com",
        "wss://other.example.com",
        "did:web:other.example.com",
        "postgres://other/relay",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "chat.example.com",
        "mailto:someone@example.com",
        "chain.pem:key.pem",
        "elsewhere",
    ];

    /// The default configuration with another value of one key.
    fn with_another(key: &Key) -> Config {
        let numbers = (0..=32).map(|power| (1_u64 << power).to_string());
        let candidates = CANDIDATES.iter().map(|text| (*text).to_owned());
        candidates
            .chain(numbers)
            .filter_map(|text| with(key, &text))
            .find(|config| !key.is_same(config, &Config::default()))
            .unwrap_or_else(|| panic!("no candidate changes {key:?}"))
    }

    /// The default configuration with this text for a key, if that is allowed.
    fn with(key: &Key, text: &str) -> Option<Config> {
        // Some need another beside them.
        let companions = [
            ("TLS_CERT", "cert.pem"),
            ("TLS_KEY", "key.pem"),
            ("TRUSTED_PROXIES", "10.0.0.0/8"),
        ];
        let needs: &[&str] = match key.name {
            "edge.tls_cert" => &["TLS_KEY"],
            "edge.tls_key" => &["TLS_CERT"],
            "edge.proxy_protocol" | "edge.plain_listen" => &["TRUSTED_PROXIES"],
            _ => &[],
        };
        let needed = companions
            .into_iter()
            .filter(|(env, _)| needs.contains(env));
        let environment = needed
            .chain([(key.env, text)])
            .map(|(env, text)| (env.to_owned(), text.to_owned()))
            .collect();
        let source = Source {
            environment,
            ..Source::default()
        };
        Some(Config::load(&source).ok()?.config)
    }

    #[test]
    fn every_key_that_is_called_hot_moves_a_slot_and_no_other_does() {
        for key in keys() {
            let in_force = Config::default();
            let live = LiveSettings::of(&in_force);
            let mut wanted = with_another(key);
            if key.effect == Effect::Restart {
                // What had to stand beside it may be hot itself.
                wanted.edge.trusted_proxies.clear();
                wanted.edge.plain_listen = None;
            }
            let change = Change::between(&in_force, &wanted).unwrap();
            let moved = live.adopt(&change.config);
            match key.effect {
                Effect::Live | Effect::NewConnections => assert!(
                    !moved.is_empty(),
                    "{key:?} is called hot, and a change of it moves nothing"
                ),
                Effect::Restart => assert!(
                    moved.is_empty(),
                    "{key:?} needs a restart, and a change of it moves {moved:?}"
                ),
            }
            // The same again is no change.
            assert!(live.adopt(&change.config).is_empty(), "{key:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_becomes_less_and_never_more() {
        let live = LiveSettings::of(&Config::default());
        for (grace, most) in [(20, 10), (40, 10), (2, 1), (0, 1)] {
            let hurried = live.hurry(Duration::from_secs(grace)).now_or_never();
            assert!(hurried.is_none());
            let waits = [
                live.edge.load().stall_timeout,
                live.session.load().write_timeout,
                live.xrpc.load().body_timeout,
            ];
            assert_eq!(waits, [Duration::from_secs(most); 3]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whenever_one_begins_to_stand_still_its_end_comes_before_that_of_the_grace() {
        let grace = Config::default().process.drain_grace;
        for begins in 0..grace.as_secs() - 3 {
            let live = LiveSettings::of(&Config::default());
            let drain = Instant::now();
            let standing = async {
                sleep(Duration::from_secs(begins)).await;
                let since = Instant::now();
                loop {
                    let changed = live.session.changed();
                    let patience = live.session.load().write_timeout;
                    tokio::select! {
                        () = sleep_until(since + patience) => return,
                        () = changed => {}
                    }
                }
            };
            tokio::select! {
                () = standing => {}
                never = live.hurry(grace) => never,
            }
            assert!(drain.elapsed() < grace, "{begins}");
        }
    }

    #[test]
    fn the_sessions_that_wait_are_one_number_for_both_who_read_for_many() {
        let mut config = Config::default();
        config.store.reads_queue_max = 77;
        let live = LiveSettings::of(&config);
        assert_eq!(live.events.load().reads_queue_max, 77);
    }

    #[test]
    fn the_devices_share_of_key_packages_is_one_number_for_both_who_use_it() {
        let live = LiveSettings::of(&Config::default());
        let mut config = Config::default();
        config.retention.key_packages_per_device_max = 7;
        assert_eq!(live.adopt(&config), ["retention", "xrpc"]);
        assert_eq!(live.xrpc.load().key_packages_max, 7);
    }
}
