//! Functions fit on a screen.

use std::collections::BTreeMap;

use super::tokens::{block_end, production};
use super::{is_test_file, root, sources};

const LINES_MAX: usize = 70;
/// Those that are longer, with their lines. They become shorter, and no other is added.
const LONGER: &[(&str, usize)] =
    &[("src/config/mod.rs policy", 72), ("workers/roles.rs start", 80)];

#[test]
fn no_function_is_longer_than_a_screen() {
    let mut long = BTreeMap::new();
    for file in
        ["src", "workers", "harness"].iter().flat_map(|folder| sources(&root().join(folder)))
    {
        if is_test_file(&file) || file.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        let tokens = production(&std::fs::read_to_string(&file).unwrap());
        for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.text == "fn") {
            let end = block_end(&tokens, at) - 1;
            let lines = tokens[end].line - token.line + 1;
            if lines > LINES_MAX {
                long.insert(format!("{name} {}", tokens[at + 1].text), lines);
            }
        }
    }
    let longer: BTreeMap<&str, usize> = LONGER.iter().copied().collect();
    let grown = |(name, lines): &(&String, &usize)| longer.get(name.as_str()) < Some(lines);
    let grown: Vec<_> = long.iter().filter(grown).collect();
    assert!(grown.is_empty(), "over {LINES_MAX} lines, or longer than before: {grown:#?}");
    let mended: Vec<_> = longer.keys().filter(|name| !long.contains_key(**name)).collect();
    assert!(mended.is_empty(), "take these out of LONGER: {mended:#?}");
}
