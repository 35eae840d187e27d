//! Whether anything is in flight, told from the database alone: every message that a pass causes
//! stands in an inbox row until its own consumer has a row for it, and what is due is an open
//! challenge. This sees what the broker's counts do not: unacked messages, provider calls under way,
//! and what waits in a retry queue.

use stepup::domain::id::derived;
use tokio_postgres::{Client, Error};
use uuid::Uuid;

/// Messages that were caused, and that their consumer has not settled.
const CAUSED: &str = "
    SELECT m.id, m.key FROM inbox i,
        json_to_recordset(i.caused::json) AS m(id uuid, exchange text, key text)
    WHERE i.caused IS NOT NULL AND CASE
        WHEN m.exchange = 'events' THEN
            NOT EXISTS (SELECT FROM trail t WHERE t.event = m.id)
            OR ((m.key LIKE '%.member.phone_changed' OR m.key LIKE '%.member.number_owned'
                OR m.key LIKE '%.factor.enabled' OR m.key LIKE '%.factor.disabled'
                OR m.key LIKE '%.factor.reset' OR m.key LIKE '%.reset.approved')
                AND NOT EXISTS (SELECT FROM inbox n WHERE n.message = m.id))
        ELSE NOT EXISTS (SELECT FROM inbox n WHERE n.message = m.id) END
    LIMIT 5";

/// Challenges whose time is over, and what still has to come of it.
const DUE: &str = "
    SELECT id, 'expiry' FROM challenge WHERE state = 'open' AND expires_at <= stepup_now()
    UNION ALL
    SELECT id, 'fallback' FROM challenge WHERE state = 'open' AND email_index IS NOT NULL
        AND fallback_at <= stepup_now() AND expires_at > stepup_now()
    UNION ALL
    SELECT id, 'send' FROM challenge WHERE state = 'open'
        AND send_at <= stepup_now() AND expires_at > stepup_now()
    UNION ALL
    SELECT id, 'reset' FROM reset WHERE state = 'approved' AND due_at <= stepup_now()";

const HANDLED: &str = "SELECT count(*) FROM inbox WHERE message = $1";

/// What is still in flight, if anything. What the test itself has asked for counts as handled once
/// it was answered.
pub(super) async fn in_flight(client: Client) -> Result<Option<String>, Error> {
    for row in client.query(DUE, &[]).await? {
        let (challenge, timer): (Uuid, &str) = (row.get(0), row.get(1));
        let command = derived(challenge, &format!("timer/{timer}"));
        let handled: i64 = client.query_one(HANDLED, &[&command]).await?.get(0);
        // An expiry that was handled leaves nothing open.
        if handled == 0 {
            return Ok(Some(format!("the {timer} of challenge {challenge} is due")));
        }
    }
    let caused = client.query(CAUSED, &[]).await?;
    let waiting: Vec<String> = caused
        .iter()
        .map(|row| format!("{} {}", row.get::<_, &str>(1), row.get::<_, Uuid>(0)))
        .collect();
    Ok((!waiting.is_empty()).then(|| format!("not settled: {}", waiting.join(", "))))
}
