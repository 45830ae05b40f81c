//! Pure. sendMessage, sendEphemeral, getMessages, getCommits, updateCursor.

use super::IdempotencyKey;
use crate::types::{CoarseTime, ConvoId, Cursor, Epoch, MessageId};
use crate::wire::{
    Blob, BytesOut, EPHEMERAL_BYTES_MAX, Int, MESSAGE_BYTES_MAX, PaddedSize, Text, Unkept,
};

input! {
    pub struct SendMessage {
        pub convo_id: ConvoId,
        pub msg_id: MessageId,
        pub ciphertext: Blob<1, MESSAGE_BYTES_MAX>,
        pub epoch: Epoch,
        /// Of old clients: checked, then forgotten.
        pub declared_size: Option<Int<0, { MESSAGE_BYTES_MAX as u64 }>>,
        pub padded_size: PaddedSize,
        pub idempotency_key: Option<Unkept<IdempotencyKey>>,
    }

    pub struct SendEphemeral {
        pub convo_id: ConvoId,
        pub ciphertext: Blob<1, EPHEMERAL_BYTES_MAX>,
        pub epoch: Epoch,
        pub padded_size: PaddedSize,
    }

    pub struct GetMessages {
        pub convo_id: ConvoId,
        pub limit: Option<Int<1, 100>>,
        pub since_seq: Option<Int<0, SAFE_INT_MAX>>,
        pub since_message: Option<MessageId>,
        pub cursor: Option<Text<1, 64>>,
    }

    pub struct GetCommits {
        pub convo_id: ConvoId,
        pub from_epoch: Int<0, SAFE_INT_MAX>,
        pub to_epoch: Option<Int<0, SAFE_INT_MAX>>,
    }

    pub struct UpdateCursor {
        pub convo_id: ConvoId,
        pub cursor: Cursor,
    }
}

output! {
    pub struct Sent {
        pub message_id: MessageId,
        pub received_at: CoarseTime,
        pub seq: u64,
        pub epoch: Epoch,
    }

    /// There is no number and no cursor: nothing can be resumed from it.
    pub struct PassedOn {
        pub received_at: CoarseTime,
        pub epoch: Epoch,
    }

    /// A message as members get it. There is no sender in it, and none is known.
    pub struct MessageView {
        pub id: MessageId,
        pub convo_id: ConvoId,
        pub ciphertext: BytesOut,
        pub epoch: Epoch,
        pub seq: u64,
        pub created_at: CoarseTime,
        /// `app` or `commit`.
        pub message_type: &'static str,
    }

    pub struct Messages {
        pub messages: Vec<MessageView>,
        /// The conversation's latest number, whether or not it is on this page.
        pub last_seq: u64,
        pub gap_info: GapInfo,
        /// Where the next page begins; absent on the last one.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cursor: Option<String>,
    }

    /// Numbers that this page should have and does not: expired meanwhile.
    #[derive(Eq, PartialEq)]
    pub struct GapInfo {
        pub has_gaps: bool,
        pub missing_seqs: Vec<u64>,
        pub total_messages: u64,
    }

    pub struct Commits {
        pub convo_id: ConvoId,
        pub commits: Vec<CommitView>,
        /// Where the next page begins, as `fromEpoch`; absent on the last one.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub next_epoch: Option<Epoch>,
    }

    pub struct CommitView {
        /// The epoch that the commit leads to.
        pub epoch: Epoch,
        pub commit_data: BytesOut,
        pub created_at: CoarseTime,
    }

    /// `{success: true}`.
    pub struct Success {
        pub success: bool,
    }
}

/// Numbers on the wire stay below 2^53.
pub const SAFE_INT_MAX: u64 = (1 << 53) - 1;
