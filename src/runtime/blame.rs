//! Whose fault it is that messages could not be handled.

use std::collections::HashMap;

use uuid::Uuid;

use crate::fault::Fault;

/// Failures in a row, with the database taking work all the while, after which what is handled
/// together is handled one by one, and what is handled alone makes room for others.
const IN_A_ROW: u32 = 3;

/// Why a batch came to nothing.
#[derive(Clone)]
pub(super) enum Failure {
    Fault(Fault),
    Panicked,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Why messages are left for now, and whose fault that is: never that of a dependency that is away.
#[derive(Clone)]
pub(super) struct Undone {
    pub(super) blame: Blame,
    pub(super) failure: Failure,
}

/// Whose fault a failure is, and so what becomes of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// The dependency's. All of them wait for it, here.
    Dependency,
    /// That of one of several messages, or of what one of them needs: which one shows when each is
    /// handled by itself.
    OneOfSeveral,
    /// That of what this message needs, while others are handled. It comes again later, and no attempt
    /// is counted.
    Surroundings,
    /// The message's own. An attempt is counted.
    Message,
}

/// So many messages that ran out of time are remembered at most.
const REMEMBERED: usize = 10_000;

/// What became of a worker's messages, as far as it tells whether one that runs out of time is slow by
/// itself, or everything like it is slow: a table without an index, a disk that stalls under the tables
/// and not under the log.
#[derive(Default)]
pub(super) struct Neighbours {
    succeeded: u64,
    slow: u64,
    /// Both counts after a message ran out of time, by its id.
    since: HashMap<Uuid, (u64, u64)>,
}

impl Neighbours {
    /// These were handled.
    pub(super) fn succeeded(&mut self, messages: &[Uuid]) {
        self.succeeded += messages.len() as u64;
        if !self.since.is_empty() {
            self.since.retain(|message, _| !messages.contains(message));
        }
    }

    /// This one ran out of time. Whether its neighbours succeed: more of them did than ran out of time,
    /// since it ran out of time before. What does so for the first time has shown nothing yet.
    pub(super) fn succeed_beside(&mut self, message: Uuid) -> bool {
        let before = self.since.get(&message);
        let succeed =
            before.is_some_and(|(succeeded, slow)| self.succeeded - succeeded > self.slow - slow);
        self.slow += 1;
        if self.since.len() >= REMEMBERED {
            self.since.clear();
        }
        self.since.insert(message, (self.succeeded, self.slow));
        succeed
    }
}

/// The rule. `messages` were handled together; `others_succeed` says whether the database took other
/// work during the attempt and takes it now, and `neighbours_succeed` whether this worker's other
/// messages are handled; `in_a_row` counts failures with the first of these, this one included.
pub(super) fn blame(
    failure: &Failure,
    messages: usize,
    others_succeed: bool,
    neighbours_succeed: bool,
    in_a_row: u32,
) -> Blame {
    match failure {
        Failure::Fault(Fault::Held(_) | Fault::Slow(_) | Fault::Down(..)) if !others_succeed => {
            Blame::Dependency
        }
        Failure::Fault(Fault::Down(..)) if in_a_row < IN_A_ROW => Blame::Dependency,
        _ if messages > 1 => Blame::OneOfSeveral,
        Failure::Fault(Fault::Held(_) | Fault::Down(..)) => Blame::Surroundings,
        Failure::Fault(Fault::Slow(_)) if !neighbours_succeed => Blame::Surroundings,
        Failure::Fault(Fault::Slow(_) | Fault::Transient(_) | Fault::Permanent(_))
        | Failure::Panicked => Blame::Message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Dependency;

    fn held() -> Failure {
        Fault::Held("x".into()).into()
    }

    fn slow() -> Failure {
        Fault::Slow("x".into()).into()
    }

    fn down() -> Failure {
        Fault::Down(Dependency::Database, "x".into()).into()
    }

    fn transient() -> Failure {
        Fault::Transient("x".into()).into()
    }

    #[test]
    fn r109_what_fails_while_nothing_else_succeeds_is_the_dependencys_fault() {
        for failure in [held(), slow(), down()] {
            for (messages, in_a_row) in [(1, 0), (1, 9), (50, 0), (50, 9)] {
                for neighbours in [false, true] {
                    let blame = blame(&failure, messages, false, neighbours, in_a_row);
                    assert_eq!(blame, Blame::Dependency);
                }
            }
        }
    }

    #[test]
    fn r109_what_waits_for_another_session_is_no_fault_of_the_message() {
        assert_eq!(blame(&held(), 1, true, true, 1), Blame::Surroundings);
        assert_eq!(blame(&held(), 2, true, true, 1), Blame::OneOfSeveral);
    }

    #[test]
    fn r109_what_takes_too_long_while_its_neighbours_succeed_is_the_messages_fault() {
        assert_eq!(blame(&slow(), 1, true, true, 1), Blame::Message);
        assert_eq!(blame(&slow(), 2, true, true, 1), Blame::OneOfSeveral);
    }

    #[test]
    fn r109_what_takes_too_long_while_its_neighbours_do_too_is_no_fault_of_the_message() {
        assert_eq!(blame(&slow(), 1, true, false, 9), Blame::Surroundings);
        assert_eq!(blame(&slow(), 2, true, false, 9), Blame::OneOfSeveral);
    }

    #[test]
    fn r109_where_every_message_runs_out_of_time_none_is_said_to_have_neighbours_that_succeed() {
        let (mut neighbours, messages) = (Neighbours::default(), [1, 2, 3].map(Uuid::from_u128));
        neighbours.succeeded(&[Uuid::from_u128(9); 50]);
        for message in messages.iter().cycle().take(90) {
            assert!(!neighbours.succeed_beside(*message));
        }
    }

    #[test]
    fn a_message_that_runs_out_of_time_again_while_its_neighbours_are_handled_is_told_from_them() {
        let mut neighbours = Neighbours::default();
        let [slow, other, good] = [1, 2, 3].map(Uuid::from_u128);
        assert!(!neighbours.succeed_beside(slow), "it shows nothing yet");
        neighbours.succeeded(&[good]);
        assert!(neighbours.succeed_beside(slow));
        assert!(!neighbours.succeed_beside(slow), "no neighbour has been handled since");
        // As many run out of time as are handled.
        assert!(!neighbours.succeed_beside(other));
        neighbours.succeeded(&[good]);
        assert!(!neighbours.succeed_beside(slow));
        // Its own success is no neighbour's.
        neighbours.succeeded(&[slow]);
        assert!(!neighbours.succeed_beside(slow));
    }

    #[test]
    fn what_is_remembered_of_slow_messages_has_a_bound() {
        let mut neighbours = Neighbours::default();
        for message in 0..2 * REMEMBERED as u128 + 5 {
            neighbours.succeed_beside(Uuid::from_u128(message));
        }
        assert!(neighbours.since.len() <= REMEMBERED);
    }

    #[test]
    fn what_the_server_lacks_is_waited_for_and_then_makes_room_for_others() {
        for (in_a_row, alone, together) in [
            (1, Blame::Dependency, Blame::Dependency),
            (2, Blame::Dependency, Blame::Dependency),
            (3, Blame::Surroundings, Blame::OneOfSeveral),
        ] {
            assert_eq!(blame(&down(), 1, true, true, in_a_row), alone);
            assert_eq!(blame(&down(), 7, true, true, in_a_row), together);
        }
    }

    #[test]
    fn what_is_the_messages_own_does_not_depend_on_the_database() {
        let own: [fn() -> Failure; 3] =
            [transient, || Fault::Permanent("x".into()).into(), || Failure::Panicked];
        for failure in own {
            for others_succeed in [false, true] {
                assert_eq!(blame(&failure(), 1, others_succeed, true, 0), Blame::Message);
                assert_eq!(blame(&failure(), 2, others_succeed, true, 0), Blame::OneOfSeveral);
            }
        }
    }
}
