//! `stepup topology`.

use stepup::broker::topology;
use stepup::config::Need;

use crate::cli::connect::{broker, configured};
use crate::cli::output::print;

/// Declares or checks the topology.
///
/// # Errors
/// When the broker is away, or the check finds a deviation.
pub async fn topology(check: bool) -> Result<(), String> {
    let config = configured(&[Need::Broker])?;
    let broker = broker(&config, "stepup-topology")?;
    if !check {
        topology::declare(&broker).await.map_err(|fault| fault.to_string())?;
        print("declared");
        return Ok(());
    }
    let deviations = topology::check(&broker).await.map_err(|fault| fault.to_string())?;
    if deviations.is_empty() {
        print(
            "as it should be: every exchange and queue, with its arguments. Bindings cannot be asked \
             for over AMQP: run `stepup topology`, which declares all of them, if one may be missing",
        );
        return Ok(());
    }
    Err(format!(
        "{}\nRun `stepup topology`, which declares what is missing. What has other arguments it cannot \
         change: let the queue run empty and delete it before",
        deviations.join("\n")
    ))
}
