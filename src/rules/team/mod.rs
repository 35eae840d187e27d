//! What admins ask for a team.

pub mod batch;
pub mod decide;
pub mod mandate;
pub mod review;
pub mod role;
