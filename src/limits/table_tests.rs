//! The table under attack: it stays small and the busy stay known.

use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::limits::blind::BlindKey;
use crate::types::ClientIp;

const QUOTA: Quota = Quota::per_minute(5);

fn tick(seconds: u64) -> Tick {
    Tick::at(Duration::from_secs(seconds))
}

fn client(number: u32) -> ClientIp {
    ClientIp::new(Ipv4Addr::from(number).into())
}

struct Fixture {
    table: Table,
    key: BlindKey,
}

impl Fixture {
    fn new(keys: u32) -> Self {
        Self {
            table: Table::new(keys, 0, tick(0)),
            key: BlindKey::random(),
        }
    }

    fn names(&self, number: u32) -> Names<impl FnOnce() -> Blind> {
        Names {
            current: self.key.address(0, client(number)),
            previous: None,
            wide: move || self.key.wide_network(0, client(number)),
        }
    }

    fn take(&self, number: u32, now: Tick) -> (Verdict, Place) {
        self.table.take(self.names(number), now, QUOTA)
    }

    fn entries(&self) -> usize {
        let lines = self.table.lines.iter();
        lines.map(|line| line.0.lock().count()).sum()
    }

    /// How many entries live away from their line, as the lines count them.
    fn away(&self) -> u8 {
        let lines = self.table.lines.iter();
        lines.map(|line| line.0.lock().away()).sum()
    }

    fn rings(&self) -> usize {
        let rings = self.table.rings.iter();
        rings.map(|rings| rings.lock().count()).sum()
    }
}

#[test]
fn whoever_cycles_through_addresses_neither_grows_the_table_nor_evicts_the_busy() {
    let fixture = Fixture::new(2_000);
    let honest = 0x0a00_0001;
    for _ in 0..5 {
        assert!(fixture.take(honest, tick(1)).0.admitted());
    }
    for attacker in 0..20_000 {
        fixture.take(0xc000_0000 + attacker, tick(2));
    }
    assert!(fixture.entries() <= 2_000 * 2 + SLOTS * (REACH + 1));
    assert!(
        !fixture.take(honest, tick(3)).0.admitted(),
        "its window is still known"
    );
}

#[test]
fn whoever_finds_no_room_shares_with_its_network_and_is_limited_there() {
    let fixture = Fixture::new(0);
    let slots = SLOTS * (REACH + 1);
    for number in 0..slots as u32 {
        assert!(!fixture.take(0x0a00_0000 + number, tick(1)).1.shared);
    }
    let admitted = || (0..1_000).filter(|n| fixture.take(0xc000_0000 + n, tick(1)).0.admitted());
    assert_eq!(admitted().count(), usize::from(5 * WIDE_SHARE));
    let (_, place) = fixture.take(0xc000_0000, tick(1));
    fixture.table.give_back(place);
    assert_eq!(admitted().count(), 1);
    assert!(
        fixture.take(0xc0ff_0000, tick(1)).0.admitted(),
        "another network has its own"
    );
}

#[test]
fn a_shared_entry_that_nobody_needed_for_weeks_has_its_whole_window() {
    let (fixture, day) = (Fixture::new(0), 24 * 3_600);
    let fill = |now| {
        for number in 0..20 {
            fixture.take(number, now);
        }
    };
    fill(tick(1));
    while fixture.take(9_999, tick(1)).0.admitted() {}
    for day in (1..=25).map(|nth| nth * day) {
        fixture.table.sweep(0, tick(day));
    }
    fill(tick(25 * day));
    let (verdict, place) = fixture.take(9_999, tick(25 * day));
    assert!(place.shared && verdict.admitted());
}

#[test]
fn entries_whose_window_is_empty_make_room() {
    let fixture = Fixture::new(0);
    for number in 0..100 {
        fixture.take(number, tick(1));
    }
    fixture.table.set_room_after(0);
    assert!(
        fixture.take(9_999, tick(60)).1.shared,
        "all are in their window"
    );
    fixture.table.set_room_after(120_000);
    assert!(fixture.take(9_999, tick(120)).1.shared, "it takes longer");
    fixture.table.set_room_after(0);
    assert!(
        !fixture.take(9_999, tick(61)).1.shared,
        "found room of its own"
    );
}

#[test]
fn a_table_at_its_size_has_room_for_nearly_all() {
    let fixture = Fixture::new(30_000);
    let shared = (0..30_000)
        .filter(|n| fixture.take(*n, tick(1)).1.shared)
        .count();
    assert!(shared < 30, "{shared}");
    let found_again = (0..30_000).filter(|n| fixture.take(*n, tick(2)).0.remaining == 3);
    assert!(found_again.count() >= 30_000 - shared);
}

#[test]
fn idle_entries_leave_and_others_stay() {
    let fixture = Fixture::new(1_000);
    fixture.take(1, tick(0));
    fixture.take(2, tick(500));
    let swept = fixture.table.sweep(600_000, tick(601));
    assert_eq!(
        swept,
        Swept {
            kept: 1,
            dropped: 1
        }
    );
    let swept = fixture.table.sweep(0, tick(559));
    assert_eq!(swept.kept, 1, "its window is not over");
}

#[test]
fn a_place_given_back_can_be_taken_again() {
    let fixture = Fixture::new(1_000);
    let places: Vec<_> = (0..5).map(|_| fixture.take(1, tick(1)).1).collect();
    assert!(!fixture.take(1, tick(1)).0.admitted());
    fixture.table.give_back(places[2]);
    assert!(fixture.take(1, tick(1)).0.admitted());
    assert!(!fixture.take(1, tick(1)).0.admitted());
}

#[test]
fn a_new_blind_key_does_not_forget_what_was_counted() {
    let fixture = Fixture::new(1_000);
    for _ in 0..5 {
        fixture.take(1, tick(1));
    }
    let next = BlindKey::random();
    let names = Names {
        current: next.address(0, client(1)),
        previous: Some(fixture.key.address(0, client(1))),
        wide: || next.wide_network(0, client(1)),
    };
    let (verdict, _) = fixture.table.take(names, tick(2), QUOTA);
    assert!(!verdict.admitted());
    assert_eq!(fixture.entries(), 1);
}

#[test]
fn a_call_that_still_has_the_old_blind_key_makes_nothing_forgotten() {
    let mut fixture = Fixture::new(1_000);
    let old = std::mem::replace(&mut fixture.key, BlindKey::random());
    for _ in 0..5 {
        fixture.take(1, tick(1));
    }
    let old_name = old.address(0, client(1));
    let late = Names {
        current: old_name,
        ..fixture.names(1)
    };
    assert!(fixture.table.take(late, tick(1), QUOTA).0.admitted());
    let mut names = fixture.names(1);
    names.previous = Some(old_name);
    assert!(!fixture.table.take(names, tick(2), QUOTA).0.admitted());
}

#[test]
fn a_line_counts_what_lives_away_from_it_through_any_number_of_new_keys() {
    let mut fixture = Fixture::new(0);
    let slots = (SLOTS * (REACH + 1)) as u32;
    for round in 0..5 {
        let previous = std::mem::replace(&mut fixture.key, BlindKey::random());
        for number in 0..slots {
            let mut names = fixture.names(number);
            names.previous = Some(previous.address(0, client(number)));
            let (verdict, place) = fixture.table.take(names, tick(1), QUOTA);
            assert_eq!((verdict.remaining, place.shared), (4 - round, false));
        }
        assert_eq!(usize::from(fixture.away()), SLOTS * REACH);
    }
}

#[test]
fn a_note_is_remembered_for_as_long_as_asked() {
    let fixture = Fixture::new(1_000);
    let key = fixture.key.address(9, client(1));
    assert!(!fixture.table.noted_within(key, 1_000, tick(0)));
    for noted in [0, 300] {
        fixture.table.note(key, tick(noted));
        let within = |later| {
            fixture
                .table
                .noted_within(key, 600_000, tick(noted + later))
        };
        assert!(within(599) && !within(600));
    }
}

#[test]
fn who_is_renamed_waits_no_shorter_for_it() {
    let fixture = Fixture::new(100);
    for _ in 0..5 {
        fixture.take(1, tick(0));
    }
    let names = Names {
        current: fixture.key.address(0, client(2)),
        previous: Some(fixture.key.address(0, client(1))),
        wide: (),
    };
    let wait = fixture.table.wait(&names, tick(20), QUOTA);
    assert_eq!(wait, Duration::from_secs(40));
}

proptest! {
    /// Beside each entry, most of which live away from their line, is its log.
    #[test]
    fn an_entry_is_its_exact_window_in_line_and_past_it(
        steps in vec((0..6_u32, 0..20_000_u64, 0..12_usize, any::<Index>()), 1..200),
    ) {
        let (fixture, quota) = (Fixture::new(0), Quota::per_minute(15));
        let mut logs: Vec<_> = (0..6).map(|_| (Log::new(tick(0)), Vec::new())).collect();
        let mut elapsed = Duration::ZERO;
        for (number, gap, count, given_back) in steps {
            elapsed += Duration::from_millis(gap);
            let now = Tick::at(elapsed);
            let (log, places) = &mut logs[number as usize];
            for _ in 0..count {
                let names = fixture.names(number);
                let (verdict, place) = fixture.table.take(names, now, quota);
                prop_assert_eq!(verdict, log.take(now, quota));
                if verdict.admitted() {
                    places.push(place);
                }
            }
            if count % 2 == 0 && !places.is_empty() {
                let place = places.swap_remove(given_back.index(places.len()));
                fixture.table.give_back(place);
                log.give_back(place.at);
            }
            let wait = fixture.table.wait(&fixture.names(number), now, quota);
            prop_assert_eq!(wait, log.blocked_for(now, quota).map(millis).unwrap_or_default());
            if count == 0 {
                fixture.table.sweep(0, now);
            }
        }
        prop_assert!(fixture.rings() <= 6, "rings are used again");
        fixture.table.sweep(0, Tick::at(elapsed + Duration::from_secs(60)));
        prop_assert_eq!((fixture.entries(), fixture.away()), (0, 0));
    }
}

#[test]
fn two_cores_at_one_key_never_pass_more_than_the_allowance() {
    let fixture = Fixture::new(0);
    for round in 0..200 {
        let admitted: usize = std::thread::scope(|scope| {
            let run = || {
                (0..10)
                    .filter(|_| fixture.take(round, tick(1)).0.admitted())
                    .count()
            };
            let threads = [scope.spawn(run), scope.spawn(run)];
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(admitted, 5, "{round}");
        fixture.table.sweep(0, tick(1_000));
    }
}
