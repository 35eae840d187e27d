//! Email as a backup of the SMS.

use crate::domain::Timestamp;
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::message::{Outcome, OutcomeKind, Request, SetEmailBackup};
use crate::rules::factor::change::{self, Change, ChangeAuthor};
use crate::rules::verdict::Decided;

/// The rule of the backup: a confirmed address, and 2FA on.
pub fn set_email_backup(
    request: &Request<SetEmailBackup>,
    member: &Member,
    keys: &Keyring,
    now: Timestamp,
) -> Decided<Change> {
    let on = request.body.on;
    if on && !member.two_factor {
        return Decided::answer(Outcome::new(OutcomeKind::NotEnabled));
    }
    if on && !(member.email.is_some() && member.email_verified) {
        return Decided::answer(Outcome::new(OutcomeKind::EmailUnverified));
    }
    let stored = Outcome::new(OutcomeKind::Stored);
    if member.email_backup == on {
        return Decided::answer(stored);
    }
    let by = ChangeAuthor {
        app: &request.app,
        actor: None,
        origin: None,
        challenge: None,
        client: request.body.client.clone(),
    };
    let after = Member { email_backup: on, ..member.clone() };
    // A challenge keeps what was so on its day: none ends with this.
    let (change, effects) = change::change(Some(member), after, &[], &by, keys, now);
    Decided { label: "stored", write: Some(change), effects, reply: Some(stored) }
}
