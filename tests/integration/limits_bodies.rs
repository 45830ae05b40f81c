//! How many bytes an account may send in a minute and in a day, as it meets these limits on a
//! built relay.

use std::time::Duration;

use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::{Account, Curve};
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use crate::relay::{Home, Relay, path, token};
use crate::tls::{Client, read_to_end};

/// The largest body, and how many of these fit in a minute.
const BODY: usize = 256 << 10;
const BODIES: usize = 8;

struct Stage {
    directory: Directory,
    relay: Relay,
}

/// How the length of a body is told.
#[derive(Clone, Copy)]
enum Told {
    InTheHead,
    WithTheLastPiece,
}

impl Stage {
    async fn new() -> Self {
        Self::with_a_day_of(1 << 30).await
    }

    async fn with_a_day_of(bytes: usize) -> Self {
        let directory = Directory::start().await.unwrap();
        let relay = Home::lived_in()
            .knowing(&directory)
            .with("MESSAGE_BODY_BYTES_MAX", &BODY.to_string())
            .with("BODY_BYTES_MAX", &BODY.to_string())
            .with("BODY_BYTES_PER_MINUTE", &(BODIES * BODY).to_string())
            .with("BODY_BYTES_PER_DAY", &bytes.to_string())
            .start();
        Self { directory, relay }
    }

    fn account(&self) -> Account {
        self.directory.account(Curve::P256).unwrap()
    }

    /// Asks with these headers and bytes; the whole answer.
    async fn ask(&self, account: &Account, call: &str, headers: &str, bytes: &[u8]) -> String {
        let (path, token) = (path(call), token(account, call));
        let method = if call == "getConvos" { "GET" } else { "POST" };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             authorization: Bearer {token}\r\ncontent-type: application/json\r\n{headers}\r\n"
        );
        let client = Client::http1(&self.relay);
        let mut stream = client.connect(&self.relay).await.unwrap();
        let request = [head.as_bytes(), bytes].concat();
        stream.write_all(&request).await.unwrap();
        read_to_end(&mut stream).await
    }

    /// Sends a body of blanks, which no call takes for its input.
    async fn send(&self, account: &Account, call: &str, told: Told) -> String {
        let body = vec![b' '; BODY];
        let (header, body) = match told {
            Told::InTheHead => (format!("content-length: {BODY}\r\n"), body),
            Told::WithTheLastPiece => {
                let begin = format!("{BODY:x}\r\n");
                let pieces = [begin.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
                ("transfer-encoding: chunked\r\n".to_owned(), pieces)
            }
        };
        self.ask(account, call, &header, &body).await
    }

    /// Sends bodies until one is refused; how many were not, and the refusal.
    async fn spend(&self, account: &Account) -> (usize, String) {
        let calls = ["sendMessage", "createConvo", "optIn", "publishKeyPackages"];
        let tellings = [Told::InTheHead, Told::InTheHead, Told::WithTheLastPiece];
        for nth in 0..10 * BODIES {
            let (call, told) = (calls[nth % calls.len()], tellings[nth % tellings.len()]);
            let answer = self.send(account, call, told).await;
            if !answer.starts_with("HTTP/1.1 400") {
                return (nth, answer);
            }
        }
        panic!("nothing was refused");
    }
}

#[tokio::test]
async fn what_an_account_sends_is_bounded_and_whoever_waits_as_told_gets_in() {
    let stage = Stage::new().await;
    let alice = stage.account();
    let (passed, refused) = stage.spend(&alice).await;
    // Some comes back while it is spent.
    assert!((BODIES..2 * BODIES).contains(&passed), "{passed}");
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    let words = "too many bytes in requests of this account in a minute; come back in";
    assert!(
        refused.contains("RateLimitExceeded") && refused.contains(words),
        "{refused}"
    );
    assert!(
        !refused.contains("\nratelimit-"),
        "of another limit: {refused}"
    );
    let wait = wait(&refused);
    assert!((1..=60 / BODIES as u64 + 1).contains(&wait), "{wait}");
    sleep(Duration::from_secs(wait)).await;
    let answer = stage.send(&alice, "sendMessage", Told::InTheHead).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

/// A byte of a chunk is six on the line, and costs as much time as hundreds that come together.
#[tokio::test]
async fn very_small_pieces_of_a_body_count_as_more_than_they_are() {
    let stage = Stage::new().await;
    let alice = stage.account();
    let send = async |pieces: usize| {
        let body = "1\r\n \r\n".repeat(pieces) + "0\r\n\r\n";
        let header = "transfer-encoding: chunked\r\n";
        let call = "sendMessage";
        stage.ask(&alice, call, header, body.as_bytes()).await
    };
    let most = BODY / 256;
    let too_many = send(most + 1).await;
    assert!(too_many.starts_with("HTTP/1.1 413"), "{too_many}");
    let words = format!("has a body in over {most} pieces; send larger ones");
    assert!(too_many.contains(&words), "{too_many}");
    let mut passed = 0;
    let refused = loop {
        let answer = send(most).await;
        if !answer.starts_with("HTTP/1.1 400") {
            break answer;
        }
        passed += 1;
        assert!(passed < 2 * BODIES, "all of them pass");
    };
    assert!(passed >= BODIES, "{passed}");
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
}

fn wait(refused: &str) -> u64 {
    let wait = refused
        .lines()
        .find_map(|line| line.strip_prefix("retry-after: "));
    wait.expect("a wait").parse().unwrap()
}

#[tokio::test]
async fn whoever_has_spent_its_day_hears_so_and_when_there_is_room_for_this_body() {
    let stage = Stage::with_a_day_of(BODIES * BODY).await;
    let alice = stage.account();
    let (passed, refused) = stage.spend(&alice).await;
    assert_eq!(
        passed, BODIES,
        "in a day next to nothing comes back meanwhile"
    );
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    let words = "too many bytes in requests of this account in a day; come back in";
    assert!(refused.contains(words), "{refused}");
    assert!(!refused.contains("\nratelimit-"), "{refused}");
    let one_comes_back_in = 86_400 / BODIES as u64;
    let expected = one_comes_back_in - 60..=one_comes_back_in;
    assert!(expected.contains(&wait(&refused)), "{refused}");
    let answer = stage.ask(&alice, "getConvos", "", &[]).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (_, metrics) = stage.relay.ask_admin("/metrics").await;
    for rule in ["body_bytes", "body_bytes_day"] {
        let counted =
            format!("relay_limits_refused_total{{rule=\"{rule}\",outcome=\"refused\"}} 1");
        assert!(metrics.contains(&counted), "{metrics}");
    }
}

#[tokio::test]
async fn what_is_too_much_is_refused_before_it_is_read_and_costs_nobody_else() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.account(), stage.account());
    stage.spend(&alice).await;
    let headers = format!("content-length: {BODY}\r\nexpect: 100-continue\r\n");
    let answer = stage.ask(&alice, "sendMessage", &headers, &[]).await;
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    let answer = stage.send(&alice, "optIn", Told::WithTheLastPiece).await;
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    // What has no body is not refused for it, and others have their own.
    let answer = stage.ask(&alice, "getConvos", "", &[]).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = stage.send(&bob, "sendMessage", Told::InTheHead).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let (_, metrics) = stage.relay.ask_admin("/metrics").await;
    let counted = "relay_limits_refused_total{rule=\"body_bytes\",outcome=\"refused\"} 3";
    assert!(metrics.contains(counted), "{metrics}");
}
