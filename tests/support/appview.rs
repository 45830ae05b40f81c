//! An AppView on loopback that knows of blocks: `app.bsky.graph.getRelationships` over
//! real HTTP. It can be told to fail, and counts what it is asked.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A running AppView, until the runtime ends.
pub(crate) struct AppView {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    blocks: HashSet<(String, String)>,
    is_down: bool,
    questions: usize,
    /// As many as it answers in a second; it says of more that they are too many.
    per_second: Option<usize>,
    answered: Vec<Instant>,
    limited: usize,
}

impl AppView {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let served = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&served);
                let service = service_fn(move |request| {
                    let answer = answer(&request, &state);
                    async move { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, state }
    }

    /// What `APPVIEW_URL` should say.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn block(&self, blocker: &str, blocked: &str) {
        let pair = (blocker.to_owned(), blocked.to_owned());
        self.state.lock().unwrap().blocks.insert(pair);
    }

    pub(crate) fn unblock(&self, blocker: &str, blocked: &str) {
        let pair = (blocker.to_owned(), blocked.to_owned());
        self.state.lock().unwrap().blocks.remove(&pair);
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.state.lock().unwrap().is_down = is_down;
    }

    pub(crate) fn set_per_second(&self, most: usize) {
        self.state.lock().unwrap().per_second = Some(most);
    }

    /// How many questions were too many.
    pub(crate) fn limited(&self) -> usize {
        self.state.lock().unwrap().limited
    }

    pub(crate) fn questions(&self) -> usize {
        self.state.lock().unwrap().questions
    }
}

impl State {
    fn is_too_often(&mut self) -> bool {
        let Some(most) = self.per_second else {
            return false;
        };
        let second = Duration::from_secs(1);
        self.answered.retain(|at| at.elapsed() < second);
        let is_too_often = self.answered.len() >= most;
        match is_too_often {
            true => self.limited += 1,
            false => self.answered.push(Instant::now()),
        }
        is_too_often
    }
}

fn answer(request: &Request<Incoming>, state: &Mutex<State>) -> Response<Full<Bytes>> {
    let mut state = state.lock().unwrap();
    state.questions += 1;
    let path = request.uri().path();
    assert_eq!(path, "/xrpc/app.bsky.graph.getRelationships");
    if state.is_down {
        let response = Response::builder().status(502);
        return response.body(Full::default()).unwrap();
    }
    if state.is_too_often() {
        let response = Response::builder().status(429).header("retry-after", "1");
        return response.body(Full::default()).unwrap();
    }
    let query = request.uri().query().unwrap_or_default();
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let named = |name: &'static str| pairs.iter().filter(move |(key, _)| key == name);
    let actor = &named("actor").next().unwrap().1;
    assert!(named("others").count() <= 30, "its lexicon allows 30");
    let uri = |blocker: &str, blocked: &str| -> Value {
        let pair = (blocker.to_owned(), blocked.to_owned());
        let there = state.blocks.contains(&pair);
        there
            .then(|| format!("at://{blocker}/app.bsky.graph.block/3k"))
            .into()
    };
    let relationships: Vec<Value> = named("others")
        .map(|(_, other)| {
            json!({
                "$type": "app.bsky.graph.defs#relationship",
                "did": other,
                "blocking": uri(actor, other),
                "blockedBy": uri(other, actor),
            })
        })
        .collect();
    let body = json!({"actor": actor, "relationships": relationships}).to_string();
    Response::new(Full::from(body))
}
