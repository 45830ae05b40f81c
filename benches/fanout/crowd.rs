//! The subscribers, the same for every server: TLS and WebSocket with as little beside
//! as there can be, so that the server is what is measured.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use mls_relay_loadtest::load::tally::Latencies;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::phone_socket::PhoneSocket;
use crate::server::{Server, Upgrade};
use crate::stream::Stream;

/// Everyone who is subscribed to one server.
pub(crate) struct Crowd {
    pub(crate) groups: usize,
    pub(crate) sockets: usize,
    pub(crate) board: Arc<Board>,
    /// Events that everyone of their group has.
    pub(crate) finished: mpsc::Receiver<usize>,
    listeners: JoinSet<()>,
}

/// What was published, and who has it.
pub(crate) struct Board {
    events: Mutex<Vec<Event>>,
    finished: mpsc::Sender<usize>,
    delays: Mutex<Delays>,
}

/// From when an event was due until subscribers had it.
pub(crate) struct Delays {
    /// Until it had come to the socket: the server's.
    pub(crate) come: Latencies,
    /// Until the one processor of all subscribers had read it, too.
    pub(crate) read: Latencies,
    /// Until it had come to the first: the way in, with the commit where there is one.
    pub(crate) first: Latencies,
    /// From then until it had come to each: the fan-out alone.
    pub(crate) spread: Latencies,
}

struct Event {
    due: SystemTime,
    /// When those who have it had it.
    came: Vec<SystemTime>,
    /// Sockets that have yet to get it.
    left: usize,
    len: usize,
}

impl Crowd {
    /// Subscribes `sockets` to each of `groups`.
    pub(crate) async fn gather(server: &Server, groups: usize, sockets: usize) -> Self {
        let (finished, has_finished) = mpsc::channel(FINISHED_MAX);
        let board = Arc::new(Board {
            events: Mutex::default(),
            finished,
            delays: Mutex::new(Delays::new()),
        });
        let connector = connector(server);
        let mut handshakes = JoinSet::new();
        let mut listeners = JoinSet::new();
        for number in 0..groups * sockets {
            if handshakes.len() >= HANDSHAKES_MAX {
                let (stream, tls) = handshakes.join_next().await.unwrap().unwrap();
                listeners.spawn(listen(number, stream, tls, Arc::clone(&board)));
            }
            let upgrade = server.upgrade(number / sockets, number % sockets);
            let address = server.address;
            let connector = connector.clone();
            let stream = Stream::new(server.packing, server.numbering);
            handshakes.spawn(async move {
                let tcp = TcpStream::connect(address).await.unwrap();
                (stream, subscribe(&connector, tcp, &upgrade).await.unwrap())
            });
        }
        while let Some(done) = handshakes.join_next().await {
            let (stream, tls) = done.unwrap();
            listeners.spawn(listen(listeners.len(), stream, tls, Arc::clone(&board)));
        }
        Self {
            groups,
            sockets,
            board,
            finished: has_finished,
            listeners,
        }
    }

    /// Waits for an event that everyone has.
    pub(crate) async fn finished(&mut self) -> usize {
        tokio::select! {
            number = self.finished.recv() => number.unwrap(),
            gone = self.listeners.join_next() => panic!("a subscriber is gone: {gone:?}"),
            () = tokio::time::sleep(PATIENCE) => panic!("an event did not reach everyone"),
        }
    }
}

impl Board {
    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of an event that is due now or was due a moment ago.
    pub(crate) fn announce(&self, due: Instant, sockets: usize) -> usize {
        let mut events = self.events();
        events.push(Event {
            due: SystemTime::now() - due.elapsed(),
            came: Vec::with_capacity(sockets),
            left: sockets,
            len: 0,
        });
        events.len() - 1
    }

    /// How long events are, as subscribers have seen the last of them.
    pub(crate) fn event_len(&self) -> usize {
        self.events().last().map_or(0, |event| event.len)
    }

    pub(crate) fn delays(&self) -> MutexGuard<'_, Delays> {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the delays so far.
    pub(crate) fn forget(&self) {
        *self.delays() = Delays::new();
    }

    fn saw(&self, by: usize, number: usize, len: usize, came: SystemTime, read: SystemTime) {
        let mut events = self.events();
        let event = events.get_mut(number).expect("an event that was published");
        event.left = event.left.checked_sub(1).expect("an event comes once");
        event.len = len;
        event.came.push(came);
        let since = |before, moment: SystemTime| moment.duration_since(before).unwrap_or_default();
        let delays = self.delays();
        delays.come.record(by, since(event.due, came));
        delays.read.record(by, since(event.due, read));
        if event.left == 0 {
            let all = std::mem::take(&mut event.came);
            let first = all.iter().min().copied().unwrap_or(came);
            delays.first.record(by, since(event.due, first));
            for each in all {
                delays.spread.record(by, since(first, each));
            }
            let kept = self.finished.try_send(number);
            kept.expect("events are taken note of");
        }
    }
}

impl Delays {
    fn new() -> Self {
        Self {
            come: Latencies::new().unwrap(),
            read: Latencies::new().unwrap(),
            first: Latencies::new().unwrap(),
            spread: Latencies::new().unwrap(),
        }
    }
}

/// One cipher suite for all, so that no server is measured with another cipher.
fn connector(server: &Server) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&server.certificate).unwrap())
        .unwrap();
    let provider = rustls::crypto::CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384],
        ..aws_lc_rs::default_provider()
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn subscribe(
    connector: &TlsConnector,
    tcp: TcpStream,
    upgrade: &Upgrade,
) -> io::Result<TlsStream<PhoneSocket>> {
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = connector.connect(name, PhoneSocket::new(tcp)?).await?;
    tls.write_all(upgrade.request().as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(tls.read_u8().await?);
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 101 "),
        "refused: {}",
        String::from_utf8_lossy(&answer)
    );
    if let Some(greeting) = upgrade.greeting.as_deref() {
        tls.write_all(&client_frame(greeting.as_bytes())).await?;
    }
    Ok(tls)
}

/// A binary frame of less than 126 bytes, under a mask that changes nothing.
fn client_frame(payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).ok().filter(|len| *len < 126);
    let mut frame = vec![0x82, 0x80 | len.expect("a short frame"), 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

async fn listen(by: usize, mut stream: Stream, mut tls: TlsStream<PhoneSocket>, board: Arc<Board>) {
    loop {
        let goes_on = poll_fn(|context| {
            RECEIVED.with_borrow_mut(|received| {
                let mut free = ReadBuf::new(received);
                let read = ready!(Pin::new(&mut tls).poll_read(context, &mut free));
                let bytes = free.filled();
                let (came, now) = (tls.get_ref().0.came(), SystemTime::now());
                let saw = |number, len| board.saw(by, number, len, came, now);
                Poll::Ready(read.is_ok() && !bytes.is_empty() && stream.take(bytes, saw))
            })
        });
        if !goes_on.await {
            return;
        }
    }
}

const HANDSHAKES_MAX: usize = 32;
/// Events of which nobody has taken note yet.
const FINISHED_MAX: usize = 1 << 16;
const PATIENCE: Duration = Duration::from_secs(20);

thread_local! {
    static RECEIVED: RefCell<Vec<u8>> = RefCell::new(vec![0; 1 << 14]);
}
