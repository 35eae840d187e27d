//! The queues with a worker: what is routed to each.

use crate::message::Exchange;

/// A queue with a worker, and what is routed to it.
pub struct WorkQueue {
    /// `<worker>.<lane>`. A lane keeps logins from waiting behind bulk.
    pub name: &'static str,
    /// From which exchange, by which keys.
    pub routes: &'static [(Exchange, &'static [&'static str])],
}

impl WorkQueue {
    /// Whether apps publish to it.
    pub fn takes_requests(&self) -> bool {
        self.routes.iter().any(|(exchange, _)| *exchange == Exchange::Requests)
    }
}

/// Who gets what. Each queue is also bound to `home` with its full name.
pub const WORK_QUEUES: [WorkQueue; 14] = [
    WorkQueue {
        name: "code_generation.login",
        routes: &[(
            Exchange::Requests,
            &["challenge.issue", "challenge.resend", "challenge.cancel"],
        )],
    },
    WorkQueue {
        name: "code_generation.bulk",
        routes: &[(Exchange::Commands, &["challenge.expire", "challenge.abandon"])],
    },
    WorkQueue {
        name: "verification.login",
        routes: &[(Exchange::Requests, &["challenge.verify"])],
    },
    WorkQueue {
        name: "directory.settings",
        routes: &[(
            Exchange::Requests,
            &["directory.account", "directory.owned_numbers", "directory.member"],
        )],
    },
    WorkQueue {
        name: "settings.settings",
        routes: &[(
            Exchange::Requests,
            &[
                "enrolment.start",
                "enrolment.send",
                "number.change",
                "factor.disable",
                "email_backup.set",
                "email.prove",
                "email.confirm",
                "settings.change.request",
                "settings.change.redeem",
            ],
        )],
    },
    WorkQueue {
        name: "team.settings",
        routes: &[(
            Exchange::Requests,
            &[
                "team.review",
                "team.mandate.enable",
                "team.mandate.disable",
                "team.member.enable",
                "team.member.disable",
            ],
        )],
    },
    WorkQueue {
        name: "team_batch.bulk",
        routes: &[(Exchange::Commands, &["review.check", "mandate.apply"])],
    },
    WorkQueue {
        name: "support.settings",
        routes: &[
            (
                Exchange::Requests,
                &["support.reset.request", "support.reset.approve", "support.reset.cancel"],
            ),
            (Exchange::Commands, &["reset.carry_out"]),
        ],
    },
    WorkQueue { name: "sms_delivery.login", routes: &[(Exchange::Commands, &["sms.send"])] },
    WorkQueue { name: "email_fallback.login", routes: &[(Exchange::Commands, &["email.send"])] },
    WorkQueue {
        name: "notice_delivery.notices",
        routes: &[(Exchange::Commands, &["notice.send"])],
    },
    WorkQueue { name: "audit.bulk", routes: &[(Exchange::Events, &["#"])] },
    WorkQueue {
        name: "notification.notices",
        routes: &[(
            Exchange::Events,
            &[
                "*.member.phone_changed",
                "*.member.number_owned",
                "*.factor.enabled",
                "*.factor.disabled",
                "*.factor.reset",
                "*.reset.approved",
            ],
        )],
    },
    WorkQueue { name: UNROUTABLE, routes: &[] },
];

/// Requests with a key nobody knows. A worker dead-letters them with a reason, which the broker
/// itself could not give.
pub const UNROUTABLE: &str = "unroutable.bulk";

/// The queue that a key of a direct exchange is routed to, without the prefix.
pub fn home_queue(exchange: Exchange, key: &str) -> Option<&'static str> {
    WORK_QUEUES
        .iter()
        .find(|queue| {
            queue.routes.iter().any(|(from, keys)| {
                *from == exchange && exchange != Exchange::Events && keys.contains(&key)
            })
        })
        .map(|queue| queue.name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_key_of_a_direct_exchange_has_one_queue() {
        let mut seen = HashSet::new();
        for queue in &WORK_QUEUES {
            for (exchange, keys) in queue.routes {
                for key in keys.iter().filter(|_| *exchange != Exchange::Events) {
                    assert!(seen.insert((*exchange, *key)), "{key} twice");
                    assert_eq!(home_queue(*exchange, key), Some(queue.name));
                }
            }
        }
    }

    #[test]
    fn r111_what_a_login_needs_waits_behind_nothing_else() {
        const LOGIN: &[(Exchange, &str)] = &[
            (Exchange::Requests, "challenge.issue"),
            (Exchange::Requests, "challenge.resend"),
            (Exchange::Requests, "challenge.cancel"),
            (Exchange::Requests, "challenge.verify"),
            (Exchange::Commands, "sms.send"),
            (Exchange::Commands, "email.send"),
        ];
        for queue in &WORK_QUEUES {
            let is_login = queue.name.ends_with(".login");
            for (exchange, keys) in queue.routes {
                for key in *keys {
                    assert_eq!(LOGIN.contains(&(*exchange, key)), is_login, "{} {key}", queue.name);
                }
            }
        }
    }

    #[test]
    fn an_event_and_an_unknown_key_have_no_home() {
        assert_eq!(home_queue(Exchange::Events, "#"), None);
        assert_eq!(home_queue(Exchange::Commands, "challenge.issue"), None);
    }
}
