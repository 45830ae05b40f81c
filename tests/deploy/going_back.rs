//! Going back by a version and forward again, with the statements that docs/operations.md gives.

use mls_relay::store::SCHEMA_BEFORE;

use crate::database::Database;
use crate::read;
use crate::relay::Home;

/// The exit code, and what was said.
fn migrate(database: &Database) -> (Option<i32>, String) {
    let home = Home::new().with("DATABASE_URL", &database.url());
    let done = home.command(&["migrate"]).output().unwrap();
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

async fn versions(database: &Database) -> Vec<i32> {
    let rows = "SELECT version FROM schema_migrations ORDER BY version";
    let rows = database.client().await.query(rows, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_version_before_sees_its_own_schema_and_this_one_gets_back_what_was_hidden() {
    let page = read("docs/operations.md");
    let (_, section) = page.split_once("\n### Going back\n").unwrap();
    let mut blocks = section.split("```sql\n").skip(1);
    let mut statements = || blocks.next().unwrap().split("```").next().unwrap();
    let (hide, put_back) = (statements(), statements());

    let database = Database::start().await;
    let all = versions(&database).await;
    database.run(hide).await;
    assert_eq!(versions(&database).await.last(), Some(&SCHEMA_BEFORE));

    // Who forgets the second half is told, and may still do it.
    let (code, said) = migrate(&database);
    assert!(code == Some(69) && said.contains("42P07"), "{said}");
    database.run(put_back).await;
    assert_eq!(versions(&database).await, all);
    let (code, said) = migrate(&database);
    assert_eq!(code, Some(0), "{said}");
}
