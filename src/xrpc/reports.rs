//! reportMember, getReports, resolveReport, getAdminStats: reports are ciphertext
//! for the admins of one conversation.

use super::context::Context;
use crate::refusal::Refusal;
use crate::store::{ReportOutcome, ResolveOutcome};
use crate::types::{CoarseTime, Did, uuid_of};
use crate::wire::XrpcError;
use crate::wire::calls::{
    AdminStats, GetAdminStats, GetReports, Okay, ReportMember, Reported, Reports, ResolveReport,
    page_size,
};

pub(super) async fn report(cx: &Context, input: ReportMember) -> Result<Reported, XrpcError> {
    if input.reported_did == *cx.did() {
        return Err(Refusal::CannotReportSelf.into());
    }
    let report_id = report_id(&input, cx.did());
    let open_max = cx.settings.open_reports_max;
    let outcome = cx.store.add_report(&report_id, cx.did(), &input, open_max);
    Err(match outcome.await? {
        ReportOutcome::Kept(submitted_at) => {
            return Ok(Reported {
                submitted_at,
                report_id,
            });
        }
        ReportOutcome::NotMember => Refusal::ConvoNotFound,
        ReportOutcome::TargetNotMember => Refusal::TargetNotMember,
        ReportOutcome::TooMany => {
            metrics::counter!("relay_calls_reports_refused_total").increment(1);
            Refusal::TooManyReports { most: open_max }
        }
    }
    .into())
}

/// Pure. The same report from the same account has the same id, however often it is sent.
/// Its content is ciphertext, so that two that say the same still differ.
fn report_id(input: &ReportMember, reporter: &Did) -> String {
    let mut parts = vec![
        input.convo_id.expose().as_bytes(),
        reporter.expose().as_bytes(),
        input.reported_did.expose().as_bytes(),
        input.category.name().as_bytes(),
        input.encrypted_content.as_slice(),
    ];
    parts.extend(
        input
            .message_ids
            .as_slice()
            .iter()
            .map(|id| id.as_str().as_bytes()),
    );
    uuid_of(&parts)
}

/// The conversation's reports, newest first, for its admins.
pub(super) async fn list(cx: &Context, input: GetReports) -> Result<Reports, XrpcError> {
    let limit = page_size(input.limit);
    let after = input.cursor.as_ref().map(|cursor| cursor.as_str());
    let (store, convo) = (&cx.store, &input.convo_id);
    // One more than asked for tells whether there is a next page.
    let reports = store.reports(convo, cx.did(), input.status, after, limit + 1);
    let found = reports.await?;
    // Nothing is there for who is no admin, or was one a moment ago.
    if found.as_ref().is_none_or(Vec::is_empty) {
        cx.must_be_admin(convo).await?;
    }
    let mut found = found.ok_or(Refusal::InvalidCursor)?;
    let limit = limit as usize;
    let more = found.len() > limit;
    found.truncate(limit);
    let cursor = found.last().filter(|_| more).map(|last| last.id.clone());
    Ok(Reports {
        reports: found,
        cursor,
    })
}

pub(super) async fn resolve(cx: &Context, input: ResolveReport) -> Result<Okay, XrpcError> {
    let notes = input.notes.as_ref().map(|notes| notes.as_str());
    let (id, action) = (input.report_id.as_str(), input.action.name());
    let outcome = cx.store.resolve_report(id, cx.did(), action, notes).await?;
    Err(match outcome {
        ResolveOutcome::Done => return Ok(Okay { ok: true }),
        ResolveOutcome::AlreadyResolved => Refusal::AlreadyResolved,
        ResolveOutcome::NotAdmin => Refusal::NotAdmin,
        ResolveOutcome::NotFound => Refusal::ReportNotFound,
    }
    .into())
}

/// Counts for the admins of one conversation; nobody hears of all together.
pub(super) async fn stats(cx: &Context, input: GetAdminStats) -> Result<AdminStats, XrpcError> {
    let convo_id = input.convo_id.ok_or(Refusal::NotAuthorized)?;
    let since = input
        .since
        .map(|since| CoarseTime::from_unix_seconds(since.unix_seconds()));
    let stats = cx.store.report_stats(&convo_id, cx.did(), since).await?;
    // Afterwards, so that nobody is told what came after their own demotion.
    cx.must_be_admin(&convo_id).await?;
    Ok(AdminStats {
        stats,
        generated_at: cx.now_coarse(),
        convo_id,
    })
}
