//! docs/requirements.md names each rule with the function that decides it and the tests that prove it:
//! every number is there, and what it names exists. A test that names a rule is called `r21_…`, or
//! `…_r31_…` where one proves more; each rule has one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The last rule; they are numbered without a gap.
const RULES: u32 = 111;

/// The last decision.
const DECISIONS: u32 = 8;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// A row of the document: the rule, the functions that decide it, and the tests that prove it, each
/// as `path::name`.
struct Row {
    rule: String,
    decided: Vec<String>,
    proved: Vec<String>,
}

fn rows(document: &str) -> Vec<Row> {
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let rows = document.lines().filter(|line| line.starts_with("| R-") || line.starts_with("| D-"));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [rule, _, decided, proved] = cells[..] else { panic!("not four cells: {line}") };
        let rule = rule.replace('-', "").to_lowercase();
        Row { rule, decided: quoted(decided), proved: quoted(proved) }
    })
    .collect()
}

/// What is wrong with the place `path::name`, if anything is.
fn misplaced(place: &str, is_there: impl Fn(&str, &str) -> bool) -> Option<String> {
    let Some((path, name)) = place.split_once("::") else {
        return Some(format!("{place} is not path::name"));
    };
    let Ok(text) = fs::read_to_string(root().join(path)) else {
        return Some(format!("{place}: there is no {path}"));
    };
    (!is_there(&text, name)).then(|| format!("{path} has no {name}"))
}

/// Whether the text declares a function or a type of this name.
fn declares(text: &str, name: &str) -> bool {
    let starts = |rest: &str| {
        rest.strip_prefix(name)
            .is_some_and(|rest| !rest.starts_with(|c: char| c == '_' || c.is_ascii_alphanumeric()))
    };
    ["fn ", "struct ", "enum "].iter().any(|word| text.split(word).skip(1).any(starts))
}

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
fn every_rule_has_a_row_and_what_it_names_exists() {
    let rows = rows(&fs::read_to_string(root().join("docs/requirements.md")).unwrap());
    let listed: Vec<&str> = rows.iter().map(|row| row.rule.as_str()).collect();
    let decisions = (1..=DECISIONS).map(|n| format!("d{n}"));
    let wanted: Vec<String> = decisions.chain((1..=RULES).map(|n| format!("r{n}"))).collect();
    assert_eq!(listed, wanted, "docs/requirements.md: each number once, in order");
    let mut wrong = Vec::new();
    for Row { rule, decided, proved } in &rows {
        if decided.is_empty() || proved.is_empty() {
            wrong.push(format!("{rule} names no function or no test"));
        }
        wrong.extend(decided.iter().filter_map(|place| misplaced(place, declares)));
        let is_test = |text: &str, name: &str| tests(text).contains(&name);
        wrong.extend(proved.iter().filter_map(|place| misplaced(place, is_test)));
    }
    assert!(wrong.is_empty(), "docs/requirements.md: {wrong:#?}");
}

#[test]
fn every_rule_has_a_test_that_names_it() {
    let files: Vec<PathBuf> = ["src", "workers", "tests"]
        .iter()
        .flat_map(|folder| sources(&root().join(folder)))
        .collect();
    let texts: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let proved: BTreeSet<&str> =
        texts.iter().flat_map(|text| tests(text)).flat_map(named).collect();
    let rules = (1..=RULES).map(|n| format!("r{n}"));
    let without: Vec<_> = rules.filter(|rule| !proved.contains(rule.as_str())).collect();
    assert!(without.is_empty(), "rules without a test: {without:?}");
}

#[test]
fn a_name_that_is_not_there_is_found() {
    let text = "pub(super) async fn decide(a: u8) {}\npub struct Client {\n#[test]\nfn r1_a() {}";
    for (name, is_there) in [("decide", true), ("decid", false), ("Client", true), ("r1", false)] {
        assert_eq!(declares(text, name), is_there, "{name}");
    }
    let here = "tests/it/rules_named.rs";
    assert!(misplaced(&format!("{here}::rows"), declares).is_none());
    assert!(misplaced(&format!("{here}::nowhere_to_be_found"), |_, _| false).is_some());
    assert!(misplaced("tests/it/none.rs::rows", declares).is_some());
    assert!(misplaced(here, declares).is_some());
    let row = &rows("| R-7 | so, and so | `a.rs::b`, `c.rs::d` | `e.rs::r7_f` |")[0];
    assert_eq!((row.rule.as_str(), row.decided.len(), &row.proved[0][..]), ("r7", 2, "e.rs::r7_f"));
}

#[test]
fn only_what_is_a_test_proves_a_rule() {
    let text =
        "#[test]\nfn r1_a() {}\nfn r2_b() {}\n/// r3_c\n#[tokio::test]\nasync fn x_r4_d() {}";
    let found: Vec<&str> = tests(text).into_iter().flat_map(named).collect();
    assert_eq!(found, ["r1", "r4"]);
}
