//! The life of challenges under arbitrary sequences of whatever can happen to them: the rules
//! against a model of the tables that does what the store does, and nothing more.

use std::collections::HashMap;

use proptest::prelude::*;
use time::Duration;
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::challenge::{AttemptState, Challenge, Channel, State};
use crate::domain::id::{ChallengeId, LoginId};
use crate::domain::keys::Place;
use crate::domain::member::{Member, Role};
use crate::message::{
    CancelChallenge, Command, Effect, EmailCause, IssueChallenge, LoginPurpose, PutMember, Request,
    ResendChallenge, Sealed, VerifyChallenge,
};
use crate::rules::challenge::decide::{self, CodeGenerationMessage, Facts, Write};
use crate::rules::challenge::events::Ending;
use crate::rules::challenge::facts::{ChallengeFacts, IssueFacts, VerificationFacts};
use crate::rules::challenge::spec::Issued;
use crate::rules::challenge::verify;
use crate::rules::claimed::{Claimed, Decision};
use crate::rules::delivery::{self, Answer, Attempt, FALLBACK_SEND, SendRequest, Settled};
use crate::rules::directory;
use crate::rules::directory::facts::DirectoryMessage;
use crate::rules::inputs::RuleInputs;
use crate::rules::limits::NumberFacts;
use crate::rules::tests_support::{NOW, account, ctx, member, rules};
use crate::rules::verdict::Verdict;

/// What happens. `usize` picks a challenge or a command among those there are.
#[derive(Clone, Debug)]
enum Happens {
    Issue(u8),
    Resend(usize, Channel),
    Guess(usize, bool),
    Cancel(usize),
    Expire(usize),
    FallbackIsDue(usize),
    /// A command arrives, perhaps one that has arrived before, and the provider answers so.
    Arrives(usize, Answers),
    Changes {
        two_factor: bool,
        active: bool,
        backup: bool,
        other_phone: bool,
    },
    Wait(i64),
}

#[derive(Clone, Copy, Debug)]
enum Answers {
    Accepts,
    /// Perhaps with a time to wait, in seconds.
    NotNow(Option<u64>),
    Closed,
    Refuses,
    /// The process died, or the answer got lost.
    Never,
}

fn happens() -> impl Strategy<Value = Happens> {
    let which = || any::<usize>();
    let answers = prop_oneof![
        4 => Just(Answers::Accepts),
        1 => prop::option::of(0_u64..900).prop_map(Answers::NotNow),
        1 => Just(Answers::Closed),
        1 => Just(Answers::Refuses),
        1 => Just(Answers::Never),
    ];
    let channel = prop_oneof![Just(Channel::Sms), Just(Channel::Email)];
    let switch = || prop::bool::weighted(0.85);
    prop_oneof![
        4 => (0_u8..3).prop_map(Happens::Issue),
        3 => (which(), channel).prop_map(|(n, channel)| Happens::Resend(n, channel)),
        6 => (which(), prop::bool::weighted(0.2)).prop_map(|(n, right)| Happens::Guess(n, right)),
        1 => which().prop_map(Happens::Cancel),
        2 => which().prop_map(Happens::Expire),
        2 => which().prop_map(Happens::FallbackIsDue),
        6 => (which(), answers).prop_map(|(n, answer)| Happens::Arrives(n, answer)),
        1 => (switch(), switch(), switch(), prop::bool::weighted(0.2)).prop_map(
            |(two_factor, active, backup, other_phone)| {
                Happens::Changes { two_factor, active, backup, other_phone }
            }
        ),
        4 => prop_oneof![0_i64..70, 50_i64..400, Just(3600), Just(90_000)].prop_map(Happens::Wait),
    ]
}

/// One row of `challenge` and what must hold of it.
struct Row {
    challenge: Challenge,
    attempts: Vec<Attempt>,
    compared: usize,
    terminal_events: usize,
}

/// The tables.
struct Tables {
    now: Timestamp,
    rules: RuleInputs,
    member: Member,
    rows: Vec<Row>,
    /// The challenge that each pending login points to.
    logins: HashMap<LoginId, usize>,
    numbers: HashMap<Vec<u8>, NumberFacts>,
    wrong: Vec<Timestamp>,
    /// Commands that were caused, and stay: each may arrive again.
    commands: Vec<Command>,
}

impl Tables {
    fn new() -> Self {
        Self {
            now: NOW,
            rules: rules(),
            member: member(),
            rows: Vec::new(),
            logins: HashMap::new(),
            numbers: HashMap::new(),
            wrong: Vec::new(),
            commands: Vec::new(),
        }
    }

    fn at(&self, id: ChallengeId) -> usize {
        self.rows.iter().position(|row| row.challenge.id == id).unwrap()
    }

    fn number(&self, index: &[u8]) -> NumberFacts {
        self.numbers.get(index).cloned().unwrap_or_default()
    }

    fn replaced(&self, at: usize) -> bool {
        self.logins.get(&self.rows[at].challenge.login) != Some(&at)
    }

    fn facts(&self, at: usize) -> ChallengeFacts {
        let row = &self.rows[at];
        ChallengeFacts {
            challenge: row.challenge.clone(),
            account: account(),
            member: self.member.clone(),
            replaced: self.replaced(at),
            attempts: row.attempts.iter().map(|a| (a.channel, a.state)).collect(),
            number: self.number(&row.challenge.phone_index),
        }
    }

    /// Invariant 2: what has ended stays as it is.
    fn end(&mut self, ending: &Ending) {
        let at = self.at(ending.challenge);
        let challenge = &mut self.rows[at].challenge;
        assert_eq!(challenge.state, State::Open, "it had ended before: {ending:?}");
        assert_ne!(ending.state, State::Open);
        challenge.state = ending.state;
        challenge.code_sealed = None;
        if ending.state == State::Verified
            && let Some(number) = self.numbers.get_mut(&challenge.phone_index)
        {
            number.next_send_at = None;
        }
    }

    fn follow(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Command(command, _) => self.commands.push(command),
                Effect::RetrySms { challenge, send, tries, seconds } => {
                    let not_before = Some(self.now + Duration::seconds(i64::from(seconds)));
                    self.commands.push(Command::SendSms { challenge, send, tries, not_before });
                }
                Effect::Event(event) if event.kind.terminal() => {
                    if let Some(id) = event.challenge {
                        let at = self.at(id);
                        self.rows[at].terminal_events += 1;
                    }
                }
                Effect::Event(_) => {}
            }
        }
    }

    fn ask(&mut self, ask: &CodeGenerationMessage, facts: Facts) {
        let decided = decide::decide(ask, facts, &self.rules, &mut ctx(self.now));
        match decided.write {
            None => {}
            Some(Write::End(ending)) => self.end(&ending),
            Some(Write::Grant(grant)) => {
                let at = self.at(grant.challenge);
                let row = &mut self.rows[at];
                assert!(row.challenge.live(self.now) && row.challenge.sends + 1 == grant.send);
                assert!(self.now >= row.challenge.resend_at, "before its timer");
                row.challenge.sends = grant.send;
                row.challenge.resend_at = grant.resend_at;
                row.attempts.push(queued(grant.channel, grant.send));
                if grant.channel == Channel::Sms {
                    self.granted(grant.destination_index, grant.resend_at);
                }
            }
            Some(Write::Issue(Issued { new, ended })) => {
                if let Some(ending) = ended {
                    self.end(&ending);
                }
                let challenge = new.challenge;
                let told = challenge.id;
                self.granted(challenge.phone_index.clone(), challenge.resend_at);
                if new.send_at > self.now {
                    // The timers' part; it may come at any time after.
                    self.commands.push(Command::sms(told, 1));
                }
                self.logins.insert(challenge.login.clone(), self.rows.len());
                let attempts = vec![queued(Channel::Sms, 1)];
                self.rows.push(Row { challenge, attempts, compared: 0, terminal_events: 0 });
            }
        }
        self.follow(decided.effects);
    }

    fn granted(&mut self, index: Vec<u8>, next: Timestamp) {
        let number = self.numbers.entry(index).or_default();
        number.sends.push(self.now);
        number.next_send_at = Some(next);
    }
}

fn queued(channel: Channel, send: i16) -> Attempt {
    Attempt { channel, send, state: AttemptState::Queued, tries: 0, lease_until: None }
}

/// What happens, one thing at a time.
impl Tables {
    fn apply(&mut self, happens: &Happens) {
        let pick = |n: usize, of: usize| (of > 0).then(|| n % of.max(1));
        let (app, account_id) = (account().app, account().id);
        let of = |at: Option<usize>| at.map(|at| (at, self.rows[at].challenge.id));
        let rows = self.rows.len();
        match *happens {
            Happens::Wait(seconds) => self.now += Duration::seconds(seconds),
            Happens::Issue(n) => self.issue(n),
            Happens::Resend(n, channel) => {
                let Some((at, challenge)) = of(pick(n, rows)) else { return };
                let ask = ResendChallenge { account: account_id, challenge, channel };
                let facts = Facts::Challenge(Box::new(self.facts(at)));
                self.ask(&CodeGenerationMessage::Resend(Request { app, body: ask }), facts);
            }
            Happens::Cancel(n) => {
                let Some((at, challenge)) = of(pick(n, rows)) else { return };
                let ask = CancelChallenge { account: account_id, challenge };
                let facts = Facts::Challenge(Box::new(self.facts(at)));
                self.ask(&CodeGenerationMessage::Cancel(Request { app, body: ask }), facts);
            }
            Happens::Expire(n) => {
                let Some((at, challenge)) = of(pick(n, rows)) else { return };
                let facts = Facts::Challenge(Box::new(self.facts(at)));
                self.ask(&CodeGenerationMessage::Expire(challenge), facts);
            }
            Happens::Guess(n, right) => {
                if let Some(at) = pick(n, rows) {
                    self.guess(at, right);
                }
            }
            Happens::FallbackIsDue(n) => {
                // The timers publish for whatever they take to be due; the rule has the last word.
                let Some((_, challenge)) = of(pick(n, rows)) else { return };
                let cause = EmailCause::Fallback;
                let send = Command::SendEmail { challenge, send: FALLBACK_SEND, tries: 0, cause };
                self.commands.push(send);
            }
            Happens::Arrives(n, answers) => {
                if let Some(at) = pick(n, self.commands.len()) {
                    let command = self.commands[at].clone();
                    self.arrive(&command, answers);
                }
            }
            Happens::Changes { two_factor, active, backup, other_phone } => {
                self.change(two_factor, active, backup, other_phone);
            }
        }
    }

    fn issue(&mut self, n: u8) {
        let login = LoginId::parse(&format!("login-{n}")).unwrap();
        let current = self.logins.get(&login).map(|at| self.rows[*at].challenge.clone());
        let index = self.member.phone.as_ref().map(|phone| phone.index.clone());
        let facts = IssueFacts {
            id: ChallengeId(Uuid::from_u128(self.rows.len() as u128 + 1)),
            account: account(),
            member: self.member.clone(),
            current,
            wrong: self.wrong.clone(),
            number: index.map(|index| self.number(&index)).unwrap_or_default(),
            owned: false,
        };
        let (member, purpose) = (self.member.id.clone(), LoginPurpose::Login);
        let ask = IssueChallenge { account: account().id, member, login, purpose };
        let request = Request { app: account().app, body: ask };
        self.ask(&CodeGenerationMessage::Issue(request), Facts::Issue(Box::new(facts)));
    }

    fn guess(&mut self, at: usize, right: bool) {
        let challenge = self.rows[at].challenge.clone();
        let place = Place::Code(challenge.id.0.as_bytes(), challenge.expires_at.unix_timestamp());
        let code = challenge.code_sealed.as_ref().map(|sealed| {
            let clear = self.rules.keys.open(&place, sealed).unwrap();
            std::str::from_utf8(&clear).unwrap().to_owned()
        });
        // Seven digits are never right.
        let text = code.filter(|_| right).unwrap_or_else(|| "0000000".to_owned());
        let ask = VerifyChallenge {
            account: account().id,
            challenge: challenge.id,
            guess: Sealed::new(text),
            client: Default::default(),
        };
        let mut claimed: Vec<Channel> = self.rows[at]
            .attempts
            .iter()
            .filter(|attempt| attempt.tries > 0)
            .map(|attempt| attempt.channel)
            .collect();
        claimed.dedup();
        let facts = VerificationFacts {
            challenge,
            account: account(),
            member: self.member.clone(),
            open: Vec::new(),
            owned: false,
            replaced: self.replaced(at),
            claimed,
            wrong: self.wrong.clone(),
        };
        let request = Request { app: account().app, body: ask };
        let decided = verify::decide(&request, Some(facts), &self.rules, &mut ctx(self.now));
        let Some(write) = decided.write else { return self.follow(decided.effects) };
        // Invariant 5: only what may be compared was.
        let row = &mut self.rows[at];
        assert!(row.challenge.live(self.now) && self.member.suspended_at.is_none());
        assert!(self.member.guess_after.is_none_or(|then| then <= self.now));
        row.compared += 1;
        assert!(row.compared <= 5, "a sixth guess was compared");
        row.challenge.wrong += i16::from(write.wrong);
        if write.wrong {
            self.wrong.push(self.now);
        }
        self.member.wrong_in_a_row = write.in_a_row.1;
        self.member.guess_after = write.guess_after;
        if write.suspend {
            self.member.suspended_at = Some(self.now);
        }
        if let Some(ending) = &write.ending {
            assert_eq!(ending.state == State::Verified, right);
            self.end(ending);
        }
        self.follow(decided.effects);
    }

    fn arrive(&mut self, command: &Command, answers: Answers) {
        let Some(request) = SendRequest::of(command) else {
            let Command::Abandon { challenge } = *command else { return };
            let facts = Facts::Challenge(Box::new(self.facts(self.at(challenge))));
            return self.ask(&CodeGenerationMessage::Abandon(challenge), facts);
        };
        let at = self.at(request.challenge);
        let facts = delivery::Facts {
            challenge: self.rows[at].challenge.clone(),
            account: account(),
            member: self.member.clone(),
            attempts: self.rows[at].attempts.clone(),
        };
        let settlement = match delivery::decide(&request, Some(facts), &self.rules, self.now) {
            Decision::Wait { .. } => return,
            Decision::Settle(settlement) => settlement,
            Decision::Call(call) => {
                self.claim(at, &request);
                let code = "test".to_owned();
                let answer = match answers {
                    Answers::Accepts => Answer::Accepted { provider_ref: "ref".into() },
                    Answers::NotNow(asked) => Answer::NotNow { retry_after_seconds: asked, code },
                    Answers::Closed => Answer::Closed { code },
                    Answers::Refuses => Answer::Refused { code },
                    Answers::Never => return,
                };
                Claimed::after_commit(call).answered(answer, &self.rules.policy)
            }
        };
        let state = match &settlement.settled {
            Settled::Answered(Answer::Accepted { .. }) => Some(AttemptState::Accepted),
            Settled::Answered(Answer::NotNow { .. } | Answer::Closed { .. }) => {
                Some(AttemptState::Queued)
            }
            Settled::Answered(Answer::Refused { .. }) => Some(AttemptState::Failed),
            Settled::Answered(Answer::Unknown { .. }) | Settled::Lost => {
                Some(AttemptState::Unknown)
            }
            Settled::Skipped(_) => Some(AttemptState::Skipped),
            Settled::Offered | Settled::Done => None,
        };
        let mut attempts = self.rows[at].attempts.iter_mut();
        let attempt = attempts.find(|a| a.channel == request.channel && a.send == request.send);
        if let (Some(attempt), Some(state)) = (attempt, state) {
            attempt.state = state;
            attempt.lease_until = None;
        }
        self.follow(settlement.effects());
    }

    /// Invariants 3 and 4: what is claimed is open, SMS first, each send once; and no call is earlier than
    /// its provider asked.
    fn claim(&mut self, at: usize, request: &SendRequest) {
        let row = &mut self.rows[at];
        assert!(row.challenge.live(self.now), "claimed after its end: {request:?}");
        assert!(self.member.active && self.member.two_factor);
        assert!(
            request.not_before.is_none_or(|then| then <= self.now),
            "earlier than asked: {request:?}"
        );
        let texted = row.attempts.iter().any(|a| a.channel == Channel::Sms && a.tries > 0);
        assert!(request.channel == Channel::Sms || texted, "email first: {request:?}");
        if request.cause == Some(EmailCause::Fallback) {
            assert!(row.challenge.fallback_at.is_some_and(|due| due <= self.now));
        }
        let same = |a: &&mut Attempt| a.channel == request.channel && a.send == request.send;
        match row.attempts.iter_mut().find(same) {
            Some(attempt) => {
                assert_eq!((attempt.state, attempt.tries), (AttemptState::Queued, request.tries));
                attempt.tries += 1;
                attempt.state = AttemptState::Calling;
                attempt.lease_until = Some(self.now + Duration::seconds(10));
            }
            None => {
                assert_eq!((request.channel, request.send), (Channel::Email, FALLBACK_SEND));
                let lease_until = Some(self.now + Duration::seconds(10));
                let state = AttemptState::Calling;
                let claimed = queued(Channel::Email, FALLBACK_SEND);
                row.attempts.push(Attempt { tries: 1, state, lease_until, ..claimed });
                row.challenge.sends += 1;
            }
        }
        if request.channel == Channel::Sms && row.challenge.fallback_at.is_none() {
            row.challenge.fallback_at = Some(self.now + self.rules.policy.fallback_after);
        }
    }

    fn change(&mut self, two_factor: bool, active: bool, backup: bool, other_phone: bool) {
        let phone = if other_phone { "+12025550188" } else { "+12025550123" };
        let ask = PutMember {
            account: account().id,
            member: self.member.id.clone(),
            version: self.member.version + 1,
            active,
            role: Role::Member,
            locale: "en".into(),
            phone: Some(Some(Sealed::new(phone))),
            email: Some(Some(Sealed::new("ada@acme.example"))),
            email_verified: Some(true),
            two_factor: Some(two_factor),
            client: Default::default(),
            email_backup: Some(backup),
            notify_number_changes: false,
            actor: None,
        };
        let open = self.rows.iter().map(|row| &row.challenge);
        let facts = directory::facts::Facts {
            actor: None,
            account: Some((account(), 1)),
            member: Some(self.member.clone()),
            open: open.filter(|challenge| challenge.state == State::Open).cloned().collect(),
            owned: Default::default(),
            holders: Vec::new(),
        };
        let ask = DirectoryMessage::Member(Request { app: account().app, body: ask });
        let decided = directory::decide::decide(&ask, facts, &self.rules.keys, &mut ctx(self.now));
        let Some(directory::facts::Write::Member(change)) = decided.write else { panic!() };
        self.member = *change.member;
        change.endings.iter().for_each(|ending| self.end(ending));
        self.follow(decided.effects);
    }

    /// What holds of the tables after whatever has happened.
    fn check(&self) {
        for (at, row) in self.rows.iter().enumerate() {
            let ended = row.challenge.state != State::Open;
            assert_eq!(row.terminal_events, usize::from(ended), "{:?}", row.challenge.state);
            assert!(ended || !self.replaced(at), "two live challenges of one pending login");
            assert_eq!(ended, row.challenge.code_sealed.is_none());
            // The automatic email is one of them.
            assert!(row.challenge.sends <= 5);
            let texts = row.attempts.iter().filter(|a| a.channel == Channel::Sms);
            assert!(texts.count() <= 5);
        }
        for number in self.numbers.values() {
            let recent = |seconds| {
                let since = self.now - Duration::seconds(seconds);
                number.sends.iter().filter(|at| **at > since).count()
            };
            assert!(recent(600) <= 5 && recent(3600) <= 10 && recent(86_400) <= 20);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn r10_r22_r27_r32_whatever_happens_a_challenge_ends_once_and_keeps_its_limits(
        story in proptest::collection::vec(happens(), 0..80),
    ) {
        let mut tables = Tables::new();
        for happens in &story {
            tables.apply(happens);
            tables.check();
        }
        // Left alone, each ends by its time.
        tables.now += Duration::seconds(600);
        for at in 0..tables.rows.len() {
            let id = tables.rows[at].challenge.id;
            let facts = Facts::Challenge(Box::new(tables.facts(at)));
            tables.ask(&CodeGenerationMessage::Expire(id), facts);
        }
        tables.check();
        prop_assert!(tables.rows.iter().all(|row| row.challenge.state != State::Open));
    }
}
