//! createConvo, getConvos, getEpoch.

use super::blocks;
use super::context::Context;
use super::handshake;
use crate::refusal::{Refusal, changed};
use crate::store::{ChangeOutcome, Conversation, NewConversation};
use crate::wire::calls::{
    ConvoView, Convos, CreateConvo, CurrentEpoch, GetConvos, GetEpoch, MetadataView, page_size,
};
use crate::wire::{Object, XrpcError};

/// Founds a conversation. The same call again by its creator finds it there.
pub(super) async fn create(cx: &Context, input: CreateConvo) -> Result<ConvoView, XrpcError> {
    let suite = input.cipher_suite;
    let named = input.initial_members.as_slice();
    let mut members = named.to_vec();
    // The founder is in anyway. A Welcome may be for its further devices.
    if input.welcome_message.is_none() {
        members.retain(|did| did != cx.did());
    }
    let joining = handshake::joining(
        members,
        input.welcome_message.as_ref(),
        input.key_package_hashes.as_slice(),
        suite,
        cx.settings.welcome_copies_bytes_max,
    )?;
    let convo = input.group_id;
    let group_info = handshake::group_info(
        input.group_info.as_ref(),
        &convo,
        suite,
        input.current_epoch,
    )?;
    let (name, description) = match input.metadata {
        Some(Object(metadata)) => (metadata.name, metadata.description),
        None => (None, None),
    };
    let new = NewConversation {
        convo,
        creator: cx.did().clone(),
        device: input.device_id,
        cipher_suite: suite,
        epoch: input.current_epoch,
        name: name.map(|text| text.into_string()),
        description: description.map(|text| text.into_string()),
        joining,
        group_info,
        bounds: cx.settings.seats,
    };
    if let Err(refused) = blocks::refuse_founding(cx, &new.joining.users).await {
        // It may be there since before somebody blocked somebody.
        return existing(cx, &new).await.map_err(|_| refused);
    }
    let outcome = cx.store.create_conversation(&new).await?;
    // Only its creator, still in it, may learn that it is there.
    if outcome != ChangeOutcome::Exists {
        let made = changed(outcome, new.bounds);
        made.map_err(|refused| refused.among("initialMembers", named))?;
    }
    existing(cx, &new).await
}

async fn existing(cx: &Context, new: &NewConversation) -> Result<ConvoView, XrpcError> {
    let stored = cx.store.conversation(&new.convo).await?;
    stored
        .filter(|stored| {
            stored.seats(cx.did())
                && stored.creator == new.creator
                && stored.cipher_suite == new.cipher_suite
                && stored.name == new.name
                && stored.description == new.description
        })
        .map(view)
        .ok_or_else(|| Refusal::Conflict.into())
}

/// The caller's conversations, latest joined first.
pub(super) async fn list(cx: &Context, input: GetConvos) -> Result<Convos, XrpcError> {
    let before = input.cursor.map(|cursor| cursor.as_str().parse::<u64>());
    let before = before.transpose().map_err(|_| Refusal::InvalidCursor)?;
    let limit = page_size(input.limit);
    let (found, has_more) = cx.store.conversations(cx.did(), before, limit).await?;
    let cursor = found
        .last()
        .filter(|_| has_more)
        .map(|last| last.place.to_string());
    // Whoever is out since the page was begun is not told who stays.
    let mine = found.into_iter().filter(|convo| convo.seats(cx.did()));
    Ok(Convos {
        conversations: mine.map(view).collect(),
        cursor,
    })
}

pub(super) async fn epoch(cx: &Context, input: GetEpoch) -> Result<CurrentEpoch, XrpcError> {
    let standing = cx.standing(&input.convo_id).await?;
    Ok(CurrentEpoch {
        convo_id: input.convo_id,
        current_epoch: standing.epoch,
    })
}

fn view(stored: Conversation) -> ConvoView {
    let has_metadata = stored.name.is_some() || stored.description.is_some();
    ConvoView {
        id: stored.convo.clone(),
        group_id: stored.convo,
        creator: stored.creator,
        members: stored.members,
        epoch: stored.epoch,
        cipher_suite: stored.cipher_suite,
        created_at: stored.created_at,
        last_message_at: stored.last_message_at,
        metadata: has_metadata.then_some(MetadataView {
            name: stored.name,
            description: stored.description,
        }),
    }
}
