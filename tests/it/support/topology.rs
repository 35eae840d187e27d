//! A prefix on the broker of one's own.

use stepup::broker::{Broker, BrokerSettings, topology};

use super::{block_on, setting};

/// Whatever is declared under the prefix goes with it.
pub struct Topology {
    pub prefix: String,
}

impl Topology {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// A handle on the broker under this prefix, as another process would have it.
    pub fn connect(&self, url: &str) -> Broker {
        let settings = BrokerSettings {
            url: url.to_owned(),
            prefix: self.prefix.clone(),
            connection_name: "stepup test".to_owned(),
            ca_file: None,
        };
        Broker::new(settings).unwrap()
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        block_on(async {
            let broker = self.connect(&setting("STEPUP_AMQP_URL"));
            // What cannot be deleted goes with `make down`.
            let _ = topology::delete(&broker).await;
            broker.close().await;
        });
    }
}
