//! Every request from outside is counted against its address before anything else
//! looks at it; whoever proves an account later gets the place back.

use http::request::Parts;
use http::{HeaderMap, Response};

use crate::auth::{Authenticator, Claimed};
use crate::limits::{Claim, Decision, HEADERS, Limits, ProvedHere};
use crate::types::ClientIp;
use crate::wire::{Body, XrpcError};

/// A request that may go on.
pub(super) struct Entered {
    decision: Decision,
    claimed: Option<Claimed>,
}

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
    ) -> Result<Entered, Box<Response<Body>>> {
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
        if let Some(refusal) = self.refusal(&decision) {
            return Err(Box::new(refusal));
        }
        request.extensions.insert(decision.clone());
        Ok(Entered { decision, claimed })
    }

    fn refusal(&self, decision: &Decision) -> Option<Response<Body>> {
        let mut response = XrpcError::from(decision.refused?).into_response();
        self.write_headers(decision, response.headers_mut());
        Some(response)
    }

    /// Says how much is left, unless a tighter limit has said so already, or another one has
    /// refused. Who has proved nothing hears nothing of an account's reserve.
    pub(super) async fn leave(
        &self,
        entered: Entered,
        client: ClientIp,
        mut response: Response<Body>,
    ) -> Response<Body> {
        let mut decision = entered.decision;
        if let Some(claimed) = &entered.claimed {
            let claim = Claim::of(&claimed.did);
            let again = self.limits.admit_again(&decision, client, claim).await;
            decision = again.unwrap_or(decision);
            response = self.refusal(&decision).unwrap_or(response);
        }
        let tells = decision.tells_of(response.status());
        let headers = response.headers_mut();
        if tells && !HEADERS.iter().any(|name| headers.contains_key(name)) {
            self.write_headers(&decision, headers);
        }
        response
    }

    fn write_headers(&self, decision: &Decision, headers: &mut HeaderMap) {
        decision.write_headers(headers, self.limits.clock().unix());
    }
}
