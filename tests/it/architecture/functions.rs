//! Functions fit on a screen.

use std::collections::BTreeMap;

use super::tokens::{block_end, production};
use super::{is_test_file, root, sources};

const LINES_MAX: usize = 70;

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
    assert!(long.is_empty(), "functions of more than {LINES_MAX} lines: {long:#?}");
}
