//! Who is calling, proved once per request: a service token signed by the
//! account's key (ATProto "Inter-Service Authentication"), or a ticket of our own.
//!
//! ```text
//! header ─> bearer ─> token ─> claims ─> nonce seen here? ─> key cache ─> signature ─> nonce used up ─> Caller
//!                     (pure, cheap, no network)                 │ on a miss, or when the signature is wrong
//!                                                    resolver ─> fetch ─> did_document
//! ```

mod authenticator;
mod bearer;
mod caller;
mod claims;
mod did_document;
mod did_location;
mod error;
mod freshness;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod key_cache;
mod keyed_hash;
mod lookups;
mod nonces;
mod refresh_budget;
mod remembered;
mod resolver;
mod settings;
mod signature;
#[cfg(test)]
mod tests;
mod ticket;
mod tickets;
mod token;
mod turns;
mod verified;

pub use authenticator::{Authenticator, StartError};
pub use caller::{Caller, Claimed, Proof, SecondLook};
pub use did_document::DocumentError;
pub use did_location::LocationError;
pub use error::{AuthError, ResolveError};
pub use settings::{Settings, TicketSecret, TicketSecretError};
pub use ticket::{Ticket, UnusedTicket};
pub use token::TokenError;
