//! The settings that can change while the relay runs, one slot an area.

use crate::config::Config;
use crate::runtime::Live;
use crate::{auth, limits, retention, session, xrpc};

#[derive(Clone, Debug)]
pub(super) struct LiveSettings {
    pub(super) auth: Live<auth::Settings>,
    pub(super) limits: Live<limits::Settings>,
    pub(super) retention: Live<retention::Settings>,
    pub(super) session: Live<session::Settings>,
    pub(super) xrpc: Live<xrpc::Settings>,
}

impl LiveSettings {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            auth: Live::new(config.auth.clone()),
            limits: Live::new(config.limits.clone()),
            retention: Live::new(config.retention.clone()),
            session: Live::new(config.session.clone()),
            xrpc: Live::new(xrpc_settings(config)),
        }
    }
}

/// One number for both: what a device may publish is what it may keep.
fn xrpc_settings(config: &Config) -> xrpc::Settings {
    xrpc::Settings {
        key_packages_max: config.retention.key_packages_per_device_max,
        ..config.xrpc.clone()
    }
}
