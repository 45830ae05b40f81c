//! The parser against OpenMLS's own bytes, and against everything that is not MLS.

use openmls::prelude::tls_codec::Serialize as _;
use openmls::prelude::{
    self as openmls_prelude, BasicCredential, Ciphersuite, CredentialWithKey, GroupId,
    LeafNodeParameters, MlsGroup, MlsGroupCreateConfig, MlsMessageOut, OpenMlsProvider as _,
    PURE_CIPHERTEXT_WIRE_FORMAT_POLICY, PURE_PLAINTEXT_WIRE_FORMAT_POLICY, WireFormatPolicy,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use proptest::prelude::*;

use super::*;
use crate::mls::key_package::KeyPackageFault;
use crate::mls::{ContentType, Credential, MlsError, Sender};
use crate::types::{CipherSuite, Did};

const GROUP: &[u8] = &[0xab, 0xcd];

/// One device with real MLS state.
struct Phone {
    provider: OpenMlsRustCrypto,
    signer: SignatureKeyPair,
    credential: CredentialWithKey,
    suite: Ciphersuite,
}

impl Phone {
    fn new(identity: &str, suite: Ciphersuite) -> Self {
        let signer = SignatureKeyPair::new(suite.signature_algorithm()).unwrap();
        let credential = CredentialWithKey {
            credential: BasicCredential::new(identity.as_bytes().to_vec()).into(),
            signature_key: signer.to_public_vec().into(),
        };
        Self {
            provider: OpenMlsRustCrypto::default(),
            signer,
            credential,
            suite,
        }
    }

    fn key_package(&self, last_resort: bool) -> openmls_prelude::KeyPackage {
        let mut builder = openmls_prelude::KeyPackage::builder();
        if last_resort {
            builder = builder.mark_as_last_resort();
        }
        builder
            .build(
                self.suite,
                &self.provider,
                &self.signer,
                self.credential.clone(),
            )
            .unwrap()
            .into_key_package()
    }

    fn group(&self, policy: WireFormatPolicy) -> MlsGroup {
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(self.suite)
            .wire_format_policy(policy)
            .use_ratchet_tree_extension(true)
            .build();
        MlsGroup::new_with_group_id(
            &self.provider,
            &self.signer,
            &config,
            GroupId::from_slice(GROUP),
            self.credential.clone(),
        )
        .unwrap()
    }
}

const SUITES: [(Ciphersuite, CipherSuite); 3] = [
    (
        Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519,
        CipherSuite::X25519Aes128Ed25519,
    ),
    (
        Ciphersuite::MLS_128_DHKEMP256_AES128GCM_SHA256_P256,
        CipherSuite::P256Aes128,
    ),
    (
        Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519,
        CipherSuite::X25519ChaCha20Ed25519,
    ),
];

/// The bytes of every kind of message: commit in the clear, Welcome, GroupInfo,
/// key package, application message, private commit.
struct Specimens {
    public_commit: Vec<u8>,
    private_commit: Vec<u8>,
    welcome: Vec<u8>,
    group_info: Vec<u8>,
    application: Vec<u8>,
    bare_package: Vec<u8>,
    reference: Vec<u8>,
}

fn specimens() -> Specimens {
    let suite = SUITES[0].0;
    let (alice, bob) = (
        Phone::new("did:plc:a", suite),
        Phone::new("did:plc:b", suite),
    );
    let package = bob.key_package(false);
    let mut group = alice.group(PURE_PLAINTEXT_WIRE_FORMAT_POLICY);
    let (commit, welcome, _) = group
        .add_members(
            &alice.provider,
            &alice.signer,
            std::slice::from_ref(&package),
        )
        .unwrap();
    group.merge_pending_commit(&alice.provider).unwrap();
    let info = group
        .export_group_info(alice.provider.crypto(), &alice.signer, true)
        .unwrap();
    let application = group
        .create_message(&alice.provider, &alice.signer, b"hello")
        .unwrap();
    let mut closed = alice_closed(suite);
    Specimens {
        public_commit: commit.to_bytes().unwrap(),
        private_commit: closed.remove(0),
        welcome: welcome.to_bytes().unwrap(),
        group_info: info.to_bytes().unwrap(),
        application: application.to_bytes().unwrap(),
        bare_package: package.tls_serialize_detached().unwrap(),
        reference: package
            .hash_ref(bob.provider.crypto())
            .unwrap()
            .as_slice()
            .to_vec(),
    }
}

/// The commits of a group whose handshakes are private.
fn alice_closed(suite: Ciphersuite) -> Vec<Vec<u8>> {
    let alice = Phone::new("did:plc:a", suite);
    let mut group = alice.group(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY);
    let commit = group
        .self_update(
            &alice.provider,
            &alice.signer,
            LeafNodeParameters::default(),
        )
        .unwrap()
        .into_commit();
    vec![commit.to_bytes().unwrap()]
}

#[test]
fn a_public_commit_shows_its_epoch_and_whom_it_adds() {
    let specimens = specimens();
    let message = Message::parse(&specimens.public_commit).unwrap();
    let framing = message.framing().unwrap();
    assert_eq!((framing.group_id, framing.epoch), (GROUP, 0));
    assert_eq!(framing.content_type, ContentType::Commit);
    assert_eq!(framing.sender, Some(Sender::Member));
    let Message::Public(message) = message else {
        panic!("not public");
    };
    let commit = message.commit.expect("a commit");
    let added: Vec<_> = commit.added().map(|p| p.reference().unwrap()).collect();
    assert_eq!(added, vec![specimens.reference]);
}

#[test]
fn a_welcome_names_the_key_packages_it_opens_with() {
    let specimens = specimens();
    let welcome = Welcome::parse(&specimens.welcome).unwrap();
    assert_eq!(welcome.suite_number, 1);
    assert_eq!(welcome.new_members, vec![specimens.reference.as_slice()]);
}

#[test]
fn private_messages_show_group_epoch_and_kind() {
    let specimens = specimens();
    for (bytes, kind, epoch) in [
        (&specimens.application, ContentType::Application, 1),
        (&specimens.private_commit, ContentType::Commit, 0),
    ] {
        let framing = Message::parse(bytes).unwrap().framing().unwrap();
        assert_eq!((framing.group_id, framing.epoch), (GROUP, epoch));
        assert_eq!((framing.content_type, framing.sender), (kind, None));
    }
}

#[test]
fn a_group_info_shows_the_epoch_and_that_strangers_may_join() {
    let bytes = specimens().group_info;
    for bytes in [&bytes[..], &bytes[4..]] {
        let info = GroupInfo::parse(bytes).unwrap();
        assert_eq!((info.group_id, info.epoch), (GROUP, 1));
        assert!(info.has_external_pub);
    }
}

#[test]
fn a_key_package_is_read_bare_and_wrapped_and_its_signatures_hold() {
    for (suite, ours) in SUITES {
        let phone = Phone::new("did:plc:b#tablet", suite);
        let package = phone.key_package(true);
        let bare = package.tls_serialize_detached().unwrap();
        let wrapped = MlsMessageOut::from(package.clone()).to_bytes().unwrap();
        let account = Did::parse("did:plc:b").unwrap();
        let reference = package.hash_ref(phone.provider.crypto()).unwrap();
        for bytes in [&bare, &wrapped] {
            let package = KeyPackage::parse(bytes).unwrap();
            let now = package.leaf.lifetime.unwrap().not_before + 7200;
            assert_eq!(package.check(ours, &account, now), Ok(()));
            assert_eq!(package.reference().unwrap(), reference.as_slice());
            assert_eq!(package.device_of(&account), Ok(Some("tablet")));
            assert_eq!(package.bytes, bare);
            assert!(package.last_resort);
        }
    }
}

#[test]
fn a_suite_of_the_number_that_wrapped_ones_begin_with_wraps_nothing() {
    let mut bytes = specimens().bare_package;
    bytes[3] = 5;
    assert_eq!(KeyPackage::parse(&bytes).unwrap().suite_number, 5);
}

#[test]
fn a_key_package_of_no_use_says_why() {
    let bytes = specimens().bare_package;
    let package = KeyPackage::parse(&bytes).unwrap();
    let bob = Did::parse("did:plc:b").unwrap();
    let lifetime = package.leaf.lifetime.unwrap();
    let (suite, now) = (SUITES[0].1, lifetime.not_after - 1);
    assert_eq!(package.check(suite, &bob, now), Ok(()));
    assert!(!package.last_resort);
    let fault = |suite, account: &str, now| {
        package
            .check(suite, &Did::parse(account).unwrap(), now)
            .unwrap_err()
    };
    assert_eq!(fault(SUITES[1].1, "did:plc:b", now), KeyPackageFault::Suite);
    assert_eq!(fault(suite, "did:plc:a", now), KeyPackageFault::Credential);
    // A prefix of the account's name is another account.
    assert_eq!(fault(suite, "did:plc:bb", now), KeyPackageFault::Credential);
    assert_eq!(
        fault(suite, "did:plc:b", lifetime.not_after),
        KeyPackageFault::Lifetime
    );
    assert_eq!(fault(suite, "did:plc:b", 0), KeyPackageFault::Lifetime);
}

#[test]
fn one_flipped_bit_anywhere_in_a_key_package_is_noticed() {
    let bytes = specimens().bare_package;
    let bob = Did::parse("did:plc:b").unwrap();
    let now = {
        let package = KeyPackage::parse(&bytes).unwrap();
        package.leaf.lifetime.unwrap().not_before + 7200
    };
    for at in 0..bytes.len() {
        let mut forged = bytes.clone();
        forged[at] ^= 1;
        let sound = KeyPackage::parse(&forged)
            .is_ok_and(|package| package.check(SUITES[0].1, &bob, now).is_ok());
        assert!(!sound, "a flipped bit in byte {at} went unnoticed");
    }
}

#[test]
fn zeros_may_follow_a_message_as_padding_and_nothing_else_may() {
    let mut bytes = specimens().application;
    let length = bytes.len();
    bytes.resize(1024, 0);
    assert!(Message::parse_padded(&bytes).is_ok());
    assert_eq!(Message::parse(&bytes).unwrap_err(), MlsError::Trailing);
    bytes[length] = 1;
    assert_eq!(
        Message::parse_padded(&bytes).unwrap_err(),
        MlsError::Padding
    );
}

#[test]
fn every_message_cut_short_is_refused() {
    let specimens = specimens();
    for bytes in [
        &specimens.public_commit,
        &specimens.private_commit,
        &specimens.welcome,
        &specimens.group_info,
        &specimens.application,
    ] {
        assert!(Message::parse(bytes).is_ok());
        for end in 0..bytes.len() {
            assert!(Message::parse(&bytes[..end]).is_err(), "cut at {end}");
        }
    }
    for end in 0..specimens.bare_package.len() {
        assert!(KeyPackage::parse(&specimens.bare_package[..end]).is_err());
    }
}

#[test]
fn a_basic_credential_is_shown_as_it_is() {
    let bytes = specimens().bare_package;
    let package = KeyPackage::parse(&bytes).unwrap();
    assert_eq!(
        package.leaf.credential,
        Credential::Basic {
            identity: b"did:plc:b"
        }
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Message::parse(&bytes);
        let _ = KeyPackage::parse(&bytes);
        let _ = GroupInfo::parse(&bytes);
    }

    /// Random bytes rarely get past the version: these all do.
    #[test]
    fn no_bytes_behind_a_good_header_make_the_parser_panic(
        format in 1_u8..6,
        body in proptest::collection::vec(any::<u8>(), 0..512),
    ) {
        let bytes = [&[0, 1, 0, format][..], &body].concat();
        let _ = Message::parse(&bytes);
        let _ = Message::parse_padded(&bytes);
    }
}
