//! A subscriber of a test, and what it hears, in short.

use std::time::Duration;

use crate::events::{Hub, News, Subscriber, Subscription};
use crate::types::{CoarseTime, ConvoId, Cursor, Did, Seq};

pub(crate) fn subscribe(
    hub: &Hub,
    did: &str,
    filter: Option<&str>,
    after: Option<u64>,
) -> Subscription {
    let subscriber = Subscriber {
        did: Did::parse(did).unwrap(),
        filter: filter.map(|convo| ConvoId::parse(convo).unwrap()),
        hydrate: false,
    };
    let at = CoarseTime::from_unix_seconds(0);
    let cursor = after.map(|seq| Cursor::new(at, Seq::new(seq)));
    hub.subscribe(subscriber, cursor)
}

/// What comes next, in short: `+7` for an event, a word for the rest.
pub(crate) async fn hear(subscription: &mut Subscription, lines: usize) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.len() < lines {
        let next = tokio::time::timeout(Duration::from_secs(600), subscription.next());
        match next.await.expect("something comes within ten minutes") {
            Ok(News::Events(events)) => {
                heard.extend(events.iter().map(|event| format!("+{}", event.seq().get())));
            }
            Ok(News::Gap(gap)) => {
                let touched = gap.conversations.iter().map(|one| one.convo_id.expose());
                heard.push(format!("gap {}", touched.collect::<Vec<_>>().join(" ")));
            }
            Ok(News::Synced(standings)) => heard.push(format!("synced {}", standings.seq.get())),
            Ok(News::Outdated) => heard.push("outdated".to_owned()),
            Ok(News::Ended) => heard.push("ended".to_owned()),
            Err(error) => heard.push(error.to_string()),
        }
    }
    heard
}
