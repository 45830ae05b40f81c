//! Pure. The referee of the demo: it hears what was sent and what every device
//! saw, and says what was lost, repeated, out of order, or read by someone who
//! should not have been able to.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::time::Instant;

use hdrhistogram::{CreationError, Histogram};

use crate::load::tally::no_latencies;

/// A device by its number in the cast.
pub type DeviceNumber = usize;

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
}

#[derive(Debug)]
struct Device {
    /// What can be told of it by itself.
    row: Row,
    /// The epochs in which it is a member.
    entitled: RangeInclusive<u64>,
    /// Messages whose events came, in order of arrival.
    heard: Vec<String>,
    read: Vec<String>,
    last_event: u64,
    last_read: u64,
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
    /// What every device's latencies start as.
    empty: Histogram<u64>,
    devices: Vec<Device>,
    sent: HashMap<String, Message>,
    texts: Vec<(DeviceNumber, String, String)>,
}

impl Referee {
    pub fn new() -> Result<Self, CreationError> {
        Ok(Self {
            empty: no_latencies()?,
            devices: Vec::new(),
            sent: HashMap::new(),
            texts: Vec::new(),
        })
    }

    /// Adds a device that is a member in these epochs. Devices are numbered in the
    /// order in which they are added.
    pub fn admit(&mut self, label: &str, entitled: RangeInclusive<u64>) {
        let row = Row {
            label: label.to_owned(),
            events: 0,
            decrypted: 0,
            resumed: 0,
            lost: 0,
            duplicated: 0,
            out_of_order: 0,
            forbidden: 0,
            latency: self.empty.clone(),
        };
        self.devices.push(Device {
            row,
            entitled,
            heard: Vec::new(),
            read: Vec::new(),
            last_event: 0,
            last_read: 0,
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
        let mut row = device.row.clone();
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
        self.row.events += 1;
        self.row.resumed += u64::from(resumed);
        let id = message_id.as_ref();
        let is_known = id.is_some_and(|id| self.heard.contains(id));
        match seq {
            seq if is_known || seq == self.last_event => self.row.duplicated += 1,
            seq if seq < self.last_event => self.row.out_of_order += 1,
            seq => self.last_event = seq,
        }
        self.heard.extend(message_id);
    }

    fn decrypted(&mut self, seq: u64, message_id: &str, at: Instant) {
        match self.read.iter().any(|read| read == message_id) {
            true => self.row.duplicated += 1,
            false => self.row.out_of_order += u64::from(seq <= self.last_read),
        }
        self.row.decrypted += 1;
        self.last_read = self.last_read.max(seq);
        self.read.push(message_id.to_owned());
        self.arrivals.push((message_id.to_owned(), at));
    }
}

#[cfg(test)]
#[path = "referee_tests.rs"]
mod tests;
