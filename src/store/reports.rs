//! Reports of members: ciphertext for the conversation's admins.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::rows::{bound, column, count, get};
use super::{Params, Store, StoreError};
use crate::types::{CoarseTime, ConvoId, Did};
use crate::wire::BytesOut;
use crate::wire::calls::{ReportCounts, ReportMember, ReportStatus, ReportView};

/// What became of a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReportOutcome {
    /// It is there, since when.
    Kept(CoarseTime),
    NotMember,
    TargetNotMember,
    TooMany,
}

/// What became of a resolution.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResolveOutcome {
    Done,
    AlreadyResolved,
    NotAdmin,
    NotFound,
}

/// The condition under which an admin hears of a report `r`: one about itself is for the others, as
/// long as there are any.
macro_rules! is_for {
    ($reader:literal) => {
        concat!(
            "NOT (r.reported_did = ",
            $reader,
            " AND EXISTS (SELECT FROM members o WHERE o.convo_id = r.convo_id AND o.user_did <> ",
            $reader,
            " AND o.left_seq IS NULL AND o.is_admin))"
        )
    };
}

impl Store {
    /// Keeps a report, unless it is there already, or `open_max` of the reporter wait in the
    /// conversation.
    pub async fn add_report(
        &self,
        report_id: &str,
        reporter: &Did,
        report: &ReportMember,
        open_max: u32,
    ) -> Result<ReportOutcome, StoreError> {
        let sql = "SELECT outcome, created_at FROM add_report($1, $2, $3, $4, $5, $6, $7, $8)";
        let params: Params<'_> = &[
            &report_id,
            &report.convo_id,
            reporter,
            &report.reported_did,
            &report.category.name(),
            &report.encrypted_content.as_slice(),
            &column(report.message_ids.as_slice(), |id| id.as_str()),
            &bound(open_max),
        ];
        let read = |row: &Row| {
            Ok(match get(row, "outcome")? {
                "done" => ReportOutcome::Kept(get(row, "created_at")?),
                "absent" => ReportOutcome::NotMember,
                "target_absent" => ReportOutcome::TargetNotMember,
                "too_many" => ReportOutcome::TooMany,
                _ => return Err(StoreError::Shape),
            })
        };
        self.calls().one(sql, params, read).await
    }

    /// The conversation's reports, newest first, at most `limit`, after `after`
    /// (a report's id) if given; `None` if it has no such report. None of them for who is no
    /// admin there, and none about the reader as long as another is.
    pub async fn reports(
        &self,
        convo: &ConvoId,
        reader: &Did,
        status: Option<ReportStatus>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Option<Vec<ReportView>>, StoreError> {
        let mut since: Option<DateTime<Utc>> = None;
        if let Some(after) = after {
            let sql =
                "SELECT r.created_at FROM reports r WHERE r.report_id = $1 AND r.convo_id = $2";
            let read = |row: &Row| get(row, "created_at");
            since = self.calls().first(sql, &[&after, convo], read).await?;
            if since.is_none() {
                return Ok(None);
            }
        }
        let sql = concat!(
            "SELECT r.report_id, r.reporter_did, r.reported_did, r.encrypted_content, \
                          r.created_at, r.status, r.resolved_by, r.resolved_at FROM reports r \
                   WHERE r.convo_id = $1 AND ($2::text IS NULL OR r.status = $2) \
                   AND ($3::text IS NULL OR (r.created_at, r.report_id) < ($4, $3)) \
                   AND EXISTS (SELECT FROM members m WHERE m.convo_id = $1 \
                       AND m.user_did = $6 AND m.left_seq IS NULL AND m.is_admin) \
                   AND ",
            is_for!("$6"),
            " ORDER BY r.created_at DESC, r.report_id DESC LIMIT $5"
        );
        let limit = i64::from(limit);
        let params: Params<'_> = &[convo, &status, &after, &since, &limit, reader];
        self.calls().all(sql, params, report).await.map(Some)
    }

    /// Ends a report that is for the caller, once.
    pub async fn resolve_report(
        &self,
        report_id: &str,
        caller: &Did,
        resolution: &'static str,
        notes: Option<&str>,
    ) -> Result<ResolveOutcome, StoreError> {
        let sql = concat!(
            "WITH known AS (SELECT r.report_id, r.status, bool_or(m.is_admin) AS is_admin \
                       FROM reports r JOIN members m ON m.convo_id = r.convo_id \
                           AND m.user_did = $2 AND m.left_seq IS NULL \
                       WHERE r.report_id = $1 AND ",
            is_for!("$2"),
            "          GROUP BY r.report_id, r.status), \
                   done AS (UPDATE reports r SET resolved_by = $2, resolved_at = coarse_now(), \
                       resolution = $3, notes = $4, \
                       status = CASE WHEN $3 = 'dismissed' THEN 'dismissed' ELSE 'resolved' END \
                       FROM known k WHERE r.report_id = k.report_id AND k.is_admin \
                       AND r.status = 'pending' RETURNING 1) \
                   SELECT k.is_admin, EXISTS (SELECT FROM done) AS done FROM known k"
        );
        let read = |row: &Row| {
            Ok(match (get(row, "is_admin")?, get(row, "done")?) {
                (false, _) => ResolveOutcome::NotAdmin,
                (true, false) => ResolveOutcome::AlreadyResolved,
                (true, true) => ResolveOutcome::Done,
            })
        };
        let params: Params<'_> = &[&report_id, caller, &resolution, &notes];
        let outcome = self.calls().first(sql, params, read).await?;
        Ok(outcome.unwrap_or(ResolveOutcome::NotFound))
    }

    /// Counts over a conversation's reports that are for the reader, since a time, and its block
    /// conflicts. Check afterwards that the reader is admin.
    pub async fn report_stats(
        &self,
        convo: &ConvoId,
        reader: &Did,
        since: Option<CoarseTime>,
    ) -> Result<ReportCounts, StoreError> {
        let sql = concat!(
            "SELECT r.category, count(*) FILTER (WHERE r.status = 'pending') AS pending, \
                       count(*) FILTER (WHERE r.status <> 'pending') AS resolved, \
                       count(*) FILTER (WHERE r.resolution = 'removed_member') AS removals, \
                       count(*) AS total, \
                       sum(extract(epoch FROM \
                           greatest(r.resolved_at - r.created_at, interval '0')))::bigint AS spent \
                   FROM reports r WHERE r.convo_id = $1 \
                   AND ($2::timestamptz IS NULL OR r.created_at >= $2) AND ",
            is_for!("$3"),
            " GROUP BY r.category ORDER BY r.category"
        );
        let mut counts = ReportCounts::default();
        let mut spent = 0;
        for row in &self.calls().query(sql, &[convo, &since, reader]).await? {
            let total = count(row, "total")?;
            counts.total_reports += total;
            counts.pending_reports += count(row, "pending")?;
            counts.resolved_reports += count(row, "resolved")?;
            counts.total_removals += count(row, "removals")?;
            *counts.reports_by_category.of(get(row, "category")?) += total;
            spent += count(row, "spent")?;
        }
        let mean = spent.checked_div(counts.resolved_reports);
        counts.average_resolution_time_hours = mean.map(|seconds| seconds / 3600);
        counts.block_conflicts_resolved = self.block_conflicts_resolved(convo, since).await?;
        Ok(counts)
    }
}

fn report(row: &Row) -> Result<ReportView, StoreError> {
    let ciphertext: Vec<u8> = get(row, "encrypted_content")?;
    Ok(ReportView {
        id: get(row, "report_id")?,
        reporter_did: get(row, "reporter_did")?,
        reported_did: get(row, "reported_did")?,
        encrypted_content: BytesOut(ciphertext.into()),
        created_at: get(row, "created_at")?,
        status: get(row, "status")?,
        resolved_by: get(row, "resolved_by")?,
        resolved_at: get(row, "resolved_at")?,
    })
}
