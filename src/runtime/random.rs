//! Numbers that nobody foresees, to spread waits by.

pub(crate) fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}
