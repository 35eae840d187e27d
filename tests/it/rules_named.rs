//! Every rule of a login, of a member's own factor and of sensitive settings has a test that names it: `r21_…`, or `…_r31_…` where one test proves more.
//! It lies as low as it can be proved: in src/rules, else in store/ or runtime/, else in flows/.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rules, by number, in a few words.
const RULES: &[(&str, &str)] = &[
    ("d2", "email backs up logins and settings, never the proof of a phone"),
    ("d8", "with 2FA off a sensitive setting takes no code, unless the account refuses"),
    ("r1", "nothing changes until the phone is verified"),
    ("r2", "the masked number is shown first"),
    ("r3", "no code is sent until it is asked for"),
    ("r4", "the number may be changed on the way"),
    ("r5", "the number must take SMS, as far as metadata can tell"),
    ("r6", "no company's own number, however it is written"),
    ("r7", "of no tenant, and it is not told whose"),
    ("r8", "a number that becomes a company's is flagged, told, and voids what is open"),
    ("r9", "the right code turns 2FA on and marks the phone verified"),
    ("r10", "no other code does"),
    ("r11", "enabling and its row: both or neither"),
    ("r12", "email as a backup is off by default"),
    ("r13", "it needs a confirmed address, proved by a thing of its own"),
    ("r14", "enabling when enabled sends nothing and writes nothing"),
    ("r15", "of two enrolments one wins"),
    ("d1", "after the timer the email is sent, or only offered, as the account says"),
    ("r16", "a resend waits for the timer: 60, 60, 120, 300 s; five sends"),
    ("r17", "the timer counts for the challenge and for the number"),
    ("r18", "a resend goes by SMS unless email is eligible and chosen"),
    ("r19", "a resend does not lengthen the challenge's life"),
    ("r20", "an old message of the same challenge verifies; a replaced challenge costs nothing"),
    ("r21", "a code is used once"),
    ("r22", "the limits of guesses are exact, in any interleaving"),
    ("r23", "a code is bound to challenge, member, purpose and change"),
    ("r24", "any process may verify"),
    ("r25", "a repeated message causes no second send"),
    ("r26", "with too little life left nothing is sent, and it is told"),
    ("r27", "the first delivery is an SMS"),
    ("r28", "email comes 60 s later, or after a definitive failure"),
    ("r29", "email as the first channel is impossible"),
    ("r30", "without a backup there is no email"),
    ("r31", "verified in time: no email"),
    ("r32", "ended in time: no email"),
    ("r33", "workers that were down send the email when they are back, once"),
    ("r34", "a backup that is switched off or on meanwhile"),
    ("r35", "an address that changes meanwhile"),
    ("r36", "an email alone is no way in"),
    ("r37", "the app's password comes first"),
    ("r38", "the code is sent without a further click"),
    ("r39", "until the code nothing is granted"),
    ("r40", "a pending login ends with its challenge"),
    ("r41", "2FA off: not required"),
    ("r42", "2FA on by an admin: required from the next login on"),
    ("r43", "2FA off meanwhile: the challenge is void"),
    ("r44", "deactivated meanwhile: the challenge is void, nothing is sent after"),
    ("r45", "a pending login has one challenge; two browsers have two"),
    ("r46", "a refusal tells a stranger nothing"),
    ("r47", "a member can change the number"),
    ("r48", "it takes effect once the new one is verified"),
    ("r49", "with 2FA on the current number is proved first"),
    ("r50", "a row, and a mail to subscribed primary admins"),
    ("r51", "what is open to the old number is void"),
    ("r52", "what is queued to it is dropped"),
    ("r53", "changed back, old codes stay invalid"),
    ("r54", "two members may share a number and its limits"),
    ("r55", "an admin's change leaves it unverified, and is told"),
    ("r56", "a sensitive setting takes a code"),
    ("r57", "which ones there are is data"),
    ("r58", "carried out after the code, once, exactly as asked for"),
    ("r59", "one code per change"),
    ("r60", "changed meanwhile: stale"),
    ("r61", "the message names the purpose"),
    ("r62", "turning 2FA off first leaves a trace"),
    ("r84", "primary admins may hear of changed numbers"),
    ("r86", "who ceases to be one hears no more, queued mails included"),
    ("r87", "one mail per change and admin, without codes and full numbers"),
    ("r88", "a mail that fails does not hold the change"),
    ("r96", "turning 2FA off takes a code"),
    ("r97", "given up, it stays on"),
    ("r98", "afterwards the password alone, and a row"),
    ("r99", "what is open is closed"),
    ("r100", "refused while mandatory"),
    ("r101", "turning it on again verifies afresh"),
    ("r106", "no answer before the request is durable"),
    ("r107", "state first, message second"),
    ("r108", "nothing in clear on any disk"),
    ("r109", "any process may be killed anywhere"),
    ("r110", "a poisoned message is set aside with a reason, and the queue flows on"),
    ("r111", "a login does not wait behind anything else"),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    files.filter(|file| file.extension().is_some_and(|ext| ext == "rs")).collect()
}

/// The names of the tests in a file: what is called after an attribute that makes it one. Property
/// tests have it, too.
fn tests(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("async fn ").or(line.strip_prefix("fn "))
            && std::mem::take(&mut is_test)
        {
            names.extend(rest.split('(').next());
        }
    }
    names
}

/// The rules that a test's name names.
fn named(test: &str) -> impl Iterator<Item = &str> {
    let number = |word: &&str| {
        let digits = word.strip_prefix('r').or(word.strip_prefix('d'));
        digits.is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
    };
    test.split('_').filter(number)
}

#[test]
fn every_rule_has_a_test_that_names_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let files: Vec<PathBuf> =
        ["src", "workers", "tests"].iter().flat_map(|folder| sources(&root.join(folder))).collect();
    let texts: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let proved: BTreeSet<&str> =
        texts.iter().flat_map(|text| tests(text)).flat_map(named).collect();
    let without: Vec<_> = RULES.iter().filter(|(rule, _)| !proved.contains(rule)).collect();
    assert!(without.is_empty(), "rules without a test: {without:#?}");
}

#[test]
fn only_what_is_a_test_proves_a_rule() {
    let text =
        "#[test]\nfn r1_a() {}\nfn r2_b() {}\n/// r3_c\n#[tokio::test]\nasync fn x_r4_d() {}";
    let found: Vec<&str> = tests(text).into_iter().flat_map(named).collect();
    assert_eq!(found, ["r1", "r4"]);
}
