//! Pure. Whether a key package may be kept: it parses, is the caller's, of the
//! suite it says, signed, and alive.

use std::time::Duration;

use crate::mls::KeyPackage;
use crate::store::NewKeyPackage;
use crate::types::{CoarseTime, DeviceId, Did, sha256};
use crate::wire::calls::KeyPackageInput;
use crate::wire::{XrpcError, XrpcStatus};

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
        let package = KeyPackage::parse(bytes).map_err(|error| refused(&error.to_string()))?;
        package
            .check(input.cipher_suite, self.caller, self.now_unix)
            .map_err(|error| refused(&error.to_string()))?;
        let leaf_key = package.leaf.signature_key;
        if self.signature_key.is_some_and(|key| key != leaf_key) {
            return Err(refused("has another signature key than signaturePublicKey"));
        }
        let device = self.device_of(input, &package)?;
        let reference = package
            .reference()
            .ok_or_else(|| refused("has an unknown cipher suite"))?;
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
        let in_credential = package
            .device_of(self.caller)
            .map_err(|error| refused(&error.to_string()))?;
        let mut named = Vec::new();
        named.extend(in_credential.map(str::to_owned));
        for owner in [&input.did, &input.credential_did].into_iter().flatten() {
            let rest = owner.as_str().strip_prefix(self.caller.expose());
            match rest.and_then(|rest| rest.strip_prefix('#').or(rest.is_empty().then_some(""))) {
                Some("") => {}
                Some(device) => named.push(device.to_owned()),
                None => return Err(refused("is said to belong to another account")),
            }
        }
        let given = [self.device, input.device_id.as_ref()];
        named.extend(given.into_iter().flatten().map(|d| d.expose().to_owned()));
        named.dedup();
        match named.as_slice() {
            [] => Ok(None),
            [device] => DeviceId::parse(device)
                .map(Some)
                .map_err(|_| refused("names a device that is not a UUID in lower case")),
            _ => Err(refused(
                "must name one device in its credential, deviceId and deviceUUID",
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
        let own = package.lifetime().map_or(latest, |life| life.not_after);
        let mut end = own.min(latest);
        if let Some(expires) = input.expires {
            let expires = u64::try_from(expires.unix_seconds()).unwrap_or(0);
            if expires > latest {
                return Err(self.too_far());
            }
            if expires <= self.now_unix {
                return Err(refused("expires before it arrives"));
            }
            end = end.min(expires);
        }
        Ok(CoarseTime::from_unix_seconds(
            i64::try_from(end).unwrap_or(i64::MAX),
        ))
    }

    fn too_far(&self) -> XrpcError {
        let days = self.life_max.as_secs() / 86_400;
        XrpcError::new(
            XrpcStatus::BadRequest,
            "ExpirationTooFar",
            format!("expires: may be {days} days ahead at most"),
        )
    }
}

fn refused(what: &str) -> XrpcError {
    XrpcError::new(
        XrpcStatus::BadRequest,
        "InvalidKeyPackage",
        format!("keyPackage: {what}"),
    )
}
