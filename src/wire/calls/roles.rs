//! Pure. promoteAdmin, demoteAdmin.

use crate::types::{CoarseTime, ConvoId, Did};

input! {
    /// `promoteAdmin` and `demoteAdmin`.
    pub struct ChangeRole {
        pub convo_id: ConvoId,
        pub target_did: Did,
    }
}

output! {
    pub struct Promoted {
        pub ok: bool,
        pub promoted_at: CoarseTime,
    }

    /// `{ok: true}`.
    pub struct Okay {
        pub ok: bool,
    }
}
