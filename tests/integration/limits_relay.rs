//! The limits of a built relay with its defaults, as a client meets them: seventy
//! requests from one address, quotas of an account, frames on a socket, a thousand
//! phones at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::{Account, Curve};
use mls_relay_loadtest::relay as remote;
use serde_json::Value;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use crate::relay::{Home, Relay, path, token};

const PATIENCE: Duration = Duration::from_secs(60);

/// A relay, and the directory of the accounts that speak to it.
struct Stage {
    directory: Directory,
    process: Relay,
    relay: Arc<remote::Relay>,
}

impl Stage {
    async fn with(settings: &[(&str, &str)]) -> Self {
        let directory = Directory::start().await.unwrap();
        let home = Home::lived_in().knowing(&directory);
        let process = home.with_all(settings.iter().copied()).start();
        Self {
            directory,
            relay: process.reach(),
            process,
        }
    }

    fn account(&self) -> Account {
        self.directory.account(Curve::P256).unwrap()
    }

    async fn line(&self) -> Line {
        let stream = self.relay.connect(&[b"http/1.1"]).await.unwrap();
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(driver);
        Line(sender)
    }
}

/// One connection that is kept.
struct Line(http1::SendRequest<Full<Bytes>>);

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Line {
    async fn ask(&mut self, method: Method, path: &str, token: Option<&str>) -> Answer {
        let (parts, body) = self.begin(method, path, token).await.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    /// The answer as it begins, for one that does not end.
    async fn begin(
        &mut self,
        method: Method,
        path: &str,
        token: Option<&str>,
    ) -> Response<Incoming> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "relay.test")
            .header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::default()).unwrap();
        self.0.ready().await.unwrap();
        self.0.send_request(request).await.unwrap()
    }

    /// A call of an account, with a token of its own and nothing in it.
    async fn call(&mut self, account: &Account, method: Method, call: &str) -> Answer {
        let token = token(account, call);
        self.ask(method, &path(call), Some(&token)).await
    }
}

impl Answer {
    fn is_refused(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS
    }

    fn number(&self, header: &str) -> u64 {
        let value = self.headers.get(header);
        let value = value.unwrap_or_else(|| panic!("no {header} in {:?}", self.headers));
        value.to_str().unwrap().parse().unwrap()
    }

    fn message(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["message"].as_str().unwrap().to_owned()
    }

    /// A refusal says what it is, and when to come back: never in more than the window.
    fn says_when_to_come_back(&self, limit: u64) {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(body["error"], "RateLimitExceeded");
        assert!((1..=60).contains(&self.number("retry-after")));
        self.tells_the_quota(limit);
        assert_eq!(self.number("ratelimit-remaining"), 0);
    }

    fn tells_the_quota(&self, limit: u64) {
        assert_eq!(self.number("ratelimit-limit"), limit);
        assert!(self.number("ratelimit-reset") > 1_700_000_000);
        let policy = self.headers.get("ratelimit-policy").unwrap();
        assert_eq!(policy, &format!("{limit};w=60"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_seventy_requests_from_one_address_the_first_sixty_pass_then_the_burst() {
    let stage = Stage::with(&[]).await;
    let mut line = stage.line().await;
    // Whatever is asked for: it counts before anybody looks at it.
    let kinds = [
        (Method::GET, "/health/live", None),
        (Method::OPTIONS, "/xrpc/blue.catbird.mls.getConvos", None),
        (
            Method::GET,
            "/xrpc/blue.catbird.mls.getConvos",
            Some("a.b.c"),
        ),
        (Method::POST, "/xrpc/blue.catbird.mls.sendMessage", None),
        (Method::GET, "/nothing", None),
    ];
    for nth in 0..70_usize {
        let (method, path, token) = kinds[nth % kinds.len()].clone();
        let answer = line.ask(method, path, token).await;
        if nth < 66 {
            assert!(!answer.is_refused(), "request {nth} was refused");
            answer.tells_the_quota(60);
            let left = 60_u64.saturating_sub(nth as u64 + 1);
            assert_eq!(answer.number("ratelimit-remaining"), left, "request {nth}");
        } else {
            assert!(
                answer.is_refused(),
                "request {nth} passed: {}",
                answer.status
            );
            answer.says_when_to_come_back(60);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_who_writes_tokens_in_an_accounts_name_does_not_shut_it_out() {
    let stage = Stage::with(&[]).await;
    let alice = stage.account();
    let (mut hers, mut a_neighbours) = (stage.line().await, stage.line().await);
    let call = "getConvos";
    let own = hers.call(&alice, Method::GET, call).await;
    assert_eq!(own.status, StatusCode::OK);
    let mut last = None;
    // The window and its burst, the reserve of a known account, and some more.
    for _ in 0..66 + 20 + 10 {
        let token = token(&alice, call);
        let (signed, _) = token.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}", "A".repeat(86));
        let path = path(call);
        let answer = a_neighbours.ask(Method::GET, &path, Some(&forged)).await;
        last = Some(answer);
    }
    assert!(last.unwrap().is_refused());
    for _ in 0..30 {
        let own = hers.call(&alice, Method::GET, call).await;
        assert_eq!(own.status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_spends_an_addresss_window_cannot_try_who_is_behind_it() {
    // More refusals than here would be an offence, and the wait another one.
    let stage = Stage::with(&[("PENALTY_STRIKES", "1000")]).await;
    let (alice, stranger) = (stage.account(), stage.account());
    let (mut hers, mut line) = (stage.line().await, stage.line().await);
    let own = hers.call(&alice, Method::GET, "getConvos").await;
    assert_eq!(own.status, StatusCode::OK);
    for _ in 0..66 {
        line.ask(Method::GET, "/nothing", None).await;
    }
    let asked = stage.directory.requests();
    // More than her reserve.
    for nth in 0..25 {
        for path in [&path("getConvos"), &path("streamConvoEvents"), "/nothing"] {
            let mut heard = Vec::new();
            for account in [&alice, &stranger] {
                let token = token(account, "getConvos");
                let (signed, _) = token.rsplit_once('.').unwrap();
                let forged = format!("{signed}.{}", "A".repeat(86));
                let answer = line.ask(Method::GET, path, Some(&forged)).await;
                let mut words = String::from_utf8(answer.body.to_vec()).unwrap();
                words.retain(|letter| !letter.is_ascii_digit());
                heard.push((
                    answer.status,
                    words,
                    answer.headers.get("ratelimit-limit").cloned(),
                ));
            }
            assert_eq!(heard[0], heard[1], "{path}, the {nth}th time");
        }
    }
    assert_eq!(stage.directory.requests(), asked, "that takes time");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_has_its_quota_and_says_when_to_come_back() {
    let stage = Stage::with(&[]).await;
    let mut line = stage.line().await;
    let quotas: [(&[&str], Method, u64); 2] = [
        (
            &["publishKeyPackage", "publishKeyPackages", "registerDevice"],
            Method::POST,
            20,
        ),
        (&["getConvos"], Method::GET, 200),
    ];
    let neighbour = stage.account();
    for (calls, method, quota) in quotas {
        let account = stage.account();
        for nth in 0..quota + 3 {
            let call = calls[nth as usize % calls.len()];
            let answer = line.call(&account, method.clone(), call).await;
            if nth < quota {
                assert!(!answer.is_refused(), "{call} {nth} was refused");
                assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{call} {nth}");
                answer.tells_the_quota(quota);
                assert_eq!(answer.number("ratelimit-remaining"), quota - nth - 1);
            } else {
                assert!(
                    answer.is_refused(),
                    "{call} {nth} passed: {}",
                    answer.status
                );
                answer.says_when_to_come_back(quota);
            }
        }
        let other = line.call(&account, Method::GET, "listDevices").await;
        assert_eq!(other.status, StatusCode::OK, "another call has its own");
        let other = line.call(&neighbour, method, calls[0]).await;
        assert!(!other.is_refused(), "another account has its own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sixth_subscription_hears_which_limit_it_met_and_no_other_limits_numbers() {
    let stage = Stage::with(&[]).await;
    let (alice, call) = (stage.account(), "streamConvoEvents");
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut line = stage.line().await;
        let token = token(&alice, call);
        let stream = line.begin(Method::GET, &path(call), Some(&token)).await;
        assert_eq!(stream.status(), StatusCode::OK);
        open.push((line, stream));
    }
    let refused = stage.line().await.call(&alice, Method::GET, call).await;
    assert!(refused.is_refused(), "{}", refused.status);
    assert!(refused.number("retry-after") > 0);
    let message = refused.message();
    assert!(
        message.starts_with("5 subscriptions are open for this account"),
        "{message}"
    );
    // Its address has places left, which say nothing of when a subscription ends.
    let windows = mls_relay::limits::HEADERS;
    let told: Vec<_> = windows
        .iter()
        .filter(|name| refused.headers.contains_key(*name))
        .collect();
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_on_a_socket_are_warned_refused_and_cut_off() {
    let stage = Stage::with(&[]).await;
    let call = "subscribeConvoEvents";
    let request = Request::get(format!("wss://relay.test{}", path(call)))
        .header("host", "relay.test")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", generate_key())
        .header("sec-websocket-protocol", "mls-relay.json.v1")
        .header(
            "authorization",
            format!("Bearer {}", token(&stage.account(), call)),
        )
        .body(())
        .unwrap();
    let stream = stage.relay.connect(&[b"http/1.1"]).await.unwrap();
    let (socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    let (mut sender, mut receiver) = socket.split();
    // 300 may come, then 10 are refused one by one, then it is over.
    for _ in 0..311 {
        let ping = Message::text(r#"{"$type":"ping"}"#);
        sender.send(ping).await.unwrap();
    }
    let (mut pongs, mut refused, mut warned_at) = (0, 0, None);
    let code = loop {
        let message = timeout(PATIENCE, receiver.next()).await.unwrap().unwrap();
        let text = match message.unwrap() {
            Message::Text(text) => text.to_string(),
            Message::Close(frame) => break frame.map(|frame| u16::from(frame.code)),
            _ => continue,
        };
        let frame: Value = serde_json::from_str(&text).unwrap();
        let frame = &frame["body"];
        if text.contains("#limits") {
            assert_eq!(frame["policy"], "frames");
            assert_eq!(frame["remaining"], 60);
            assert!(frame["resetMs"].as_u64().unwrap() <= 60_000);
            warned_at = Some(pongs);
        } else if text.contains("RateLimited") {
            if let Some(wait) = frame["retryAfterMs"].as_u64() {
                assert!(wait <= 60_000);
                refused += 1;
            }
        } else if text.contains("pong") {
            pongs += 1;
        }
    };
    assert_eq!((pongs, refused), (300, 10));
    assert_eq!(warned_at, Some(239), "with the 240th, at four fifths");
    assert_eq!(code, Some(1008));
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_that_come_at_once_from_one_address_wait_for_each_other() {
    let stage = Stage::with(&[("CONNECTIONS_PER_IP_PER_SECOND", "10000")]).await;
    // Nobody is known yet, and to look one up takes longer than for all to arrive.
    stage.directory.set_latency(Duration::from_millis(300));
    let accounts: Vec<_> = (0..250).map(|_| stage.account()).collect();
    let lines = join_all(accounts.iter().map(|_| stage.line())).await;
    let calls = lines
        .into_iter()
        .zip(&accounts)
        .map(|(mut line, account)| async move {
            line.call(account, Method::GET, "getConvos").await.status
        });
    let statuses = join_all(calls).await;
    let refused: Vec<_> = statuses.iter().filter(|s| **s != StatusCode::OK).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let (_, metrics) = stage.process.ask_admin("/metrics").await;
    let waited = r#"relay_limits_waits_total{outcome="admitted"}"#;
    assert!(metrics.contains(waited), "nobody had to wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_prove_nothing_are_not_checked_more_often_for_waiting() {
    let stage = Stage::with(&[("CONNECTIONS_PER_IP_PER_SECOND", "10000")]).await;
    stage.directory.set_latency(Duration::from_millis(300));
    let victims: Vec<_> = (0..200).map(|_| stage.account()).collect();
    let calls = victims.iter().map(|victim| async {
        // Signed by another key than the account's.
        let forger = Account::with_did(victim.did(), Curve::P256).unwrap();
        let mut line = stage.line().await;
        line.call(&forger, Method::GET, "getConvos").await.status
    });
    let statuses = join_all(calls).await;
    let count = |status| statuses.iter().filter(|s| **s == status).count();
    let checked = count(StatusCode::UNAUTHORIZED);
    assert_eq!(checked + count(StatusCode::TOO_MANY_REQUESTS), 200);
    assert!(checked <= 66, "{checked} were checked");
    let looked_up = victims
        .iter()
        .filter(|victim| stage.directory.requests_for(victim.did()) > 0);
    assert!(looked_up.count() <= 66);
}
