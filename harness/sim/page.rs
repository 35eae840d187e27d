//! The page for the demo's visitor: the latest messages of phones and mailboxes.

use std::sync::Arc;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    ledger::{Channel, Content, Record},
    problem::code,
};

const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>stepup-harness sim</title>
<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="2">
<style>
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{max-width:64rem;margin:0 auto;padding:1rem}
main{display:grid;grid-template-columns:repeat(auto-fit,minmax(18rem,1fr));gap:2rem}
section>section{border:1px solid #8886;border-radius:.75rem;padding:0 1rem 1rem;margin-bottom:1rem}
h3{overflow-wrap:anywhere;margin:.75rem 0}
article{background:#8882;border-radius:.5rem;padding:.5rem .75rem;margin-top:.5rem}
article p{white-space:pre-wrap;overflow-wrap:anywhere;margin:0}
time{font-size:.8rem;opacity:.7}
strong{float:right;font-size:1.25rem;letter-spacing:.1em}
</style></head><body>
<h1>Phones and mailboxes of the simulator</h1>
<p>Nothing here reached a real phone or mailbox. The newest message is first.</p>
<main>
"#;

/// The page that shows `latest`, newest first.
pub(super) fn render(latest: &[Arc<Record>]) -> String {
    let mut html = String::from(HEAD);
    for (channel, title) in [(Channel::Sms, "Phones"), (Channel::Email, "Mailboxes")] {
        html.push_str(&format!("<section><h2>{title}</h2>\n"));
        let inboxes = by_recipient(latest, channel);
        if inboxes.is_empty() {
            html.push_str("<p>No messages yet.</p>\n");
        }
        for (recipient, messages) in inboxes {
            html.push_str(&format!("<section><h3>{}</h3>\n", escape(recipient)));
            messages.into_iter().for_each(|message| article(&mut html, message));
            html.push_str("</section>\n");
        }
        html.push_str("</section>\n");
    }
    html.push_str("</main></body></html>\n");
    html
}

/// The recipients in the order of their newest messages, each with its messages.
fn by_recipient(latest: &[Arc<Record>], channel: Channel) -> Vec<(&str, Vec<&Record>)> {
    let mut inboxes: Vec<(&str, Vec<&Record>)> = Vec::new();
    for record in latest.iter().filter(|record| record.entry.channel == channel) {
        let recipient = record.entry.to.as_deref().unwrap_or_default();
        match inboxes.iter_mut().find(|(name, _)| *name == recipient) {
            Some((_, messages)) => messages.push(record),
            None => inboxes.push((recipient, vec![record])),
        }
    }
    inboxes
}

fn article(html: &mut String, record: &Record) {
    let Content { from, subject, text, .. } = record.content.clone().unwrap_or_default();
    html.push_str("<article>");
    if let Some(code) = code(&text) {
        html.push_str(&format!("<strong>{}</strong>", escape(code)));
    }
    let second = record.entry.at.truncate_to_second();
    html.push_str(&format!("<time>{}</time>\n", rfc3339(second)));
    if let Some(subject) = subject {
        let from = from.unwrap_or_default();
        html.push_str(&format!("<h4>{} &lt;{}&gt;</h4>", escape(&subject), escape(&from)));
    }
    html.push_str(&format!("<p>{}</p></article>\n", escape(text.trim_end())));
}

/// A point in time as the API and the page write it.
pub(super) fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use time::OffsetDateTime;

    use super::{Channel, Content, Record, render};

    #[test]
    fn what_a_message_contains_is_shown_but_never_markup() {
        let mut record = Record::new(Channel::Email, OffsetDateTime::UNIX_EPOCH);
        record.entry.to = Some("<b>@example.org".into());
        record.content = Some(Content {
            from: Some("shop@example.org".into()),
            to: None,
            subject: Some("<script>'\"".into()),
            text: "a & b\n@shop.example #<i>".into(),
        });
        let html = render(&[Arc::new(record)]);
        assert!(html.contains("&lt;b&gt;@example.org") && html.contains("a &amp; b"), "{html}");
        assert!(html.contains("&lt;script&gt;&#39;&quot;"), "{html}");
        assert!(!html.contains("<script") && !html.contains("<b>") && !html.contains("<i>"));
    }
}
