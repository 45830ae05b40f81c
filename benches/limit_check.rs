//! One check of the limiter with a million addresses known and two threads at it,
//! beside the usual crate for the same (governor: one number a key, no exact window).
//! Addresses are drawn evenly, the worst case for the caches; time moves so that each
//! asks twice a minute. Timed in batches, because reading a clock costs as much as a
//! check.
//!
//! A relay names the place of a request's address when it arrives, reads its headers and
//! its token, which takes microseconds, and then checks. Here other arrivals lie in
//! between, and naming is timed with the checks. What a check costs that nothing went
//! before is shown as well.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

#[path = "support/figure.rs"]
mod figure;

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use figure::Figure;
use mls_relay::limits::{Clock, Limits, Settings};
use mls_relay::runtime::Live;
use mls_relay::types::ClientIp;

const MANY: u32 = 1_000_000;
const FEWER: u32 = 100_000;
const THREADS: u64 = 2;
const BATCH: usize = 64;
const BATCHES: usize = 40_000;
/// Requests that have arrived and are not checked yet.
const AHEAD: usize = 8;

fn main() {
    measure("limit_check_ns", MANY);
    measure("limit_check_100k_ns", FEWER);
}

fn measure(name: &str, keys: u32) {
    let (ours, at_once) = ours(keys);
    let governor = governor(keys);
    println!("# {name}, named and checked at once: {at_once:.2} ns");
    Figure::new(name, ours, "ns")
        .over(governor)
        .goal("at most 100 ns, ratio below 1")
        .record();
}

/// With the place named ahead, and with nothing in between.
fn ours(keys: u32) -> (f64, f64) {
    let mut settings = Settings::default();
    settings.tables.ip_keys = keys;
    let clock = Clock::manual();
    let limits = Limits::new(Live::new(settings), clock.clone());
    for number in 0..keys {
        limits.check(limits.arrival(client(number)), None);
    }
    // Each address asks twice a minute.
    let micros_per_batch = 30_000_000 * BATCH as u64 / u64::from(keys);
    let micros = AtomicU64::new(0);
    let pass_time = || {
        let before = micros.fetch_add(micros_per_batch, Ordering::Relaxed);
        let millis = (before + micros_per_batch) / 1_000 - before / 1_000;
        clock.advance(Duration::from_millis(millis));
    };
    let named_ahead = |numbers: &[u32; BATCH]| {
        let mut arrivals = [limits.arrival(client(numbers[0])); AHEAD];
        for (arrival, number) in arrivals.iter_mut().zip(numbers).skip(1) {
            *arrival = limits.arrival(client(*number));
        }
        let mut admitted = 0;
        for index in 0..BATCH {
            let decision = limits.check(arrivals[index % AHEAD], None);
            admitted += usize::from(decision.refused.is_none());
            if let Some(number) = numbers.get(index + AHEAD) {
                arrivals[index % AHEAD] = limits.arrival(client(*number));
            }
        }
        admitted
    };
    let at_once = |numbers: &[u32; BATCH]| {
        let checked = numbers.map(|number| limits.check(limits.arrival(client(number)), None));
        checked.iter().filter(|d| d.refused.is_none()).count()
    };
    (
        median(keys, pass_time, named_ahead),
        median(keys, pass_time, at_once),
    )
}

fn governor(keys: u32) -> f64 {
    let quota = governor::Quota::per_minute(NonZeroU32::new(60).unwrap());
    let limiter = governor::RateLimiter::dashmap(quota);
    let check = |number: &u32| limiter.check_key(&client(*number)).is_ok();
    for number in 0..keys {
        check(&number);
    }
    let check = |numbers: &[u32; BATCH]| numbers.iter().filter(|number| check(number)).count();
    median(keys, || {}, check)
}

/// Nanoseconds a check, the median of all batches of all threads.
fn median(
    keys: u32,
    pass_time: impl Fn() + Sync,
    check: impl Fn(&[u32; BATCH]) -> usize + Sync,
) -> f64 {
    let run = |seed: u64| {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed + 1);
        let mut samples = Vec::with_capacity(BATCHES);
        for _ in 0..BATCHES {
            let numbers: [u32; BATCH] = std::array::from_fn(|_| draw(&mut random, keys));
            pass_time();
            let begun = Instant::now();
            let admitted = check(&numbers);
            samples.push(begun.elapsed().as_nanos() as f64 / BATCH as f64);
            assert!(admitted > 0);
        }
        samples
    };
    let samples: Vec<f64> = std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..THREADS)
            .map(|seed| scope.spawn(move || run(seed)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    figure::median(samples)
}

/// Marsaglia's xorshift, scaled to the keys.
fn draw(random: &mut u64, keys: u32) -> u32 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    (((*random >> 32) * u64::from(keys)) >> 32) as u32
}

/// Addresses as they come: not in a row.
fn client(number: u32) -> ClientIp {
    ClientIp::new(Ipv4Addr::from(number.wrapping_mul(2_654_435_761)).into())
}
