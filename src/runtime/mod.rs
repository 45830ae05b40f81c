//! What every part of the process needs: the one way to spawn a task, shutdown, backoff,
//! settings that can be replaced while they are in use.

mod backoff;
mod batcher;
mod cut;
mod descriptors;
#[cfg(test)]
mod every_way;
mod file_stamp;
mod held;
mod http1_io;
mod live;
mod pace;
mod pending;
pub(crate) mod queue;
mod random;
mod rate;
mod room;
mod shares;
mod shutdown;
mod supervisor;
mod survive;
mod transport;

pub use backoff::Backoff;
pub(crate) use batcher::{Batcher, Bounds, NotServed};
pub use cut::Cut;
pub use descriptors::raise_descriptor_limit;
#[cfg(test)]
pub(crate) use every_way::{Choices, every_way};
pub use file_stamp::FileStamp;
pub use held::Held;
pub(crate) use http1_io::Http1Io;
pub use live::Live;
pub(crate) use pace::{BYTES_PER_SECOND_MIN, PIECE_LEN_MIN, Pace};
pub(crate) use pending::Pending;
pub(crate) use random::random;
pub(crate) use rate::Rate;
pub(crate) use room::{KernelPatience, set_user_timeout, wait_for_room};
pub(crate) use shares::Shares;
pub use shutdown::{Drained, Shutdown};
pub use supervisor::tell_supervisor;
pub(crate) use survive::{endure, survive};
pub(crate) use transport::{Duplex, Transport};
