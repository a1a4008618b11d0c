//! The parts of the simulation of several agents.

pub(crate) mod agent;
pub(crate) mod journal;
pub(crate) mod run;
