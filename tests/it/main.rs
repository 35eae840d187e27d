//! One test binary: architecture, the broker floor, and the whole product as processes.

mod architecture;
mod broker;
mod flows;
mod kills;
mod support;
