//! `stepup numbers`: finds stored numbers that this version reads otherwise.

use std::process::ExitCode;

use clap::Subcommand;
use stepup::config::Need;
use stepup::domain::id::{AccountId, MemberId};
use stepup::domain::keys::Keyring;
use stepup::domain::member::Member;
use stepup::domain::phone::{PhoneNumber, mask};
use stepup::fault::Fault;
use stepup::store::{self, Store};

use crate::cli::connect::{configured, keyring, store as pool};
use crate::cli::output::print;

/// Some numbers read otherwise.
const FOUND: u8 = 2;

/// What can be done with numbers.
#[derive(Subcommand)]
pub enum Numbers {
    /// List the members whose stored number no longer reads as itself. No SMS is sent to them until
    /// their number is put again. One line each: account, member, the number's last two digits, and
    /// what is wrong with it; separated by tabs. The exit code is 0 if there are none, 2 if there
    /// are some, 1 if it could not be done.
    Check,
}

/// Runs the command.
///
/// # Errors
/// When the database is away, or the keys are missing.
pub async fn run(command: Numbers) -> Result<ExitCode, String> {
    let Numbers::Check = command;
    let keys = keyring()?;
    let store = pool(&configured(&[Need::Database])?, 1)?;
    let report = check(&store, &keys).await.map_err(|fault| fault.to_string())?;
    report.lines.iter().for_each(|line| print(line));
    Ok(if report.found == 0 { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

/// What was found.
pub struct Report {
    /// What the operator reads.
    pub lines: Vec<String>,
    /// Members whose number no longer reads as itself.
    pub found: usize,
}

/// Reads every stored number again.
///
/// # Errors
/// When the database is away.
pub async fn check(store: &Store, keys: &Keyring) -> Result<Report, Fault> {
    let mut client = store.client().await?;
    let (mut lines, mut read, mut lost) = (Vec::new(), 0, 0);
    let mut last: Option<(AccountId, MemberId)> = None;
    loop {
        // A snapshot for each page, so that none is held for long.
        let tx = client.begin_snapshot().await?;
        let after = last.as_ref().map(|(account, member)| (account, member));
        let page = store::members_with_number(&tx, after).await?;
        let Some(end) = page.last() else { break };
        last = Some((end.account.clone(), end.id.clone()));
        read += page.len();
        for member in &page {
            match member.phone_in_clear(keys) {
                None => lost += 1,
                Some(e164) => lines.extend(finding(member, &e164)),
            }
        }
    }
    let found = lines.len();
    let tx = client.begin_snapshot().await?;
    for (account, count) in store::owned_number_counts(&tx).await? {
        lines.push(format!(
            "{account}\t-\t-\t{count} owned numbers are kept by index and cannot be read again; if \
             an earlier version stored them, put the list again"
        ));
    }
    lines.push(format!(
        "{read} members have a number; {found} of the numbers read otherwise, {lost} do not open \
         with these keys"
    ));
    Ok(Report { lines, found })
}

fn finding(member: &Member, e164: &str) -> Option<String> {
    let why = PhoneNumber::stored(e164).err()?;
    Some(format!("{}\t{}\t{}\t{why}", member.account, member.id, mask(e164)))
}
