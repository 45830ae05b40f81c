//! A large database: to put somebody into a conversation costs what is asked of those who come, and
//! nothing of who was there, of what members have published, or of all that an account is in.

use mls_relay::store::{ChangeOutcome, GroupChange, Joining, SeatBounds, Store};
use mls_relay::types::ConvoId;

use crate::scale::{LOOKED_AT, costs, seeded};
use crate::store_values::{change, did};

/// Alice adds one account after the other, as often as it takes until Postgres keeps plans, and more.
async fn add_each(store: &Store, bounds: SeatBounds, is_expected: impl Fn(&ChangeOutcome) -> bool) {
    for newcomer in 0..12_u8 {
        let joining = Joining {
            users: vec![did(&format!("n{newcomer}"))],
            references: vec![vec![newcomer]],
            welcome: vec![9],
        };
        let added = GroupChange {
            joining,
            bounds,
            ..change(&ConvoId::parse("aa").unwrap(), &did("alice"))
        };
        let outcome = store.change_group(&added).await.unwrap();
        assert!(is_expected(&outcome), "{newcomer}");
    }
}

fn is_done(outcome: &ChangeOutcome) -> bool {
    matches!(outcome, ChangeOutcome::Done { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_is_not_looked_for_among_all_who_ever_were_there() {
    let database = seeded(&format!(
        "{PEOPLE};
         INSERT INTO members (convo_id, user_did, device_id, joined_seq, left_seq, joined_message_seq)
             SELECT 'aa', 'did:plc:x' || n % 5000, 'd', n, n + 1, 0 FROM generate_series(1, 30000) n"
    ))
    .await;
    costs(&database, LOOKED_AT, 5000, async |store| {
        add_each(store, SeatBounds::default(), is_done).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_is_not_looked_for_among_all_that_members_have_published() {
    let database = seeded(&format!(
        "{PEOPLE};
         INSERT INTO members (convo_id, user_did, device_id, joined_seq, joined_message_seq)
             SELECT 'aa', 'did:plc:x' || n, 'd', n, 0 FROM generate_series(1, 200) n;
         INSERT INTO key_packages (user_did, device_id, cipher_suite, key_package, hash, reference,
                                   last_resort, expires_at)
             SELECT 'did:plc:' || who, 'd', 1, 'x', 'h', sha256(convert_to(n || who, 'UTF8')), false,
                    now() + '1 day'::interval
             FROM generate_series(1, 20000) n, unnest(ARRAY['x' || n % 200, 'y' || n]) AS who"
    ))
    .await;
    costs(&database, LOOKED_AT, 20_000, async |store| {
        add_each(store, SeatBounds::default(), is_done).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_too_many_conversations_has_them_counted_up_to_the_bound() {
    let database = seeded(&format!(
        "{PEOPLE};
         INSERT INTO members (convo_id, user_did, device_id, joined_seq, joined_message_seq)
             SELECT c.convo_id, 'did:plc:n' || n, 'd', n, 0
             FROM conversations c, generate_series(0, 11) n WHERE c.convo_id <> 'aa'"
    ))
    .await;
    let bounds = SeatBounds {
        convos_max: 10,
        ..SeatBounds::default()
    };
    costs(&database, LOOKED_AT, 5000, async |store| {
        let is_too_many = |outcome: &_| matches!(outcome, ChangeOutcome::TooManyConvos { .. });
        add_each(store, bounds, is_too_many).await;
    })
    .await;
}

/// Many conversations of a few who came and went, one of them Alice's, and twelve who may come there.
const PEOPLE: &str = "
    INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
        SELECT lpad(to_hex(n), 6, '0'), 'did:plc:bob', 1, 0 FROM generate_series(1, 2000) n
        UNION ALL VALUES ('aa', 'did:plc:alice', 1, 0);
    INSERT INTO members (convo_id, user_did, joined_seq, left_seq, joined_message_seq)
        SELECT c.convo_id, who, n, CASE WHEN n % 3 > 0 THEN n END, 0
        FROM conversations c, generate_series(1, 6) n,
             unnest(ARRAY[c.creator_did, 'did:plc:m' || c.ctid]) AS who
        WHERE n % 3 > 0 OR n = 3 ORDER BY sha256(convert_to(c.convo_id || n || who, 'UTF8'));
    INSERT INTO key_packages (user_did, device_id, cipher_suite, key_package, hash, reference,
                              last_resort, expires_at)
        SELECT 'did:plc:n' || n, 'd', 1, 'x', 'h', decode(lpad(to_hex(n), 2, '0'), 'hex'), false,
               now() + '1 day'::interval
        FROM generate_series(0, 11) n";
