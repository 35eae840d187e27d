//! Who may do what: by the actor's role in the very account it concerns. An actor of
//! another account is nobody here.

use crate::domain::member::{Member, Role};
use crate::domain::string_enum::string_enum;

string_enum! {
    /// What takes an actor.
    Operation {
        /// A look at the contacts of all members.
        Review = "team.review",
        /// 2FA becomes mandatory.
        EnableMandate = "team.mandate.enable",
        /// It is each member's choice again.
        DisableMandate = "team.mandate.disable",
        /// 2FA on for one member.
        EnableMember = "team.member.enable",
        /// 2FA off for one member.
        DisableMember = "team.member.disable",
        /// A reset by support is stopped.
        CancelReset = "support.reset.cancel",
        /// A member's profile is changed by somebody else.
        ChangeMember = "directory.member",
        /// Whether a primary admin hears of changed numbers.
        Subscribe = "directory.member/notify_number_changes",
    }
}

/// Whether `actor`, as found in the account, may do this to `subject`, if it is about one member.
/// Nobody who is not active may do anything.
pub fn may(operation: Operation, actor: Option<&Member>, subject: Option<&Member>) -> bool {
    let Some(actor) = actor.filter(|actor| actor.active) else { return false };
    let themself = subject.is_some_and(|subject| subject.id == actor.id);
    let of_primary = subject.is_some_and(|subject| subject.role == Role::PrimaryAdmin);
    match operation {
        Operation::Review | Operation::EnableMandate | Operation::EnableMember => {
            actor.role != Role::Member
        }
        // Whoever is above is not switched off from below.
        Operation::DisableMember => {
            actor.role == Role::PrimaryAdmin || (actor.role == Role::Admin && !of_primary)
        }
        Operation::DisableMandate | Operation::Subscribe => actor.role == Role::PrimaryAdmin,
        Operation::CancelReset | Operation::ChangeMember => themself || actor.role != Role::Member,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::MemberId;
    use crate::rules::tests_support::member;

    fn of(role: Role, name: &str) -> Member {
        Member { role, id: MemberId::parse(name).unwrap(), ..member() }
    }

    /// Primary admin, admin, member: to a plain member who is somebody else.
    const MATRIX: &[(Operation, [bool; 3])] = &[
        (Operation::Review, [true, true, false]),
        (Operation::EnableMandate, [true, true, false]),
        (Operation::DisableMandate, [true, false, false]),
        (Operation::EnableMember, [true, true, false]),
        (Operation::DisableMember, [true, true, false]),
        (Operation::CancelReset, [true, true, false]),
        (Operation::ChangeMember, [true, true, false]),
        (Operation::Subscribe, [true, false, false]),
    ];

    #[test]
    fn r81_r85_each_role_may_do_what_the_matrix_says_and_a_stranger_nothing() {
        assert_eq!(MATRIX.len(), Operation::ALL.len());
        let subject = of(Role::Member, "sam");
        for (operation, expected) in MATRIX {
            for (role, expected) in
                [Role::PrimaryAdmin, Role::Admin, Role::Member].iter().zip(expected)
            {
                let actor = of(*role, "eve");
                let found = may(*operation, Some(&actor), Some(&subject));
                assert_eq!(found, *expected, "{role:?} {operation:?}");
                let gone = Member { active: false, ..actor };
                assert!(!may(*operation, Some(&gone), Some(&subject)), "{operation:?}");
            }
            assert!(!may(*operation, None, Some(&subject)), "{operation:?}");
        }
    }

    #[test]
    fn r83_an_admin_does_not_switch_a_primary_admin_off() {
        let (admin, owner) = (of(Role::Admin, "eve"), of(Role::PrimaryAdmin, "owner"));
        assert!(!may(Operation::DisableMember, Some(&admin), Some(&owner)));
        assert!(may(Operation::DisableMember, Some(&owner), Some(&admin)));
    }

    #[test]
    fn a_member_may_stop_their_own_reset() {
        let sam = of(Role::Member, "sam");
        assert!(may(Operation::CancelReset, Some(&sam), Some(&sam)));
    }
}
