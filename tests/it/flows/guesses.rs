//! Guesses: used once, counted exactly.

use futures_util::future::join_all;

use super::{EMAIL, MAIL_PLACE, PHONE, PHONE_PLACE, challenge, events, seconds, world, wrong};
use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn r21_fifty_parallel_right_codes_give_one_success() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    let id = challenge(&world.login("acme", "ada", "l1").await);
    let code = world.code(PHONE_PLACE, 0).await;
    let answers = join_all((0..50).map(|_| world.verify("acme", &id, &code))).await;
    let count = |outcome| answers.iter().filter(|(_, body)| body["outcome"] == outcome).count();
    assert_eq!((count("verified"), count("already_used")), (1, 49), "{answers:?}");
    world.drain().await;
    assert_eq!(world.count(&events("challenge.verified")).await, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_two_hundred_parallel_wrong_codes_compare_exactly_the_limit() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    let id = challenge(&world.login("acme", "ada", "l1").await);
    let code = world.code(PHONE_PLACE, 0).await;
    let answers = join_all((0..200).map(|_| world.verify("acme", &id, wrong(&code)))).await;
    let count = |outcome| answers.iter().filter(|(_, body)| body["outcome"] == outcome).count();
    assert_eq!((count("wrong_code"), count("locked")), (4, 196));
    assert_eq!(world.count("SELECT count(*) FROM wrong_guess").await, 5);
    assert_eq!(world.verify("acme", &id, &code).await.1["outcome"], "locked");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_an_old_message_verifies_after_a_resend_and_a_replaced_challenge_costs_nothing() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    let old = challenge(&world.login("acme", "ada", "l1").await);
    let first = world.code(PHONE_PLACE, 0).await;
    world.advance(seconds(600)).await;
    assert_eq!(world.verify("acme", &old, &first).await.1["outcome"], "expired");
    let new = challenge(&world.login("acme", "ada", "l1").await);
    assert_ne!(old, new);
    assert_eq!(world.verify("acme", &old, &first).await.1["outcome"], "superseded");
    let early = world.code(PHONE_PLACE, 1).await;
    world.advance(seconds(60)).await;
    assert_eq!(world.resend("acme", &new, "sms").await.1["outcome"], "resent");
    assert_eq!(world.code(PHONE_PLACE, 2).await, early, "one challenge has one code");
    assert_eq!(world.verify("acme", &new, &early).await.1["outcome"], "verified");
    assert_eq!(world.count("SELECT count(*) FROM wrong_guess").await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r24_a_challenge_is_verified_by_whichever_process_is_there() {
    let others = ["code-generation", "directory", "sms-delivery", "audit", "email-fallback"];
    let roles = [vec!["ingress"], [&["work"], &others[..]].concat(), vec!["work", "verification"]];
    let mut world = World::start(&roles, &[]).await;
    world.register("acme", "ada", PHONE, None).await;
    for login in ["l1", "l2", "l3"] {
        let before = world.arrived(PHONE_PLACE).await;
        let id = challenge(&world.login("acme", "ada", login).await);
        let code = world.code(PHONE_PLACE, before).await;
        assert_eq!(world.verify("acme", &id, wrong(&code)).await.1["attempts_left"], 4);
        world.kill(3);
        // What the other process has counted holds.
        assert_eq!(world.verify("acme", &id, wrong(&code)).await.1["attempts_left"], 3);
        assert_eq!(world.verify("acme", &id, &code).await.1["outcome"], "verified");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r39_r40_nothing_is_granted_before_the_code_and_nothing_after_the_end() {
    let world = world().await;
    world.register("acme", "ada", PHONE, Some(EMAIL)).await;
    let open = world.login("acme", "ada", "l1").await;
    let id = challenge(&open);
    assert_eq!((&open["outcome"], open["amr"].is_null()), (&"open".into(), true), "{open}");
    let code = world.code(PHONE_PLACE, 0).await;
    let (status, refusal) = world.verify("acme", &id, wrong(&code)).await;
    assert!(status >= 400 && refusal["amr"].is_null(), "{refusal}");
    world.advance(seconds(600)).await;
    let (status, late) = world.verify("acme", &id, &code).await;
    assert!(status >= 400 && late["outcome"] == "expired" && late["amr"].is_null(), "{late}");
    assert_eq!(world.view(&id).await["state"], "expired");
    // R-19: neither the wait nor the email in between has lengthened its life.
    assert_eq!(world.arrived(MAIL_PLACE).await, 0, "too little life was left for an email");
    assert_eq!(world.count(&events("challenge.expired")).await, 1);
    world.end().await;
}

/// A wrong code where codes have ten digits; right in one of ten thousand million runs.
const UNLIKELY: &str = "0123456789";

/// What the last wrong code has cost: seconds until the next guess is compared.
const WAIT: &str = "SELECT extract(epoch FROM guess_after - \
    (SELECT max(at) FROM wrong_guess))::bigint FROM member WHERE guess_after IS NOT NULL";

#[tokio::test(flavor = "multi_thread")]
async fn r22_five_wrong_in_a_row_wait_ever_longer_and_fifteen_end_the_day() {
    let world = World::start(&[vec!["all"]], &[("STEPUP_CODE_DIGITS", "10")]).await;
    world.register("acme", "ada", PHONE, None).await;
    let (mut wrong, mut waits, mut logins) = (0, Vec::new(), 0);
    while wrong < 15 {
        logins += 1;
        let id = challenge(&world.login("acme", "ada", &format!("l{logins}")).await);
        while wrong < 15 {
            let answer = world.verify("acme", &id, UNLIKELY).await.1;
            match answer["outcome"].as_str().unwrap() {
                "wait" => {
                    let seconds = answer["retry_after"].as_u64().unwrap();
                    world.advance(super::seconds(seconds)).await;
                    continue;
                }
                "wrong_code" | "locked" => wrong += 1,
                // The wait was longer than its life.
                "expired" => break,
                other => panic!("{other}"),
            }
            if wrong >= 5 {
                waits.push(world.count(WAIT).await);
            }
            if answer["outcome"] == "locked" {
                break;
            }
        }
    }
    assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]);
    let refused = world.login("acme", "ada", "last").await;
    assert_eq!(refused["outcome"], "too_many_wrong_codes", "{refused}");
    world.drain().await;
    assert_eq!(world.count(&events("guess.limit_reached")).await, 1);
    world.advance(seconds(refused["retry_after"].as_u64().unwrap())).await;
    assert_eq!(world.login("acme", "ada", "last").await["outcome"], "open");
    world.end().await;
}

/// Ten scripts by their zero, and what people put before, between and after the digits.
const TYPED: &[(char, &str, &str, &str)] = &[
    ('\u{660}', "", "", ""),
    ('\u{6F0}', "", "\u{2011}", ""),
    ('\u{966}', "\u{FEFF}", "\u{2013}", "\n"),
    ('\u{9E6}', "\u{2066}", "\u{A0}", "\u{2069}"),
    ('\u{E50}', "\u{202A}", "\u{200B}", "\u{202C}"),
    ('\u{FF10}', "\u{3000}", "\u{FF0D}", "\u{3000}"),
    ('\u{1D7CE}', "", "\u{2009}", ""),
    ('\u{1040}', "", "\u{2212}", ""),
    ('0', "\u{200E}", "", "\u{200E}"),
    ('0', "\u{202E}", "\u{AD}", "\u{202C}"),
    ('0', "", "\u{301}", "\u{301}"),
    ('0', " ", " - ", "\t"),
];

#[tokio::test(flavor = "multi_thread")]
async fn r21_the_right_code_verifies_in_any_digits_and_with_marks_around_and_between() {
    let world = World::start(&[vec!["all"]], &[("STEPUP_CODE_DIGITS", "8")]).await;
    for (n, (zero, before, between, after)) in TYPED.iter().enumerate() {
        let (member, phone) = (format!("m{n}"), format!("+120255501{n:02}"));
        world.register("acme", &member, &phone, None).await;
        let id = challenge(&world.login("acme", &member, "l1").await);
        let code = world.code(&format!("/phones/{phone}"), 0).await;
        let digit = |b: u8| char::from_u32(*zero as u32 + u32::from(b - b'0')).unwrap();
        let digits: Vec<String> = code.bytes().map(|b| digit(b).to_string()).collect();
        let halves = [digits[..4].concat(), digits[4..].concat()];
        let guess = format!("{before}{}{after}", halves.join(between));
        let (status, answer) = world.verify("acme", &id, &guess).await;
        assert_eq!((status, &answer["outcome"]), (200, &"verified".into()), "{guess:?} {answer}");
    }
    assert_eq!(world.count("SELECT count(*) FROM wrong_guess").await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_twenty_malformed_guesses_in_a_row_lock_nothing_and_the_right_one_then_verifies() {
    let world = world().await;
    world.register("acme", "ada", PHONE, None).await;
    let id = challenge(&world.login("acme", "ada", "l1").await);
    let code = world.code(PHONE_PLACE, 0).await;
    let malformed = ["12345", "1234567", "31415O", "abc", "\u{2460}23456"];
    for guess in malformed.iter().cycle().take(20) {
        let (status, answer) = world.verify("acme", &id, guess).await;
        assert_eq!((status, &answer["outcome"]), (422, &"invalid_guess".into()), "{answer}");
        assert_eq!((&answer["attempts_left"], &answer["field"]), (&5.into(), &"guess".into()));
    }
    assert_eq!(world.verify("acme", &id, &code).await.1["outcome"], "verified");
    assert_eq!(world.verify("acme", &id, "12345").await.1["outcome"], "already_used");
    world.drain().await;
    assert_eq!(world.count("SELECT count(*) FROM wrong_guess").await, 0);
    assert_eq!(world.count(&events("guess.failed")).await, 0);
    let (_, page) = world.metrics().await.remove(0);
    let counted = r#"stepup_messages_total{worker="verification",outcome="invalid_guess"} 20"#;
    assert!(page.contains(counted), "{page}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_a_hundred_wrong_codes_in_thirty_days_suspend_the_factor_whatever_comes_between() {
    let world = World::start(&[vec!["all"]], &[("STEPUP_CODE_DIGITS", "10")]).await;
    world.register("acme", "ada", PHONE, None).await;
    // Ninety-nine of the last weeks, with a success after each.
    let past = "INSERT INTO wrong_guess SELECT 'acme', 'ada', \
        stepup_now() - n * interval '7 hours' - interval '1 day', gen_random_uuid() \
        FROM generate_series(1, 99) n";
    world.execute(past).await;
    let first = challenge(&world.login("acme", "ada", "l1").await);
    let code = world.code(PHONE_PLACE, 0).await;
    assert_eq!(world.verify("acme", &first, &code).await.1["outcome"], "verified");
    let id = challenge(&world.login("acme", "ada", "l2").await);
    let code = world.code(PHONE_PLACE, 1).await;
    assert_eq!(world.verify("acme", &id, UNLIKELY).await.1["outcome"], "wrong_code");
    assert_eq!(world.verify("acme", &id, &code).await.1["outcome"], "suspended");
    // Not off: no login by password alone, today or in a month.
    assert_eq!(world.login("acme", "ada", "l3").await["outcome"], "suspended");
    world.advance(seconds(31 * 24 * 3600)).await;
    assert_eq!(world.login("acme", "ada", "l4").await["outcome"], "suspended");
    assert_eq!(world.count(&events("factor.suspended")).await, 1);
    world.end().await;
}
