//! Opens challenges and looks after them until they are verified.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | `challenge.issue` `challenge.resend` `challenge.cancel` `challenge.expire` `challenge.abandon` |
//! | reads    | `account` `member` `login` `challenge` `delivery_attempt` `destination` `wrong_guess` |
//! | writes   | `challenge` `login` `delivery_attempt` `destination`                         |
//! | causes   | `sms.send` `email.send`; `challenge.*` events                                |
//! | rule     | [`stepup::rules::challenge::decide`]                                           |

use stepup::domain::Timestamp;
use stepup::domain::id::ChallengeId;
use stepup::fault::Fault;
use stepup::message::{Decoded, Event};
use stepup::rules::challenge::decide::{CodeGenerationMessage, Facts, Write, decide};
use stepup::rules::{Decided, DecisionContext, RuleInputs};
use stepup::runtime::{TransactionWorker, Worker};
use stepup::store::{self, ChallengeKey, IssueKey, Tx};

/// The worker.
pub struct CodeGeneration {
    /// Keys and numbers.
    pub rules: RuleInputs,
}

impl Worker for CodeGeneration {
    const NAME: &'static str = "code_generation";
    type Message = CodeGenerationMessage;
    type Facts = Facts;

    fn given_up(message: &CodeGenerationMessage) -> Option<Event> {
        message.given_up()
    }

    async fn load(
        &self,
        tx: &Tx<'_>,
        batch: &[&Decoded<CodeGenerationMessage>],
    ) -> Result<Vec<Facts>, Fault> {
        let (mut issues, mut others) = (Vec::new(), Vec::new());
        for decoded in batch {
            match key_of(decoded) {
                Key::Issue(key) => issues.push(key),
                Key::Challenge(key) => others.push(key),
            }
        }
        let policy = &self.rules.policy;
        let mut issues = store::issue_facts(tx, &issues, policy).await?.into_iter();
        let mut others = store::challenge_facts(tx, &others, policy).await?.into_iter();
        let unknown = Facts::Unknown { own_account: false };
        let next = |decoded: &&Decoded<CodeGenerationMessage>| {
            let facts = if matches!(decoded.message, CodeGenerationMessage::Issue(_)) {
                issues.next()
            } else {
                others.next()
            };
            facts.unwrap_or_else(|| unknown.clone())
        };
        Ok(batch.iter().map(next).collect())
    }
}

impl TransactionWorker for CodeGeneration {
    type Write = Write;

    fn decide(
        &self,
        ask: &Decoded<CodeGenerationMessage>,
        facts: Facts,
        ctx: &mut DecisionContext<'_>,
    ) -> Decided<Write> {
        decide(&ask.message, facts, &self.rules, ctx)
    }

    async fn store(&self, tx: &Tx<'_>, writes: &[&Write], _: Timestamp) -> Result<(), Fault> {
        let (mut new, mut grants, mut endings) = (Vec::new(), Vec::new(), Vec::new());
        for write in writes {
            match write {
                Write::Issue(issued) => {
                    new.push(&*issued.new);
                    endings.extend(&issued.ended);
                }
                Write::Grant(grant) => grants.push(grant),
                Write::End(ending) => endings.push(ending),
            }
        }
        store::end_challenges(tx, &endings).await?;
        store::write_sends(tx, &new, &grants, self.rules.policy.code_digits).await
    }
}

enum Key<'a> {
    Issue(IssueKey<'a>),
    Challenge(ChallengeKey<'a>),
}

fn key_of(decoded: &Decoded<CodeGenerationMessage>) -> Key<'_> {
    let challenge = |challenge, asker| Key::Challenge(ChallengeKey { challenge, asker });
    match &decoded.message {
        CodeGenerationMessage::Issue(request) => Key::Issue(IssueKey {
            app: request.app.as_str(),
            account: request.body.account.as_str(),
            member: request.body.member.as_str(),
            login: request.body.login.as_str(),
            id: ChallengeId(decoded.id),
        }),
        CodeGenerationMessage::Resend(r) => {
            challenge(r.body.challenge, Some((r.app.as_str(), r.body.account.as_str())))
        }
        CodeGenerationMessage::Cancel(r) => {
            challenge(r.body.challenge, Some((r.app.as_str(), r.body.account.as_str())))
        }
        CodeGenerationMessage::Expire(id) | CodeGenerationMessage::Abandon(id) => {
            challenge(*id, None)
        }
    }
}
