//! Many read the past at once: together they read each event once, and each gets exactly
//! its own.

use std::collections::HashSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::memory::Memory;
use super::subscriber::{hear, subscribe};
use crate::events::circle::Circle;
use crate::events::runs::{Reading, visible};
use crate::events::*;
use crate::store::{Membership, Run, Topic};
use crate::types::{ConvoId, Did, Seq};

const CONVOS: usize = 3;
const ACCOUNTS: usize = 3;

fn convo(index: usize) -> ConvoId {
    ConvoId::parse(&format!("a{index}")).unwrap()
}

fn account(index: usize) -> Did {
    Did::parse(&format!("did:plc:{index}")).unwrap()
}

/// Of each event, what it is about; the first has number 1.
type Log = Vec<Topic>;

fn log() -> impl Strategy<Value = Log> {
    let topic = prop_oneof![
        4 => (0..CONVOS).prop_map(|index| Topic::Convo(convo(index))),
        1 => (0..ACCOUNTS).prop_map(|index| Topic::Account(account(index))),
    ];
    proptest::collection::vec(topic, 0..60)
}

/// A subscriber with its stays and its cursor, and how much it takes at a time.
#[derive(Clone, Debug)]
struct Returning {
    subscriber: Subscriber,
    stays: Vec<Membership>,
    after: u64,
    page: usize,
    heard: Vec<u64>,
}

fn returning() -> impl Strategy<Value = Returning> {
    let stay = (0..CONVOS, 1..60_u64, proptest::option::of(0..40_u64));
    let stay = stay.prop_map(|(index, joined, length)| Membership {
        convo: convo(index),
        joined: Seq::new(joined),
        left: length.map(|length| Seq::new(joined + length)),
    });
    let filter = proptest::option::weighted(0.3, (0..CONVOS).prop_map(convo));
    let stays = proptest::collection::vec(stay, 0..5);
    (0..ACCOUNTS, filter, stays, 0..60_u64, 1..6_usize).prop_map(
        |(index, filter, stays, after, page)| Returning {
            subscriber: Subscriber {
                did: account(index),
                filter,
                hydrate: false,
            },
            stays,
            after,
            page,
            heard: Vec::new(),
        },
    )
}

impl Returning {
    /// The oracle.
    fn sees(&self, seq: u64, topic: &Topic) -> bool {
        let filter = self.subscriber.filter.as_ref();
        match topic {
            Topic::Account(did) => filter.is_none() && *did == self.subscriber.did,
            Topic::Convo(convo) => {
                let circle = Circle::as_of(Seq::LAST, self.stays.clone());
                filter.is_none_or(|filter| filter == convo) && circle.sees(convo, Seq::new(seq))
            }
        }
    }

    fn expected(&self, log: &Log) -> Vec<u64> {
        let all = (1..).zip(log);
        let seen = all.filter(|(seq, topic)| *seq > self.after && self.sees(*seq, topic));
        seen.map(|(seq, _)| seq).collect()
    }
}

fn stored(seq: u64) -> Stored {
    let text = format!(r#"{{"cursor":"{seq}","convoId":"aa","messageId":"x"}}"#);
    Stored {
        seq: Seq::new(seq),
        event: Some(Arc::new(Event::parse(&text).unwrap())),
    }
}

/// What a table answers.
fn rows(log: &Log, run: &Run, each: usize) -> Vec<Stored> {
    let range = (1..).zip(log).filter(|(seq, topic)| {
        *seq > run.after.get() && *seq <= run.through.get() && **topic == run.topic
    });
    range.take(each).map(|(seq, _)| stored(seq)).collect()
}

proptest! {
    #[test]
    fn whoever_reads_with_others_gets_its_own_events_and_none_is_read_twice(
        log in log(),
        mut phones in proptest::collection::vec(returning(), 1..6),
        each in 1..8_usize,
        readings in 1..3_usize,
    ) {
        let head = Seq::new(log.len() as u64);
        let starts: Vec<_> = phones.iter().map(|phone| phone.after).collect();
        let expected: Vec<_> = phones.iter().map(|phone| phone.expected(&log)).collect();
        // Every page brings something or is the last.
        for _ in 0..=log.len() {
            let wanted: Vec<_> = phones
                .iter()
                .map(|phone| {
                    let range = (Seq::new(phone.after), head);
                    visible(&phone.subscriber, phone.stays.clone(), range)
                })
                .collect();
            let mut reading = Reading::of(wanted.iter().flatten());
            let mut seen = HashSet::new();
            for _ in 0..readings {
                let rest = reading.rest(20);
                let read: Vec<_> = rest.iter().map(|run| rows(&log, run, each)).collect();
                for row in read.iter().flatten() {
                    prop_assert!(seen.insert(row.seq), "{:?} was read twice", row.seq);
                }
                reading.add(read, 20, each);
            }
            for (phone, wanted) in phones.iter_mut().zip(&wanted) {
                if phone.after >= head.get() {
                    continue;
                }
                let range = (Seq::new(phone.after), head);
                let page = reading.page(wanted, range, phone.page);
                prop_assert!(page.through > range.0 && !page.gap);
                phone.heard.extend(page.events.iter().map(|event| event.seq().get()));
                phone.after = page.through.get();
            }
        }
        for ((phone, expected), start) in phones.iter().zip(expected).zip(starts) {
            prop_assert!(phone.after >= head.get().max(start));
            prop_assert_eq!(&phone.heard, &expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_past_of_a_conversation_is_read_once_for_all_who_come_back_at_once() {
    let memory = Memory::default();
    for phone in 0..50 {
        memory.join(&format!("did:plc:{phone}"), "aa");
    }
    let first = memory.send("aa");
    (1..100).for_each(|_| _ = memory.send("aa"));
    let (hub, _shutdown) = memory.hub(Settings {
        recent_at_start: 0,
        ..Settings::default()
    });
    let phones = (0..50).map(|phone| {
        let mut phone = subscribe(&hub, &format!("did:plc:{phone}"), None, Some(first - 1));
        tokio::spawn(async move { hear(&mut phone, 101).await })
    });
    for phone in phones.collect::<Vec<_>>() {
        let heard = phone.await.unwrap();
        assert_eq!(heard[0], format!("+{first}"));
        assert_eq!(heard[100], format!("synced {}", first + 99));
    }
    // Once for the one that came first, and once for those that waited meanwhile.
    assert!(memory.rows_read() <= 200, "{} rows", memory.rows_read());
}

#[tokio::test(start_paused = true)]
async fn however_little_one_reading_may_bring_all_who_wait_get_on() {
    let memory = Memory::default();
    for phone in 0..9 {
        let convo = format!("a{phone}");
        memory.join(&format!("did:plc:{phone}"), &convo);
        (0..20).for_each(|_| _ = memory.send(&convo));
    }
    let (hub, _shutdown) = memory.hub(Settings {
        recent_at_start: 0,
        replay_rows_max: 7,
        ..Settings::default()
    });
    let phones = (0..9).map(|phone| {
        let mut phone = subscribe(&hub, &format!("did:plc:{phone}"), None, Some(0));
        tokio::spawn(async move { hear(&mut phone, 22).await })
    });
    for phone in phones.collect::<Vec<_>>() {
        assert_eq!(phone.await.unwrap()[21], "synced 189");
    }
}
