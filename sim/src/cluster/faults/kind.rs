//! The kinds of faults, by the names under which they are drawn, counted and shown.

/// Where a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// Links and connections.
    Network,
    /// A disk.
    Disk,
    /// A process, its machine or its clock.
    Node,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $name:literal, $area:ident;)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &[Kind] = &[$(Kind::$kind),*];

            /// Its name in counters, traces and reports.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$kind => $name,)*
                }
            }

            /// Where it strikes.
            pub fn area(self) -> Area {
                match self {
                    $(Kind::$kind => Area::$area,)*
                }
            }
        }
    };
}

impl Kind {
    /// Whether this kind means anything in a cluster of so many nodes. Damage needs a minority to strike.
    pub fn is_possible(self, nodes: u64) -> bool {
        match self {
            Kind::Rot | Kind::Misdirected | Kind::Wiped | Kind::Removed => nodes > 2,
            Kind::ClientCut | Kind::Reset | Kind::SlowLink => true,
            Kind::Blackout => nodes > 1,
            kind => nodes > 1 || kind.area() != Area::Network,
        }
    }

    /// Whether what it does to a node is for ever.
    pub fn is_damage(self) -> bool {
        matches!(self, Kind::Rot | Kind::Misdirected | Kind::Wiped | Kind::Removed)
    }
}

kinds! {
    /// A node is cut off from all other nodes.
    Isolation, "isolation", Network;
    /// The nodes are cut into two parts.
    Split, "split", Network;
    /// Some links between nodes are cut, so that who reaches whom is not the same for all (H31).
    PartialCut, "partial cut", Network;
    /// What one node sends to another is lost, and not the other way round.
    OneWayCut, "one-way cut", Network;
    /// A node is cut off from the clients.
    ClientCut, "client cut", Network;
    /// Open connections are reset.
    Reset, "reset", Network;
    /// A link is slow.
    SlowLink, "slow link", Network;
    /// A node crashes and its disk loses what was not synced.
    Crash, "crash", Node;
    /// Several nodes crash at the same instant.
    Blackout, "blackout", Node;
    /// A node is asked to stop, does so, and starts again.
    Stop, "stop", Node;
    /// A node is frozen.
    Pause, "pause", Node;
    /// A node's clock runs at another rate.
    ClockRate, "clock rate", Node;
    /// A node's wall clock is set.
    WallStep, "wall step", Node;
    /// The power goes in the middle of a write, and what was not synced is lost, in whole or in part.
    TornWrite, "torn write", Disk;
    /// One disk call fails.
    DiskError, "disk error", Disk;
    /// No more bytes fit on a disk.
    DiskFull, "disk full", Disk;
    /// A disk does not come back from a call.
    DiskHang, "disk hang", Disk;
    /// A disk comes back from one call very late.
    LateSync, "late sync", Disk;
    /// A disk is slow.
    SlowDisk, "slow disk", Disk;
    /// Bytes that were synced change.
    Rot, "rot", Disk;
    /// A write lands in another place, and the power goes.
    Misdirected, "misdirected write", Disk;
    /// A disk is replaced by an empty one.
    Wiped, "wiped disk", Disk;
    /// A sound member is removed from the group, and another node is to take its place.
    Removed, "removed member", Node;
}
