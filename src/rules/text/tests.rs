use proptest::prelude::*;

use super::*;
use crate::rules::tests_support::{self, TEXTS};

fn account(name: &str) -> Account {
    Account { name: name.to_owned(), ..tests_support::account() }
}

fn code() -> Code {
    Code::of("012345")
}

fn told(locale: &str) -> String {
    let text = TEXTS.sms(locale, &account("Acme"), Purpose::Login, "", &code());
    text.unwrap().to_string()
}

/// The problems of the languages that are built in, with one file changed.
fn problems(locale: &str, change: impl Fn(&str) -> String) -> Vec<String> {
    let changed: Vec<(&str, String)> = EMBEDDED
        .iter()
        .map(|(tag, file)| (*tag, if *tag == locale { change(file) } else { (*file).to_owned() }))
        .collect();
    let files: Vec<(&str, &str)> = changed.iter().map(|(tag, file)| (*tag, &**file)).collect();
    Texts::load(&files).err().unwrap_or_default()
}

/// The one problem after a replacement in one language's file.
fn problem(locale: &str, from: &str, to: &str) -> String {
    let problems = problems(locale, |file| {
        assert!(file.contains(from), "{from}");
        file.replacen(from, to, 1)
    });
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems[0].clone()
}

#[test]
fn every_language_that_is_built_in_has_every_text_and_all_are_sound() {
    assert_eq!(Texts::embedded().err(), None);
}

#[test]
fn the_sms_reads_well() {
    let text = TEXTS.sms("en", &account("Acme Plumbing"), Purpose::Login, "", &code());
    assert_eq!(
        *text.unwrap(),
        "012345 is your Acme Plumbing sign-in code. Don't share it.\n@app.acme.example #012345"
    );
}

#[test]
fn a_locale_falls_back_on_its_language_and_then_on_english() {
    assert!(told("pt").starts_with("012345 é o seu codigo de acesso a Acme. "));
    for (asked, given) in [
        ("pt-BR", "pt"),
        ("PT-br", "pt"),
        ("de-Latn-CH", "de"),
        ("it", "en"),
        ("", "en"),
        ("-", "en"),
    ] {
        assert_eq!(told(asked), told(given), "{asked}");
    }
    let all: BTreeSet<String> = EMBEDDED.iter().map(|(locale, _)| told(locale)).collect();
    assert_eq!(all.len(), EMBEDDED.len());
}

#[test]
fn an_exact_locale_comes_before_its_language() {
    let brazilian = EMBEDDED[4].1.replace("de acesso", "de entrada");
    let files: Vec<_> = EMBEDDED.iter().copied().chain([("pt-BR", brazilian.as_str())]).collect();
    let texts = Texts::load(&files).ok().unwrap();
    let said = |locale| texts.sms(locale, &account("Acme"), Purpose::Login, "", &code()).unwrap();
    assert!(said("pt-br").contains("entrada") && !said("pt-PT").contains("entrada"));
}

#[test]
fn the_subject_of_a_mail_holds_no_code_and_its_text_begins_with_it() {
    for (locale, _) in EMBEDDED {
        for purpose in Purpose::ALL {
            let mail = TEXTS.code_mail(locale, &account("Acme"), *purpose, "x", &code(), 9);
            assert_eq!(mail.is_some(), purpose.email_may_back_up());
            let Some(mail) = mail else { continue };
            assert!(mail.subject.contains("Acme") && !mail.subject.contains("012345"));
            assert!(mail.text.starts_with("012345 ") && mail.text.contains(" 9 "));
        }
    }
}

#[test]
fn r61_each_purpose_is_named_and_a_setting_says_what_is_approved() {
    for (locale, _) in EMBEDDED {
        let sms = |purpose, summary: &str| {
            TEXTS.sms(locale, &account("Acme"), purpose, summary, &code()).unwrap()
        };
        let mut seen = BTreeSet::new();
        for purpose in Purpose::ALL {
            let text = sms(*purpose, "payouts to DE..12");
            assert!(seen.insert(text.to_string()), "{purpose:?}");
            assert_eq!(text.contains("payouts to DE..12"), *purpose == Purpose::Setting);
        }
        let long = "pay all invoices of this year to the account ending in 6789 ".repeat(3);
        let text = sms(Purpose::Setting, &long);
        assert!(text.contains(": pay all invoices of this year") && text.contains("..."));
    }
}

#[test]
fn r87_a_notice_says_in_every_language_who_when_and_which_numbers() {
    let change = Change {
        member: "ada",
        actor: "bob",
        at: "2026-01-01 12:00 UTC",
        old: "•••23",
        new: "•••77",
    };
    let mut subjects = BTreeSet::new();
    for (locale, _) in EMBEDDED {
        let notice = |kind, change| TEXTS.notice(locale, &account("Acme"), kind, change).unwrap();
        let mail = notice(NoticeKind::NumberChanged, &change);
        for part in ["Acme", "ada", "bob", "2026-01-01 12:00 UTC", "•••23", "•••77"] {
            assert!(mail.text.contains(part), "{locale}: {part}");
        }
        assert!(subjects.insert(mail.subject));
        let first = notice(NoticeKind::NumberChanged, &Change { old: "", ..change });
        let numbers = first.text.lines().filter(|line| line.contains("•••")).count();
        assert_eq!(numbers, 1, "{}", *first.text);
    }
}

#[test]
fn a_name_cannot_add_lines_to_a_mail() {
    let name = "Acme\r\nBcc: x@evil.example";
    let mail = TEXTS.notice("en", &account(name), NoticeKind::OwnNumberOwned, &Change::default());
    assert!(!mail.unwrap().subject.contains(['\r', '\n']));
}

#[test]
fn a_name_is_no_template() {
    let text = TEXTS.sms("en", &account("{{ code }} % {% if %}"), Purpose::Login, "", &code());
    assert_eq!(text.unwrap().matches("012345").count(), 2);
}

#[test]
fn a_variable_that_is_unknown_or_not_said_is_refused() {
    let unknown = problem("fr", "à {{ account }}", "à {{ account }}{{ phone }}");
    assert_eq!(unknown, "texts in fr: sms.login says {{ phone }}, and may say only code, account");
    let unsaid = problem("de", "Wann:          {{ at }}", "");
    assert_eq!(unsaid, "texts in de: mail.number_changed does not say {{ at }}");
    assert!(problem("es", "{{ code }}", "{{ code").contains("sms.login is no template: "));
    assert!(problem("es", "{% endif %}", "").contains("sms.login is no template: "));
}

#[test]
fn a_text_that_is_missing_unknown_or_twice_is_refused() {
    assert!(
        problem("pt", "[sms.team]", "[sms.team]\n[sms.team]").contains("sms.team is there twice")
    );
    let problems = problems("pt", |file| file.replace("[sms.team]", "[sms.teams]"));
    assert_eq!(
        problems,
        [
            "texts in pt: sms.team is missing",
            "texts in pt: sms.teams is no text that there is: correct its name",
        ]
    );
    let without_english = Texts::load(&EMBEDDED[1..]).err().unwrap();
    assert_eq!(without_english, ["texts in en are missing, which all others fall back on"]);
}

#[test]
fn an_sms_that_is_too_long_not_of_the_alphabet_or_without_the_code_first_is_refused() {
    let long = problem("en", "sign-in code.", &"long ".repeat(20));
    assert!(long.contains("sms.login takes ") && long.contains("shorten it"), "{long}");
    // Two septets each, as many as would fit at one.
    let bars = problem("en", "sign-in code.", &"|".repeat(30));
    assert!(bars.contains("sms.login takes "), "{bars}");
    let foreign = problem("es", "clave de acceso", "código de acceso");
    assert!(foreign.contains("sms.login has the character 'ó'"), "{foreign}");
    let hidden = problem("es", "a {{ account }}", "à l'hôtel {{ account }}");
    assert!(hidden.contains("'ô'"), "{hidden}");
    let late = problem("de", "{{ code }} ist Ihr", "Ihr Code ist {{ code }},");
    assert!(late.contains("sms.login does not begin with the code"), "{late}");
    let lines = problem("de", "Geben Sie", "\nGeben Sie");
    assert!(lines.contains("sms.login is not one line"), "{lines}");
    let twice = problem("fr", "{{ summary }}", "{{ summary }}{{ summary }}");
    assert!(twice.contains("sms.setting does not say"), "{twice}");
}

#[test]
fn a_mail_without_subject_or_with_the_code_in_it_is_refused() {
    let bare = problem("fr", "Subject: Votre code de connexion à {{ account }}\n", "");
    assert!(bare.contains("mail.login does not begin with a line `Subject: …`"), "{bare}");
    let shown = problem("fr", "Subject: Votre code", "Subject: {{ code }} : votre code");
    assert!(shown.contains("mail.login has the code in its subject"), "{shown}");
}

proptest! {
    #[test]
    fn whatever_the_name_and_the_language_the_sms_is_one_segment_and_its_last_line_is_ours(
        name in "\\PC{0,200}|x\n@evil.example #111111",
        summary in "\\PC{0,200}|x\n@evil.example #111111",
        origin in "[a-z]{1,63}",
        digits in "[0-9]{6,10}",
        purpose in proptest::sample::select(Purpose::ALL),
        locale in proptest::sample::select(EMBEDDED),
    ) {
        let account = Account { origin: Some(origin.clone()), ..account(&name) };
        let text = TEXTS.sms(locale.0, &account, purpose, &summary, &Code::of(&digits)).unwrap();
        prop_assert!(septets(&text).is_ok_and(|septets| septets <= SEGMENT), "{}", *text);
        prop_assert_eq!(text.lines().count(), 2);
        let last = format!("@{origin} #{digits}");
        prop_assert_eq!(text.lines().last(), Some(last.as_str()));
        let first = format!("{digits} ");
        prop_assert!(text.starts_with(&first));
    }
}
