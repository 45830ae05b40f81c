//! Deletes what is too old, in background tasks that one node at a time runs. Messages and
//! events leave by whole days, as tables; the rest in small bites. A task that fails is tried
//! again and shows in health; it never takes the relay down.

mod clocks;
mod days;
mod settings;
mod status;
mod task;

pub use settings::Settings;
pub use status::{Status, TaskStatus};
pub use task::{NodeClock, Retention};
