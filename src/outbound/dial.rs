//! From a host's name to a connection: its addresses, of which those that may be reached are
//! dialled, each a moment after the one before or when that has failed, so that one that does
//! not answer keeps nobody from the others (RFC 8305).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::FetchError;
use super::page::Page;
#[cfg(test)]
use super::page::Reach;

/// Dials a page's host.
pub(super) async fn dial<T: Send + Sync + 'static>(
    page: &Page<'_>,
    turn: &Arc<T>,
) -> Result<TcpStream, FetchError> {
    #[cfg(test)]
    if let Reach::Exactly(address) = page.reach {
        return first_of([address]).await;
    }
    let (host, port) = (page.host.to_owned(), page.port);
    let names = async move {
        let found = lookup_host((host, port)).await?;
        Ok(found.collect::<Vec<_>>())
    };
    let addresses: io::Result<_> = to_its_end(names, Arc::clone(turn)).await;
    // Of which kind of error that is, the system does not say.
    let addresses = addresses.map_err(|_| FetchError::Lookup)?;
    // The very address that was checked is dialled, so a name server that gives
    // another answer at the next question gains nothing.
    let allowed = addresses.into_iter().filter(|a| page.reach.allows(a.ip()));
    first_of(allowed).await
}

/// Waits for what goes on when nobody waits any more: the system looks a name up on a thread of
/// ours, and is not told to stop. So long it is somebody's turn, or name servers that do not
/// answer would take every thread there is, also those for finding Postgres and reading files.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = io::Result<T>> + Send + 'static,
    turn: impl Send + 'static,
) -> io::Result<T> {
    let work = tokio::spawn(async move {
        let outcome = work.await;
        drop(turn);
        outcome
    });
    work.await?
}

/// The first connection that comes about, of a few that are tried.
async fn first_of(
    addresses: impl IntoIterator<Item = SocketAddr>,
) -> Result<TcpStream, FetchError> {
    let mut addresses = addresses.into_iter().take(ADDRESSES_TRIED_MAX);
    let mut attempts = FuturesUnordered::new();
    let mut failure = FetchError::AddressRefused;
    loop {
        match addresses.next() {
            Some(address) => attempts.push(TcpStream::connect(address)),
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        match timeout(ATTEMPT_EVERY, attempts.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => failure = FetchError::Connect((&error).into()),
            Ok(None) | Err(_) => {}
        }
    }
}

/// One of each family and a spare.
pub(crate) const ADDRESSES_TRIED_MAX: usize = 3;

/// As RFC 8305 section 5 recommends.
const ATTEMPT_EVERY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_turn_lasts_as_long_as_the_system_is_at_a_name_though_nobody_waits_any_more() {
        let turn = Arc::new(());
        let watched = Arc::downgrade(&turn);
        let (end, ended) = oneshot::channel::<()>();
        let names = async move {
            let _ = ended.await;
            Ok(())
        };
        let gone = timeout(Duration::from_secs(3), to_its_end(names, turn)).await;
        assert!(gone.is_err(), "it was not waited for longer");
        assert!(watched.upgrade().is_some(), "the thread is not free yet");
        end.send(()).unwrap();
        while watched.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_keeps_nobody_from_the_next_one() {
        // A listener whose backlog is full takes no connection, and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&silent, 0).unwrap();
        let silent = silent.local_addr().unwrap();
        let moment = Duration::from_millis(100);
        let mut held = Vec::new();
        while let Ok(stream) = timeout(moment, TcpStream::connect(silent)).await {
            held.push(stream.unwrap());
        }
        let answering = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answering = answering.local_addr().unwrap();
        let first = timeout(Duration::from_secs(2), first_of([silent, answering])).await;
        assert_eq!(first.unwrap().unwrap().peer_addr().unwrap(), answering);
    }

    #[tokio::test]
    async fn of_a_name_with_many_addresses_only_the_first_are_tried() {
        let answering = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answering = answering.local_addr().unwrap();
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let third = first_of([nobody, nobody, answering]).await;
        assert!(third.is_ok());
        let fourth = first_of([nobody, nobody, nobody, answering]).await;
        assert!(matches!(fourth, Err(FetchError::Connect(_))), "{fourth:?}");
    }
}
