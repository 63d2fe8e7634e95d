//! Commands that change who is in the group and who leads it.

use super::{Args, Script, number};
use crate::raft::{Change, MemberRecord, Membership, Role};
use crate::types::{Incarnation, NodeId};

impl Script {
    /// `change N` and one of `add=ID|any [role=learner] [incarnation=I] [supports=V]`, `promote=ID`, `remove=ID`,
    /// `replace=ID [incarnation=I]`, `version=V`, `lease=MS`; with `force=yes`.
    pub(super) fn change(&mut self, args: &mut Args<'_>) {
        let (id, now) = (args.node(), self.now);
        let force = args.fields.remove("force").is_some_and(|value| value == "yes");
        let change = match args.fields.pop_first().expect("a change") {
            ("add", which) => add(args, which),
            ("promote", which) => Change::Promote(NodeId(number(which))),
            ("remove", which) => Change::Remove(NodeId(number(which))),
            ("replace", which) => match add(args, "any") {
                Change::Add { record, .. } => Change::Replace { id: NodeId(number(which)), record },
                other => panic!("{other:?}"),
            },
            ("version", version) => Change::Version(number(version).try_into().unwrap()),
            ("lease", lease) => Change::Lease(number(lease).try_into().unwrap()),
            other => panic!("unknown change {other:?}"),
        };
        let result = self.node(id).raft().change(now, change, force);
        self.say_proposed(id, &result);
        self.process(id);
    }

    pub(super) fn transfer(&mut self, args: &mut Args<'_>) {
        let (id, now) = (args.node(), self.now);
        let to = args.number("to").map(NodeId);
        match self.node(id).raft().transfer(now, to) {
            Ok(to) => self.say(format!("{id} hands over to {to}")),
            Err(error) => self.say(format!("{id} refuses: {error:?}")),
        }
        self.process(id);
    }

    /// `members N`: the configuration in force, and the committed one where it is another.
    pub(super) fn members(&mut self, args: &mut Args<'_>) {
        let id = args.node();
        let raft = self.node(id).raft();
        let mut line = format!("{id}: {}", describe(raft.membership()));
        if raft.membership() != raft.committed_membership() {
            line += &format!(", committed {}", describe(raft.committed_membership()));
        }
        self.say(line);
    }
}

fn add(args: &mut Args<'_>, which: &str) -> Change {
    let id = (which != "any").then(|| NodeId(number(which)));
    let role = match args.fields.remove("role") {
        None => Role::Joining,
        Some("learner") => Role::Learner,
        Some(other) => panic!("unknown role {other:?}"),
    };
    let incarnation = args.number("incarnation").map(Incarnation);
    let supports = args.number("supports").map_or(0, |version| version.try_into().unwrap());
    let blank =
        Membership::bootstrap([(NodeId(1), "new:7000".to_owned())]).members.remove(&NodeId(1)).unwrap();
    Change::Add { id, record: MemberRecord { role, incarnation, supports, ..blank } }
}

/// `{1 2 3 learner 4 joining 5 leaving 6 / 1 2 6 gone 7}`: voters, the others, the outgoing voters, retired ids.
pub(in crate::raft::tests) fn describe(membership: &Membership) -> String {
    let mut words = Vec::new();
    for (role, name) in [
        (Role::Voter, ""),
        (Role::Learner, "learner "),
        (Role::Joining, "joining "),
        (Role::Leaving, "leaving "),
    ] {
        let members = membership.members.values().filter(|member| member.role == role);
        words.extend(members.map(|member| format!("{name}{}", member.id)));
    }
    if let Some(outgoing) = &membership.outgoing {
        words.push("/".to_owned());
        words.extend(outgoing.iter().map(NodeId::to_string));
    }
    words.extend(membership.retired.iter().map(|id| format!("gone {id}")));
    format!("{{{}}}", words.join(" "))
}
