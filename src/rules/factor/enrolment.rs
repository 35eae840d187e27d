//! A member's own factor: turning it on, another number, turning it
//! off, and email as a backup. Nothing changes before the code is verified; what
//! changes then is decided in [`super::apply`].

use crate::domain::Timestamp;
use crate::domain::challenge::{Challenge, Purpose, State};
use crate::domain::phone::{PhoneNumber, mask};
use crate::message::{Outcome, OutcomeKind};
use crate::rules::challenge::events::ended;
use crate::rules::challenge::issue;
use crate::rules::challenge::spec::{ChallengeSpec, Issued};
use crate::rules::factor::facts::{MemberFacts, operation};
use crate::rules::factor::message::{SettingsMessage, demand};
use crate::rules::inputs::RuleInputs;
use crate::rules::verdict::{Decided, DecisionContext};

/// The rule of everything that takes a challenge.
pub fn challenge(
    ask: &SettingsMessage,
    facts: &MemberFacts,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Issued> {
    let member = &facts.issue.member;
    let number = match ask.number(&facts.issue.account) {
        Ok(number) => number,
        Err(why) => return Decided::answer(Outcome::invalid("phone", &format!("phone {why}"))),
    };
    let demand =
        ask.purpose(member, facts.issue.account.mandatory).and_then(|purpose| demand(ask, purpose));
    let Some(demand) = demand else {
        return Decided::answer(Outcome::new(OutcomeKind::NotFound));
    };
    match demand.purpose {
        Purpose::Enrolment => {
            let operation = operation(member, number.as_ref(), &rules.keys);
            let demand = ChallengeSpec { operation, number: number.as_ref(), ..demand };
            enrolment(ask, &demand, facts, rules, ctx)
        }
        Purpose::NumberChangeCurrent | Purpose::NumberChangeNew => {
            change_number(demand, number.as_ref(), facts, rules, ctx)
        }
        Purpose::Disable => disable(&demand, facts, rules, ctx),
        // Asked for elsewhere.
        Purpose::Login | Purpose::Setting | Purpose::Team => {
            Decided::answer(Outcome::new(OutcomeKind::NotFound))
        }
    }
}

fn enrolment(
    ask: &SettingsMessage,
    demand: &ChallengeSpec<'_>,
    facts: &MemberFacts,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Issued> {
    let member = &facts.issue.member;
    if member.must_enrol(facts.issue.account.mandatory) {
        // not signed in yet, so the address speaks for the person.
        let good = |at| ctx.now < at + rules.policy.challenge_life;
        if !member.email_proved_at.is_some_and(good) || member.email.is_none() {
            return Decided::answer(Outcome::new(issue::to_enrol(member)));
        }
    } else if member.two_factor {
        return Decided::answer(Outcome::new(OutcomeKind::AlreadyEnabled));
    }
    if !matches!(ask, SettingsMessage::StartEnrolment(_)) {
        return issue::open(demand, &facts.issue, rules, ctx);
    }
    // shown first, and nothing is sent until it is asked for.
    if let Some(kind) = issue::obstacle(demand, &facts.issue, &rules.keys) {
        return Decided::answer(Outcome::new(kind));
    }
    let destination = demand
        .number
        .map(PhoneNumber::mask)
        .or_else(|| member.phone_in_clear(&rules.keys).map(|e164| mask(&e164)));
    Decided::answer(Outcome { destination, ..Outcome::new(OutcomeKind::Ready) })
}

fn change_number(
    demand: ChallengeSpec<'_>,
    number: Option<&PhoneNumber>,
    facts: &MemberFacts,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Issued> {
    let member = &facts.issue.member;
    let Some(number) = number else {
        return Decided::answer(Outcome::invalid("phone", "phone is missing"));
    };
    let index = rules.keys.blind("phone", number.e164());
    let same = member.phone.as_ref().is_some_and(|phone| phone.index == index);
    if same && member.phone_verified_at.is_some() {
        return Decided::answer(Outcome::invalid("phone", "phone is the number already"));
    }
    let mandatory = facts.issue.account.mandatory;
    // Nobody gets round the proof of the address: an enrolment takes it, a change of number does not.
    if member.must_enrol(mandatory) {
        let outcome = Outcome::new(issue::to_enrol(member));
        let demand = ChallengeSpec { number: Some(number), ..demand };
        return issue::refuse(&demand, true, outcome);
    }
    let operation = operation(member, Some(number), &rules.keys);
    let to_new = ChallengeSpec { operation, number: Some(number), ..demand };
    // The new number is looked at first, so that nobody proves the current one in vain.
    if let Some(kind) = issue::obstacle(&to_new, &facts.issue, &rules.keys) {
        return issue::refuse(&to_new, true, Outcome::new(kind));
    }
    if to_new.purpose == Purpose::NumberChangeCurrent {
        if member.phone_owned_at.is_some() {
            let outcome = Outcome::new(OutcomeKind::CompanyOwnedNumber);
            return issue::refuse(&to_new, true, outcome);
        }
        let to_current = ChallengeSpec { number: None, ..to_new };
        return issue::open(&to_current, &facts.issue, rules, ctx);
    }
    if (member.two_factor || mandatory)
        && let Some(refusal) =
            unproved(facts.proof.as_ref(), Purpose::NumberChangeCurrent, &to_new.operation, ctx.now)
    {
        return Decided::answer(refusal);
    }
    issue::open(&to_new, &facts.issue, rules, ctx)
}

/// Why `proof` does not show that it is the member who asks, for exactly this and not long ago.
pub(in crate::rules) fn unproved(
    proof: Option<&Challenge>,
    by: Purpose,
    operation: &[u8],
    now: Timestamp,
) -> Option<Outcome> {
    let of_this = |proof: &&Challenge| {
        proof.purpose == by && proof.state != State::Open && proof.operation == operation
    };
    match proof.filter(of_this) {
        Some(proof) if proof.state == State::Verified && now < proof.expires_at => None,
        Some(proof) if proof.state == State::Verified => {
            Some(Outcome { challenge: Some(proof.id), ..Outcome::new(OutcomeKind::Expired) })
        }
        Some(proof) => Some(ended(proof, false)),
        None => Some(Outcome::invalid("proof", "proof is no verified challenge for exactly this")),
    }
}

fn disable(
    demand: &ChallengeSpec<'_>,
    facts: &MemberFacts,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Issued> {
    if !facts.issue.member.two_factor {
        return Decided::answer(Outcome::new(OutcomeKind::NotEnabled));
    }
    if facts.issue.account.mandatory {
        return issue::refuse(demand, true, Outcome::new(OutcomeKind::MandatoryByAccount));
    }
    issue::open(demand, &facts.issue, rules, ctx)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::Account;
    use crate::domain::activity::Action;
    use crate::domain::activity::Client;
    use crate::domain::member::Member;
    use crate::message::Request;
    use crate::message::SetEmailBackup;
    use crate::message::{
        ChangeNumber, Command, DisableFactor, Effect, EventKind, Sealed, SendEnrolment,
        StartEnrolment,
    };
    use crate::rules::challenge::facts::IssueFacts;
    use crate::rules::factor::change::Change;
    use crate::rules::factor::email_backup::set_email_backup;
    use crate::rules::tests_support::{NOW, account, ctx, issue_facts, member, rules};
    use time::Duration;

    const OTHER: &str = "+12025550177";

    fn here() -> Client {
        Client { ip: Some([192, 0, 2, 7].into()), user_agent: Some("Mozilla/5.0".into()) }
    }

    fn off() -> Member {
        Member { two_factor: false, ..member() }
    }

    fn facts(member: Member) -> MemberFacts {
        let issue = IssueFacts { member, ..issue_facts(9) };
        MemberFacts { issue, proof: None, email_proof: None }
    }

    fn request<T>(ask: T) -> Request<T> {
        Request { app: account().app, body: ask }
    }

    fn start(phone: Option<&str>) -> SettingsMessage {
        let (account, member, phone) = (account().id, member().id, phone.map(Sealed::new));
        SettingsMessage::StartEnrolment(request(StartEnrolment { account, member, phone }))
    }

    fn send(phone: Option<&str>) -> SettingsMessage {
        let (account, member, phone) = (account().id, member().id, phone.map(Sealed::new));
        SettingsMessage::SendEnrolment(request(SendEnrolment { account, member, phone }))
    }

    fn change_to(phone: &str, proof: Option<&Challenge>) -> SettingsMessage {
        let (account, member, phone) = (account().id, member().id, Sealed::new(phone));
        let proof = proof.map(|proof| proof.id);
        SettingsMessage::ChangeNumber(request(ChangeNumber { account, member, phone, proof }))
    }

    fn decided(ask: &SettingsMessage, facts: &MemberFacts) -> Decided<Issued> {
        challenge(ask, facts, &rules(), &mut ctx(NOW))
    }

    fn kind(decided: &Decided<Issued>) -> OutcomeKind {
        decided.reply.as_ref().unwrap().outcome
    }

    fn issued(decided: Decided<Issued>) -> Challenge {
        decided.write.unwrap().new.challenge
    }

    #[test]
    fn r2_r3_start_shows_the_masked_number_and_sends_nothing() {
        for (phone, masked) in [(None, "•••23"), (Some(OTHER), "•••77")] {
            let ready = decided(&start(phone), &facts(off()));
            assert!(ready.write.is_none() && ready.effects.is_empty());
            let reply = ready.reply.unwrap();
            assert_eq!(
                (reply.outcome, reply.destination.as_deref()),
                (OutcomeKind::Ready, Some(masked))
            );
        }
    }

    #[test]
    fn r4_r9_the_code_goes_to_the_number_it_is_to_bind() {
        let sent = decided(&send(Some(OTHER)), &facts(off()));
        assert!(
            sent.effects
                .iter()
                .any(|effect| matches!(effect, Effect::Command(Command::SendSms { .. }, None)))
        );
        let challenge = issued(sent);
        assert_eq!(challenge.purpose, Purpose::Enrolment);
        assert_eq!(challenge.detail_in_clear(&rules().keys).unwrap().as_str(), OTHER);
        assert_eq!(challenge.phone_index, rules().keys.blind("phone", OTHER));
        assert_eq!(challenge.email_index, None, "D-2: SMS only");
    }

    #[test]
    fn r4_another_number_supersedes_and_the_same_returns() {
        let first = issued(decided(&send(None), &facts(off())));
        let mut again = facts(off());
        again.issue.current = Some(first.clone());
        let same = decided(&send(None), &again);
        assert!(same.write.is_none());
        assert_eq!(same.reply.unwrap().challenge, Some(first.id));
        let other = decided(&send(Some(OTHER)), &again);
        let ended = other.write.unwrap().ended.unwrap();
        assert_eq!((ended.challenge, ended.state), (first.id, State::Superseded));
    }

    #[test]
    fn r14_with_2fa_on_nothing_is_sent() {
        for ask in [start(None), send(None)] {
            let decided = decided(&ask, &facts(member()));
            assert_eq!(kind(&decided), OutcomeKind::AlreadyEnabled);
            assert!(decided.write.is_none() && decided.effects.is_empty());
        }
    }

    #[test]
    fn r5_r6_what_takes_no_code_is_refused_before_anything_is_sent() {
        for (phone, refusal) in [
            ("+1 800 555 0123", OutcomeKind::PhoneUnsupported),
            ("+49 151 23456789", OutcomeKind::CountryNotAllowed),
            ("nonsense", OutcomeKind::Invalid),
        ] {
            for ask in [start(Some(phone)), send(Some(phone)), change_to(phone, None)] {
                assert_eq!(kind(&decided(&ask, &facts(off()))), refusal, "{phone}");
            }
        }
        let mut owned = facts(off());
        owned.issue.owned = true;
        for ask in [start(None), send(None), change_to(OTHER, None)] {
            assert_eq!(kind(&decided(&ask, &owned)), OutcomeKind::CompanyOwnedNumber);
        }
    }

    #[test]
    fn r48_r49_with_2fa_on_the_current_number_is_proved_first() {
        let current = issued(decided(&change_to(OTHER, None), &facts(member())));
        assert_eq!(current.purpose, Purpose::NumberChangeCurrent);
        assert_eq!(current.phone_index, member().phone.unwrap().index);
        let proved = |change: fn(&mut Challenge)| {
            let mut proof = current.clone();
            proof.state = State::Verified;
            change(&mut proof);
            MemberFacts { proof: Some(proof), ..facts(member()) }
        };
        let ask = change_to(OTHER, Some(&current));
        let new = issued(decided(&ask, &proved(|_| {})));
        assert_eq!(new.purpose, Purpose::NumberChangeNew);
        assert_eq!(new.phone_index, rules().keys.blind("phone", OTHER));
        let refused = |facts: &MemberFacts, ask: &SettingsMessage| kind(&decided(ask, facts));
        assert_eq!(refused(&proved(|p| p.expires_at = NOW), &ask), OutcomeKind::Expired);
        assert_eq!(refused(&proved(|p| p.state = State::Locked), &ask), OutcomeKind::Locked);
        assert_eq!(refused(&proved(|p| p.state = State::Open), &ask), OutcomeKind::Invalid);
        assert_eq!(refused(&proved(|p| p.purpose = Purpose::Login), &ask), OutcomeKind::Invalid);
        assert_eq!(refused(&facts(member()), &ask), OutcomeKind::Invalid, "nobody's proof");
        let elsewhere = change_to("+12025550188", Some(&current));
        assert_eq!(refused(&proved(|_| {}), &elsewhere), OutcomeKind::Invalid);
    }

    #[test]
    fn r49_r76_a_mandate_on_its_way_to_the_member_counts_as_2fa_on() {
        let mandated = |member| {
            let mut facts = facts(member);
            facts.issue.account.mandatory = true;
            facts
        };
        let current = issued(decided(&change_to(OTHER, None), &mandated(off())));
        assert_eq!(current.purpose, Purpose::NumberChangeCurrent);
        let unproved = decided(&change_to(OTHER, Some(&current)), &mandated(off()));
        assert_eq!(kind(&unproved), OutcomeKind::Invalid);
        // Without a usable number the address must speak first, which an enrolment asks for.
        let bare = Member { phone: None, ..off() };
        let refused = decided(&change_to(OTHER, None), &mandated(bare.clone()));
        assert_eq!(kind(&refused), OutcomeKind::EnrolmentRequired);
        let nobody = Member { email: None, ..bare };
        let refused = decided(&change_to(OTHER, None), &mandated(nobody));
        assert_eq!(kind(&refused), OutcomeKind::ContactAdmin);
        let bound = Member { phone: None, factor_by_mandate: true, ..member() };
        let refused = decided(&change_to(OTHER, None), &facts(bound));
        assert_eq!(kind(&refused), OutcomeKind::EnrolmentRequired);
    }

    #[test]
    fn r48_with_2fa_off_the_new_number_alone_is_proved() {
        let new = issued(decided(&change_to(OTHER, None), &facts(off())));
        assert_eq!(new.purpose, Purpose::NumberChangeNew);
        let verified = Member { phone_verified_at: Some(NOW - Duration::DAY), ..off() };
        let same = decided(&change_to("(202) 555-0123", None), &facts(verified));
        assert_eq!(same.reply.unwrap().field, Some("phone"));
    }

    #[test]
    fn r96_r100_turning_off_takes_a_code_and_is_refused_under_a_mandate() {
        let ask = || {
            let (account, member) = (account().id, member().id);
            SettingsMessage::Disable(request(DisableFactor { account, member }))
        };
        assert_eq!(issued(decided(&ask(), &facts(member()))).purpose, Purpose::Disable);
        assert_eq!(kind(&decided(&ask(), &facts(off()))), OutcomeKind::NotEnabled);
        let mut mandated = facts(member());
        mandated.issue.account = Account { mandatory: true, ..account() };
        let refused = decided(&ask(), &mandated);
        assert_eq!(kind(&refused), OutcomeKind::MandatoryByAccount);
        assert!(matches!(&refused.effects[..], [Effect::Event(event)]
            if event.kind == EventKind::ChallengeRefused));
    }

    #[test]
    fn r12_r13_a_backup_needs_2fa_and_a_confirmed_address() {
        let set = |on, member: &Member| {
            let (account, name) = (account().id, member.id.clone());
            let client = here();
            let request = request(SetEmailBackup { account, member: name, on, client });
            set_email_backup(&request, member, &rules().keys, NOW)
        };
        let plain = Member { email_backup: false, ..member() };
        let kind = |decided: &Decided<Change>| decided.reply.as_ref().unwrap().outcome;
        assert_eq!(
            kind(&set(true, &Member { two_factor: false, ..plain.clone() })),
            OutcomeKind::NotEnabled
        );
        for unproved in [
            Member { email_verified: false, ..plain.clone() },
            Member { email: None, ..plain.clone() },
        ] {
            assert_eq!(kind(&set(true, &unproved)), OutcomeKind::EmailUnverified);
        }
        let change = set(true, &plain).write.unwrap();
        assert_eq!(change.activity[0].action, Action::EmailBackupEnabled);
        assert_eq!(change.activity[0].client, here(), "R-92");
        assert!(set(false, &plain).write.is_none(), "off already: no second row");
    }
}
