//! `stepup audit`: shows whether the Activity report is still what was written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use stepup::config::Need;
use stepup::domain::checkpoint::{Checkpoint, CheckpointKeys, Unverified};
use stepup::fault::Fault;
use stepup::rules::audit::{Attested, ChainCheck, Finding, not_chained};
use stepup::store::{self, Store, Tx};

use crate::cli::connect::{configured, keyring, store as pool};
use crate::cli::output::print;

/// Somebody has changed something.
const TAMPERED: u8 = 2;
/// Nothing is known to be wrong, and something is missing to tell.
const INCOMPLETE: u8 = 3;

/// What can be shown.
#[derive(Subcommand)]
pub enum Audit {
    /// Compare every row of the Activity report with its chain and with the checkpoints. The exit
    /// code is 0 if all agree, 2 if something was edited, removed, added, exchanged or cut, 3 if
    /// something is missing to tell, 1 if it could not be done.
    Verify {
        /// A file of checkpoints, as STEPUP_CHECKPOINT_FILE has collected them; may be repeated.
        /// Without one, only what the database itself holds is compared, and rows that were cut
        /// from the end together with their checkpoints are not missed.
        #[arg(long)]
        checkpoints: Vec<PathBuf>,
        /// Only this account.
        #[arg(long)]
        account: Option<String>,
        /// A file with the public keys, as `stepup audit keys` prints them; without it, those of
        /// STEPUP_KEYS.
        #[arg(long)]
        keys: Option<PathBuf>,
    },
    /// Print the public keys that checkpoints are verified with, for an auditor.
    Keys,
}

/// Runs the command.
///
/// # Errors
/// When the database is away, or a file cannot be read.
pub async fn run(command: Audit) -> Result<ExitCode, String> {
    match command {
        Audit::Keys => {
            print(&CheckpointKeys::of(keyring()?.as_ref()).to_string());
            Ok(ExitCode::SUCCESS)
        }
        Audit::Verify { checkpoints, account, keys } => {
            let keys = match keys {
                Some(file) => CheckpointKeys::parse(&text_of(&file)?).ok_or_else(|| {
                    format!("{}: not what `stepup audit keys` prints", file.display())
                })?,
                None => CheckpointKeys::of(keyring()?.as_ref()),
            };
            let store = pool(&configured(&[Need::Database])?, 1)?;
            let mut verified = Verified::default();
            let of_files = read(&checkpoints, &keys, &mut verified)?;
            let fault = |fault: Fault| fault.to_string();
            verify(&store, &keys, of_files, account, &mut verified).await.map_err(fault)?;
            Ok(verified.exit_code())
        }
    }
}

/// What was compared, and with what result.
#[derive(Default)]
struct Verified {
    accounts: usize,
    rows: i64,
    attested: i64,
    tampered: usize,
    incomplete: usize,
}

impl Verified {
    fn found(&mut self, finding: &Finding) {
        self.told(finding.tampered, &finding.to_string());
    }

    fn told(&mut self, tampered: bool, what: &str) {
        print(what);
        if tampered {
            self.tampered += 1;
        } else {
            self.incomplete += 1;
        }
    }

    fn exit_code(&self) -> ExitCode {
        let Self { accounts, rows, attested, tampered, incomplete } = self;
        print(&format!(
            "{accounts} accounts, {rows} rows in order, {attested} of them attested; {tampered} \
             disagreements, {incomplete} open questions"
        ));
        match (tampered, incomplete) {
            (0, 0) => ExitCode::SUCCESS,
            (0, _) => ExitCode::from(INCOMPLETE),
            _ => ExitCode::from(TAMPERED),
        }
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The checkpoints of the files, by account.
fn read(
    files: &[PathBuf],
    keys: &CheckpointKeys,
    verified: &mut Verified,
) -> Result<BTreeMap<String, Vec<Attested>>, String> {
    let mut attested: BTreeMap<String, Vec<Attested>> = BTreeMap::new();
    for file in files {
        for (place, line) in text_of(file)?.lines().enumerate() {
            match Checkpoint::verify(line, keys) {
                Ok(found) => attested.entry(found.0.account.clone()).or_default().push(found),
                Err(why) => {
                    let what = format!("{}, line {}: {why}", file.display(), place + 1);
                    verified.told(why == Unverified::Forged, &what);
                }
            }
        }
    }
    Ok(attested)
}

async fn verify(
    store: &Store,
    keys: &CheckpointKeys,
    mut of_files: BTreeMap<String, Vec<Attested>>,
    only: Option<String>,
    verified: &mut Verified,
) -> Result<(), Fault> {
    let mut client = store.client().await?;
    if let Some(account) = only {
        let attested = of_files.remove(&account).unwrap_or_default();
        let tx = client.begin_snapshot().await?;
        return verify_account(&tx, &account, attested, keys, verified).await;
    }
    let mut after = String::new();
    loop {
        // A snapshot for each account, so that none is held for long.
        let tx = client.begin_snapshot().await?;
        let of_file = of_files.keys().next().cloned();
        let of_database = store::account_after(&tx, &after).await?;
        let next = match (of_file, of_database) {
            (Some(one), Some(other)) => one.min(other),
            (Some(account), None) | (None, Some(account)) => account,
            (None, None) => return Ok(()),
        };
        let attested = of_files.remove(&next).unwrap_or_default();
        verify_account(&tx, &next, attested, keys, verified).await?;
        after = after.max(next);
    }
}

async fn verify_account(
    tx: &Tx<'_>,
    account: &str,
    mut attested: Vec<Attested>,
    keys: &CheckpointKeys,
    verified: &mut Verified,
) -> Result<(), Fault> {
    verified.accounts += 1;
    for line in store::checkpoints(tx, account).await? {
        let finding = |tampered, why: &str| Finding {
            account: account.to_owned(),
            seq: None,
            tampered,
            what: format!("a checkpoint in the database {why}"),
        };
        match Checkpoint::verify(&line, keys) {
            Ok(found) if found.0.account == account => attested.push(found),
            Ok(_) => verified.found(&finding(true, "is another account's")),
            Err(Unverified::UnknownKey) => {
                verified.found(&finding(false, &Unverified::UnknownKey.to_string()));
            }
            Err(why) => verified.found(&finding(true, &why.to_string())),
        }
    }
    let mut check = ChainCheck::new(account, &attested);
    let read = loop {
        let links = store::chain_links(tx, account, check.reached()).await?;
        if links.is_empty() {
            break Ok(());
        }
        if let Err(finding) = links.iter().try_for_each(|link| check.step(link)) {
            break Err(finding);
        }
    };
    verified.rows += check.reached().0;
    match read.and_then(|()| check.end()) {
        Ok(rows) => verified.attested += rows,
        Err(finding) => verified.found(&finding),
    }
    for (seq, waited) in store::not_chained(tx, account).await? {
        if let Some(finding) = not_chained(account, seq, waited) {
            verified.found(&finding);
        }
    }
    Ok(())
}
