//! Whose fault it is that messages could not be handled.

use super::pass::Failure;
use crate::fault::Fault;

/// Failures in a row, with the database taking work all the while, after which what is handled
/// together is handled one by one, and what is handled alone makes room for others.
const IN_A_ROW: u32 = 3;

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

/// The rule. `messages` were handled together; `others_succeed` says whether the database took other
/// work during the attempt and takes it now; `in_a_row` counts failures with that, this one included.
pub(super) fn blame(
    failure: &Failure,
    messages: usize,
    others_succeed: bool,
    in_a_row: u32,
) -> Blame {
    match failure {
        Failure::Fault(Fault::Held(_) | Fault::Slow(_) | Fault::Down(..)) if !others_succeed => {
            Blame::Dependency
        }
        Failure::Fault(Fault::Down(..)) if in_a_row < IN_A_ROW => Blame::Dependency,
        _ if messages > 1 => Blame::OneOfSeveral,
        Failure::Fault(Fault::Held(_) | Fault::Down(..)) => Blame::Surroundings,
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
                assert_eq!(blame(&failure, messages, false, in_a_row), Blame::Dependency);
            }
        }
    }

    #[test]
    fn r109_what_waits_for_another_session_is_no_fault_of_the_message() {
        assert_eq!(blame(&held(), 1, true, 1), Blame::Surroundings);
        assert_eq!(blame(&held(), 2, true, 1), Blame::OneOfSeveral);
    }

    #[test]
    fn r109_what_takes_too_long_while_its_neighbours_succeed_is_the_messages_fault() {
        assert_eq!(blame(&slow(), 1, true, 1), Blame::Message);
        assert_eq!(blame(&slow(), 2, true, 1), Blame::OneOfSeveral);
    }

    #[test]
    fn what_the_server_lacks_is_waited_for_and_then_makes_room_for_others() {
        for (in_a_row, alone, together) in [
            (1, Blame::Dependency, Blame::Dependency),
            (2, Blame::Dependency, Blame::Dependency),
            (3, Blame::Surroundings, Blame::OneOfSeveral),
        ] {
            assert_eq!(blame(&down(), 1, true, in_a_row), alone);
            assert_eq!(blame(&down(), 7, true, in_a_row), together);
        }
    }

    #[test]
    fn what_is_the_messages_own_does_not_depend_on_the_database() {
        let own: [fn() -> Failure; 3] =
            [transient, || Fault::Permanent("x".into()).into(), || Failure::Panicked];
        for failure in own {
            for others_succeed in [false, true] {
                assert_eq!(blame(&failure(), 1, others_succeed, 0), Blame::Message);
                assert_eq!(blame(&failure(), 2, others_succeed, 0), Blame::OneOfSeveral);
            }
        }
    }
}
