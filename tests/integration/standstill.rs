//! Postgres that answers and stores nothing is told as such: by health in detail, by the
//! figure that deploy/alerts.yml watches, and to senders as what passes.

use http::StatusCode;

use crate::database::Database;
use crate::full_disk::Writer;
use crate::relay::{Home, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_somebody_holds_the_lock_of_the_stream_health_says_that_no_send_is_stored() {
    let database = Database::start().await;
    let home = Home::on(&database.url()).with("DATABASE_STATEMENT_TIMEOUT_MS", "300");
    let (relay, mut writer) = Writer::at(home).await;
    writer.send_until(true).await;
    let failing = "relay_append_failing_seconds";
    eventually("nothing fails", async || {
        let (_, report) = relay.health().await;
        report["checks"]["sends"]["ok"] == true && relay.figure(failing).await == Some(0)
    })
    .await;

    let operator = database.client().await;
    let hold = "SELECT pg_advisory_lock(hashtext('mls-relay.stream'))";
    operator.batch_execute(hold).await.unwrap();
    writer.send_until(false).await;
    eventually("it is told, and the node stays in service", async || {
        let (status, report) = relay.health().await;
        let (checks, metrics) = (&report["checks"], relay.ask_admin("/metrics").await.1);
        status == StatusCode::OK
            && checks["database"]["ok"] == true
            && checks["sends"]["ok"] == false
            && checks["sends"]["failingSeconds"].as_u64() > Some(0)
            && metrics.contains("\nrelay_append_failing_seconds ")
            && !metrics.contains("\nrelay_append_failing_seconds 0\n")
    })
    .await;
    assert!(relay.is_ready().await);

    let release = "SELECT pg_advisory_unlock_all()";
    operator.batch_execute(release).await.unwrap();
    writer.send_until(true).await;
    eventually("it is well again", async || {
        relay.health().await.1["checks"]["sends"]["ok"] == true
            && relay.figure(failing).await == Some(0)
    })
    .await;
}

/// As a server refuses every write whose notification queue is full, or whose transaction ids
/// have run out until it is vacuumed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_come_back_to_a_server_that_has_come_to_a_limit_of_its_own() {
    let database = Database::start().await;
    let (relay, mut writer) = Writer::at(Home::on(&database.url())).await;
    writer.send_until(true).await;
    let limit = "
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'a limit' USING ERRCODE = '54000'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuse()";
    database.run(limit).await;
    writer.send_until(false).await;
    let line = relay.says("SQLSTATE 54000");
    assert!(line.contains("WARN"), "{line}");
    assert!(line.contains("its notification queue is full"), "{line}");
    database.run("DROP TRIGGER refuse ON messages").await;
    writer.send_until(true).await;
}

/// As an operator does who keeps a day elsewhere, and took the wrong one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_come_back_to_a_day_that_somebody_has_taken_out() {
    let database = Database::start().await;
    let (relay, mut writer) = Writer::at(Home::on(&database.url())).await;
    writer.send_until(true).await;
    // At midnight it is the next one.
    let days = |how: &str| {
        format!(
            "DO $$ DECLARE v_day date; BEGIN FOR v_day IN VALUES (current_date), (current_date + 1) LOOP
                EXECUTE format('ALTER TABLE messages {how}', to_char(v_day, 'YYYYMMDD'),
                    v_day || ' 00:00+00', v_day + 1 || ' 00:00+00');
            END LOOP; END $$"
        )
    };
    database.run(&days("DETACH PARTITION messages_%s")).await;
    writer.send_until(false).await;
    let line = relay.says("SQLSTATE 23514");
    assert!(line.contains("somebody has taken it out"), "{line}");
    let attach = "ATTACH PARTITION messages_%s FOR VALUES FROM (%L) TO (%L)";
    database.run(&days(attach)).await;
    writer.send_until(true).await;
}
