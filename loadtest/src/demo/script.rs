//! Pure. What happens when: who writes which message, when Bob's phone loses its
//! network, when Carol comes and goes.

use super::referee::DeviceNumber;

/// How many messages the conversation has.
pub(super) const MESSAGES: usize = 200;

pub(super) const ALICE: DeviceNumber = 0;
pub(super) const BOBS_PHONE: DeviceNumber = 1;
pub(super) const BOBS_TABLET: DeviceNumber = 2;
pub(super) const CAROL: DeviceNumber = 3;

/// Alice founds the group and adds Bob at once; adding Carol and removing her
/// makes the two epochs after that.
pub(super) const FIRST_EPOCH: u64 = 1;
pub(super) const CAROLS_EPOCH: u64 = 2;
pub(super) const LAST_EPOCH: u64 = 3;

/// What interrupts the conversation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scene {
    BobsPhoneVanishes,
    BobsPhoneReturns,
    CarolJoins,
    CarolIsRemoved,
}

/// What happens just before the `number`-th message. Two of the three times that
/// Bob's phone is away, the group changes meanwhile.
pub(super) fn scene_before(number: usize) -> Option<Scene> {
    match number {
        20 | 55 | 125 => Some(Scene::BobsPhoneVanishes),
        35 | 75 | 150 => Some(Scene::BobsPhoneReturns),
        60 => Some(Scene::CarolJoins),
        135 => Some(Scene::CarolIsRemoved),
        _ => None,
    }
}

/// Whose turn it is among those who are there.
pub(super) fn writer(
    number: usize,
    bobs_phone_is_there: bool,
    carol_is_there: bool,
) -> DeviceNumber {
    const TURNS: [DeviceNumber; 5] = [ALICE, BOBS_PHONE, ALICE, BOBS_TABLET, CAROL];
    let writer = TURNS.get(number % TURNS.len()).copied().unwrap_or(ALICE);
    match writer {
        BOBS_PHONE if !bobs_phone_is_there => BOBS_TABLET,
        CAROL if !carol_is_there => BOBS_TABLET,
        present => present,
    }
}

/// What people say: each message is one of these, or several times one.
pub const LINES: [&str; 6] = [
    "are you there?",
    "just arrived, the train was late again",
    "look at the sky tonight",
    "yes! and bring the book",
    "👍",
    "tomorrow at eight, then",
];

/// The text of a message. Every tenth is long, so that more than one bucket of the
/// padding is used.
pub(super) fn text(number: usize, who: &str) -> String {
    let line = LINES.get(number % LINES.len()).copied().unwrap_or_default();
    let times = if number % 10 == 9 { 60 } else { 1 };
    format!("{who}, {number}: {}", [line].repeat(times).join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bobs_phone_vanishes_and_returns_three_times_and_carol_comes_and_goes() {
        let scenes: Vec<_> = (0..MESSAGES).filter_map(scene_before).collect();
        let count = |scene| scenes.iter().filter(|other| **other == scene).count();
        assert_eq!(count(Scene::BobsPhoneVanishes), 3);
        assert_eq!(count(Scene::BobsPhoneReturns), 3);
        assert_eq!(count(Scene::CarolJoins), 1);
        assert_eq!(count(Scene::CarolIsRemoved), 1);
    }

    #[test]
    fn only_those_who_are_there_write() {
        for number in 0..MESSAGES {
            let writer = writer(number, false, false);
            assert!(writer == ALICE || writer == BOBS_TABLET);
        }
        assert_eq!(writer(1, true, false), BOBS_PHONE);
        assert_eq!(writer(4, true, true), CAROL);
    }

    #[test]
    fn no_two_messages_are_the_same() {
        let texts: std::collections::HashSet<_> =
            (0..MESSAGES).map(|number| text(number, "x")).collect();
        assert_eq!(texts.len(), MESSAGES);
    }
}
