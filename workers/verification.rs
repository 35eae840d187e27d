//! Judges guesses.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | `challenge.verify`                                                          |
//! | reads    | `member` `challenge` `login` `delivery_attempt` `wrong_guess` `account` `owned_number` |
//! | writes   | `challenge` `member` `wrong_guess` `destination` `approval` `activity`      |
//! | causes   | `challenge.verified` `.locked` `.cancelled` `guess.failed` `guess.limit_reached` `factor.suspended` `.enabled` `.disabled` `member.phone_changed` |
//! | rule     | [`stepup::rules::challenge::verify`]                                             |

use stepup::domain::Timestamp;
use stepup::fault::Fault;
use stepup::message::{Decoded, Request, VerifyChallenge};
use stepup::rules::challenge::facts::VerificationFacts;
use stepup::rules::challenge::verify::{self, Write};
use stepup::rules::{Decided, DecisionContext, RuleInputs};
use stepup::runtime::{TransactionWorker, Worker};
use stepup::store::{self, ChallengeKey, Tx};

/// The worker.
pub struct Verification {
    /// Keys and numbers.
    pub rules: RuleInputs,
}

impl Worker for Verification {
    const NAME: &'static str = "verification";
    type Message = Request<VerifyChallenge>;
    type Facts = Option<VerificationFacts>;

    async fn load(
        &self,
        tx: &Tx<'_>,
        batch: &[&Decoded<Self::Message>],
    ) -> Result<Vec<Option<VerificationFacts>>, Fault> {
        let key = |decoded: &&Decoded<Self::Message>| {
            let Request { app, body: ask } = &decoded.message;
            (ask.challenge, app.as_str().to_owned(), ask.account.as_str().to_owned())
        };
        let keys: Vec<_> = batch.iter().map(key).collect();
        let keys: Vec<ChallengeKey<'_>> = keys
            .iter()
            .map(|(challenge, app, account)| ChallengeKey {
                challenge: *challenge,
                asker: Some((app.as_str(), account.as_str())),
            })
            .collect();
        store::verification_facts(tx, &keys, &self.rules.policy).await
    }
}

impl TransactionWorker for Verification {
    type Write = Write;

    fn decide(
        &self,
        guess: &Decoded<Self::Message>,
        facts: Option<VerificationFacts>,
        ctx: &mut DecisionContext<'_>,
    ) -> Decided<Write> {
        verify::decide(&guess.message, facts, &self.rules, ctx)
    }

    async fn store(&self, tx: &Tx<'_>, writes: &[&Write], now: Timestamp) -> Result<(), Fault> {
        store::write_guesses(tx, writes, now).await
    }
}
