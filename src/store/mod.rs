//! FLOOR 3. Every SQL statement of the product.
//!
//! Locks are taken in one order everywhere: accounts, members, destinations, challenges, each by key
//! (ARCHITECTURE.md has the rest). Statements that keep to it cannot deadlock; a deadlock that
//! happens anyway is a transient fault.

mod activity;
mod chain;
mod challenge;
mod delivery;
mod directory;
mod factor;
mod failure;
mod health;
mod inbox;
mod janitor;
mod migrate;
mod pool;
mod row;
mod setting;
mod support;
mod team;
mod timers;
mod trail;
mod tx;

pub use activity::{append as append_activity, page as activity_page};
pub use chain::{
    CHAIN_ROWS, account_after, attest as attest_chain, checkpoints, extend as extend_chain,
    links as chain_links, not_chained, unattested as unattested_heads,
};
pub use challenge::facts::{
    ChallengeKey, IssueKey, challenge_facts, issue_facts, verification_facts,
};
pub use challenge::guesses::write as write_guesses;
pub use challenge::rows::{
    end as end_challenges, insert as insert_challenges, lock_challenges, write_sends,
};
pub use challenge::view::{CHALLENGE_VIEW_EVENTS_MAX, challenge as challenge_view};
pub use delivery::notice_rows::insert as insert_notices;
pub use delivery::notices::{
    claim as claim_notices, notice_facts, recipients, release as release_notices,
    settle as settle_notices,
};
pub use delivery::sends::{
    Claim, claim as claim_sends, delivery_facts, release as release_sends, settle as settle_sends,
};
pub use directory::accounts::put as put_accounts;
pub use directory::facts::{actors, directory_facts, owned_numbers_facts};
pub use directory::members::{put as put_members, write_changes};
pub use directory::numbers::{members_with_number, owned_number_counts};
pub use directory::owned_numbers::{among as owned_among, put as put_owned_numbers};
pub use factor::email_proofs::write as write_email_proofs;
pub use factor::pending::{Pending, found as pending_facts, parties};
pub use inbox::{
    Caused, Entry, Known, caused as caused_messages, keep as keep_handled, known as known_messages,
};
pub use janitor::{EXPIRING, Retention, sweep as delete_expired};
pub use migrate::migrate;
pub use pool::{Client, DatabaseSettings, Store};
pub use setting::approvals::{approval_facts, spend as spend_approvals};
pub use support::resets::{support_facts, write_resets};
pub use team::facts::{spend_proofs, team_facts};
pub use team::mandates::{mandate_facts, write_applied, write_mandates};
pub use team::review_view::{REVIEW_PAGE_MAX, review as review_view};
pub use team::reviews::{begin_reviews, review_facts, write_checked};
pub use timers::{Due, Sweep, look_back, sweep};
pub use tokio_postgres::Row;
pub use tokio_postgres::types::FromSql;
pub use trail::append as append_trail;
pub use tx::Tx;
