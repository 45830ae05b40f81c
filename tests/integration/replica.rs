//! Another Postgres takes over, as docs/operations.md says: it follows the old one as a logical
//! replica, and the relay goes on there.

use std::process::Command;
use std::time::Duration;

use mls_relay::store::{ChangeOutcome, GroupChange, Joining, Leaving, NewConversation, Store};
use mls_relay::types::{ConvoId, Did};

use crate::database::Database;
use crate::store_values::{change, conversation, did, key_package, message};

#[tokio::test(flavor = "multi_thread")]
async fn another_postgres_follows_the_old_one_and_the_relay_goes_on_there() {
    let old = Database::with_settings(&["wal_level=logical"]).await;
    let (store, shutdown) = old.store().await;
    let (alice, bob, carol) = (did("alice"), did("bob"), did("carol"));
    let founded = NewConversation {
        joining: joining(&store, &bob, 1).await,
        ..conversation(&convo(), &alice)
    };
    let founded = store.create_conversation(&founded).await.unwrap();
    assert!(matches!(founded, ChangeOutcome::Done { .. }));
    store.append(message(&convo(), &alice)).await.unwrap();

    let new = Database::empty().await;
    let address = |of: &str| format!("postgres://relay:PASSWORD@{of}.example.com/relay");
    let copy = documented("sh", 0).replace(&address("old"), &format!("'{}'", old.url()));
    let copy = copy.replace(&address("new"), &format!("'{}'", new.url()));
    let programs = old.binary("psql").parent().unwrap().display().to_string();
    let copy = format!("PATH={programs}:$PATH\n{copy}");
    let copied = Command::new("/bin/sh").args(["-ec", &copy]).output();
    assert!(copied.unwrap().status.success());
    old.run(&documented("sql", 0)).await;
    let address = "host=old.example.com dbname=relay user=relay password=PASSWORD";
    let subscribe = documented("sql", 1).replace(address, &old.url());
    new.run(&subscribe).await;
    let copied = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'";
    new.until("every table is copied", copied, 0).await;

    // What changes, what goes, a day that comes and one that is forgotten.
    let adding = |joining, caller| GroupChange {
        joining,
        ..change(&convo(), caller)
    };
    let leaving = GroupChange {
        leaving: Some(Leaving {
            user: bob.clone(),
            device: None,
            removed: false,
        }),
        ..change(&convo(), &bob)
    };
    done(&store, adding(joining(&store, &carol, 2).await, &alice)).await;
    let made_admin = store.set_admin(&convo(), &alice, &bob, true).await;
    assert!(made_admin.is_ok());
    done(&store, leaving).await;
    assert!(store.welcome(&convo(), &carol, None).await.is_ok());
    let confirmed = store.confirm_welcome(&convo(), &carol, None).await;
    assert!(confirmed.is_ok());
    old.run(A_LATER_DAY).await;
    let forgetting = store.forgetting("days").await.unwrap().unwrap();
    let yesterday = &forgetting.partitions("messages").await.unwrap()[0];
    forgetting.detach("messages", yesterday).await.unwrap();
    forgetting.drop_detached(yesterday).await.unwrap();
    drop(forgetting);
    let last = store.append(message(&convo(), &alice)).await.unwrap();
    drop(store);
    shutdown.drain(Duration::from_secs(10)).await;

    old.until("nothing is on its way", &documented("sql", 2), 0)
        .await;
    for table in old.all::<String>(TABLES, &[]).await {
        let rows = format!("SELECT t::text FROM {table} t ORDER BY 1");
        let kept = old.all::<String>(&rows, &[]).await;
        assert_eq!(new.all::<String>(&rows, &[]).await, kept, "{table}");
    }
    let head = old.count(HEAD).await;
    for statement in documented("sql", 3).split_inclusive(";\n") {
        new.run(statement).await;
    }
    drop(old);
    let (store, _shutdown) = new.store().await;
    done(&store, adding(joining(&store, &bob, 3).await, &carol)).await;
    let next = store.append(message(&convo(), &carol)).await.unwrap();
    assert_eq!(next.seq, last.seq + 1);
    assert_eq!(new.count(HEAD).await, head + 2);
}

fn convo() -> ConvoId {
    ConvoId::of_group(&[1; 16]).unwrap()
}

/// Somebody joins, by a key package that is published for it.
async fn joining(store: &Store, who: &Did, package: u8) -> Joining {
    let packages = [key_package([package; 32])];
    let published = store.publish_key_packages(who, None, &packages, 10, 32);
    assert!(published.await.is_ok());
    Joining {
        users: vec![who.clone()],
        references: vec![vec![package; 32]],
        welcome: vec![9; 10_000],
    }
}

async fn done(store: &Store, change: GroupChange) {
    let outcome = store.change_group(&change).await.unwrap();
    assert!(matches!(outcome, ChangeOutcome::Done { .. }));
}

/// A block of the document's section.
fn documented(language: &str, place: usize) -> String {
    let page = include_str!("../../docs/operations.md");
    let section = page.split("\n### Another Postgres\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let block = section.split(&format!("```{language}\n")).nth(place + 1);
    block.unwrap().split("```").next().unwrap().to_owned()
}

const A_LATER_DAY: &str = "
    SELECT ensure_partition('messages', (now() + '9 days'::interval)::date);
    INSERT INTO messages (convo_id, seq, msg_id, kind, epoch, ciphertext, declared_size, padded_size,
                          received_at)
        VALUES ('ab', 1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'commit', 1, 'x', 1, 1,
                coarse_now() + '9 days'::interval)";

const HEAD: &str = "SELECT max(seq) FROM event_stream";

/// All but the days, which each server has of its own.
const TABLES: &str = "SELECT c.relname::text FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
      AND NOT c.relispartition";
