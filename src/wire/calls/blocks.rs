//! Pure. checkBlocks, getBlockStatus, handleBlockChange.

use serde::Deserialize;

use crate::types::{CoarseTime, ConvoId, Did};
use crate::wire::{List, Text, Unkept};

input! {
    pub struct CheckBlocks {
        pub dids: List<Did, 2, 100>,
    }

    pub struct GetBlockStatus {
        pub convo_id: ConvoId,
    }

    pub struct HandleBlockChange {
        pub blocker_did: Did,
        pub blocked_did: Did,
        pub action: BlockAction,
        /// Not believed: the AppView is asked.
        pub block_uri: Option<Unkept<Text<0, 1024>>>,
    }
}

output! {
    /// A block between two accounts, as the AppView tells it.
    pub struct BlockView {
        pub blocker_did: Did,
        pub blocked_did: Did,
        /// When the AppView last said so.
        pub created_at: CoarseTime,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub block_uri: Option<String>,
    }

    pub struct CheckedBlocks {
        pub blocks: Vec<BlockView>,
        pub checked_at: CoarseTime,
    }

    pub struct BlockStatus {
        pub convo_id: ConvoId,
        pub has_conflicts: bool,
        pub blocks: Vec<BlockView>,
        pub checked_at: CoarseTime,
        pub member_count: u64,
        /// `false`: too large to ask about every pair; what is known is told.
        pub is_complete: bool,
    }

    pub struct HandledBlockChange {
        pub affected_convos: Vec<AffectedConvoView>,
    }

    pub struct AffectedConvoView {
        pub convo_id: ConvoId,
        /// `admin_notified`, `requires_resolution` or `no_action`.
        pub action: &'static str,
        pub admin_notified: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub notification_sent_at: Option<CoarseTime>,
    }
}

/// What happened to a block.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum BlockAction {
    Created,
    Removed,
}
