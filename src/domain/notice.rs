//! Kinds of notices.

use super::string_enum::string_enum;

string_enum! {
    /// What a notice is about.
    NoticeKind {
        /// To an admin: a member's number was changed.
        NumberChanged = "number_changed",
        /// To a member: your number was changed.
        OwnNumberChanged = "own_number_changed",
        /// To a member: your number belongs to a company, and gets no codes.
        OwnNumberOwned = "own_number_owned",
        /// To a member: 2FA was turned on.
        OwnFactorEnabled = "own_factor_enabled",
        /// To a member: 2FA was turned off.
        OwnFactorDisabled = "own_factor_disabled",
        /// To a member: support is about to reset the factor.
        OwnResetApproved = "own_reset_approved",
        /// To a member: support has reset the factor.
        OwnResetDone = "own_reset_done",
        /// To an admin: support is about to reset a member's factor.
        ResetApproved = "reset_approved",
        /// To an admin: support has reset a member's factor.
        ResetDone = "reset_done",
        /// To a member: the code that proves the address.
        EmailProof = "email_proof",
    }
}
