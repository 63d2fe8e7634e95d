//! The pages: self-contained, so that they can be kept and sent, and are the same in ten years.

mod chart;
mod compare;
mod page;
mod plot;
mod report;

pub(super) use compare::compare;
pub(super) use report::report;
