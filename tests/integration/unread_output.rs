//! A relay whose output nobody reads, or takes: a pipe that is full, one that is closed, a disk
//! without room. It serves on, counts what is lost, and ends when it is told to.

use std::fs::{self, File};
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::process::Stdio;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Signal;

use crate::relay::{Home, Relay, eventually};
use crate::tls::Client;

/// A pipe in which there is no room.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader, writer)
}

/// A relay that says something of every request, and may not keep much of that.
fn talkative() -> Home {
    Home::lived_in()
        .with("RUST_LOG", "debug")
        .with("LOG_LINES_PER_SECOND", "1000000")
        .with("LOG_QUEUE_BYTES_MAX", "65536")
        .with("LIMITS_EXEMPT", "127.0.0.0/8")
}

/// Lines that were lost for this reason.
async fn lost(relay: &Relay, reason: &str) -> u64 {
    let name = format!("relay_log_lines_dropped_total{{reason=\"{reason}\"}}");
    relay.figure(&name).await.unwrap()
}

/// Calls, each of which is a line in the log, until lines are lost for this reason.
async fn lose_lines(relay: &Relay, reason: &str) {
    let client = Client::http1(relay);
    let mut calls = 0;
    while lost(relay, reason).await == 0 {
        for _ in 0..50 {
            let path = "/xrpc/blue.catbird.mls.getConvos";
            let answer = client.get(relay, path, "").await;
            assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
            calls += 1;
        }
        assert!(calls < 5_000, "nothing was lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pipe_that_nobody_reads_holds_up_neither_clients_nor_the_end() {
    let (reader, writer) = full_pipe();
    let stdout = Stdio::from(writer.try_clone().unwrap());
    let mut relay = talkative().start_unheard(stdout, writer.into()).await;
    lose_lines(&relay, "full").await;
    relay.leave();
    drop(reader);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_comes_back_finds_whole_lines_and_what_is_missing() {
    let (mut reader, writer) = full_pipe();
    let relay = talkative()
        .start_unheard(Stdio::null(), writer.into())
        .await;
    lose_lines(&relay, "full").await;
    let reading = std::thread::spawn(move || {
        let mut said = String::new();
        reader.read_to_string(&mut said).map(|_| said)
    });
    let missed = lost(&relay, "full").await;
    // The first line that finds room again is written, whatever came before.
    eventually("the log is written again", async || {
        let before = lost(&relay, "full").await;
        let client = Client::http1(&relay);
        client.get(&relay, "/xrpc/_health", "").await;
        lost(&relay, "full").await == before
    })
    .await;
    let mut relay = relay;
    relay.leave();
    drop(relay);
    let said = reading.join().unwrap().unwrap();
    let said = said.trim_start_matches('.');
    assert!(
        missed > 0 && said.contains("lines of the log are missing here"),
        "{said}"
    );
    for line in said.lines() {
        assert!(line.contains(" mls_relay"), "not a line: {line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_behind_the_log_costs_its_lines_and_nothing_else() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let stdout = Stdio::from(full.try_clone().unwrap());
    let mut relay = talkative().start_unheard(stdout, full.into()).await;
    lose_lines(&relay, "refused").await;
    relay.leave();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_pipe_ends_no_relay_and_no_command() {
    let closed = || {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let mut relay = Home::lived_in().start_unheard(closed(), closed()).await;
    assert!(relay.is_ready().await);
    relay.leave();
    for (arguments, code) in [
        (["check-config", "--template"].as_slice(), 0),
        (&["check-config"], 0),
        (&["health"], 69),
    ] {
        let mut command = relay.home().command(arguments);
        let ended = command.stdout(closed()).stderr(closed()).status().unwrap();
        assert_eq!(ended.code(), Some(code), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_words_are_written_before_the_end() {
    let home = Home::lived_in().with("RELAY_DRAIN_NOTICE_SECONDS", "600");
    let mut relay = home.start();
    relay.signal(Signal::TERM);
    eventually("it leaves", async || !relay.is_ready().await).await;
    relay.signal(Signal::TERM);
    assert_eq!(relay.ended().code(), Some(1));
    let said = relay.log();
    assert!(said.contains("stopping at once"), "{said}");
}

/// As on a network file system whose server is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_does_not_answer_keeps_no_relay_from_its_end() {
    let home = Home::lived_in().with("TLS_LOOK_SECONDS", "1");
    let mut relay = home.start();
    let certificate = home.certificate();
    fs::remove_file(&certificate).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &certificate,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    relay.says("its files do not come");
    relay.leave();
}
