//! FLOOR 3. Every SQL statement of the product.
//!
//! Locks are taken in one order everywhere: accounts, members, destinations, challenges, each by key
//! (ARCHITECTURE.md has the rest). Whoever keeps to it cannot deadlock; whoever is told of one anyway
//! tries again.

mod accounts;
mod activity;
mod approvals;
mod attempts;
mod chain;
mod challenges;
mod email_proofs;
mod failure;
mod guesses;
mod health;
mod inbox;
mod janitor;
pub mod measure;
mod members;
mod migrate;
mod notices;
mod numbers;
mod owned;
mod pending;
mod pool;
mod resets;
mod row;
mod team;
mod timers;
mod trail;
mod tx;
mod views;

pub use accounts::put as put_accounts;
pub use activity::{append as append_activity, page as activity_page};
pub use approvals::{approval_facts, spend as spend_approvals};
pub use attempts::{
    Claim, Settlement, claim as claim_sends, delivery_facts, release as release_sends,
    settle as settle_sends,
};
pub use chain::{
    CHAIN_ROWS, account_after, attest as attest_chain, checkpoints, extend as extend_chain,
    links as chain_links, not_chained, unattested as unattested_heads,
};
pub use challenges::{
    ChallengeKey, IssueKey, challenge_facts, end as end_challenges, insert as insert_challenges,
    issue_facts, lock_challenges, write_sends,
};
pub use email_proofs::write as write_email_proofs;
pub use guesses::{verification_facts, write as write_guesses};
pub use inbox::{
    Caused, Entry, Known, caused as caused_messages, keep as keep_handled, known as known_messages,
};
pub use janitor::{EXPIRING, Retention, sweep as delete_expired};
pub use members::{actors, directory_facts, put as put_members, write_changes};
pub use migrate::migrate;
pub use notices::{
    claim as claim_notices, insert as insert_notices, notice_facts, recipients,
    release as release_notices, settle as settle_notices,
};
pub use numbers::{members_with_number, owned_number_counts};
pub use owned::{among as owned_among, owned_numbers_facts, put as put_owned_numbers};
pub use pending::{Pending, found as pending_facts, parties};
pub use pool::{Client, DatabaseSettings, Store};
pub use resets::{support_facts, write_resets};
pub use team::{
    begin_reviews, mandate_facts, review_facts, spend_proofs, team_facts, write_applied,
    write_checked, write_mandates,
};
pub use timers::{Due, Sweep, look_back, sweep};
pub use trail::append as append_trail;
pub use tx::Tx;
pub use views::{
    CHALLENGE_VIEW_EVENTS_MAX, REVIEW_PAGE_MAX, challenge as challenge_view, review as review_view,
};

use tx::Param;

/// The moment as many seconds ago as the parameter at this place says. A subquery, since a condition
/// on an index takes no volatile call.
fn ago(place: usize) -> String {
    format!("(SELECT stepup_now() - make_interval(secs => ${place}))")
}
