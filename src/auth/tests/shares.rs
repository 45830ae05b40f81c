//! What hosts that answer late, and those who ask for them, leave to everybody else.

use std::net::IpAddr;
use std::time::Duration;

use super::eventually;
use super::web::Web;

/// More than there are places for lookups of the web, twice over.
const MANY: u8 = 40;

fn network(number: u8) -> IpAddr {
    [192, 0, 2, number].into()
}

/// Hosts that never answer, each of an owner of its own.
fn slow_hosts() -> impl Iterator<Item = String> {
    (0..MANY).map(|number| format!("slow.owner{number}.net"))
}

fn hosts(more: &[&str]) -> Vec<String> {
    let more = more.iter().map(|host| (*host).to_owned());
    slow_hosts().chain(more).collect()
}

/// Once as many hosts keep us waiting as one network, or one domain, may have.
async fn under_way(web: &Web) {
    eventually(async || web.asked_in_vain() >= 4).await;
}

#[tokio::test]
async fn a_network_that_asks_for_hosts_that_do_not_answer_holds_nobody_else_up() {
    let mut web = Web::start(hosts(&["pds.someone.net"]), |_| {}).await;
    web.flood(slow_hosts().map(|host| (host, network(1))));
    under_way(&web).await;
    web.key("pds.someone.net", network(2)).await.unwrap();
    assert_eq!(web.asked_in_vain(), 4);
}

#[tokio::test]
async fn a_domain_whose_hosts_do_not_answer_holds_nobody_else_up() {
    let slow: Vec<String> = (0..MANY).map(|n| format!("slow{n}.owner.net")).collect();
    let all = slow.iter().cloned().chain(["pds.someone.net".to_owned()]);
    let mut web = Web::start(all.collect(), |_| {}).await;
    web.flood(slow.into_iter().zip((1..).map(network)));
    under_way(&web).await;
    web.key("pds.someone.net", network(200)).await.unwrap();
    assert_eq!(web.asked_in_vain(), 4);
}

#[tokio::test]
async fn an_account_is_found_from_elsewhere_while_a_network_asks_for_it_in_vain() {
    let mut web = Web::start(hosts(&["pds.someone.net"]), |_| {}).await;
    web.flood(slow_hosts().map(|host| (host, network(1))));
    under_way(&web).await;
    let victim = std::iter::once(("pds.someone.net".to_owned(), network(1)));
    web.flood(victim);
    tokio::task::yield_now().await;
    web.key("pds.someone.net", network(2)).await.unwrap();
}

#[tokio::test]
async fn a_known_account_is_refreshed_whoever_asks_for_new_ones() {
    let known = "pds.someone.net";
    let mut web = Web::start(hosts(&[known]), |settings| {
        settings.key_fresh_for = Duration::ZERO;
        settings.lookup_pause = Duration::ZERO;
    })
    .await;
    web.key(known, network(200)).await.unwrap();
    // As many networks as hosts: they have all that is for strangers.
    web.flood(slow_hosts().zip((1..).map(network)));
    eventually(async || web.asked_in_vain() >= 12).await;
    assert_eq!(web.asked(known), 1);
    web.key(known, network(200)).await.unwrap();
    let is_refreshed = async || web.asked(known) == 2;
    let soon = tokio::time::timeout(Duration::from_secs(1), eventually(is_refreshed)).await;
    assert!(soon.is_ok());
}
