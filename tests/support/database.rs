//! A real Postgres for one test: its own cluster on a unix socket in a temporary
//! directory, which ends with the test however the test ends.

#![allow(dead_code, reason = "each program uses its part of this")]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use mls_relay::runtime::Shutdown;
use mls_relay::store::{DatabaseUrl, Settings, Store};
use tempfile::TempDir;
use tokio_postgres::types::{FromSqlOwned, ToSql};

#[path = "postgres_tools.rs"]
mod postgres_tools;

pub(crate) use postgres_tools::PostgresTools;
use postgres_tools::{copy, keep};

/// What stands for `$1` and so on in a statement.
pub(crate) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A running cluster with one database.
pub(crate) struct Database {
    directory: TempDir,
    tools: PostgresTools,
    /// Extra settings, as `-c name=value` words.
    settings: Vec<String>,
    keeper: Option<Child>,
}

impl Database {
    /// Starts a cluster whose database has the schema.
    pub(crate) async fn start() -> Self {
        Self::with_settings(&[]).await
    }

    /// Starts such a cluster with settings such as `shared_buffers=1GB`.
    pub(crate) async fn with_settings(settings: &[&str]) -> Self {
        let mut database = Self::new(&std::env::temp_dir(), settings);
        furnish(&database.data(), "postgres");
        database.up().await;
        database
    }

    /// Starts a cluster whose database is empty.
    pub(crate) async fn empty() -> Self {
        Self::within(&std::env::temp_dir(), &[]).await
    }

    /// Starts such a cluster with its data somewhere in this directory.
    pub(crate) async fn within(parent: &Path, settings: &[&str]) -> Self {
        let mut database = Self::new(parent, settings);
        database.tools.lay_down(&database.data());
        database.up().await;
        database
    }

    fn new(parent: &Path, settings: &[&str]) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("mlsr")
            .tempdir_in(parent)
            .unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let tools = PostgresTools::find();
        tools.hand_over(directory.path());
        Self {
            tools,
            settings: settings
                .iter()
                .flat_map(|s| ["-c".to_owned(), (*s).to_owned()])
                .collect(),
            directory,
            keeper: None,
        }
    }

    /// The address of the database.
    pub(crate) fn url(&self) -> String {
        format!(
            "host={} user=relay dbname=postgres",
            self.directory.path().display()
        )
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join(".s.PGSQL.5432")
    }

    /// The process whose children do the work, as its own file has it.
    pub(crate) fn postmaster(&self) -> u32 {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        file.lines().next().unwrap().parse().unwrap()
    }

    /// A database, and a store on it.
    pub(crate) async fn with_store() -> (Self, Store, Shutdown) {
        let database = Self::start().await;
        let (store, shutdown) = database.store().await;
        (database, store, shutdown)
    }

    /// A store on it, which ends with its shutdown.
    pub(crate) async fn store(&self) -> (Store, Shutdown) {
        self.store_with(|_| {}).await
    }

    /// A store on it with other settings than the defaults.
    pub(crate) async fn store_with(&self, change: impl FnOnce(&mut Settings)) -> (Store, Shutdown) {
        let mut settings = Settings::for_database(DatabaseUrl::parse(&self.url()).unwrap());
        change(&mut settings);
        let shutdown = Shutdown::default();
        (Store::open(settings, &shutdown).await.unwrap(), shutdown)
    }

    /// A connection of the test's own, on which days are those of the relay.
    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url(), tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client.batch_execute("SET timezone = 'UTC'").await.unwrap();
        client
    }

    /// Runs statements on a connection of their own.
    pub(crate) async fn run(&self, statements: &str) {
        self.client().await.batch_execute(statements).await.unwrap();
    }

    /// Founds conversations in their first epoch, with members that a query finds: ids of
    /// conversations and DIDs.
    pub(crate) async fn seat(&self, members: &str) {
        self.run(&format!(
            "CREATE TEMP TABLE seats AS SELECT * FROM ({members}) AS m (convo, did);
             INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
                 SELECT DISTINCT convo, 'did:plc:founder', 1, 0 FROM seats;
             INSERT INTO members (convo_id, user_did, joined_seq, joined_message_seq)
                 SELECT convo, did, 0, 0 FROM seats;
             ANALYZE"
        ))
        .await;
    }

    /// How many rows a statement has changed, on a connection of its own.
    pub(crate) async fn change(&self, statement: &str, values: Values<'_>) -> u64 {
        let client = self.client().await;
        client.execute(statement, values).await.unwrap()
    }

    /// What a query finds in its first column.
    pub(crate) async fn all<T: FromSqlOwned>(&self, query: &str, values: Values<'_>) -> Vec<T> {
        let rows = self.client().await.query(query, values).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// How many a query counts.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        self.one(query, &[]).await
    }

    /// The one value that a query finds.
    pub(crate) async fn one<T: FromSqlOwned>(&self, query: &str, values: Values<'_>) -> T {
        let row = self.client().await.query_one(query, values).await;
        row.unwrap().get(0)
    }

    /// Starts the server again, and waits until it answers.
    pub(crate) async fn up(&mut self) {
        // The shell holds the server: when this process is gone, so is the pipe, and
        // the shell stops the server, whose data nobody needs any more.
        let script = "\"$@\" & server=$!; read -r _; kill -QUIT $server; wait $server";
        let keeper = self
            .tools
            .command("/bin/sh")
            .args(["-c", script, "postgres"])
            .arg(self.tools.bin.join("postgres"))
            .args(["-c", "listen_addresses=", "-c", "max_connections=200"])
            .args(ELSEWHERE)
            .arg("-k")
            .arg(self.directory.path())
            .arg("-D")
            .arg(self.data())
            .args(&self.settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        self.keeper = Some(keeper);
        let deadline = Instant::now() + Duration::from_secs(30);
        while tokio_postgres::connect(&self.url(), tokio_postgres::NoTls)
            .await
            .is_err()
        {
            assert!(Instant::now() < deadline, "Postgres did not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until so many calls wait for a lock.
    pub(crate) async fn waiting(&self, calls: i64) {
        let waiting = format!(
            "SELECT least(count(*), {calls}) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        );
        self.until("calls wait", &waiting, calls).await;
    }

    /// Runs two calls about some rows of an account at once: the second begins when the first
    /// waits for the rows, and both go on when both wait.
    pub(crate) async fn meeting<A, B>(
        &self,
        rows: &str,
        did: &str,
        first: impl Future<Output = A>,
        second: impl Future<Output = B>,
    ) {
        let mut client = self.client().await;
        let holder = client.transaction().await.unwrap();
        let hold = format!("SELECT FROM {rows} FOR UPDATE");
        assert!(holder.execute(&hold, &[&did]).await.unwrap() > 0);
        let second = async {
            self.waiting(1).await;
            second.await
        };
        let release = async {
            self.waiting(2).await;
            holder.commit().await.unwrap();
        };
        tokio::join!(first, second, release);
    }

    /// Waits until a query counts so many.
    pub(crate) async fn until(&self, what: &str, query: &str, wanted: i64) {
        let client = self.client().await;
        let deadline = Instant::now() + Duration::from_secs(60);
        while client.query_one(query, &[]).await.unwrap().get::<_, i64>(0) != wanted {
            assert!(Instant::now() < deadline, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Takes what lies in the data directory out of the system's cache, as if it had not
    /// been touched for long.
    pub(crate) fn leave_caches(&self) {
        let mut directories = vec![self.data()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap().flatten() {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    directories.push(entry.path());
                } else if let Ok(file) = std::fs::File::open(entry.path()) {
                    file.sync_all().unwrap();
                    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
                }
            }
        }
    }

    /// Stops the server: `fast` cleanly, `immediate` as a crash would.
    pub(crate) fn down(&mut self, mode: &str) {
        let stopped = self
            .tools
            .command("pg_ctl")
            .args(["stop", "-w", "-m", mode, "-D"])
            .arg(self.data())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(stopped.success(), "pg_ctl stop failed");
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        }
    }

    /// A standby that has followed up to now, and no further.
    pub(crate) fn standby(&self, name: &str) {
        let data = self.directory.path().join(name);
        let copied = self
            .tools
            .command("pg_basebackup")
            .args(["--username=relay", "--checkpoint=fast", "--no-sync", "-h"])
            .arg(self.directory.path())
            .arg("-D")
            .arg(&data)
            .status();
        assert!(copied.unwrap().success(), "pg_basebackup failed");
        let signal = data.join("standby.signal");
        std::fs::write(&signal, "").unwrap();
        self.tools.hand_over(&signal);
    }

    /// The server is lost, and this standby is promoted in its place.
    pub(crate) async fn fail_over(&mut self, standby: &str) {
        self.down("immediate");
        std::fs::remove_dir_all(self.data()).unwrap();
        std::fs::rename(self.directory.path().join(standby), self.data()).unwrap();
        self.up().await;
        let promoted = self
            .tools
            .command("pg_ctl")
            .args(["promote", "-w", "-D"])
            .arg(self.data())
            .stdout(Stdio::null())
            .status();
        assert!(promoted.unwrap().success(), "pg_ctl promote failed");
    }

    /// One of the programs that come with Postgres.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.tools.bin.join(name)
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}

/// Lays down the files of a cluster in which the database of this name has the schema already:
/// to make it takes longer than most tests do.
pub(crate) fn furnish(data: &Path, name: &str) {
    // With the schema come tables for this day and those around it.
    let day = chrono::Utc::now().date_naive();
    let kept = PostgresTools::find().kept(&format!("{name}-{day}-{}", schema_name()));
    if !kept.exists() {
        // On a thread of its own, since not every test is async.
        let runtime = || tokio::runtime::Runtime::new().unwrap();
        let make = || runtime().block_on(keep_furnished(name, &kept));
        std::thread::scope(|scope| scope.spawn(make).join().unwrap());
    }
    copy(&kept, data, "auto");
}

/// Of all that leads to the schema: what is kept of another is not taken for it.
fn schema_name() -> String {
    let sql = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
    let folders = [sql.join("base"), sql].map(|folder| std::fs::read_dir(folder).unwrap());
    let mut files: Vec<_> = folders
        .into_iter()
        .flatten()
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(file).unwrap().hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// What other databases would be copied from is left out: it would be most of what is copied.
async fn keep_furnished(name: &str, kept: &Path) {
    let mut made = Database::empty().await;
    if name != "postgres" {
        made.run(&format!("CREATE DATABASE {name}")).await;
    }
    let url = made
        .url()
        .replace("dbname=postgres", &format!("dbname={name}"));
    let settings = Settings::for_database(DatabaseUrl::parse(&url).unwrap());
    Store::migrate(&settings).await.unwrap();
    made.run("UPDATE pg_database SET datistemplate = false")
        .await;
    made.run("DROP DATABASE template0").await;
    made.run("DROP DATABASE template1").await;
    made.down("fast");
    keep(&made.data(), kept);
}

/// No test may depend on where its Postgres thinks that it is, nor may the relay. Here it is half
/// past five when the day begins, and times are written so that IST is read as that of Israel.
const ELSEWHERE: [&str; 4] = ["-c", "timezone=Asia/Kolkata", "-c", "datestyle=SQL,DMY"];
