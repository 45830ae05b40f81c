//! Pure. How many questions those who only want to know may cause: each account, and all
//! together, so that the AppView has answers left for whoever is about to add somebody.

use std::time::{Duration, Instant};

use quick_cache::unsync::Cache;

use crate::runtime::Rate;
use crate::types::Did;

pub(super) struct QuestionBudget {
    account: Rate,
    node: Rate,
    accounts: Cache<Did, Instant>,
    node_paid: Option<Instant>,
}

impl QuestionBudget {
    /// Questions in a minute, of one account and of all.
    pub(super) fn new(per_account: u32, in_all: u32) -> Self {
        Self {
            account: Rate::per_minute(per_account),
            node: Rate::per_minute(in_all),
            // No more of them can spend anything of the node's budget within a minute: what it
            // has saved, and what comes in.
            accounts: Cache::new(2 * in_all as usize),
            node_paid: None,
        }
    }

    /// Takes so many questions for this account, or says when they may be asked.
    pub(super) fn spend(
        &mut self,
        did: &Did,
        questions: usize,
        now: Instant,
    ) -> Result<(), Duration> {
        let questions = u32::try_from(questions).unwrap_or(u32::MAX);
        let paid = self.accounts.get(did).copied();
        let account = self.account.spend(paid, questions, now)?;
        self.node_paid = Some(self.node.spend(self.node_paid, questions, now)?);
        self.accounts.insert(did.clone(), account);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(number: usize) -> Did {
        Did::parse(&format!("did:plc:{number}")).unwrap()
    }

    #[test]
    fn one_account_has_its_questions_and_leaves_the_others_theirs() {
        let (mut budget, now) = (QuestionBudget::new(60, 300), Instant::now());
        assert_eq!(budget.spend(&did(1), 30, now), Ok(()));
        assert_eq!(budget.spend(&did(1), 30, now), Ok(()));
        let wait = budget.spend(&did(1), 30, now).unwrap_err();
        assert_eq!(wait, Duration::from_secs(30));
        assert_eq!(budget.spend(&did(2), 30, now), Ok(()));
        assert_eq!(budget.spend(&did(1), 30, now + wait), Ok(()));
    }

    #[test]
    fn all_together_have_theirs_and_a_refusal_costs_nothing() {
        let (mut budget, now) = (QuestionBudget::new(60, 300), Instant::now());
        for number in 0..5 {
            assert_eq!(budget.spend(&did(number), 60, now), Ok(()));
        }
        let wait = budget.spend(&did(9), 60, now).unwrap_err();
        assert_eq!(wait, Duration::from_secs(12));
        assert_eq!(budget.spend(&did(9), 60, now + wait), Ok(()));
    }
}
