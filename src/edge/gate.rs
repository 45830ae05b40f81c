//! Every request from outside is counted against its address before anything else
//! looks at it; whoever proves an account later gets the place back.

use http::request::Parts;
use http::{HeaderMap, Response};

use crate::auth::Authenticator;
use crate::limits::{Claim, Decision, HEADERS, Limits, ProvedHere};
use crate::types::ClientIp;
use crate::wire::{Body, XrpcError};

/// Clones count together.
#[derive(Clone)]
pub struct Gate {
    authenticator: Authenticator,
    limits: Limits,
}

impl Gate {
    pub fn new(authenticator: Authenticator, limits: Limits) -> Self {
        Self {
            authenticator,
            limits,
        }
    }

    /// Counts a request, which may wait for its place. It carries the decision along, for
    /// whoever proves an account.
    pub(super) async fn enter(
        &self,
        request: &mut Parts,
        client: ClientIp,
    ) -> Result<Decision, Box<Response<Body>>> {
        let arrival = self.limits.arrival(client);
        let query = request.uri.query();
        let claimed = self.authenticator.claimed(&request.headers, query);
        let is_sure = || {
            let mut claimed = claimed.iter();
            claimed.any(|claimed| self.authenticator.is_sure(claimed, &request.headers))
        };
        let claim = claimed.as_ref().map(|claimed| {
            let connection = request.extensions.get::<ProvedHere>();
            Claim::of(&claimed.did).sure_if(&is_sure).on(connection)
        });
        let decision = self.limits.admit_request(arrival, claim).await;
        if let Err(error) = decision.admit() {
            let mut response = XrpcError::from(error).into_response();
            self.write_headers(&decision, response.headers_mut());
            return Err(Box::new(response));
        }
        request.extensions.insert(decision.clone());
        Ok(decision)
    }

    /// Says how much is left, unless a tighter limit has said so already, or another one has
    /// refused.
    pub(super) fn leave(&self, decision: &Decision, response: &mut Response<Body>) {
        let tells = decision.tells_of(response.status());
        let headers = response.headers_mut();
        if tells && !HEADERS.iter().any(|name| headers.contains_key(name)) {
            self.write_headers(decision, headers);
        }
    }

    fn write_headers(&self, decision: &Decision, headers: &mut HeaderMap) {
        decision.write_headers(headers, self.limits.clock().unix());
    }
}
