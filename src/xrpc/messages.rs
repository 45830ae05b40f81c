//! sendMessage, sendEphemeral, getMessages, getCommits, updateCursor.

use super::context::Context;
use super::handshake::check_group;
use crate::mls::{ContentType, Message};
use crate::refusal::Refusal;
use crate::store::{NewMessage, Standing, StoredMessage};
use crate::types::{ConvoId, Epoch};
use crate::wire::calls::{
    CommitView, Commits, GapInfo, GetCommits, GetMessages, Messages, PassedOn, SendEphemeral,
    SendMessage, Sent, Success, UpdateCursor, page_size,
};
use crate::wire::{
    BytesOut, EPHEMERAL_BYTES_MAX, Ephemeral, PaddedSize, THE_REQUEST, XrpcError, invalid,
};

/// Appends a ciphertext to its conversation.
pub(super) async fn send(cx: &Context, input: SendMessage) -> Result<Sent, XrpcError> {
    let declared = input.declared_size.map_or(0, |size| size.get());
    if usize::try_from(declared).is_ok_and(|size| size > input.padded_size.get()) {
        return Err(invalid("declaredSize", "must not be over paddedSize"));
    }
    let bytes = input.ciphertext.as_slice();
    check_ciphertext(&input.convo_id, input.epoch, input.padded_size, bytes)?;
    let message = NewMessage {
        convo: input.convo_id,
        sender: cx.did().clone(),
        message_id: input.msg_id.clone(),
        epoch: input.epoch,
        ciphertext: input.ciphertext.into_bytes(),
        nonce: cx.nonce.lock().take(),
    };
    let nonce = message.nonce;
    let appended = cx.store.append(message).await;
    if let Some(nonce) = nonce {
        cx.note_use(nonce, &appended);
    }
    let appended = appended?;
    Ok(Sent {
        message_id: input.msg_id,
        received_at: appended.received_at,
        seq: appended.seq,
        epoch: appended.epoch,
    })
}

/// Passes a ciphertext on to those who listen now. Nothing of it is stored, so nothing
/// recognises a repetition: each is told anew.
pub(super) async fn send_ephemeral(
    cx: &Context,
    input: SendEphemeral,
) -> Result<PassedOn, XrpcError> {
    if input.padded_size.get() > EPHEMERAL_BYTES_MAX {
        return Err(invalid("paddedSize", "must be 512, 1024, 2048 or 4096"));
    }
    let bytes = input.ciphertext.as_slice();
    check_ciphertext(&input.convo_id, input.epoch, input.padded_size, bytes)?;
    let current = cx.standing(&input.convo_id).await?.epoch;
    if input.epoch != current {
        return Err(Refusal::EpochMismatch { current }.into());
    }
    let ephemeral = Ephemeral {
        convo_id: input.convo_id,
        epoch: input.epoch,
        ciphertext: input.ciphertext,
    };
    cx.hub.pass_on(ephemeral).await?;
    Ok(PassedOn {
        received_at: cx.now_coarse(),
        epoch: current,
    })
}

/// An application message of this group and epoch, of the size it says.
fn check_ciphertext(
    convo: &ConvoId,
    epoch: Epoch,
    padded_size: PaddedSize,
    bytes: &[u8],
) -> Result<(), XrpcError> {
    let (size, len) = (padded_size.get(), bytes.len());
    if len != size {
        let what = format_args!("must be {size} bytes, as paddedSize says, not {len}");
        return Err(invalid("ciphertext", what));
    }
    let fault = |what: &str| invalid("ciphertext", what);
    let message = Message::parse_padded(bytes).map_err(|error| invalid("ciphertext", error))?;
    let Message::Private(message) = message else {
        return Err(fault("must be a PrivateMessage"));
    };
    if message.content_type != ContentType::Application {
        return Err(fault("must be an application message"));
    }
    check_group(convo, message.group_id).map_err(fault)?;
    if message.epoch != epoch.get() {
        let what = format_args!("must be {}, that of the ciphertext", message.epoch);
        return Err(invalid("epoch", what));
    }
    Ok(())
}

/// A page of messages, oldest first, from the caller's stay only.
pub(super) async fn page(cx: &Context, input: GetMessages) -> Result<Messages, XrpcError> {
    let standing = cx.standing(&input.convo_id).await?;
    let after = page_start(cx, &input).await?.max(standing.joined_after);
    let limit = page_size(input.limit);
    let (store, convo) = (&cx.store, &input.convo_id);
    let found = store.messages(convo, cx.did(), after, limit).await?;
    // Nothing is there for who is out meanwhile: it is not lost.
    if found.is_empty() && after < standing.last_seq {
        cx.standing(convo).await?;
    }
    Ok(messages_page(&input.convo_id, &standing, after, found))
}

async fn page_start(cx: &Context, input: &GetMessages) -> Result<u64, XrpcError> {
    let given = [
        input.cursor.is_some(),
        input.since_seq.is_some(),
        input.since_message.is_some(),
    ];
    if given.iter().filter(|is_given| **is_given).count() > 1 {
        let what = "must have at most one of cursor, sinceSeq and sinceMessage";
        return Err(invalid(THE_REQUEST, what));
    }
    if let Some(cursor) = &input.cursor {
        let seq = cursor.as_str().parse().map_err(|_| Refusal::InvalidCursor);
        return Ok(seq?);
    }
    match &input.since_message {
        Some(id) => {
            let seq = cx.store.message_seq(&input.convo_id, id).await?;
            seq.ok_or_else(|| Refusal::MessageNotFound.into())
        }
        None => Ok(input.since_seq.map_or(0, |seq| seq.get())),
    }
}

fn messages_page(
    convo: &ConvoId,
    standing: &Standing,
    after: u64,
    found: Vec<StoredMessage>,
) -> Messages {
    // A message may have been appended since the standing was read.
    let last = found.last().map(|message| message.seq);
    let last_seq = standing.last_seq.max(last.unwrap_or(0));
    let through = last.unwrap_or(last_seq);
    let present: Vec<u64> = found.iter().map(|message| message.seq).collect();
    Messages {
        messages: found
            .into_iter()
            .map(|message| message.into_view(convo))
            .collect(),
        last_seq,
        gap_info: gap_info(after, through, &present),
        cursor: last
            .filter(|seq| *seq < last_seq)
            .map(|seq| seq.to_string()),
    }
}

/// Pure. Which numbers of `after..=through` are not `present` (which is sorted):
/// the first thousand of them.
fn gap_info(after: u64, through: u64, present: &[u64]) -> GapInfo {
    let mut missing_seqs = Vec::new();
    let mut next = after.saturating_add(1);
    let ends = present.iter().copied().chain([through.saturating_add(1)]);
    for seq in ends {
        while next < seq && missing_seqs.len() < MISSING_MAX {
            missing_seqs.push(next);
            next += 1;
        }
        next = seq.saturating_add(1);
    }
    GapInfo {
        has_gaps: !missing_seqs.is_empty(),
        missing_seqs,
        total_messages: present.len().try_into().unwrap_or(u64::MAX),
    }
}

/// The commits that lead to a range of epochs, in order.
pub(super) async fn commits(cx: &Context, input: GetCommits) -> Result<Commits, XrpcError> {
    let standing = cx.standing(&input.convo_id).await?;
    let bound = |name, value: u64| Epoch::try_from(value).map_err(|what| invalid(name, what));
    let from = bound("fromEpoch", input.from_epoch.get())?;
    let to = match input.to_epoch {
        Some(to) => bound("toEpoch", to.get())?,
        None => standing.epoch.max(from),
    };
    if from > to {
        return Err(Refusal::InvalidEpochRange.into());
    }
    let (found, next_epoch) = cx
        .store
        .commits(&input.convo_id, cx.did(), from, to, COMMITS_MAX)
        .await?;
    Ok(Commits {
        convo_id: input.convo_id,
        commits: found
            .into_iter()
            .map(|commit| CommitView {
                epoch: commit.epoch,
                commit_data: BytesOut(commit.ciphertext),
                created_at: commit.received_at,
            })
            .collect(),
        next_epoch,
    })
}

pub(super) async fn update_cursor(cx: &Context, input: UpdateCursor) -> Result<Success, XrpcError> {
    if input.cursor.seq() > cx.store.ends().await?.head {
        return Err(Refusal::InvalidCursor.into());
    }
    let (convo, cursor) = (&input.convo_id, input.cursor);
    match cx.store.update_cursor(convo, cx.did(), cursor).await? {
        true => Ok(Success { success: true }),
        false => Err(Refusal::ConvoNotFound.into()),
    }
}

/// These are the lexicons'.
const COMMITS_MAX: u32 = 100;
const MISSING_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_reported_at_the_start_in_the_middle_and_when_all_is_gone() {
        assert!(!gap_info(0, 3, &[1, 2, 3]).has_gaps);
        assert_eq!(gap_info(0, 6, &[3, 6]).missing_seqs, vec![1, 2, 4, 5]);
        assert_eq!(gap_info(4, 6, &[]).missing_seqs, vec![5, 6]);
        assert!(!gap_info(6, 6, &[]).has_gaps);
        assert_eq!(gap_info(0, 1 << 50, &[]).missing_seqs.len(), MISSING_MAX);
    }
}
