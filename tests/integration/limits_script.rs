//! `loadtest/rate-limits.sh`, with which operators see the limits of their relay hold.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::Curve;
use tokio::process::Command;

use crate::relay::{Home, Relay, SERVICE_DID, free_address};

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_script_sees_the_limits_hold_and_waits_as_told() {
    let directory = Directory::start().await.unwrap();
    let home = Home::lived_in().knowing(&directory);
    let many_uses = [("ENFORCE_JTI", "false"), ("RATE_LIMIT_DID_DEFAULT", "8")];
    let (defaults, by_account) = (Relay::start(), home.with_all(many_uses).start());
    let account = directory.account(Curve::P256).unwrap();
    let life = Duration::from_secs(240);
    let token = |call: &str| {
        let call = format!("blue.catbird.mls.{call}");
        account.service_token(SERVICE_DID, &call, life).unwrap()
    };
    let (query, procedure) = (token("getConvos"), token("createConvo"));
    let of_procedures = ["8", "/xrpc/blue.catbird.mls.createConvo"];
    // Each waits for up to a minute.
    let (of_address, of_query, of_procedure) = tokio::join!(
        script(&defaults, &[], None),
        script(&by_account, &["12"], Some(&query)),
        script(&by_account, &of_procedures, Some(&procedure)),
    );
    let (code, said) = of_address;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("passed 66, refused 4, the first refusal was request 67"),
        "{said}"
    );
    assert!(said.contains("policy 60;w=60"), "{said}");
    assert!(said.contains("and in: 401"), "{said}");
    let (code, said) = of_procedure;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("passed 5, refused 3, the first refusal was request 6"),
        "{said}"
    );
    let (code, said) = of_query;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("passed 8, refused 4, the first refusal was request 9"),
        "{said}"
    );
    assert!(said.contains("and in: 200"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_script_says_so_when_nothing_is_refused() {
    let home = Home::lived_in().with("LIMITS_EXEMPT", "127.0.0.0/8");
    let (code, said) = script(&home.start(), &["70"], None).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Nothing was refused"), "{said}");
}

#[tokio::test]
async fn where_nobody_answers_the_script_says_so() {
    let closed = format!("https://{}", free_address());
    let (code, said) = run(&[&closed, "3"], None).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("request 1: no answer"), "{said}");
}

#[tokio::test]
async fn the_script_refuses_what_is_no_request() {
    for arguments in [&["--help"][..], &["https://localhost:1", "many"]] {
        let (code, said) = run(arguments, None).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.starts_with("usage: "), "{said}");
    }
}

/// The script against this relay: its exit code, and what it said.
async fn script(relay: &Relay, arguments: &[&str], token: Option<&str>) -> (Option<i32>, String) {
    let url = format!("https://{}", relay.reach().authority());
    run(&[&[url.as_str()], arguments].concat(), token).await
}

/// The script as an operator calls it.
async fn run(arguments: &[&str], token: Option<&str>) -> (Option<i32>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest/rate-limits.sh");
    let mut command = Command::new(script);
    command.args(arguments).env_remove("TOKEN");
    command.envs(token.map(|token| ("TOKEN", token)));
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().await.unwrap();
    let said = [stdout, stderr].concat();
    (status.code(), String::from_utf8(said).unwrap())
}
