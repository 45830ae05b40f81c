//! A referee that lets a fault pass is worse than none.

use std::time::Duration;

use super::*;

const WRITER: DeviceNumber = 0;
const READER: DeviceNumber = 1;

/// A writer and a reader that is a member in epochs 2 to 3.
fn referee() -> Referee {
    let mut referee = Referee::new().unwrap();
    referee.admit("writer", 1..=9);
    referee.admit("reader", 2..=3);
    referee
}

fn sent(id: &str, epoch: u64) -> Observation {
    Observation::Sent {
        by: WRITER,
        message_id: id.to_owned(),
        text: format!("text of {id}"),
        epoch,
        intended: Instant::now(),
    }
}

fn event(device: DeviceNumber, seq: u64, id: &str) -> Observation {
    Observation::Event {
        device,
        seq,
        message_id: Some(id.to_owned()),
        resumed: false,
    }
}

fn read(seq: u64, id: &str) -> Observation {
    Observation::Decrypted {
        device: READER,
        seq,
        message_id: id.to_owned(),
        text: format!("text of {id}"),
        at: Instant::now(),
    }
}

fn verdict(observations: Vec<Observation>) -> (Row, Row) {
    let mut referee = referee();
    for observation in observations {
        referee.observe(observation);
    }
    let mut rows = referee.rows();
    let reader = rows.pop().unwrap();
    (rows.pop().unwrap(), reader)
}

#[test]
fn a_clean_run_is_clean() {
    let (writer, reader) = verdict(vec![
        sent("a", 2),
        sent("b", 3),
        event(WRITER, 1, "a"),
        event(WRITER, 2, "b"),
        event(READER, 1, "a"),
        read(1, "a"),
        event(READER, 2, "b"),
        read(2, "b"),
    ]);
    assert!(writer.is_clean() && reader.is_clean());
    assert_eq!((writer.decrypted, reader.decrypted), (0, 2));
    assert_eq!(reader.latency.len(), 2);
}

#[test]
fn latency_counts_from_when_a_message_should_have_been_sent() {
    let intended = Instant::now();
    let message = Observation::Sent {
        by: WRITER,
        message_id: "a".to_owned(),
        text: "text of a".to_owned(),
        epoch: 2,
        intended,
    };
    let decrypted = Observation::Decrypted {
        device: READER,
        seq: 1,
        message_id: "a".to_owned(),
        text: "text of a".to_owned(),
        at: intended + Duration::from_millis(40),
    };
    let (_, reader) = verdict(vec![message, decrypted]);
    let median = reader.latency.value_at_quantile(0.5);
    assert!((39_900..40_100).contains(&median), "{median}");
}

#[test]
fn a_missing_event_and_a_missing_message_are_losses() {
    let (writer, reader) = verdict(vec![sent("a", 2), event(WRITER, 1, "a")]);
    assert_eq!((writer.lost, reader.lost), (0, 2));
    let (_, reader) = verdict(vec![sent("a", 2), event(READER, 1, "a")]);
    assert_eq!(reader.lost, 1);
}

#[test]
fn what_comes_twice_or_late_is_counted_once() {
    let faults = |seen: Vec<Observation>| {
        let sent = ["a", "b", "c"].map(|id| sent(id, 2));
        let (_, reader) = verdict(sent.into_iter().chain(seen).collect());
        (reader.duplicated, reader.out_of_order)
    };
    let events = [(2, "b"), (1, "a"), (2, "b"), (3, "c"), (3, "c")];
    let events = events.map(|(seq, id)| event(READER, seq, id));
    assert_eq!(faults(events.into()), (2, 1));
    let messages = [(3, "c"), (1, "a"), (2, "b"), (1, "a")];
    let messages = messages.map(|(seq, id)| read(seq, id));
    assert_eq!(faults(messages.into()), (1, 2));
}

#[test]
fn a_device_is_entitled_to_the_epochs_of_its_membership_only() {
    let (_, reader) = verdict(vec![sent("a", 1), sent("b", 4)]);
    assert!(reader.is_clean());
    let (_, reader) = verdict(vec![sent("a", 1), event(READER, 1, "a"), read(1, "a")]);
    assert_eq!(reader.forbidden, 2);
}

#[test]
fn a_text_that_nobody_wrote_is_not_a_message() {
    let forged = Observation::Decrypted {
        device: READER,
        seq: 1,
        message_id: "a".to_owned(),
        text: "something else".to_owned(),
        at: Instant::now(),
    };
    let (_, reader) = verdict(vec![sent("a", 2), event(READER, 1, "a"), forged]);
    assert_eq!(reader.forbidden, 1);
}
