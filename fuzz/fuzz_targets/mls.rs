//! MLS messages, read by us and by OpenMLS. What it takes, we take, and both see the same
//! group, epoch, kind, newcomers and credential.

#![cfg_attr(fuzzing, no_main)]

use mls_relay::mls::{ContentType, Credential, GroupInfo, KeyPackage, Message, MlsError, Welcome};
use openmls::prelude::tls_codec::DeserializeBytes;
use openmls::prelude::{
    BasicCredential, ContentType as Theirs, MlsMessageBodyIn, MlsMessageIn, ProtocolMessage,
};

/// A message.
pub(crate) fn run(data: &[u8]) {
    let ours = Message::parse(data);
    if ours.is_ok() {
        let padded = [data, &[0; 3]].concat();
        assert!(Message::parse_padded(&padded).is_ok());
        assert_eq!(Message::parse(&padded).unwrap_err(), MlsError::Trailing);
    }
    let _ = (
        KeyPackage::parse(data),
        GroupInfo::parse(data),
        Welcome::parse(data),
    );
    let Ok(theirs) = MlsMessageIn::tls_deserialize_exact_bytes(data) else {
        return;
    };
    let ours = match ours {
        Ok(ours) => ours,
        // OpenMLS passes on what RFC 9420 does not define, also versions inside, and has no
        // bounds.
        Err(MlsError::Unknown(_) | MlsError::Version | MlsError::TooMany(_)) => return,
        Err(error) => panic!("{error}"),
    };
    match theirs.extract() {
        MlsMessageBodyIn::PublicMessage(theirs) => is_framed(&ours, &theirs.into()),
        MlsMessageBodyIn::PrivateMessage(theirs) => is_framed(&ours, &theirs.into()),
        MlsMessageBodyIn::Welcome(theirs) => {
            let Message::Welcome(ours) = ours else {
                panic!("no Welcome");
            };
            let theirs = theirs.secrets().iter().map(|secret| secret.new_member());
            let theirs: Vec<_> = theirs.map(|name| name.as_slice().to_vec()).collect();
            assert_eq!(ours.new_members, theirs);
        }
        MlsMessageBodyIn::GroupInfo(theirs) => {
            let Message::GroupInfo(ours) = ours else {
                panic!("no GroupInfo");
            };
            assert_eq!(ours.group_id, theirs.group_id().as_slice());
            assert_eq!(ours.epoch, theirs.epoch().as_u64());
            assert_eq!(
                ours.has_external_pub,
                theirs.extensions().external_pub().is_some()
            );
        }
        MlsMessageBodyIn::KeyPackage(theirs) => {
            let theirs = theirs.unverified_credential();
            let Message::KeyPackage(ours) = ours else {
                panic!("no key package");
            };
            assert_eq!(ours.leaf.signature_key, theirs.signature_key.as_slice());
            if let Credential::Basic { identity } = ours.leaf.credential {
                let theirs = BasicCredential::try_from(theirs.credential).unwrap();
                assert_eq!(identity, theirs.identity());
            }
        }
    }
}

fn is_framed(ours: &Message<'_>, theirs: &ProtocolMessage) {
    let framing = ours.framing().expect("it has a framing");
    assert_eq!(framing.group_id, theirs.group_id().as_slice());
    assert_eq!(framing.epoch, theirs.epoch().as_u64());
    let kind = match theirs.content_type() {
        Theirs::Application => ContentType::Application,
        Theirs::Proposal => ContentType::Proposal,
        Theirs::Commit => ContentType::Commit,
    };
    assert_eq!(framing.content_type, kind);
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
