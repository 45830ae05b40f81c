//! The keys of one device of an account, and what it makes from them: key
//! packages, groups it founds, groups it joins by Welcome.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::{
    BasicCredential, Capabilities, Ciphersuite, CredentialWithKey, ExtensionType, KeyPackage,
    Lifetime, MlsGroup, MlsGroupCreateConfig, MlsGroupJoinConfig, MlsMessageBodyIn, MlsMessageIn,
    OpenMlsProvider as _, StagedWelcome,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use std::sync::Arc;

use super::{Group, MlsError};

/// The suite that every client of MLS must know (RFC 9420 section 17.1).
const CIPHER_SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

/// Its name in the calls of the relay.
pub const CIPHER_SUITE_NAME: &str = "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519";

/// How long a key package is good for: under the 90 days that the relay allows.
const KEY_PACKAGE_SECONDS: u64 = 30 * 24 * 3600;

/// One device: an Ed25519 key, a credential that says `did#deviceId`, and the
/// store of private keys that OpenMLS needs.
pub struct Device {
    did: String,
    device_id: String,
    pub(super) provider: OpenMlsRustCrypto,
    pub(super) signer: SignatureKeyPair,
    credential: CredentialWithKey,
}

impl Device {
    /// Fresh keys for the device `device_id` of the account `did`.
    pub fn new(did: &str, device_id: &str) -> Result<Self, MlsError> {
        Self::named(did, device_id, format!("{did}#{device_id}"))
    }

    /// Fresh keys for an account that has no devices: the credential says `did` alone.
    pub fn of_account(did: &str) -> Result<Self, MlsError> {
        Self::named(did, "", did.to_owned())
    }

    fn named(did: &str, device_id: &str, identity: String) -> Result<Self, MlsError> {
        let provider = OpenMlsRustCrypto::default();
        let signer = SignatureKeyPair::new(CIPHER_SUITE.signature_algorithm())
            .map_err(MlsError::at("make a signature key"))?;
        signer
            .store(provider.storage())
            .map_err(MlsError::at("keep the signature key"))?;
        let credential = CredentialWithKey {
            credential: BasicCredential::new(identity.into_bytes()).into(),
            signature_key: signer.public().into(),
        };
        Ok(Self {
            did: did.to_owned(),
            device_id: device_id.to_owned(),
            provider,
            signer,
            credential,
        })
    }

    /// The same keys on a phone that has lost all its groups and key packages.
    pub fn without_state(&self) -> Result<Self, MlsError> {
        let provider = OpenMlsRustCrypto::default();
        let (storage, scheme) = (self.provider.storage(), CIPHER_SUITE.signature_algorithm());
        let signer = SignatureKeyPair::read(storage, self.signer.public(), scheme)
            .ok_or(MlsError::Malformed)?;
        signer
            .store(provider.storage())
            .map_err(MlsError::at("keep the signature key"))?;
        Ok(Self {
            did: self.did.clone(),
            device_id: self.device_id.clone(),
            provider,
            signer,
            credential: self.credential.clone(),
        })
    }

    pub fn did(&self) -> &str {
        &self.did
    }

    pub fn device_id(&self) -> &str {
        &self.device_id
    }

    /// The public half of the signature key, as registerDevice wants it.
    pub fn signature_key(&self) -> &[u8] {
        self.signer.public()
    }

    /// A key package for one join, serialized. Its private half stays here.
    pub fn key_package(&self) -> Result<Vec<u8>, MlsError> {
        self.build_key_package(false)
    }

    /// A key package that may be used again when no other is left.
    pub fn last_resort_key_package(&self) -> Result<Vec<u8>, MlsError> {
        self.build_key_package(true)
    }

    fn build_key_package(&self, last_resort: bool) -> Result<Vec<u8>, MlsError> {
        let builder =
            KeyPackage::builder().key_package_lifetime(Lifetime::new(KEY_PACKAGE_SECONDS));
        let builder = if last_resort {
            let capabilities = Capabilities::builder()
                .extensions(vec![ExtensionType::LastResort])
                .build();
            builder
                .leaf_node_capabilities(capabilities)
                .mark_as_last_resort()
        } else {
            builder
        };
        builder
            .build(
                CIPHER_SUITE,
                &self.provider,
                &self.signer,
                self.credential.clone(),
            )
            .map_err(MlsError::at("make a key package"))?
            .key_package()
            .tls_serialize_detached()
            .map_err(MlsError::at("write a key package"))
    }

    /// Founds a group whose only member is this device, at epoch 0.
    pub fn create_group(self: &Arc<Self>) -> Result<Group, MlsError> {
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(CIPHER_SUITE)
            .use_ratchet_tree_extension(true)
            .build();
        let group = MlsGroup::new(
            &self.provider,
            &self.signer,
            &config,
            self.credential.clone(),
        )
        .map_err(MlsError::at("create a group"))?;
        Ok(Group::new(Arc::clone(self), group))
    }

    /// Makes an external commit to the group of this GroupInfo (RFC 9420 section
    /// 12.4.3.2), and the group as it will be when the relay accepts it. An old leaf
    /// with this device's signature key is removed.
    pub fn join_by_external_commit(
        self: &Arc<Self>,
        group_info: &[u8],
    ) -> Result<(Group, Vec<u8>), MlsError> {
        let message =
            MlsMessageIn::tls_deserialize_exact(group_info).map_err(|_| MlsError::Malformed)?;
        let MlsMessageBodyIn::GroupInfo(info) = message.extract() else {
            return Err(MlsError::Malformed);
        };
        let config = MlsGroupJoinConfig::builder()
            .use_ratchet_tree_extension(true)
            .build();
        let (group, bundle) = MlsGroup::external_commit_builder()
            .with_config(config)
            .build_group(&self.provider, info, self.credential.clone())
            .map_err(MlsError::at("prepare an external commit"))?
            .load_psks(self.provider.storage())
            .map_err(MlsError::at("load no keys"))?
            .build(
                self.provider.rand(),
                self.provider.crypto(),
                &self.signer,
                |_| true,
            )
            .map_err(MlsError::at("build an external commit"))?
            .finalize(&self.provider)
            .map_err(MlsError::at("finish an external commit"))?;
        let commit = bundle
            .into_commit()
            .tls_serialize_detached()
            .map_err(MlsError::at("write an external commit"))?;
        Ok((Group::new(Arc::clone(self), group), commit))
    }

    /// Joins the group that the Welcome invites this device to.
    pub fn join(self: &Arc<Self>, welcome: &[u8]) -> Result<Group, MlsError> {
        let message =
            MlsMessageIn::tls_deserialize_exact(welcome).map_err(|_| MlsError::Malformed)?;
        let MlsMessageBodyIn::Welcome(welcome) = message.extract() else {
            return Err(MlsError::Malformed);
        };
        let config = MlsGroupJoinConfig::builder()
            .use_ratchet_tree_extension(true)
            .build();
        let group = StagedWelcome::new_from_welcome(&self.provider, &config, welcome, None)
            .map_err(MlsError::at("open a Welcome"))?
            .into_group(&self.provider)
            .map_err(MlsError::at("join a group"))?;
        Ok(Group::new(Arc::clone(self), group))
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").finish_non_exhaustive()
    }
}

/// The name of a key package in keyPackageHashes: SHA-256 of its bytes, in hex.
pub fn key_package_hash(key_package: &[u8]) -> String {
    let hash = digest(&SHA256, key_package);
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
