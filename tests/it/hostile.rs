//! Messages that are made to do harm.

mod kinds;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use serde_json::json;
use stepup::broker::{Broker, dead, topology};

use crate::support::wire::{Property, Raw, Wire, entry, long, short};
use crate::support::{PATIENCE, World, setting};
use kinds::{End, kinds};

/// Fills a frame of 8192 bytes, at 6 bytes a level. No frame may be smaller than 4096.
const LEVELS: usize = 1300;

/// How much longer than by itself a good login may take beside messages that are made to do harm.
const DELAY_MAX: Duration = Duration::from_secs(1);
/// And how many times as long, on a busy machine.
const TIMES_MAX: u32 = 4;

/// The entries of a table that holds a table that holds a table …
fn nested(levels: usize) -> Vec<u8> {
    let mut entries = Vec::new();
    for _ in 0..levels {
        entries = entry(b"", &[b"F", &long(&entries)[..]].concat());
    }
    entries
}

/// A good login, as the app `demo` asks for it.
fn login(id: &str, member: &str) -> Raw {
    let body = json!({ "account": "acme", "member": member, "login": "l1" }).to_string();
    Raw {
        key: b"challenge.issue".to_vec(),
        properties: vec![
            (Property::MessageId, short(id.as_bytes())),
            (Property::UserId, short(b"demo")),
            (Property::DeliveryMode, vec![2]),
        ],
        body: body.into_bytes(),
    }
}

async fn until_dead(broker: &Broker, wanted: usize) {
    let started = Instant::now();
    loop {
        let found = topology::depth(broker, "dead").await.unwrap().messages as usize;
        if found == wanted {
            return;
        }
        assert!(started.elapsed() < PATIENCE && found < wanted, "{found} dead letters of {wanted}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A system that gets what does harm, and one like it that does not. Good logins are timed in both at the
/// same moments, since other programs on the machine delay both.
struct Compared {
    world: World,
    control: World,
    logins: usize,
    /// The slowest login of each.
    slowest: [Duration; 2],
}

impl Compared {
    async fn start() -> Self {
        let (world, control) =
            join(World::start(&[vec!["all"]], &[]), World::start(&[vec!["all"]], &[])).await;
        Self { world, control, logins: 0, slowest: [Duration::ZERO; 2] }
    }

    /// A member who has not logged in yet.
    async fn member(&mut self) -> String {
        let member = format!("m{}", self.logins);
        let phone = format!("+1202555{:04}", 110 + self.logins);
        for world in [&self.world, &self.control] {
            world.register("acme", &member, &phone, None).await;
        }
        self.logins += 1;
        member
    }

    async fn login(&mut self, member: &str) {
        let (there, here) =
            join(timed_login(&self.world, member), timed_login(&self.control, member)).await;
        self.slowest = [self.slowest[0].max(there), self.slowest[1].max(here)];
    }

    /// Ends the system that got nothing.
    async fn assert_no_delay(self) -> World {
        let [beside, alone] = self.slowest;
        println!("{} logins; slowest beside {beside:?}, by itself {alone:?}", self.logins);
        assert!(beside < DELAY_MAX + TIMES_MAX * alone, "{beside:?}, by itself {alone:?}");
        self.control.end().await;
        self.world
    }
}

/// How long a good login over HTTP takes, to its outcome.
async fn timed_login(world: &World, member: &str) -> Duration {
    let started = Instant::now();
    let opened = world.login("acme", member, "l1").await;
    assert_eq!(opened["outcome"], "open", "{opened}");
    started.elapsed()
}

/// The sessions with the broker that have ended, as the metrics count them.
async fn sessions_ended(world: &World) -> String {
    let mut ended = Vec::new();
    for (_, page) in world.metrics().await {
        let lines = page.lines().filter(|line| line.starts_with("stepup_sessions_ended_total"));
        ended.extend(lines.map(str::to_owned));
    }
    ended.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn r110_headers_nested_without_end_are_set_aside_and_nobody_dies_of_them() {
    let world = World::start(&[vec!["all"]], &[]).await;
    let mut wire = Wire::connect(&setting("STEPUP_DEMO_AMQP_URL")).await;
    let requests = format!("{}.requests", world.topology.prefix);
    let deep = login("deep", "ada").with(Property::Headers, long(&nested(LEVELS)));
    wire.publish(&requests, &deep.without(Property::UserId)).await;
    wire.close().await;
    let broker = world.broker();
    until_dead(&broker, 1).await;
    let letter = dead::list(&broker, 1).await.unwrap().remove(0);
    assert_eq!(
        (letter.reason.as_str(), letter.worker.as_str()),
        ("unidentified", "code_generation")
    );
    broker.close().await;
    world.register("acme", "ada", "+12025550123", None).await;
    assert_eq!(world.login("acme", "ada", "after").await["outcome"], "open");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r110_a_thousand_broken_messages_end_in_outcomes_or_dead_letters_and_delay_no_login() {
    const WANTED: usize = 1000;
    const PORTION: usize = 25;
    let mut compared = Compared::start().await;
    // A login waits for those of the same member before it: that is no harm, so each has its own.
    for number in 0..PORTION {
        let phone = format!("+1202555{:04}", 200 + number);
        compared.world.register("acme", &format!("p{number}"), &phone, None).await;
    }
    let requests = format!("{}.requests", compared.world.topology.prefix);
    let (mut dead_wanted, mut done_wanted) = (BTreeMap::<String, usize>::new(), 0);
    let good = login("login", "ada");
    let kinds = kinds(&good);
    assert!(kinds.len() >= 60, "{}", kinds.len());
    let messages: Vec<_> = kinds.iter().cycle().take(WANTED).collect();
    for portion in messages.chunks(PORTION) {
        let member = compared.member().await;
        let mut wire = Wire::connect(&setting("STEPUP_DEMO_AMQP_URL")).await;
        for (number, (_, end, broken)) in portion.iter().enumerate() {
            let id = short(format!("{member}-{number}").as_bytes());
            let mut broken = broken.clone();
            if broken.properties.contains(&(Property::MessageId, short(b"login"))) {
                broken = broken.with(Property::MessageId, id);
            }
            if broken.body == good.body {
                broken.body = login("", &format!("p{number}")).body;
            }
            wire.publish(&requests, &broken).await;
            match end {
                End::Dead(reason) => *dead_wanted.entry((*reason).to_owned()).or_default() += 1,
                End::Done => done_wanted += 1,
            }
        }
        compared.login(&member).await;
        wire.close().await;
    }
    println!("{WANTED} messages, {} kinds", kinds.len());
    done_wanted += compared.logins;
    let world = compared.assert_no_delay().await;
    let done = "SELECT count(*) FROM inbox WHERE worker = 'code_generation' AND reply IS NOT NULL";
    world.until(done, done_wanted as i64, PATIENCE).await;
    let broker = world.broker();
    until_dead(&broker, dead_wanted.values().sum()).await;
    let mut dead_found = BTreeMap::<String, usize>::new();
    for letter in dead::list(&broker, WANTED).await.unwrap() {
        *dead_found.entry(letter.reason).or_default() += 1;
    }
    assert_eq!(dead_found, dead_wanted);
    broker.close().await;
    assert_eq!(sessions_ended(&world).await, "");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r110_a_good_login_right_behind_unreadable_ones_waits_for_none_of_them() {
    const UNREADABLE: usize = 20;
    let mut compared = Compared::start().await;
    let requests = format!("{}.requests", compared.world.topology.prefix);
    let latin_1 = short(b"caf\xe9");
    let header = long(&entry(b"caf\xe9", b"V"));
    for (name, property, value) in [
        ("message-id", Property::MessageId, latin_1.clone()),
        ("correlation-id", Property::CorrelationId, latin_1),
        ("header", Property::Headers, header),
    ] {
        let member = compared.member().await;
        let mut wire = Wire::connect(&setting("STEPUP_DEMO_AMQP_URL")).await;
        for number in 0..UNREADABLE {
            let unreadable =
                login(&format!("{name}-{number}"), "ada").with(property, value.clone());
            wire.publish(&requests, &unreadable).await;
        }
        wire.close().await;
        compared.login(&member).await;
        println!("behind {UNREADABLE} with an unreadable {name}: {:?}", compared.slowest);
    }
    let world = compared.assert_no_delay().await;
    assert_eq!(sessions_ended(&world).await, "");
    sends_go_out_together(&world).await;
    world.end().await;
}

/// Ten SMS to a carrier that takes two seconds each are handed to it at once, not one by one.
async fn sends_go_out_together(world: &World) {
    const SECONDS: u64 = 2;
    let phone = |number: usize| format!("+1202555{:04}", 150 + number);
    for number in 0..10 {
        world.register("acme", &format!("s{number}"), &phone(number), None).await;
        world.fault(&phone(number), json!({ "fault": "slow", "seconds": SECONDS })).await;
    }
    let started = Instant::now();
    let logins = (0..10).map(async |number| {
        let member = format!("s{number}");
        assert_eq!(world.login("acme", &member, &member).await["outcome"], "open");
        world.code(&format!("/phones/{}", phone(number)), 0).await;
    });
    join_all(logins).await;
    let took = started.elapsed();
    println!("ten sends of {SECONDS} s each: {took:?}");
    // One by one they would take twenty seconds, and two by two ten.
    assert!(took < Duration::from_secs(5 * SECONDS), "{took:?}");
}
