//! Who is notified of an event.

use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::activity::Origin;
use crate::domain::challenge::AttemptState;
use crate::domain::id::{MemberId, derived};
use crate::domain::notice::NoticeKind;
use crate::message::{Command, Effect, EventKind, EventRecord};
use crate::rules::verdict::Decided;

/// A notice as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its id: a function of what it is about and of who gets it, so that there is one for each pair.
    pub id: Uuid,
    /// What it is about.
    pub kind: NoticeKind,
    /// Who gets it.
    pub recipient: MemberId,
    /// Whether it goes to the address that the recipient had before.
    pub to_before: bool,
    /// What about.
    pub event: EventRecordRef,
    /// Where it stands.
    pub state: AttemptState,
    /// Calls so far.
    pub tries: i16,
    /// Until when the one who claimed it may still settle it.
    pub lease_until: Option<Timestamp>,
}

/// The parts of an event that a notice tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecordRef {
    /// The account.
    pub account: crate::domain::id::AccountId,
    /// Whose number.
    pub member: MemberId,
    /// Who changed it.
    pub actor: MemberId,
    /// When.
    pub at: Timestamp,
    /// The number before, masked.
    pub old_number: Option<String>,
    /// The number after, masked.
    pub new_number: Option<String>,
}

/// Who may be told of an event.
#[derive(Clone, Debug, Default)]
pub struct Recipients {
    /// The primary admins who hear of changed numbers.
    pub subscribers: Vec<MemberId>,
    /// Whether the member has an address.
    pub member_has_address: bool,
    /// Whether the member had another one not long ago.
    pub member_had_address: bool,
}

/// How long a former address hears of what happens to the factor: 30 days.
pub const BEFORE: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);

/// What the member and what the subscribed admins hear of an event.
fn kinds(event: &EventRecord) -> (Option<NoticeKind>, Option<NoticeKind>) {
    let because = |origin: Origin| event.reason.as_deref() == Some(origin.label());
    // What the app says of its own accord, such as at an import, the app tells of itself.
    let by_somebody = event.actor.is_some() || event.challenge.is_some();
    match event.kind {
        // Of a mandate the app tells everybody; of a reset there is a notice of its own.
        EventKind::FactorEnabled | EventKind::FactorDisabled if because(Origin::Mandate) => {
            (None, None)
        }
        EventKind::PhoneChanged if because(Origin::Support) => (None, None),
        EventKind::PhoneChanged => {
            (Some(NoticeKind::OwnNumberChanged), Some(NoticeKind::NumberChanged))
        }
        EventKind::NumberOwned => (Some(NoticeKind::OwnNumberOwned), None),
        EventKind::FactorEnabled if by_somebody => (Some(NoticeKind::OwnFactorEnabled), None),
        EventKind::FactorDisabled => (Some(NoticeKind::OwnFactorDisabled), None),
        EventKind::ResetApproved => {
            (Some(NoticeKind::OwnResetApproved), Some(NoticeKind::ResetApproved))
        }
        EventKind::FactorReset => (Some(NoticeKind::OwnResetDone), Some(NoticeKind::ResetDone)),
        _ => (None, None),
    }
}

/// The rule of the fan-out: of a changed number or a reset hear each subscribed primary admin, their
/// own changes included (D-7), and the member, also at the address before; of the rest the member.
pub fn fan_out(event: &EventRecord, recipients: Recipients) -> Decided<Vec<Notice>> {
    let (Some(account), Some(member)) = (&event.account, &event.member) else {
        return Decided::nothing("not_about_a_member");
    };
    let Recipients { subscribers, member_has_address, member_had_address } = recipients;
    let (to_member, to_admins) = kinds(event);
    let mut notified: Vec<(NoticeKind, MemberId, bool)> = Vec::new();
    // A member who is notified as an admin gets no second notice.
    let as_admin = to_admins.is_some() && subscribers.contains(member);
    if let Some(kind) = to_admins {
        notified.extend(subscribers.into_iter().map(|admin| (kind, admin, false)));
    }
    if let Some(kind) = to_member {
        let to = |to_before| (kind, member.clone(), to_before);
        notified.extend((member_has_address && !as_admin).then(|| to(false)));
        notified.extend(member_had_address.then(|| to(true)));
    }
    if notified.is_empty() {
        return Decided::nothing("no_recipient");
    }
    let about = EventRecordRef {
        account: account.clone(),
        member: member.clone(),
        actor: event.actor.clone().unwrap_or_else(|| member.clone()),
        at: event.at,
        old_number: event.old_number.clone(),
        new_number: event.new_number.clone(),
    };
    let notices: Vec<Notice> = notified
        .into_iter()
        .map(|(kind, recipient, to_before)| Notice {
            id: derived(
                event.id,
                &format!("notice/{recipient}{}", if to_before { "/before" } else { "" }),
            ),
            kind,
            recipient,
            to_before,
            event: about.clone(),
            state: AttemptState::Queued,
            tries: 0,
            lease_until: None,
        })
        .collect();
    let send = |notice: &Notice| Effect::from(Command::SendNotice { notice: notice.id, tries: 0 });
    let effects = notices.iter().map(send).collect();
    Decided { label: "notified", write: Some(notices), effects, reply: None }
}
