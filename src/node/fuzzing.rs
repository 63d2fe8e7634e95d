//! What must hold of a node's identity file, of configurations, of what is forwarded, and of a core whose peers say anything.

pub(crate) mod forward;
pub(crate) mod membership;
pub(crate) mod identity;
pub(crate) mod peers;
