//! What one task finds out for all who wait for it: the first to ask may go away.

use tokio::sync::watch;

/// An answer that is to come. Clones wait for the same one.
#[derive(Clone, Debug)]
pub(crate) struct Pending<T>(watch::Receiver<Option<T>>);

/// By which it is told.
#[derive(Debug)]
pub(crate) struct Teller<T>(watch::Sender<Option<T>>);

impl<T: Clone> Pending<T> {
    pub(crate) fn new() -> (Teller<T>, Self) {
        let (told, heard) = watch::channel(None);
        (Teller(told), Self(heard))
    }

    /// One that has come already.
    pub(crate) fn told(answer: T) -> Self {
        Self(watch::channel(Some(answer)).1)
    }

    /// The answer; none if the task was cut off. The task's own deadlines are those of all
    /// who wait.
    pub(crate) async fn answer(mut self) -> Option<T> {
        let told = self.0.wait_for(Option::is_some).await;
        told.ok().and_then(|answer| answer.clone())
    }
}

impl<T> Teller<T> {
    pub(crate) fn tell(self, answer: T) {
        self.0.send_replace(Some(answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_who_wait_hear_the_answer_or_that_there_will_be_none() {
        let (teller, pending) = Pending::new();
        let early = tokio::spawn(pending.clone().answer());
        teller.tell(7);
        assert_eq!(early.await.unwrap(), Some(7));
        assert_eq!(pending.answer().await, Some(7));
        assert_eq!(Pending::told(8).answer().await, Some(8));
        let (teller, pending) = Pending::<u8>::new();
        drop(teller);
        assert_eq!(pending.answer().await, None);
    }
}
