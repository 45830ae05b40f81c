//! Pure. What an operator can choose about the private Postgres.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Holds the data and the lock. Kept between runs.
    pub data_dir: PathBuf,
    /// Where `initdb` and `postgres` are. None: searched.
    pub bin_dir: Option<PathBuf>,
    /// What the relay may open at once. Others, such as an operator, have room beside it.
    pub connections: u32,
    pub start_timeout: Duration,
    pub stop_timeout: Duration,
    /// Whether commits wait for the disk.
    pub durable: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from(".relay/postgres"),
            bin_dir: None,
            connections: 20,
            // Crash recovery replays up to a checkpoint's worth of WAL (1 GiB).
            start_timeout: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(20),
            durable: true,
        }
    }
}
