//! What tries and measures stepup: a simulated carrier and mail server, a load generator, the bare paths
//! that its figures are compared with, and the demo. Nothing of it is part of the product.

pub mod bare;
pub mod demo;
pub mod load;
pub mod sim;
