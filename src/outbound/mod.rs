//! What the relay asks of other services over HTTP: DID documents, and the AppView.
//! Hosts that strangers name are dialled on public addresses only.

mod address_policy;
mod dial;
mod endpoint;
mod error;
mod fetch;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod outage;
mod page;
#[cfg(test)]
pub(crate) mod tests;
mod tls;

pub use endpoint::EndpointError;
pub use error::{FetchError, SystemError, TlsError};

pub(crate) use dial::ADDRESSES_TRIED_MAX;
pub(crate) use endpoint::{Endpoint, names_user};
pub(crate) use fetch::{Fetched, Fetcher, beside};
pub(crate) use outage::Outage;
pub(crate) use page::{Page, Reach};
pub(crate) use tls::{public_authorities, tls_config};
