//! Pure. The referee of the demo: it hears what was sent and what every device
//! saw, and says what was lost, repeated, out of order, or read by someone who
//! should not have been able to.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use hdrhistogram::{CreationError, Histogram};

/// A device by its number in the cast.
pub type DeviceNumber = usize;

/// A latency above a minute is a minute.
const LONGEST_MICROS: u64 = 60_000_000;

/// What happened, in the words of those who did it.
#[derive(Clone, Debug)]
pub enum Observation {
    /// The relay took a message.
    Sent {
        by: DeviceNumber,
        message_id: String,
        text: String,
        epoch: u64,
        /// When it should have been sent; a late sender does not excuse anybody.
        intended: Instant,
    },
    /// A device was given a place in the event stream.
    Event {
        device: DeviceNumber,
        seq: u64,
        /// The message that the event tells of, if it tells of one.
        message_id: Option<String>,
        /// It came from the replay after a reconnect.
        resumed: bool,
    },
    /// A device decrypted a message.
    Decrypted {
        device: DeviceNumber,
        /// Its place in the conversation.
        seq: u64,
        message_id: String,
        text: String,
        at: Instant,
    },
}

/// One row of the table at the end.
#[derive(Clone, Debug)]
pub struct Row {
    pub label: String,
    pub events: u64,
    pub decrypted: u64,
    pub resumed: u64,
    /// Messages or their events that this device was entitled to and never got.
    pub lost: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    /// What it read or heard of without being entitled to it.
    pub forbidden: u64,
    pub latency: Histogram<u64>,
}

impl Row {
    pub fn is_clean(&self) -> bool {
        [
            self.lost,
            self.duplicated,
            self.out_of_order,
            self.forbidden,
        ] == [0; 4]
    }

    /// The latency that this share of the messages stayed below.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.latency.value_at_quantile(quantile))
    }
}

#[derive(Debug)]
struct Device {
    label: String,
    /// The epochs in which it is a member.
    entitled: RangeInclusive<u64>,
    /// Messages whose events came, in order of arrival.
    heard: Vec<String>,
    read: Vec<String>,
    last_event: u64,
    last_read: u64,
    events: u64,
    resumed: u64,
    duplicated: u64,
    out_of_order: u64,
    forbidden: u64,
    arrivals: Vec<(String, Instant)>,
}

#[derive(Debug)]
struct Message {
    by: DeviceNumber,
    text: String,
    epoch: u64,
    intended: Instant,
}

/// Everything that was observed.
#[derive(Debug)]
pub struct Referee {
    /// What every device's latencies start as: microseconds, to three digits.
    empty: Histogram<u64>,
    devices: Vec<Device>,
    sent: HashMap<String, Message>,
    texts: Vec<(DeviceNumber, String, String)>,
}

impl Referee {
    pub fn new() -> Result<Self, CreationError> {
        Ok(Self {
            empty: Histogram::new_with_bounds(1, LONGEST_MICROS, 3)?,
            devices: Vec::new(),
            sent: HashMap::new(),
            texts: Vec::new(),
        })
    }

    /// Adds a device that is a member in these epochs. Devices are numbered in the
    /// order in which they are added.
    pub fn admit(&mut self, label: &str, entitled: RangeInclusive<u64>) {
        self.devices.push(Device {
            label: label.to_owned(),
            entitled,
            heard: Vec::new(),
            read: Vec::new(),
            last_event: 0,
            last_read: 0,
            events: 0,
            resumed: 0,
            duplicated: 0,
            out_of_order: 0,
            forbidden: 0,
            arrivals: Vec::new(),
        });
    }

    pub fn observe(&mut self, observation: Observation) {
        match observation {
            Observation::Sent {
                by,
                message_id,
                text,
                epoch,
                intended,
            } => {
                let message = Message {
                    by,
                    text,
                    epoch,
                    intended,
                };
                self.sent.insert(message_id, message);
            }
            Observation::Event {
                device,
                seq,
                message_id,
                resumed,
            } => {
                if let Some(device) = self.devices.get_mut(device) {
                    device.event(seq, message_id, resumed);
                }
            }
            Observation::Decrypted {
                device: number,
                seq,
                message_id,
                text,
                at,
            } => {
                if let Some(device) = self.devices.get_mut(number) {
                    device.decrypted(seq, &message_id, at);
                    self.texts.push((number, message_id, text));
                }
            }
        }
    }

    /// How many messages the relay has taken.
    pub fn sent(&self) -> usize {
        self.sent.len()
    }

    /// How many decryptions there have been on all devices together.
    pub fn decrypted(&self) -> usize {
        self.devices.iter().map(|device| device.read.len()).sum()
    }

    /// Whether every device has everything that it is entitled to.
    pub fn is_complete(&self) -> bool {
        self.rows().iter().all(|row| row.lost == 0)
    }

    /// How much this device has yet to get.
    pub fn owes(&self, device: DeviceNumber) -> u64 {
        self.row(device).map_or(0, |row| row.lost)
    }

    /// The verdict on every device.
    pub fn rows(&self) -> Vec<Row> {
        (0..self.devices.len())
            .filter_map(|number| self.row(number))
            .collect()
    }

    fn row(&self, number: DeviceNumber) -> Option<Row> {
        let device = self.devices.get(number)?;
        let heard: HashSet<&str> = device.heard.iter().map(String::as_str).collect();
        let read: HashSet<&str> = device.read.iter().map(String::as_str).collect();
        let mut row = Row {
            label: device.label.clone(),
            events: device.events,
            decrypted: device.read.len() as u64,
            resumed: device.resumed,
            lost: 0,
            duplicated: device.duplicated,
            out_of_order: device.out_of_order,
            forbidden: device.forbidden,
            latency: self.empty.clone(),
        };
        for (id, message) in &self.sent {
            let (heard, read) = (heard.contains(id.as_str()), read.contains(id.as_str()));
            let entitled = device.entitled.contains(&message.epoch);
            let to_read = entitled && message.by != number;
            row.lost += u64::from(entitled && !heard) + u64::from(to_read && !read);
            row.forbidden += u64::from(!entitled && heard) + u64::from(!to_read && read);
        }
        for (by, id, text) in &self.texts {
            let genuine = self.sent.get(id).is_some_and(|sent| sent.text == *text);
            row.forbidden += u64::from(*by == number && !genuine);
        }
        for (id, at) in &device.arrivals {
            if let Some(message) = self.sent.get(id) {
                let latency = at.saturating_duration_since(message.intended);
                let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                row.latency.saturating_record(micros);
            }
        }
        Some(row)
    }
}

impl Device {
    fn event(&mut self, seq: u64, message_id: Option<String>, resumed: bool) {
        self.events += 1;
        self.resumed += u64::from(resumed);
        match seq {
            seq if seq == self.last_event => self.duplicated += 1,
            seq if seq < self.last_event => self.out_of_order += 1,
            seq => self.last_event = seq,
        }
        if let Some(id) = message_id {
            self.duplicated += u64::from(self.heard.contains(&id));
            self.heard.push(id);
        }
    }

    fn decrypted(&mut self, seq: u64, message_id: &str, at: Instant) {
        self.duplicated += u64::from(self.read.iter().any(|read| read == message_id));
        self.out_of_order += u64::from(seq <= self.last_read);
        self.last_read = seq;
        self.read.push(message_id.to_owned());
        self.arrivals.push((message_id.to_owned(), at));
    }
}

#[cfg(test)]
mod tests {
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
        let median = reader.quantile(0.5).as_secs_f64();
        assert!((0.0399..0.0401).contains(&median), "{median}");
    }

    #[test]
    fn a_missing_event_and_a_missing_message_are_losses() {
        let (writer, reader) = verdict(vec![sent("a", 2), event(WRITER, 1, "a")]);
        assert_eq!((writer.lost, reader.lost), (0, 2));
        let (_, reader) = verdict(vec![sent("a", 2), event(READER, 1, "a")]);
        assert_eq!(reader.lost, 1);
    }

    #[test]
    fn what_comes_twice_or_late_is_seen() {
        let (_, reader) = verdict(vec![
            sent("a", 2),
            sent("b", 2),
            event(READER, 2, "b"),
            event(READER, 1, "a"),
            event(READER, 2, "b"),
            read(2, "b"),
            read(1, "a"),
            read(1, "a"),
        ]);
        assert_eq!(reader.lost, 0);
        assert!(reader.duplicated >= 3);
        assert!(reader.out_of_order >= 2);
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
}
