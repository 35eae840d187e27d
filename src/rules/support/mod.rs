//! Resets of a lost factor by two people at support.

pub mod decide;
