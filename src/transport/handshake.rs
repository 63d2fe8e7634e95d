//! The handshake: who is talking to whom, in the first metadata of both halves of a call.
//!
//! ```text
//! dialer -> server   quorate-wire, quorate-cluster, quorate-from, quorate-incarnation, quorate-to, quorate-peer
//! server -> dialer   quorate-wire, quorate-cluster, quorate-from, quorate-incarnation
//!             or     a failed status with quorate-refused: one of the names in [`Reason`]
//! ```
//!
//! Numbers are decimal, cluster and incarnation 16 hexadecimal digits; quorate-peer is the address `host:port` at which
//! the dialer can be dialed. Each side checks the other before a single message passes: the wire version, then the
//! cluster, then that the node is the one that was meant and everything else is well formed, and at last (`admit`, see
//! `roster`) whether this node, with this data directory, may talk to us. The order matters: only a node of the same
//! cluster that was addressed on purpose may teach us its incarnation and its address.

use std::fmt;
use std::str::FromStr;

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::types::{ClusterId, Incarnation, NodeId};

use super::Identity;

/// The version of the peer protocol. Both ends must have the same one.
pub(super) const WIRE_VERSION: u32 = 3;

const WIRE: &str = "quorate-wire";
const CLUSTER: &str = "quorate-cluster";
const FROM: &str = "quorate-from";
const INCARNATION: &str = "quorate-incarnation";
const TO: &str = "quorate-to";
const PEER: &str = "quorate-peer";
const REFUSED: &str = "quorate-refused";

/// The longest address: the longest DNS name, a colon and a port.
const ADDRESS_BYTES_MAX: usize = 259;

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Something is missing or is not what it should be.
    Malformed,
    /// The other side speaks another version of the protocol.
    Wire,
    /// The other side belongs to another cluster.
    Cluster,
    /// The dialer wants to talk to another node than the one it reached.
    To,
    /// The node under this id has another data directory than the one first met, or may not take part.
    Incarnation,
    /// The other side is no member, as far as this node knows, and there is no room for it as a guest.
    Stranger,
    /// The other side was a member and was removed.
    Removed,
    /// This side cannot take part itself.
    Unable,
}

impl Reason {
    pub(super) const ALL: [Reason; 8] = [
        Reason::Malformed,
        Reason::Wire,
        Reason::Cluster,
        Reason::To,
        Reason::Incarnation,
        Reason::Stranger,
        Reason::Removed,
        Reason::Unable,
    ];

    fn name(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::Wire => "wire",
            Reason::Cluster => "cluster",
            Reason::To => "to",
            Reason::Incarnation => "incarnation",
            Reason::Stranger => "stranger",
            Reason::Removed => "removed",
            Reason::Unable => "unable",
        }
    }
}

/// A failed check, with a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub reason: Reason,
    pub text: String,
}

impl Refusal {
    pub fn new(reason: Reason, text: impl Into<String>) -> Refusal {
        Refusal { reason, text: text.into() }
    }

    /// The status that tells the dialer.
    pub fn to_status(&self) -> Status {
        let mut metadata = MetadataMap::new();
        metadata.insert(REFUSED, MetadataValue::from_static(self.reason.name()));
        Status::with_metadata(Code::FailedPrecondition, self.text.clone(), metadata)
    }

    /// The refusal in a status, if it is one.
    pub fn from_status(status: &Status) -> Option<Refusal> {
        let name = status.metadata().get(REFUSED)?.to_str().ok()?;
        let reason = Reason::ALL.into_iter().find(|reason| reason.name() == name)?;
        Some(Refusal::new(reason, status.message()))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

/// A dialer, as it introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Introduced {
    /// Its id.
    pub node: NodeId,
    /// Its data directory.
    pub incarnation: Incarnation,
    /// Where it can be dialed.
    pub address: String,
}

/// Writes the dialer's half. `address` is its own.
pub(super) fn introduce(identity: &Identity, address: &str, to: NodeId, metadata: &mut MetadataMap) {
    answer(identity, metadata);
    insert(metadata, TO, &to.to_string());
    insert(metadata, PEER, address);
}

/// Whether this is an address that a node can introduce itself with.
pub(super) fn is_address(text: &str) -> bool {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    text.len() <= ADDRESS_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// Writes the server's half.
pub(super) fn answer(identity: &Identity, metadata: &mut MetadataMap) {
    insert(metadata, WIRE, &WIRE_VERSION.to_string());
    insert(metadata, CLUSTER, &format!("{:016x}", identity.cluster.0));
    insert(metadata, FROM, &identity.node.to_string());
    insert(metadata, INCARNATION, &format!("{:016x}", identity.incarnation.0));
}

fn insert(metadata: &mut MetadataMap, key: &'static str, value: &str) {
    let value = MetadataValue::<Ascii>::try_from(value).expect("digits and addresses are valid metadata");
    metadata.insert(key, value);
}

/// Checks the dialer's half; who it is, if it is welcome.
pub(super) fn check_dialer(
    identity: &Identity,
    admit: impl FnOnce(&Introduced) -> Result<(), Refusal>,
    metadata: &MetadataMap,
) -> Result<Introduced, Refusal> {
    let node = check_common(identity, metadata)?;
    let to: u64 = decimal(metadata, TO)?;
    if to != identity.node.0 {
        let text = format!("this is node {}, not node {to}: check the peer addresses", identity.node);
        return Err(Refusal::new(Reason::To, text));
    }
    if node.0 == 0 || node == identity.node {
        let text = format!("node {} was reached by a node that calls itself node {node}", identity.node);
        return Err(Refusal::new(Reason::Malformed, text));
    }
    let address = text(metadata, PEER)?.to_owned();
    if !is_address(&address) {
        let text = format!("the handshake's {PEER} is no address of the form HOST:PORT");
        return Err(Refusal::new(Reason::Malformed, text));
    }
    let incarnation = Incarnation(hexadecimal(metadata, INCARNATION)?);
    let introduced = Introduced { node, incarnation, address };
    admit(&introduced)?;
    Ok(introduced)
}

/// Checks the server's half; its data directory, if it is `peer` and welcome.
pub(super) fn check_server(
    identity: &Identity,
    peer: NodeId,
    admit: impl FnOnce(Incarnation) -> Result<(), Refusal>,
    metadata: &MetadataMap,
) -> Result<Incarnation, Refusal> {
    let from = check_common(identity, metadata)?;
    if from != peer {
        return Err(Refusal::new(Reason::To, format!("this is node {from}, not node {peer}")));
    }
    let incarnation = Incarnation(hexadecimal(metadata, INCARNATION)?);
    admit(incarnation)?;
    Ok(incarnation)
}

fn check_common(identity: &Identity, metadata: &MetadataMap) -> Result<NodeId, Refusal> {
    let wire: u32 = decimal(metadata, WIRE)?;
    if wire != WIRE_VERSION {
        let text = format!("peer protocol version {wire} met version {WIRE_VERSION}");
        return Err(Refusal::new(Reason::Wire, text));
    }
    let cluster = ClusterId(hexadecimal(metadata, CLUSTER)?);
    if cluster != identity.cluster {
        let text = format!(
            "node {} belongs to cluster {:016x}, not to {:016x}: the clusters differ in token or members",
            identity.node, identity.cluster.0, cluster.0
        );
        return Err(Refusal::new(Reason::Cluster, text));
    }
    decimal(metadata, FROM).map(NodeId)
}

fn text<'a>(metadata: &'a MetadataMap, key: &'static str) -> Result<&'a str, Refusal> {
    let value = metadata.get(key).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| Refusal::new(Reason::Malformed, format!("the handshake has no {key}")))
}

fn decimal<T: FromStr>(metadata: &MetadataMap, key: &'static str) -> Result<T, Refusal> {
    let number = text(metadata, key)?.parse().ok();
    number.ok_or_else(|| Refusal::new(Reason::Malformed, format!("the handshake's {key} is no number")))
}

fn hexadecimal(metadata: &MetadataMap, key: &'static str) -> Result<u64, Refusal> {
    let digits = text(metadata, key)?;
    let number = Some(digits).filter(|digits| digits.len() == 16);
    let number = number.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.ok_or_else(|| {
        Refusal::new(Reason::Malformed, format!("the handshake's {key} is not 16 hexadecimal digits"))
    })
}
