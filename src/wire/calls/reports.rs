//! Pure. reportMember, getReports, resolveReport, getAdminStats.

use super::Datetime;
use crate::types::{CoarseTime, ConvoId, Did};
use crate::wire::{Blob, BytesOut, Int, List, Text};

/// One of a few names, the same for clients and for Postgres.
macro_rules! names {
    ($($(#[$about:meta])* pub enum $name:ident { $($variant:ident = $word:literal,)+ })+) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
        pub enum $name {
            $(#[serde(rename = $word)] $variant,)+
        }

        impl $name {
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    )+};
}

input! {
    pub struct ReportMember {
        pub convo_id: ConvoId,
        pub reported_did: Did,
        pub category: Category,
        /// Ciphertext for the conversation's admins: opaque to the relay.
        pub encrypted_content: Blob<1, 51_200>,
        #[serde(default)]
        pub message_ids: List<Text<1, 64>, 0, 20>,
    }

    pub struct GetReports {
        pub convo_id: ConvoId,
        pub status: Option<ReportStatus>,
        pub limit: Option<Int<1, 100>>,
        pub cursor: Option<Text<1, 64>>,
    }

    pub struct ResolveReport {
        pub report_id: Text<1, 64>,
        pub action: Resolution,
        pub notes: Option<Text<0, 1000>>,
    }

    pub struct GetAdminStats {
        pub convo_id: Option<ConvoId>,
        pub since: Option<Datetime>,
    }
}

output! {
    pub struct Reported {
        pub report_id: String,
        pub submitted_at: CoarseTime,
    }

    pub struct Reports {
        pub reports: Vec<ReportView>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cursor: Option<String>,
    }

    pub struct ReportView {
        pub id: String,
        pub reporter_did: Did,
        pub reported_did: Did,
        pub encrypted_content: BytesOut,
        pub created_at: CoarseTime,
        pub status: ReportStatus,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub resolved_by: Option<Did>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub resolved_at: Option<CoarseTime>,
    }

    pub struct AdminStats {
        pub stats: ReportCounts,
        pub generated_at: CoarseTime,
        pub convo_id: ConvoId,
    }

    #[derive(Default)]
    pub struct ReportCounts {
        pub total_reports: u64,
        pub pending_reports: u64,
        pub resolved_reports: u64,
        pub total_removals: u64,
        pub block_conflicts_resolved: u64,
        pub reports_by_category: CategoryCounts,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub average_resolution_time_hours: Option<u64>,
    }

    #[derive(Default, Eq, PartialEq)]
    pub struct CategoryCounts {
        pub harassment: u64,
        pub spam: u64,
        pub hate_speech: u64,
        pub violence: u64,
        pub sexual_content: u64,
        pub impersonation: u64,
        pub privacy_violation: u64,
        pub other_category: u64,
    }
}

names! {
    /// What a report is about. Admins see more in the report itself.
    pub enum Category {
        Harassment = "harassment",
        Spam = "spam",
        HateSpeech = "hate_speech",
        Violence = "violence",
        SexualContent = "sexual_content",
        Impersonation = "impersonation",
        PrivacyViolation = "privacy_violation",
        Other = "other",
    }

    /// Where a report stands.
    pub enum ReportStatus {
        Pending = "pending",
        Resolved = "resolved",
        Dismissed = "dismissed",
    }

    /// What an admin did about a report.
    pub enum Resolution {
        RemovedMember = "removed_member",
        Dismissed = "dismissed",
        NoAction = "no_action",
    }
}

impl CategoryCounts {
    /// The count of a category, by its name.
    pub fn of(&mut self, category: &str) -> &mut u64 {
        match category {
            "harassment" => &mut self.harassment,
            "spam" => &mut self.spam,
            "hate_speech" => &mut self.hate_speech,
            "violence" => &mut self.violence,
            "sexual_content" => &mut self.sexual_content,
            "impersonation" => &mut self.impersonation,
            "privacy_violation" => &mut self.privacy_violation,
            _ => &mut self.other_category,
        }
    }
}
