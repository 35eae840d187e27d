//! Messages that are broken in one way each, and what has to become of them. All of them are such that
//! RabbitMQ takes them from an app.

use crate::support::wire::{Property, Raw, entry, long, short};

/// What becomes of a message.
#[derive(Clone, Copy)]
pub enum End {
    /// It is carried out: what is broken in it is none of our business.
    Done,
    /// It is a dead letter with this reason.
    Dead(&'static str),
}

const MALFORMED: End = End::Dead("malformed");
const UNIDENTIFIED: End = End::Dead("unidentified");

/// Bytes that are not UTF-8, each in another way.
const NOT_UTF8: &[(&str, &[u8])] = &[
    ("latin 1", b"caf\xe9"),
    ("a lone byte", b"\xff"),
    ("a broken sequence", b"caf\xe2\x82"),
    ("a form that is too long", b"\xc0\xaf"),
    ("half of a pair", b"\xed\xa0\x80"),
    ("beyond the last character", b"\xf4\x90\x80\x80"),
    ("255 of them", &[0xfe; 255]),
    ("the last of 255 bytes", &{
        let mut text = [b'a'; 255];
        text[254] = 0x80;
        text
    }),
];

/// A value of each type that RabbitMQ knows, with the letter of its type.
const VALUES: &[(&str, &[u8])] = &[
    ("boolean", b"t\x07"),
    ("byte", b"b\x80"),
    ("unsigned byte", b"B\xff"),
    ("short", b"s\x80\x00"),
    ("unsigned short", b"u\xff\xff"),
    ("int", b"I\x80\x00\x00\x00"),
    ("unsigned int", b"i\xff\xff\xff\xff"),
    ("long", b"l\x80\x00\x00\x00\x00\x00\x00\x00"),
    ("long by its other letter", b"L\xff\xff\xff\xff\xff\xff\xff\xff"),
    ("float", b"f\x00\x00\x00\x01"),
    ("double", b"d\x00\x00\x00\x00\x00\x00\x00\x01"),
    ("decimal", b"D\xff\xff\xff\xff\xff"),
    ("timestamp", b"T\xff\xff\xff\xff\xff\xff\xff\xff"),
    ("void", b"V"),
    ("bytes", b"x\x00\x00\x00\x02\xff\xfe"),
    ("text", b"S\x00\x00\x00\x02\xff\xfe"),
    ("array", b"A\x00\x00\x00\x02VV"),
    ("table", b"F\x00\x00\x00\x04\x02\xff\xfeV"),
];

/// What we write on our own messages, and the broker on those that it has given back.
const OUR_HEADERS: &[&str] = &[
    "x-stepup-key",
    "x-stepup-app",
    "x-stepup-user",
    "x-stepup-attempt",
    "x-stepup-first-seen",
    "x-delivery-count",
    "x-death",
    "traceparent",
];

const BODIES: &[(&str, &[u8])] = &[
    ("empty", b""),
    ("no JSON", b"challenge please"),
    ("cut off", b"{\"account\":\"acme\""),
    ("latin 1", b"{\"account\":\"caf\xe9\"}"),
    ("a byte order mark", b"\xef\xbb\xbf{}"),
    ("an array", b"[]"),
    ("a number", b"1e999"),
    ("half of a pair", b"{\"account\":\"\\ud800\"}"),
    ("no field", b"{}"),
    ("another version", b"{\"v\":2}"),
    ("a field of another type", b"{\"account\":1,\"member\":[],\"login\":{}}"),
    ("null", b"null"),
    ("zeros", &[0; 64]),
];

/// Each kind by its name, made from a good message.
pub fn kinds(good: &Raw) -> Vec<(String, End, Raw)> {
    let mut kinds = Vec::new();
    let mut add = |name: String, end: End, message: Raw| kinds.push((name, end, message));
    let with = |property, value| good.clone().with(property, value);
    for (how, bytes) in NOT_UTF8 {
        for (property, end) in [
            (Property::MessageId, MALFORMED),
            (Property::CorrelationId, MALFORMED),
            (Property::ReplyTo, End::Done),
            (Property::ContentType, End::Done),
            (Property::ContentEncoding, End::Done),
            (Property::Type, End::Done),
            (Property::AppId, End::Done),
            (Property::ClusterId, End::Done),
        ] {
            add(format!("{property:?}: {how}"), end, with(property, short(bytes)));
        }
        let named = long(&entry(bytes, b"V"));
        add(format!("name of a header: {how}"), End::Done, with(Property::Headers, named));
        let deeper = long(&entry(b"a", &[b"F", &long(&entry(bytes, b"V"))[..]].concat()));
        add(format!("name in a table: {how}"), End::Done, with(Property::Headers, deeper));
        add(
            format!("routing key: {how}"),
            UNIDENTIFIED,
            Raw { key: bytes.to_vec(), ..good.clone() },
        );
    }
    for (what, value) in VALUES {
        let entries = OUR_HEADERS.iter().flat_map(|name| entry(name.as_bytes(), value));
        let headers = long(&entries.collect::<Vec<u8>>());
        add(format!("our headers: {what}"), End::Done, with(Property::Headers, headers));
    }
    let twice = [entry(b"a", b"V"), entry(b"a", b"t\x01")].concat();
    add("a header twice".into(), End::Done, with(Property::Headers, long(&twice)));
    add(
        "a header without a name".into(),
        End::Done,
        with(Property::Headers, long(&entry(b"", b"V"))),
    );
    add("no headers".into(), End::Done, with(Property::Headers, long(b"")));
    add("the last moment".into(), End::Done, with(Property::Timestamp, vec![0xff; 8]));
    add("the highest priority".into(), End::Done, with(Property::Priority, vec![0xff]));
    // A day, in milliseconds.
    add("a time to live".into(), End::Done, with(Property::Expiration, short(b"86400000")));
    add("zeros as an address".into(), End::Done, with(Property::ReplyTo, short(&[0; 255])));
    add("zeros as a name".into(), End::Done, with(Property::CorrelationId, short(&[0; 255])));
    add("no id".into(), MALFORMED, good.clone().without(Property::MessageId));
    add("an empty id".into(), MALFORMED, with(Property::MessageId, short(b"")));
    add("no user".into(), UNIDENTIFIED, good.clone().without(Property::UserId));
    for key in ["", "challenge.isue", "sms.send", "#", "acme.challenge.issued", "CHALLENGE.ISSUE"] {
        add(format!("routing key {key:?}"), UNIDENTIFIED, Raw { key: key.into(), ..good.clone() });
    }
    for (what, body) in BODIES {
        add(format!("body: {what}"), MALFORMED, Raw { body: body.to_vec(), ..good.clone() });
    }
    for (what, body) in [("too long", vec![b' '; 70_000]), ("too deep", vec![b'['; 10_000])] {
        add(format!("body: {what}"), MALFORMED, Raw { body, ..good.clone() });
    }
    kinds
}
