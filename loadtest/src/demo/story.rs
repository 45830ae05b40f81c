//! The conversation, and the verdict on it.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::handset::Evidence;
use super::screen::Progress;
use super::script::{
    ALICE, BOBS_PHONE, BOBS_TABLET, CAROL, CAROLS_EPOCH, FIRST_EPOCH, LAST_EPOCH, MESSAGES, Scene,
    scene_before, text, writer,
};
use super::stage::Cast;
use super::{DemoError, Screen};
use crate::mls::Group;
use crate::phone::PhoneError;
use crate::receipt::Chain;

/// How long the last messages may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// When everything has arrived, how long to wait for what should not.
const QUIET: Duration = Duration::from_millis(500);

const POLL: Duration = Duration::from_millis(5);

/// Where the conversation stands.
struct Story<'a> {
    cast: Cast,
    screen: &'a mut Screen,
    epoch: u64,
    bobs_phone_is_there: bool,
    carol_is_there: bool,
}

/// Tells the story to its end. True when it was clean.
pub(super) async fn tell(
    cast: Cast,
    pace: Duration,
    screen: &mut Screen,
) -> Result<bool, DemoError> {
    screen.heading(&format!("{MESSAGES} messages"));
    let mut story = Story {
        cast,
        screen,
        epoch: FIRST_EPOCH,
        bobs_phone_is_there: true,
        carol_is_there: false,
    };
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0..MESSAGES {
        if let Some(scene) = scene_before(number) {
            story.play(scene).await?;
        }
        let intended = ticks.tick().await.into_std();
        story.write(number, intended).await?;
        story.listen()?;
    }
    story.wait_for_the_rest().await?;
    story.judge().await
}

impl Story<'_> {
    async fn write(&mut self, number: usize, intended: Instant) -> Result<(), DemoError> {
        let device = writer(number, self.bobs_phone_is_there, self.carol_is_there);
        let who = match device {
            ALICE => "Alice",
            CAROL => "Carol",
            _ => "Bob",
        };
        let handset = self.cast.handset(device);
        Ok(handset.send(text(number, who), intended).await?)
    }

    async fn play(&mut self, scene: Scene) -> Result<(), DemoError> {
        match scene {
            Scene::BobsPhoneVanishes => {
                self.cast.bobs_phone.vanish().await?;
                self.bobs_phone_is_there = false;
                self.screen.happened("Bob's phone lost its network");
            }
            Scene::BobsPhoneReturns => {
                self.cast.bobs_phone.come_back().await?;
                self.bobs_phone_is_there = true;
                self.screen
                    .happened("Bob's phone is back and resumes by cursor");
            }
            Scene::CarolJoins => {
                self.epoch = self.cast.alice.add(&self.cast.carols_did).await?;
                self.cast.carol.join(&self.cast.convo).await?;
                self.carol_is_there = true;
                self.screen.happened("Alice added Carol: a new epoch");
            }
            Scene::CarolIsRemoved => {
                self.let_carol_read_on().await?;
                self.epoch = self.cast.alice.remove(&self.cast.carols_did).await?;
                self.carol_is_there = false;
                self.screen.happened("Alice removed Carol: a new epoch");
            }
        }
        Ok(())
    }

    /// What was written before Carol's removal she may read, but only until then:
    /// so that she loses nothing, the others hold their breath a moment.
    async fn let_carol_read_on(&mut self) -> Result<(), DemoError> {
        for device in [ALICE, BOBS_PHONE, BOBS_TABLET, CAROL] {
            self.cast.handset(device).settle().await?;
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.listen()?;
            if self.cast.referee.owes(CAROL) == 0 {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Takes the reports that have come, without waiting for more.
    fn listen(&mut self) -> Result<(), DemoError> {
        while let Ok(report) = self.cast.reports.try_recv() {
            self.cast.referee.observe(report?);
        }
        self.show();
        Ok(())
    }

    async fn wait_for_the_rest(&mut self) -> Result<(), DemoError> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let complete = self.cast.referee.sent() == MESSAGES && self.cast.referee.is_complete();
            match timeout(QUIET, self.cast.reports.recv()).await {
                Ok(Some(report)) => self.cast.referee.observe(report?),
                Ok(None) => return Ok(()),
                Err(_) if complete => return Ok(()),
                Err(_) => {}
            }
            self.show();
        }
        Ok(())
    }

    async fn judge(mut self) -> Result<bool, DemoError> {
        let alice = self.cast.alice.put_down().await?;
        let bobs_phone = self.cast.bobs_phone.put_down().await?;
        let bobs_tablet = self.cast.bobs_tablet.put_down().await?;
        let carol = self.cast.carol.put_down().await?;
        self.listen()?;
        self.screen.heading("What everyone has seen");
        let rows = self.cast.referee.rows();
        self.screen.table(&rows);
        self.screen.note(
            "Latency is from when a message should have left until it was decrypted. That of\n  \
             Bob's phone includes the times it was away.",
        );

        let mut clean = rows.iter().all(super::referee::Row::is_clean);
        let resumed = rows.get(BOBS_PHONE).map_or(0, |row| row.resumed);
        let tablet = rows.get(BOBS_TABLET).map_or(0, |row| row.resumed);
        clean &= self.check(
            resumed > 0 && tablet == 0,
            &format!("Bob's phone caught up on {resumed} events that it had missed"),
        );
        let sent = self.cast.referee.sent();
        clean &= self.check(sent == MESSAGES, &format!("the relay took {sent} messages"));
        let losses = [&alice, &bobs_phone, &bobs_tablet, &carol]
            .map(|evidence| evidence.unplanned_losses)
            .iter()
            .sum::<u64>();
        clean &= self.check(losses == 0, &format!("{losses} connections broke unasked"));
        clean &= self.check_agreement([&alice, &bobs_phone, &bobs_tablet]);
        clean &= self.check_receipts([&alice, &bobs_phone, &bobs_tablet]);
        clean &= self.check_carol(carol, &alice).await;

        let sum = |of: fn(&super::referee::Row) -> u64| rows.iter().map(of).sum::<u64>();
        let verdict = format!(
            "{} lost, {} duplicated, {} out of order, {} read without a right",
            sum(|row| row.lost),
            sum(|row| row.duplicated),
            sum(|row| row.out_of_order),
            sum(|row| row.forbidden),
        );
        self.check(clean, &verdict);
        Ok(clean)
    }

    /// The devices that stayed must have ended in the same state of the group.
    fn check_agreement(&mut self, devices: [&Evidence; 3]) -> bool {
        let states = devices.map(|evidence| {
            let group = evidence.phone.group()?;
            Some((group.epoch(), group.authenticator()))
        });
        let [first, rest @ ..] = &states;
        let agree = first
            .as_ref()
            .is_some_and(|(epoch, _)| *epoch == LAST_EPOCH)
            && rest.iter().all(|state| state == first);
        self.check(
            agree,
            "the devices that stayed share one state of the group",
        )
    }

    /// Each device that stayed checks what the relay signed: one chain over all commits.
    fn check_receipts(&mut self, devices: [&Evidence; 3]) -> bool {
        let key = self.cast.receipt_key.clone();
        let chains = devices.map(|evidence| evidence.verified(Chain::new(key.clone())));
        let [alices, ..] = &chains;
        let commits = usize::try_from(LAST_EPOCH - FIRST_EPOCH).unwrap_or_default();
        let agree = match alices {
            Some(chain) => {
                let same = |other: &Option<Chain>| {
                    other.as_ref().is_some_and(|c| c.head() == chain.head())
                };
                chain.len() == commits && chains.iter().all(same)
            }
            None => false,
        };
        // Alice made the commits: what she was answered is what everyone heard.
        let heard = devices[0].receipts.iter().map(|(_, receipt)| receipt);
        let answered = devices[0].phone.receipts().iter().eq(heard);
        self.check(
            agree && answered,
            &format!(
                "{commits} commits, {commits} signed receipts in one chain: verified by each device that stayed"
            ),
        )
    }

    /// With all that Alice's phone took from the relay in her hands, Carol must
    /// open nothing of before or after her time, and the relay must not know her.
    async fn check_carol(&mut self, mut carol: Evidence, alice: &Evidence) -> bool {
        let mut tried = [0_u32; 2];
        let mut opened = 0_u32;
        for (_, ciphertext) in &alice.ciphertexts {
            let after = match Group::epoch_of(ciphertext) {
                Some(epoch) if epoch < CAROLS_EPOCH => false,
                Some(epoch) if epoch > CAROLS_EPOCH => true,
                _ => continue,
            };
            if let Some(group) = carol.phone.group_mut() {
                tried[usize::from(after)] += 1;
                opened += u32::from(group.receive(ciphertext).is_ok());
            }
        }
        let [before, after] = tried;
        let closed = self.check(
            opened == 0 && before > 0 && after > 0,
            &format!(
                "Carol, given {before} ciphertexts of before her time and {after} of after it, opened {opened}"
            ),
        );
        let answer = carol.phone.read_on(&mut Vec::new()).await;
        let unknown = matches!(
            &answer,
            Err(PhoneError::Call(error)) if error.name() == Some("ConvoNotFound")
        );
        closed
            & self.check(
                unknown,
                "the relay no longer knows Carol in this conversation",
            )
    }

    fn check(&mut self, holds: bool, text: &str) -> bool {
        if holds {
            self.screen.done(text);
        } else {
            self.screen.wrong(text);
        }
        holds
    }

    fn show(&mut self) {
        let note = match (self.bobs_phone_is_there, self.carol_is_there) {
            (false, _) => "Bob's phone is away",
            (true, true) => "Carol is in",
            (true, false) => "",
        };
        self.screen.progress(Progress {
            sent: self.cast.referee.sent(),
            of: MESSAGES,
            decrypted: self.cast.referee.decrypted(),
            epoch: self.epoch,
            note,
        });
    }
}
