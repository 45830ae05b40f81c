//! A client of streamConvoEvents, over HTTP/1.1 or HTTP/2, that holds every event
//! against the lexicon.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::Value;
use socket2::{SockFilter, SockRef};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::http2;
use crate::lexicon::Lexicons;
use crate::wording;
use crate::world::{Client, Refused, send_on, whole};

const CALL: &str = "streamConvoEvents";

/// An open stream.
pub(crate) struct EventStream {
    body: Incoming,
    text: String,
    lexicons: Arc<Lexicons>,
}

/// One server-sent event.
#[derive(Debug)]
pub(crate) struct Told {
    /// Where to resume after it.
    pub(crate) id: Option<String>,
    pub(crate) frame: Value,
}

impl Told {
    pub(crate) fn name(&self) -> &str {
        self.frame["t"].as_str().unwrap_or_default()
    }

    pub(crate) fn body(&self) -> &Value {
        &self.frame["body"]
    }
}

impl EventStream {
    pub(crate) async fn open(client: &Client, parameters: &[(&str, &str)]) -> Self {
        Self::resume(client, parameters, None).await.unwrap()
    }

    /// As a browser does: with the id of the last event that it was told.
    pub(crate) async fn resume(
        client: &Client,
        parameters: &[(&str, &str)],
        last_event_id: Option<&str>,
    ) -> Result<Self, Refused> {
        let mut request = client.get_request(CALL, parameters);
        if let Some(id) = last_event_id {
            let headers = request.headers_mut();
            headers.insert("last-event-id", id.parse().unwrap());
        }
        Self::of(client, client.send(request).await).await
    }

    pub(crate) async fn open_over_http_2(client: &Client, parameters: &[(&str, &str)]) -> Self {
        let stream = client.relay.connect(&[b"h2"]).await.unwrap();
        let request = client.get_request(CALL, parameters);
        let response = send_over_http_2(stream, request).await;
        Self::of(client, response).await.unwrap()
    }

    /// A stream whose client is out of reach once it is live: nothing comes to it any more, and
    /// nobody is told.
    pub(crate) async fn lost(client: &Client, protocol: &[u8]) -> Self {
        let stream = client.relay.connect(&[protocol]).await.unwrap();
        let socket = stream.get_ref().0.as_fd().try_clone_to_owned().unwrap();
        let request = client.get_request(CALL, &[]);
        let response = match protocol {
            b"h2" => send_over_http_2(stream, request).await,
            _ => send_on(stream, request).await,
        };
        let mut lost = Self::of(client, response).await.unwrap();
        lost.next_named("#synced").await;
        let nothing = SockFilter::new(BPF_RET, 0, 0, 0);
        SockRef::from(&socket).attach_filter(&[nothing]).unwrap();
        lost
    }

    async fn of(client: &Client, response: Response<Incoming>) -> Result<Self, Refused> {
        if response.status() != StatusCode::OK {
            return Err(client.refusal(CALL, whole(response).await));
        }
        let (parts, body) = response.into_parts();
        assert_eq!(parts.headers["content-type"], "text/event-stream");
        assert_eq!(parts.headers["cache-control"], "no-store");
        Ok(Self {
            body,
            text: String::new(),
            lexicons: Arc::clone(&client.lexicons),
        })
    }

    /// The next event, or nothing at the stream's end.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let told = told(event);
                self.text = rest.to_owned();
                if let Some(told) = told {
                    self.check(&told);
                    return Some(told);
                }
            }
            let frame = timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.expect("something is told")?.ok()?;
            let data: Bytes = frame.into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The next event of this name; others are passed over.
    pub(crate) async fn next_named(&mut self, name: &str) -> Told {
        loop {
            let told = self.next().await.expect("the stream goes on");
            if told.name() == name {
                return told;
            }
        }
    }

    fn check(&self, told: &Told) {
        if told.frame["op"] == 1 {
            let faults = self.lexicons.event_faults(told.name(), told.body());
            assert!(faults.is_empty(), "{}: {faults:?}", told.name());
        } else {
            let error = told.body()["error"].as_str().unwrap();
            let known = self.lexicons.knows_error(CALL, error);
            assert!(known, "{CALL} does not name the error {error}");
        }
        // `message` of an event is an object.
        let message = told.body()["message"].as_str();
        assert_eq!(message.and_then(wording::fault), None, "{message:?}");
        // What can be resumed after says so in the way of browsers too.
        assert_eq!(told.id.as_deref(), told.body()["cursor"].as_str());
    }
}

async fn send_over_http_2(
    stream: TlsStream<TcpStream>,
    mut request: Request<Full<Bytes>>,
) -> Response<Incoming> {
    let target = format!("https://relay.test{}", request.uri());
    *request.uri_mut() = target.parse().unwrap();
    request.headers_mut().remove("host");
    let (mut sender, _connection) = http2::over(stream).await;
    sender.send_request(request).await.unwrap()
}

/// `None`: a comment.
fn told(event: &str) -> Option<Told> {
    let mut told = Told {
        id: None,
        frame: Value::Null,
    };
    for line in event.lines() {
        match line.split_once(": ").unwrap() {
            ("id", id) => told.id = Some(id.to_owned()),
            ("data", data) => told.frame = serde_json::from_str(data).unwrap(),
            ("retry", _) | ("", _) => {}
            other => panic!("a line that no event has: {other:?}"),
        }
    }
    (!told.frame.is_null()).then_some(told)
}

/// "Takes so many bytes of a packet" (linux/bpf_common.h).
const BPF_RET: u16 = 0x06;

const PATIENCE: Duration = Duration::from_secs(30);
