//! Rolling windows: is there room for one more, and if not, when will there be.

use crate::domain::Timestamp;
use crate::domain::policy::Window;

/// What is known of a number: shared by all members who have it.
#[derive(Clone, Debug, Default)]
pub struct NumberFacts {
    /// The timer of the number: no SMS is granted before.
    pub next_send_at: Option<Timestamp>,
    /// Sends granted in the longest window.
    pub sends: Vec<Timestamp>,
}

/// When the next one fits into `window`; `None` if it does now. `past` is in any order.
pub fn full_until(window: Window, past: &[Timestamp], now: Timestamp) -> Option<Timestamp> {
    let mut inside: Vec<Timestamp> =
        past.iter().copied().filter(|at| *at + window.within > now).collect();
    let count = usize::try_from(window.count).unwrap_or(0);
    if inside.len() < count {
        return None;
    }
    // There is room again once only count - 1 are left: when the count-th newest has gone.
    inside.sort_unstable_by(|a, b| b.cmp(a));
    let last = if count == 0 { now } else { inside[count - 1] };
    Some(last + window.within)
}

/// The same over several windows: the latest of their answers.
pub fn all_full_until(windows: &[Window], past: &[Timestamp], now: Timestamp) -> Option<Timestamp> {
    windows.iter().filter_map(|window| full_until(*window, past, now)).max()
}

/// How many lie within `window` of `now`.
pub fn inside(window: Window, past: &[Timestamp], now: Timestamp) -> i64 {
    past.iter().filter(|at| **at + window.within > now).count() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;
    use time::macros::datetime;

    const NOW: Timestamp = datetime!(2026-01-01 12:00:00 UTC);

    fn window(count: i64, seconds: u64) -> Window {
        Window { count, within: Duration::from_secs(seconds) }
    }

    fn ago(seconds: i64) -> Timestamp {
        NOW - time::Duration::seconds(seconds)
    }

    #[test]
    fn a_window_has_room_again_when_its_oldest_leaves() {
        let past = [ago(10), ago(50), ago(90), ago(200)];
        assert_eq!(full_until(window(4, 100), &past, NOW), None);
        assert_eq!(full_until(window(3, 100), &past, NOW), Some(ago(90 - 100)));
        assert_eq!(full_until(window(2, 100), &past, NOW), Some(ago(50 - 100)));
        assert_eq!(full_until(window(1, 10), &past, NOW), None, "the edge is outside");
    }

    proptest! {
        #[test]
        fn waiting_as_long_as_told_makes_room_and_not_a_moment_less(
            ages in proptest::collection::vec(0_i64..1000, 0..30), count in 1_i64..10,
        ) {
            let past: Vec<_> = ages.iter().map(|age| ago(*age)).collect();
            let window = window(count, 600);
            if let Some(then) = full_until(window, &past, NOW) {
                prop_assert!(then > NOW);
                prop_assert_eq!(full_until(window, &past, then), None);
                let before = then - time::Duration::nanoseconds(1);
                prop_assert!(full_until(window, &past, before).is_some());
            } else {
                prop_assert!(inside(window, &past, NOW) < count);
            }
        }
    }
}
