//! Asking to be added anew.

use std::time::Duration;

use super::rows::{bound, outcomes};
use super::{NewKeyPackage, Params, Store, StoreError};
use crate::types::{ConvoId, DeviceId, Did};

/// A device that asks to be added anew, with the key package for it.
#[derive(Clone, Debug)]
pub struct RejoinRequest {
    pub convo: ConvoId,
    pub user: Did,
    pub device: Option<DeviceId>,
    pub package: NewKeyPackage,
    /// Unclaimed key packages that the device may have.
    pub open_max: u32,
    /// Devices that the account may have.
    pub devices_max: u32,
    /// The members are told once in this time.
    pub quiet: Duration,
}

outcomes! {
    /// What became of a request.
    RejoinOutcome {
        /// The members were told, now or not long ago.
        Done = "done",
        /// The package belongs to another account or device.
        Foreign = "foreign",
        /// It was never in there, or an admin ended its stay.
        NotMember = "absent",
        TooManyDevices = "too_many_devices",
        TooManyKeyPackages = "too_many_key_packages",
        /// The conversation speaks another cipher suite.
        WrongSuite = "suite",
    }
}

impl Store {
    /// Keeps the key package and tells the members.
    pub async fn request_rejoin(
        &self,
        request: &RejoinRequest,
    ) -> Result<RejoinOutcome, StoreError> {
        let package = &request.package;
        let sql = "SELECT request_rejoin($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, \
                   make_interval(secs => $11), $12)";
        let params: Params<'_> = &[
            &request.convo,
            &request.user,
            &request.device,
            &package.cipher_suite,
            &package.bytes,
            &package.hash.as_slice(),
            &package.reference,
            &package.last_resort,
            &package.expires_at,
            &bound(request.open_max),
            &request.quiet.as_secs_f64(),
            &bound(request.devices_max),
        ];
        self.calls().value(sql, params).await
    }
}
