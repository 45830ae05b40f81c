//! One running relay: everything between its TLS edge and its database.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

use mls_relay::auth::{self, Authenticator};
use mls_relay::blocks::Blocks;
use mls_relay::edge::{self, DidDocument, Edge, Gate, Health, Routes};
use mls_relay::events::{self, Hub};
use mls_relay::limits::{self, Clock, Limits};
use mls_relay::receipt::ReceiptSigner;
use mls_relay::runtime::{Live, Shutdown};
use mls_relay::session::{self, Sessions};
use mls_relay::store::Store;
use mls_relay::tls::{self, CertificateFiles, Certificates, TicketKeys, Tls};
use mls_relay::xrpc::{self, Calls};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::relay::Relay;
use tempfile::TempDir;

use super::{Client, Settings};
use crate::database::Database;
use crate::relay::SERVICE_DID;

/// One running relay. Ends with the test.
pub(crate) struct Node {
    pub(super) relay: Arc<Relay>,
    pub(super) store: Store,
    _certs: TempDir,
    _shutdown: Shutdown,
}

impl Node {
    pub(super) async fn start(
        database: &Database,
        directory: &Directory,
        settings: Settings,
    ) -> Self {
        let (store, shutdown) = database.store().await;
        let auth = auth::Settings {
            service_did: SERVICE_DID.to_owned(),
            plc_url: directory.url(),
            ..auth::Settings::default()
        };
        let auth = Authenticator::start(Live::new(auth), store.clone(), shutdown.clone())
            .await
            .unwrap();
        let usual = limits::Settings::default();
        let limits = limits::Settings {
            // Each call of a test has a connection of its own, and a fast machine is fast.
            connections: limits::Connections {
                per_ip_per_second: 5000,
                ..usual.connections
            },
            calls: settings.quotas,
            // Room for fewer clients than any relay has, since each start makes it anew.
            tables: limits::Tables {
                ip_keys: 10_000,
                did_keys: 10_000,
                ..usual.tables
            },
            ..usual
        };
        let limits = Limits::new(Live::new(limits), Clock::system());
        let receipts = Arc::new(ReceiptSigner::new(&[7; 32]).unwrap());
        let document = DidDocument::new(SERVICE_DID, None, &receipts.multikey());
        let hub = Hub::start(
            Arc::new(store.clone()),
            Live::new(events::Settings::default()),
            &shutdown,
        );
        let parts = xrpc::Parts {
            store: store.clone(),
            auth: auth.clone(),
            blocks: Blocks::start(settings.blocks, store.clone()).unwrap(),
            hub: hub.clone(),
            receipts,
        };
        let settings = Live::new(settings.xrpc);
        let calls = Calls::new(parts, limits.clone(), settings, shutdown.clone());
        let sessions = Sessions::new(
            hub,
            auth.clone(),
            limits.clone(),
            Live::new(session::Settings::default()),
            shutdown.clone(),
        );
        let certs = TempDir::new().unwrap();
        let certificate = tls::ensure_dev_certificate(certs.path(), SystemTime::now()).unwrap();
        let settings = edge::Settings {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            ..edge::Settings::default()
        };
        let routes = Routes::new(
            &settings,
            Gate::new(auth, limits.clone()),
            calls,
            sessions,
            Health::new(shutdown.clone(), []),
            document,
        );
        let listener = Edge::bind(Live::new(settings)).unwrap();
        let address = format!("localhost:{}", listener.address().unwrap().port());
        let relay = Relay::new(&address, SERVICE_DID, &certificate.cert).unwrap();
        let files = CertificateFiles {
            cert: certificate.cert,
            key: certificate.key,
        };
        let tls = tls::Settings::default();
        let certificates = Certificates::load(&[files], tls.expiry_alarm, false).unwrap();
        let tickets = TicketKeys::share(tls.ticket_rotation, store.clone(), &shutdown);
        let tls = Tls::new(None, certificates, tickets.await.unwrap(), None).unwrap();
        listener.serve(tls, limits, routes, &shutdown);
        Self {
            relay: Arc::new(relay),
            store,
            _certs: certs,
            _shutdown: shutdown,
        }
    }

    /// The same account, talking to this node.
    pub(crate) fn client(&self, client: &Client) -> Client {
        Client {
            relay: Arc::clone(&self.relay),
            ..client.clone()
        }
    }
}
