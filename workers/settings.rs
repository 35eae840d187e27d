//! Takes what a signed-in member asks to change: their own factor, and sensitive settings.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | `enrolment.start` `enrolment.send` `number.change` `factor.disable` `email_backup.set` `email.prove` `email.confirm` `settings.change.request` `settings.change.redeem` |
//! | reads    | `account` `member` `login` `challenge` `destination` `delivery_attempt` `wrong_guess` `owned_number` `email_proof` `approval` |
//! | writes   | `challenge` `login` `delivery_attempt` `destination` `member` `activity` `email_proof` `notice` `wrong_guess` `approval` |
//! | causes   | `sms.send` `notice.send`; `member.email_verified` `challenge.issued` `challenge.superseded` `challenge.expired` `challenge.refused` `setting.redeemed` `setting.stale` |
//! | rule     | [`stepup::rules::setting::decide`]; what a verification brings about is in [`stepup::rules::challenge::verified`] |

use stepup::domain::Timestamp;
use stepup::domain::id::ChallengeId;
use stepup::fault::Fault;
use stepup::message::{Decoded, Event};
use stepup::rules::factor::facts::{Found, MemberFacts};
use stepup::rules::factor::message::{SettingsMessage, wanted};
use stepup::rules::setting::decide::{Facts, Write, decide};
use stepup::rules::{Decided, DecisionContext, RuleInputs};
use stepup::runtime::{TransactionWorker, Worker};
use stepup::store::{self, Pending, Tx};

/// The worker.
pub struct SettingsWorker {
    /// Keys and numbers.
    pub rules: RuleInputs,
}

impl Worker for SettingsWorker {
    const NAME: &'static str = "settings";
    type Message = SettingsMessage;
    type Facts = Facts;

    fn given_up(message: &SettingsMessage) -> Option<Event> {
        message.given_up()
    }

    async fn load(
        &self,
        tx: &Tx<'_>,
        batch: &[&Decoded<SettingsMessage>],
    ) -> Result<Vec<Facts>, Fault> {
        let (mut facts, mut members, mut approvals) = (Vec::new(), Vec::new(), Vec::new());
        for (at, decoded) in batch.iter().enumerate() {
            facts.push(Facts::Unknown { own_account: false });
            if decoded.message.redeems().is_some() {
                approvals.push((at, *decoded));
            } else {
                members.push((at, *decoded));
            }
        }
        for (at, found) in self.of_members(tx, &members).await? {
            facts[at] = found;
        }
        for (at, found) in of_approvals(tx, &approvals).await? {
            facts[at] = found;
        }
        Ok(facts)
    }
}

impl TransactionWorker for SettingsWorker {
    type Write = Write;

    fn decide(
        &self,
        ask: &Decoded<SettingsMessage>,
        facts: Facts,
        ctx: &mut DecisionContext<'_>,
    ) -> Decided<Write> {
        decide(&ask.message, facts, &self.rules, ctx)
    }

    async fn store(&self, tx: &Tx<'_>, writes: &[&Write], now: Timestamp) -> Result<(), Fault> {
        let (mut new, mut endings) = (Vec::new(), Vec::new());
        let (mut changes, mut proofs, mut spent) = (Vec::new(), Vec::new(), Vec::new());
        for write in writes {
            match write {
                Write::Challenge(issued) => {
                    new.push(&*issued.new);
                    endings.extend(&issued.ended);
                }
                Write::Change(change) => changes.push(change),
                Write::EmailProof(proof) => proofs.push(proof),
                Write::Spend(approval) => spent.push(approval),
            }
        }
        store::end_challenges(tx, &endings).await?;
        store::insert_challenges(tx, &new, self.rules.policy.code_digits).await?;
        store::write_changes(tx, &changes, now).await?;
        store::write_email_proofs(tx, &proofs, now).await?;
        store::spend_approvals(tx, &spent).await
    }
}

/// A message and its place in the batch.
type Placed<'a> = (usize, &'a Decoded<SettingsMessage>);

impl SettingsWorker {
    async fn of_members(
        &self,
        tx: &Tx<'_>,
        asks: &[Placed<'_>],
    ) -> Result<Vec<(usize, Facts)>, Fault> {
        let member = |ask: &SettingsMessage| ask.member().map(|member| member.as_str().to_owned());
        let names: Vec<String> =
            asks.iter().map(|(_, d)| member(&d.message).unwrap_or_default()).collect();
        let keys: Vec<(&str, &str)> = asks
            .iter()
            .zip(&names)
            .map(|((_, d), name)| (d.message.account().as_str(), name.as_str()))
            .collect();
        let (mut facts, mut known) = (Vec::new(), Vec::new());
        for ((at, decoded), party) in asks.iter().zip(store::parties(tx, &keys).await?) {
            let own = party.filter(|(account, _)| account.app == *decoded.message.app());
            match own {
                Some((account, Some(member))) => {
                    let wanted = wanted(&decoded.message, &account, &member, &self.rules.keys);
                    known.push((*at, decoded.id, account, member, wanted));
                }
                own => facts.push((*at, Facts::Unknown { own_account: own.is_some() })),
            }
        }
        let pending: Vec<Pending<'_>> =
            known.iter().map(|(.., member, wanted)| Pending { member, wanted }).collect();
        let found: Vec<Found> = store::pending_facts(tx, &pending, &self.rules.policy).await?;
        for ((at, id, account, member, _), found) in known.into_iter().zip(found) {
            let of = MemberFacts::new(ChallengeId(id), account, member, found);
            facts.push((at, Facts::Member(Box::new(of))));
        }
        Ok(facts)
    }
}

async fn of_approvals(tx: &Tx<'_>, asks: &[Placed<'_>]) -> Result<Vec<(usize, Facts)>, Fault> {
    let keys: Vec<(&str, &str, ChallengeId)> = asks
        .iter()
        .filter_map(|(_, d)| {
            let (app, account) = (d.message.app().as_str(), d.message.account().as_str());
            d.message.redeems().map(|challenge| (app, account, challenge))
        })
        .collect();
    let found = store::approval_facts(tx, &keys).await?;
    let of = |found: Option<_>| match found {
        Some(approval) => Facts::Approval(Box::new(approval)),
        None => Facts::Unknown { own_account: false },
    };
    Ok(asks.iter().zip(found).map(|((at, _), found)| (*at, of(found))).collect())
}
