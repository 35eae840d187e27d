//! What is routed to each queue.

use super::catalogue::requests;
use super::command::COMMANDS;
use super::envelope::Exchange;
use super::event::EventKind;
use super::queue_name::Queue;

/// Which events go to a queue.
enum Events {
    None,
    All,
    Kinds(&'static [EventKind]),
}

impl Queue {
    const fn events(self) -> Events {
        match self {
            Self::AuditBulk => Events::All,
            Self::NotificationNotices => Events::Kinds(&[
                EventKind::PhoneChanged,
                EventKind::NumberOwned,
                EventKind::FactorEnabled,
                EventKind::FactorDisabled,
                EventKind::FactorReset,
                EventKind::ResetApproved,
            ]),
            _ => Events::None,
        }
    }

    /// What is routed to it: from which exchange, by which binding key.
    pub fn bindings(self) -> Vec<(Exchange, String)> {
        let requests = requests().filter(|request| request.queue == self);
        let requests = requests.map(|request| (Exchange::Requests, request.key.to_owned()));
        let commands = COMMANDS.iter().filter(|(_, queue)| *queue == self);
        let commands = commands.map(|(key, _)| (Exchange::Commands, (*key).to_owned()));
        let events: Vec<String> = match self.events() {
            Events::None => Vec::new(),
            Events::All => vec!["#".to_owned()],
            Events::Kinds(kinds) => {
                kinds.iter().map(|kind| format!("*.{}", kind.label())).collect()
            }
        };
        let events = events.into_iter().map(|key| (Exchange::Events, key));
        requests.chain(commands).chain(events).collect()
    }

    /// Whether apps publish to it.
    pub fn takes_requests(self) -> bool {
        requests().any(|request| request.queue == self)
    }

    /// The queue that a key of a direct exchange is routed to.
    pub fn of(exchange: Exchange, key: &str) -> Option<Self> {
        match exchange {
            Exchange::Requests => {
                requests().find(|request| request.key == key).map(|request| request.queue)
            }
            Exchange::Commands => {
                COMMANDS.iter().find(|(command, _)| *command == key).map(|(_, queue)| *queue)
            }
            Exchange::Events => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_direct_exchange_has_one_queue() {
        let mut seen = std::collections::HashSet::new();
        for queue in Queue::ALL {
            for (exchange, key) in queue.bindings() {
                if exchange != Exchange::Events {
                    assert_eq!(Queue::of(exchange, &key), Some(*queue));
                    assert!(seen.insert((exchange, key)));
                }
            }
        }
        assert_eq!(seen.len(), requests().count() + COMMANDS.len());
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
        for queue in Queue::ALL {
            let is_login = queue.label().ends_with(".login");
            for (exchange, key) in queue.bindings() {
                assert_eq!(LOGIN.contains(&(exchange, &key)), is_login, "{queue:?} {key}");
            }
        }
    }

    #[test]
    fn an_event_and_an_unknown_key_have_no_queue() {
        assert_eq!(Queue::of(Exchange::Events, "#"), None);
        assert_eq!(Queue::of(Exchange::Commands, "challenge.issue"), None);
    }
}
