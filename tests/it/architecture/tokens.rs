//! The code of a file as tokens, for tests that need no parser of Rust.

/// A name, a number, `::`, `""` for any text, or one sign; and its line.
#[derive(Clone, Debug)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// All of a file but its comments and what is for tests alone.
pub fn production(text: &str) -> Vec<Token> {
    without_tests(&tokens(text))
}

fn tokens(text: &str) -> Vec<Token> {
    let (mut found, mut rest, mut line) = (Vec::new(), text, 1);
    while let Some(first) = rest.chars().next() {
        let taken = length(rest, first);
        let (token, after) = rest.split_at(taken);
        let shown = match first {
            _ if first.is_whitespace() || token.starts_with("//") || token.starts_with("/*") => {
                None
            }
            _ if token.len() > 1 && token.ends_with(['"', '#', '\'']) => Some("\"\""),
            _ => Some(token),
        };
        found.extend(shown.map(|text| Token { text: text.to_owned(), line }));
        line += token.matches('\n').count();
        rest = after;
    }
    found
}

/// How many bytes the first token of `rest` has.
fn length(rest: &str, first: char) -> usize {
    let until = |end: &str, from: usize| {
        rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len())
    };
    let word = rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len());
    let quoted = &rest[word..];
    match first {
        _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
        _ if rest.starts_with("/*") => until("*/", 2),
        _ if rest.starts_with("::") => 2,
        '"' => text_length(rest),
        '\'' => char_length(rest),
        _ if ["r", "br"].contains(&&rest[..word]) && quoted.starts_with(['"', '#']) => {
            let hashes = quoted.find(|c| c != '#').unwrap_or_default();
            match quoted[hashes..].starts_with('"') {
                true => until(&format!("\"{}", "#".repeat(hashes)), word + hashes + 1),
                false => word,
            }
        }
        _ if &rest[..word] == "b" && quoted.starts_with('"') => 1 + text_length(quoted),
        _ if &rest[..word] == "b" && quoted.starts_with('\'') => 1 + char_length(quoted),
        _ if word > 0 => word,
        _ => first.len_utf8(),
    }
}

fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest[1..].find(|c| {
        let is_end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        is_end
    });
    end.map_or(rest.len(), |at| at + 2)
}

/// A character, or the sign in front of a lifetime.
fn char_length(rest: &str) -> usize {
    let mut chars = rest[1..].char_indices();
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let from = 1 + at + escaped.len_utf8();
            rest[from..].find('\'').map_or(rest.len(), |at| from + at + 1)
        }
        (Some(_), Some((at, '\''))) => 1 + at + 1,
        _ => 1,
    }
}

fn without_tests(tokens: &[Token]) -> Vec<Token> {
    const TESTS: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let ahead = tokens[at..].iter().map(|token| token.text.as_str());
        if ahead.take(TESTS.len()).eq(TESTS) {
            at = block_end(tokens, at + TESTS.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Where what begins at `start` ends: after its block, or after `;`.
pub fn block_end(tokens: &[Token], start: usize) -> usize {
    let (mut depth, mut nested) = (0, 0);
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text.as_str() {
            "{" => depth += 1,
            "(" | "[" => nested += 1,
            ")" | "]" => nested -= 1,
            "}" => depth -= 1,
            _ => {}
        }
        let is_end =
            (token.text == "}" && depth == 0) || (token.text == ";" && depth + nested == 0);
        if is_end {
            return at + 1;
        }
    }
    tokens.len()
}

#[test]
fn comments_texts_and_tests_are_no_code() {
    let text = r##"
        use a::b; // use c::d;
        /* e */ const T: &str = "f\"}"; const R: &str = r#"g"{"#;
        fn h<'i>(x: &'i u8) -> char { 'j' }
        #[cfg(test)]
        mod k { fn l() {} }
        const M: [u8; 1] = [b'\''];
    "##;
    let found: Vec<String> = production(text).into_iter().map(|token| token.text).collect();
    let wanted = "use a :: b ; const T : & str = \"\" ; const R : & str = \"\" ; \
        fn h < ' i > ( x : & ' i u8 ) -> char { \"\" } const M : [ u8 ; 1 ] = [ \"\" ] ;";
    assert_eq!(found.join(" ").replace("- >", "->"), wanted);
}
