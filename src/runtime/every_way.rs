//! For tests: plays a scene in every way in which it can go.
//!
//! A scene asks where it can go on in several ways. The first play takes the first way each
//! time. Every other play goes as the one before it up to the last place where a way is left,
//! and takes the next one there: none is left out, and none comes twice.

use std::sync::Arc;

use parking_lot::Mutex;

/// Whom a scene asks.
#[derive(Default)]
pub(crate) struct Choices(Mutex<Course>);

/// What one play chose.
#[derive(Default)]
struct Course {
    made: Vec<Choice>,
    /// How many of these the play has come to.
    reached: usize,
}

struct Choice {
    taken: usize,
    of: usize,
}

impl Choices {
    /// One of so many, counted from 0.
    pub(crate) fn among(&self, count: usize) -> usize {
        let mut course = self.0.lock();
        let nth = course.reached;
        course.reached += 1;
        if nth == course.made.len() {
            let first = Choice {
                taken: 0,
                of: count,
            };
            course.made.push(first);
        }
        let choice = &course.made[nth];
        assert_eq!(choice.of, count, "nothing but choices may change a scene");
        choice.taken
    }

    /// Whether there is another way, which the next play goes.
    fn turn(&self) -> bool {
        let mut course = self.0.lock();
        course.reached = 0;
        while let Some(last) = course.made.pop() {
            let (taken, of) = (last.taken + 1, last.of);
            if taken < of {
                course.made.push(Choice { taken, of });
                return true;
            }
        }
        false
    }
}

/// Plays a scene in every way; how many there are.
pub(crate) fn every_way(play: impl Fn(&Arc<Choices>)) -> usize {
    let choices = Arc::new(Choices::default());
    let mut plays = 0;
    loop {
        play(&choices);
        plays += 1;
        if !choices.turn() {
            return plays;
        }
    }
}

#[test]
fn each_way_is_gone_once() {
    let gone = Mutex::new(Vec::new());
    let ways = every_way(|choices| {
        let first = choices.among(3);
        let second = if first == 1 { choices.among(2) } else { 9 };
        gone.lock().push((first, second));
    });
    assert_eq!(ways, 4);
    assert_eq!(*gone.lock(), [(0, 9), (1, 0), (1, 1), (2, 9)]);
}
