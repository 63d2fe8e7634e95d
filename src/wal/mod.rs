//! The write-ahead log: one segmented file sequence a node, shared by all its groups.

pub mod fs;
