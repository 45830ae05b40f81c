//! Tickets, from the call that gives them out to the stream that they open.

use super::MemoryLedger;
use super::world::{World, bearing};
use crate::auth::{AuthError, Authenticator, Caller, Settings, TicketSecret};
use crate::runtime::{Live, Shutdown};
use crate::types::ConvoId;

fn node(ledger: &MemoryLedger, secret: u8) -> Authenticator {
    Authenticator::with_ledger(
        Live::new(Settings::default()),
        Box::new(ledger.clone()),
        &TicketSecret::new([secret; 32]),
        Shutdown::default(),
    )
    .unwrap()
}

async fn redeem(node: &Authenticator, token: &str) -> Result<Caller, AuthError> {
    node.redeem(node.check_ticket(token)?).await
}

#[tokio::test]
async fn a_ticket_opens_one_stream_on_whatever_node() {
    let ledger = MemoryLedger::default();
    let (here, there) = (node(&ledger, 7), node(&ledger, 7));
    let caller = Caller::assumed("did:plc:abc");
    let convo = ConvoId::parse("ab01").unwrap();
    let ticket = here.issue_ticket(&caller, Some(&convo)).unwrap();
    let unused = there.check_ticket(&ticket.token).unwrap();
    assert_eq!(unused.convo, Some(convo));
    assert_eq!(there.redeem(unused).await.unwrap(), caller);
    for node in [&here, &there] {
        let again = redeem(node, &ticket.token).await.unwrap_err();
        assert_eq!(again.label(), "token_used");
    }
}

#[tokio::test]
async fn two_tickets_of_one_moment_are_two() {
    let node = node(&MemoryLedger::default(), 7);
    let caller = Caller::assumed("did:plc:abc");
    for _ in 0..2 {
        let ticket = node.issue_ticket(&caller, None).unwrap();
        let unused = node.check_ticket(&ticket.token).unwrap();
        assert_eq!(unused.convo, None);
        assert_eq!(node.redeem(unused).await.unwrap(), caller);
    }
}

#[tokio::test]
async fn the_limits_are_told_of_a_ticket_that_holds_and_otherwise_of_the_token() {
    let world = World::new().await;
    let claimed = |headers: &http::HeaderMap, query: &str| {
        let claimed = world.node.claimed(headers, Some(query))?;
        let is_sure = world.node.is_sure(&claimed, headers);
        Some((claimed.did.expose().to_owned(), is_sure))
    };
    let of_token = Some((world.account.did().to_owned(), false));
    let (bearing, nothing) = (bearing(&world.token()), http::HeaderMap::new());
    let caller = Caller::assumed("did:plc:abc");
    let ticket = world.node.issue_ticket(&caller, None).unwrap().token;
    let ticket = format!("ticket={ticket}");
    let of_ticket = Some(("did:plc:abc".to_owned(), true));
    assert_eq!(claimed(&nothing, &ticket), of_ticket);
    assert_eq!(claimed(&bearing, "ticket=x"), of_token);
    assert_eq!(claimed(&bearing, ""), of_token);
    assert_eq!(claimed(&nothing, "ticket=x"), None);
}

#[tokio::test]
async fn a_token_speaks_for_itself_once_it_was_proved_and_may_serve_again() {
    for enforce_jti in [false, true] {
        let world = World::with(|settings| settings.enforce_jti = enforce_jti).await;
        let token = world.token();
        let is_sure = |token: &str| {
            let headers = bearing(token);
            let claimed = world.node.claimed(&headers, None).unwrap();
            world.node.is_sure(&claimed, &headers)
        };
        assert!(!is_sure(&token));
        world.caller(&token).await.unwrap();
        assert_eq!(is_sure(&token), !enforce_jti);
        let (signed, _) = token.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}", "A".repeat(86));
        assert!(!is_sure(&forged));
    }
}

#[tokio::test]
async fn a_ticket_of_another_service_opens_nothing_and_uses_nothing_up() {
    let ledger = MemoryLedger::default();
    let caller = Caller::assumed("did:plc:abc");
    let foreign = node(&ledger, 8).issue_ticket(&caller, None).unwrap();
    let here = node(&ledger, 7);
    let refused = redeem(&here, &foreign.token).await.unwrap_err();
    assert_eq!(refused.label(), "signature_wrong");
    assert_eq!(ledger.questions(), 0);
}

#[tokio::test]
async fn a_ticket_from_before_a_deletion_opens_nothing() {
    let ledger = MemoryLedger::default();
    let node = node(&ledger, 7);
    let caller = Caller::assumed("did:plc:abc");
    let ticket = node.issue_ticket(&caller, None).unwrap();
    ledger.revoke(chrono::Utc::now().timestamp());
    let refused = redeem(&node, &ticket.token).await.unwrap_err();
    assert_eq!(refused.label(), "ticket_revoked");
    ledger.revoke(chrono::Utc::now().timestamp() - 60);
    let ticket = node.issue_ticket(&caller, None).unwrap();
    assert!(redeem(&node, &ticket.token).await.is_ok());
}
