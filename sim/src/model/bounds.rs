//! How much may happen: what makes the model finite.

/// The bounds of an exploration. All orders of everything within them are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct Bounds {
    /// Nodes, all of them voters.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub nodes: u8,
    /// The last term that an election may begin.
    #[arg(long, default_value_t = 3)]
    pub terms: u8,
    /// Elections that nodes may begin, in all.
    #[arg(long, default_value_t = 3)]
    pub campaigns: u8,
    /// Whether the messages of a pre-vote are messages like all others. If not, a pre-vote is one step of the node and of
    /// one other that it reaches: only the election itself can be delayed or repeated.
    #[arg(long)]
    pub pre_votes: bool,
    /// Commands that clients propose.
    #[arg(long, default_value_t = 2)]
    pub proposals: u8,
    /// Commands that one leader takes.
    #[arg(long, default_value_t = 1)]
    pub proposals_each: u8,
    /// Crashes of each node.
    #[arg(long, default_value_t = 1)]
    pub crashes: u8,
    /// Crashes in all.
    #[arg(long, default_value_t = 255)]
    pub crashes_total: u8,
    /// Whether also a follower crashes that has nothing to lose but what it knows of leader and commit index.
    #[arg(long)]
    pub idle_crashes: bool,
    /// Messages under way at any time: a further one makes the oldest one lost.
    #[arg(long, default_value_t = 2)]
    pub messages: usize,
    /// Writes of a node that are under way at once: with so many it takes in nothing until one is on disk.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub writes: u8,
    /// Times that a leader makes itself heard while idle.
    #[arg(long, default_value_t = 0)]
    pub heartbeats: u8,
    /// Times that a leader hears nobody and steps down.
    #[arg(long, default_value_t = 0)]
    pub step_downs: u8,
    /// Linearizable reads.
    #[arg(long, default_value_t = 0)]
    pub reads: u8,
    /// Writes that take long though nobody could tell, so that other things happen to the node meanwhile.
    #[arg(long, default_value_t = 0)]
    pub slow_writes: u8,
    /// Whether requests of a term that the receiver has left behind still arrive, for the sake of their rejection.
    #[arg(long)]
    pub outdated: bool,
}
