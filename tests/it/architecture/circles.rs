//! No import circles between files.
//!
//! A file imports another when its code names something that is defined there: in a `use`, or by a
//! path in an expression. A `pub use` is looked through, to the file that defines the item; so `mod.rs`
//! may show what its children have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::tokens::{Token, block_end, production};
use super::{is_test_file, root};

/// The roots of what is compiled.
const CRATES: &[&str] = &["src/lib.rs", "workers/lib.rs", "harness/lib.rs"];
const DEFINING: &[&str] = &["fn", "struct", "enum", "trait", "type", "const", "static", "union"];
/// Our macros that define a type, which is named first.
const DEFINING_MACROS: &[&str] = &["string_enum", "text_id"];

#[test]
fn no_files_import_each_other_in_a_circle() {
    let found: BTreeSet<Vec<String>> =
        CRATES.iter().flat_map(|root| circles(&imports(root))).collect();
    assert!(found.is_empty(), "files that import each other in a circle: {found:#?}");
}

/// The names of a path, or of the place of a module.
type Names = Vec<String>;

/// A module that is a file.
struct Module {
    file: String,
    tokens: Vec<Token>,
    defined: BTreeSet<String>,
    uses: Vec<Use>,
}

/// One name that a `use` brings.
struct Use {
    public: bool,
    path: Names,
    alias: String,
}

type Modules = BTreeMap<Names, Module>;

/// Which files each file imports.
fn imports(crate_root: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut modules = Modules::new();
    let folder = Path::new(crate_root).parent().unwrap().to_str().unwrap();
    read(&mut modules, Vec::new(), crate_root, folder);
    let mut imports = BTreeMap::new();
    for (at, module) in &modules {
        let mut paths = paths(module);
        paths.extend(module.uses.iter().map(|one| (one.public, one.path.clone())));
        let files = paths.into_iter().filter_map(|(public, path)| {
            let path = absolute(&modules, at, &path)?;
            let shown = public && path.starts_with(at) && module.file.ends_with("mod.rs");
            let defined = defining(&modules, &path, 0).filter(|file| *file != module.file);
            defined.filter(|_| !shown).map(str::to_owned)
        });
        imports.insert(module.file.clone(), files.collect());
    }
    imports
}

fn read(modules: &mut Modules, at: Names, file: &str, below: &str) {
    if is_test_file(Path::new(file)) {
        return;
    }
    let tokens = production(&std::fs::read_to_string(root().join(file)).unwrap());
    for name in tokens.windows(3).filter(|three| three[0].text == "mod" && three[2].text == ";") {
        let (name, below) = (&name[1].text, format!("{below}/{}", name[1].text));
        let files = [format!("{below}.rs"), format!("{below}/mod.rs")];
        if let Some(file) = files.iter().find(|file| root().join(file).is_file()) {
            read(modules, [at.as_slice(), std::slice::from_ref(name)].concat(), file, &below);
        }
    }
    let (defined, uses) = (defined(&tokens), uses(&tokens));
    modules.insert(at, Module { file: file.to_owned(), tokens, defined, uses });
}

fn defined(tokens: &[Token]) -> BTreeSet<String> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let is_type = |at: &usize| {
        text(*at).starts_with(|c: char| c.is_ascii_uppercase())
            && ["{", "}"].contains(&text(at + 1))
    };
    let name = |at: usize| match text(at) {
        word if DEFINING.contains(&word) => Some(text(at + 1)),
        "macro_rules" => Some(text(at + 2)),
        word if DEFINING_MACROS.contains(&word) && text(at + 1) == "!" => {
            (at..tokens.len()).find(is_type).map(text)
        }
        _ => None,
    };
    (0..tokens.len()).filter_map(name).map(str::to_owned).collect()
}

fn uses(tokens: &[Token]) -> Vec<Use> {
    let mut found = Vec::new();
    for at in (0..tokens.len()).filter(|at| tokens[*at].text == "use") {
        let end = at + tokens[at..].iter().position(|token| token.text == ";").unwrap();
        let before = at.checked_sub(1).map_or("", |at| tokens[at].text.as_str());
        let texts: Vec<&str> = tokens[at + 1..end].iter().map(|one| one.text.as_str()).collect();
        tree(&[], &texts, before == "pub" || before == ")", &mut found);
    }
    found
}

/// The names of `a::{b, c as d}` behind `prefix`.
fn tree(prefix: &[String], texts: &[&str], public: bool, found: &mut Vec<Use>) {
    if let Some(open) = texts.iter().position(|text| *text == "{") {
        let head =
            texts[..open].iter().filter(|text| **text != "::").map(|text| (*text).to_owned());
        let prefix = [prefix, &head.collect::<Vec<_>>()].concat();
        let (mut depth, mut from) = (0, open + 1);
        for at in open + 1..texts.len() {
            match texts[at] {
                "{" => depth += 1,
                "}" if depth > 0 => depth -= 1,
                "," | "}" if depth == 0 => {
                    tree(&prefix, &texts[from..at], public, found);
                    from = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    let (path, alias) = match texts {
        [path @ .., "as", alias] => (path, Some(*alias)),
        path => (path, None),
    };
    let path = path.iter().filter(|text| **text != "::").map(|text| (*text).to_owned());
    let mut path = [prefix, &path.collect::<Vec<_>>()].concat();
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    if let Some(last) = path.last().cloned().filter(|_| !texts.is_empty()) {
        found.push(Use { public, path, alias: alias.map_or(last, str::to_owned) });
    }
}

/// The paths in the code, with what a `use` has named in full.
fn paths(module: &Module) -> Vec<(bool, Names)> {
    let (tokens, mut found, mut at) = (&module.tokens, Vec::new(), 0);
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let is_name = |text: &str| text.starts_with(|c: char| c == '_' || c.is_alphabetic());
    while at < tokens.len() {
        if text(at) == "use" {
            at = block_end(tokens, at);
            continue;
        }
        let (start, mut path) = (at, vec![text(at).to_owned()]);
        while is_name(text(at)) && text(at + 1) == "::" && is_name(text(at + 2)) {
            at += 2;
            path.push(text(at).to_owned());
        }
        at += 1;
        // `pub(in path)` imports nothing.
        let is_visibility = start > 1 && text(start - 1) == "in" && text(start - 2) == "(";
        if path.len() > 1 && !is_visibility {
            if let Some(named) = module.uses.iter().find(|one| one.alias == path[0]) {
                path.splice(..1, named.path.clone());
            }
            found.push((false, path));
        }
    }
    found
}

/// The path from the root; `None` if it is another crate's.
fn absolute(modules: &Modules, at: &Names, path: &Names) -> Option<Names> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" | "super" => {
            let steps = path.iter().take_while(|one| ["self", "super"].contains(&one.as_str()));
            let (count, ups) = (steps.clone().count(), steps.filter(|one| *one == "super").count());
            let kept = at.len().checked_sub(ups)?;
            Some([&at[..kept], &path[count..]].concat())
        }
        _ => {
            let child = [at.as_slice(), std::slice::from_ref(first)].concat();
            modules.contains_key(&child).then(|| [at.as_slice(), path].concat())
        }
    }
}

/// The file that defines what a path from the root names.
fn defining<'a>(modules: &'a Modules, path: &[String], depth: usize) -> Option<&'a str> {
    let known = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
    let (at, rest) = path.split_at(known);
    let module = &modules[at];
    let own = Some(module.file.as_str());
    let Some((name, rest)) = rest.split_first() else { return own };
    if module.defined.contains(name) || depth > 8 {
        return own;
    }
    match module.uses.iter().find(|one| one.alias == *name && one.alias != "*") {
        Some(named) => {
            let to = absolute(modules, &at.to_vec(), &named.path)?;
            defining(modules, &[to.as_slice(), rest].concat(), depth + 1)
        }
        None => own,
    }
}

/// The sets of files of which each reaches each.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<Vec<String>> {
    let reached = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(file) = next.pop() {
            next.extend(imports[file].iter().filter(|file| seen.insert((*file).clone())));
        }
        seen
    };
    let reach: BTreeMap<&String, BTreeSet<String>> =
        imports.keys().map(|file| (file, reached(file))).collect();
    let circle = |file: &&String| -> Vec<String> {
        let back = reach[file].iter().filter(|other| reach[other].contains(*file));
        back.cloned().collect()
    };
    imports.keys().map(|file| circle(&file)).filter(|circle| circle.len() > 1).collect()
}

#[test]
fn a_circle_is_found_and_a_way_out_of_it_is_no_part() {
    let imports = [("a", vec!["b"]), ("b", vec!["c"]), ("c", vec!["a", "d"]), ("d", vec![])];
    let owned = |files: Vec<&str>| files.into_iter().map(str::to_owned).collect();
    let imports = imports.map(|(file, files)| (file.to_owned(), owned(files)));
    let found = circles(&imports.into_iter().collect());
    assert_eq!(found, BTreeSet::from([["a", "b", "c"].map(str::to_owned).to_vec()]));
}
