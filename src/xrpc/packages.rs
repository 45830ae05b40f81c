//! Pure. Whether a key package may be kept: it parses, is the caller's, of the
//! suite it says, signed, and alive.

use std::fmt::Display;
use std::time::Duration;

use super::handshake::NO_UUID;
use crate::mls::KeyPackage;
use crate::store::NewKeyPackage;
use crate::types::{CoarseTime, DeviceId, Did, sha256};
use crate::wire::XrpcError;
use crate::wire::calls::KeyPackageInput;

/// A key package that may be kept, and the device it is for.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) package: NewKeyPackage,
    /// From the request or the credential, which agree; `None` for an account
    /// without devices.
    pub(super) device: Option<DeviceId>,
}

/// Whose packages are taken in, and by which clock.
#[derive(Debug)]
pub(super) struct Intake<'a> {
    pub(super) caller: &'a Did,
    /// The device that the whole request is for.
    pub(super) device: Option<&'a DeviceId>,
    /// The signature key that the device says it has: without the proof that a package is, it
    /// could be anybody's.
    pub(super) signature_key: Option<&'a [u8]>,
    pub(super) now_unix: u64,
    pub(super) life_max: Duration,
}

impl Intake<'_> {
    /// Accepts one package, or says why not.
    pub(super) fn accept(&self, input: &KeyPackageInput) -> Result<Accepted, XrpcError> {
        let bytes = input.key_package.as_slice();
        let package = KeyPackage::parse(bytes).map_err(refused)?;
        package
            .check(input.cipher_suite, self.caller, self.now_unix)
            .map_err(refused)?;
        let leaf_key = package.leaf.signature_key;
        if self.signature_key.is_some_and(|key| key != leaf_key) {
            return Err(refused("has another signature key than signaturePublicKey"));
        }
        let device = self.device_of(input, &package)?;
        let reference = package.reference().ok_or_else(|| refused(UNKNOWN_SUITE))?;
        Ok(Accepted {
            package: NewKeyPackage {
                cipher_suite: input.cipher_suite,
                bytes: bytes.to_vec(),
                hash: sha256(bytes),
                reference,
                last_resort: package.last_resort,
                expires_at: self.expires_at(input, &package)?,
            },
            device,
        })
    }

    /// Everything that names a device must name the same one.
    fn device_of(
        &self,
        input: &KeyPackageInput,
        package: &KeyPackage<'_>,
    ) -> Result<Option<DeviceId>, XrpcError> {
        let in_credential = package.device_of(self.caller).map_err(refused)?;
        let mut named = Vec::new();
        named.extend(in_credential.map(str::to_owned));
        let owners = [
            ("did", &input.did),
            ("credentialDid", &input.credential_did),
        ];
        for (field, owner) in owners {
            let Some(owner) = owner else { continue };
            let rest = owner.as_str().strip_prefix(self.caller.expose());
            match rest.and_then(|rest| rest.strip_prefix('#').or(rest.is_empty().then_some(""))) {
                Some("") => {}
                Some(device) => named.push(device.to_owned()),
                None => return Err(misfit(field, "must be your account, or a device of it")),
            }
        }
        let given = [self.device, input.device_id.as_ref()];
        named.extend(given.into_iter().flatten().map(|d| d.expose().to_owned()));
        named.dedup();
        match named.as_slice() {
            [] => Ok(None),
            [device] => DeviceId::parse(device)
                .map(Some)
                .map_err(|_| refused(NO_UUID)),
            _ => Err(refused(
                "must be of one device by its credential, deviceId and deviceUUID",
            )),
        }
    }

    /// The earliest of the package's own end, what its owner says, and the most
    /// that the relay keeps.
    fn expires_at(
        &self,
        input: &KeyPackageInput,
        package: &KeyPackage<'_>,
    ) -> Result<CoarseTime, XrpcError> {
        let latest = self.now_unix.saturating_add(self.life_max.as_secs());
        let own = package.leaf.lifetime.map_or(latest, |life| life.not_after);
        let mut end = own.min(latest);
        if let Some(expires) = input.expires {
            let expires = u64::try_from(expires.unix_seconds()).unwrap_or(0);
            if expires > latest {
                return Err(self.too_far());
            }
            if expires <= self.now_unix {
                return Err(misfit("expires", "must be in the future"));
            }
            end = end.min(expires);
        }
        Ok(CoarseTime::from_unix_seconds(
            i64::try_from(end).unwrap_or(i64::MAX),
        ))
    }

    fn too_far(&self) -> XrpcError {
        let days = self.life_max.as_secs() / 86_400;
        let what = format_args!("must be at most {days} days ahead");
        XrpcError::of_field("ExpirationTooFar", "expires", what)
    }
}

pub(super) const UNKNOWN_SUITE: &str = "has an unknown cipher suite";

pub(super) fn refused(what: impl Display) -> XrpcError {
    misfit("keyPackage", what)
}

/// What is said beside a package does not go with it.
fn misfit(field: &str, what: impl Display) -> XrpcError {
    XrpcError::of_field("InvalidKeyPackage", field, what)
}
