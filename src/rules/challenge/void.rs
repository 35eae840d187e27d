//! When an open challenge cannot go on.

use crate::domain::challenge::{CancelReason, Challenge};
use crate::domain::member::Member;

/// Why an open challenge cannot go on with the member as they are now (R-8, R-15, R-43, R-44,
/// Where 2FA is mandatory it counts as on, before the mandate has come to the member.
pub fn voided(challenge: &Challenge, member: &Member, mandatory: bool) -> Option<CancelReason> {
    let purpose = challenge.purpose;
    let current = member.phone.as_ref().map(|phone| phone.index.as_slice());
    let same_target = if purpose.binds_number() {
        challenge.operation == number_operation(current, &challenge.phone_index)
    } else {
        current == Some(challenge.phone_index.as_slice())
    };
    if !member.active {
        Some(CancelReason::MemberDeactivated)
    } else if purpose.factor_must_be() == Some(true) && !member.two_factor && !mandatory {
        Some(CancelReason::FactorDisabled)
    } else if purpose.factor_must_be() == Some(false)
        && member.two_factor
        && !member.must_enrol(mandatory)
    {
        Some(CancelReason::FactorEnabled)
    } else if !same_target {
        Some(CancelReason::TargetChanged)
    } else if member.phone_owned_at.is_some() && !purpose.binds_number() {
        Some(CancelReason::CompanyOwnedNumber)
    } else {
        None
    }
}

/// What the code for a number is bound to: the number before, and the one after. Blind indexes say
/// nothing without their key.
pub fn number_operation(before: Option<&[u8]>, after: &[u8]) -> Vec<u8> {
    [before.unwrap_or_default(), after].concat()
}
