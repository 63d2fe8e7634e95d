//! `quorate status`: every member's own words about itself, in one table.
//!
//! Each node is asked directly, all at once, and one that does not answer is shown so. First the endpoints that were given are
//! asked, which says whose they are; then, under the addresses that they advertise, the members that were not among them:
//! what a member advertises need not be reachable from here, where a given endpoint is.
//!
//! A quorum is what the answers show: a leader among them, and more than half of the voters. That is what was true a
//! moment ago; a `get` says whether it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use serde::Serialize;

use super::super::Failure;
use super::connect::Common;
use super::exit;
use super::output::{Format, Out, Tone};
use super::table::{Cell, Column, Table};
use crate::client::blocking::Client;
use crate::client::{Error, Member, MembersResponse, StatusResponse};

const AFTER_HELP: &str = "\
Examples:
  quorate status
  quorate status -o json | jq -c 'select(.lag > 1000)'
  watch --color quorate status --color always

LAG is how many entries the leader has committed that the node has not applied. STATE and LOG are the sizes of its files,
STORAGE is ample, short or full. In plain the columns are the table's, sizes in bytes, - for what is not known.

Exit codes: 0 there is a quorum, even if a node does not answer; 2 usage; 3 there is none: no leader among the nodes that
answer, or not more than half of the voters do.";

/// Show every node: role, term, lag, size, version
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(in super::super) struct Args {
    #[command(flatten)]
    common: Common,
}

/// A node in the table.
#[derive(Debug, PartialEq)]
struct Node {
    /// Of a member, or of who answered.
    id: Option<u64>,
    address: String,
    is_voter: bool,
    said: Result<StatusResponse, String>,
}

/// All of them, and what they come to.
#[derive(Debug, PartialEq)]
struct View {
    nodes: Vec<Node>,
    leader: Option<u64>,
    commit_index: Option<u64>,
    voters: usize,
    voters_answering: usize,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    args.common.run(Format::Table, |client, out, settled| {
        let members = client.members_stale().map_err(|error| exit::failure(&error))?;
        let given: BTreeSet<String> = settled.endpoints.iter().cloned().collect();
        let mut answers = ask_all(client, &given);
        let answered: BTreeSet<u64> = answers.values().flatten().map(|status| status.id).collect();
        let missing = members.members.iter().filter(|member| !answered.contains(&member.id));
        let missing = missing.map(|member| member.grpc.clone());
        let advertised: BTreeSet<String> =
            missing.filter(|address| !address.is_empty() && !given.contains(address)).collect();
        answers.extend(ask_all(client, &advertised));
        let view = View::of(
            &members,
            &answers.into_iter().map(|(at, said)| (at, said.map_err(|e| e.to_string()))).collect(),
        );
        print(&view, out);
        view.judge()
    })
}

type Answers<E> = BTreeMap<String, Result<StatusResponse, E>>;

/// Asks all of them at once. As many threads as there are addresses is few: a cluster has seven nodes.
fn ask_all(client: &Client, addresses: &BTreeSet<String>) -> Answers<Error> {
    thread::scope(|scope| {
        let ask = |address: &String| {
            let address = address.clone();
            scope.spawn(move || (address.clone(), client.status(&address)))
        };
        let asked: Vec<_> = addresses.iter().map(ask).collect();
        // One that panicked has said so, and has no answer.
        asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

impl View {
    fn of(response: &MembersResponse, answers: &Answers<String>) -> View {
        let mut answered: BTreeMap<u64, (&String, &StatusResponse)> = BTreeMap::new();
        for (address, said) in answers {
            if let Ok(status) = said {
                answered.entry(status.id).or_insert((address, status));
            }
        }
        let mut nodes: Vec<Node> =
            response.members.iter().map(|member| node_of(member, &answered, answers)).collect();
        // Who answers and is no member: it was removed, or belongs to another cluster.
        for (id, (address, status)) in &answered {
            if !response.members.iter().any(|member| member.id == *id) {
                let (address, said) = ((*address).clone(), Ok((*status).clone()));
                nodes.push(Node { id: Some(*id), address, is_voter: false, said });
            }
        }
        // While a member is silent, a given address that is silent is taken for its.
        if nodes.iter().all(|node| node.said.is_ok()) {
            for (address, said) in answers {
                if let Err(error) = said {
                    let (address, said) = (address.clone(), Err(error.clone()));
                    nodes.push(Node { id: None, address, is_voter: false, said });
                }
            }
        }
        let voters = nodes.iter().filter(|node| node.is_voter);
        let leader =
            voters.clone().filter_map(|node| node.said.as_ref().ok()).filter(|said| said.state == "leader");
        // One that was cut off may not know yet that another leads.
        let leader = leader.max_by_key(|said| said.term);
        View {
            leader: leader.map(|said| said.id),
            commit_index: leader.map(|said| said.commit_index),
            voters: voters.clone().count(),
            voters_answering: voters.filter(|node| node.said.is_ok()).count(),
            nodes,
        }
    }

    fn lag(&self, said: &StatusResponse) -> Option<u64> {
        Some(self.commit_index?.saturating_sub(said.applied_index))
    }

    fn has_quorum(&self) -> bool {
        self.leader.is_some() && self.voters_answering > self.voters / 2
    }

    fn summary(&self) -> String {
        let leader = self.leader.map_or("no leader".to_owned(), |id| format!("node {id} leads"));
        format!("{leader}, {} of {} voters answer", self.voters_answering, self.voters)
    }

    fn judge(&self) -> Result<(), Failure> {
        if self.has_quorum() {
            return Ok(());
        }
        Err(Failure::new(exit::UNAVAILABLE, format!("no quorum is seen: {}", self.summary())))
    }
}

/// A member with what it answered, at whichever address.
fn node_of(
    member: &Member,
    answered: &BTreeMap<u64, (&String, &StatusResponse)>,
    answers: &Answers<String>,
) -> Node {
    let (address, said) = match answered.get(&member.id) {
        Some((address, status)) => ((*address).clone(), Ok((*status).clone())),
        None => {
            let said = match answers.get(&member.grpc) {
                Some(Err(error)) => error.clone(),
                Some(Ok(other)) => format!("node {} answers there", other.id),
                None => "no address is known".to_owned(),
            };
            (member.grpc.clone(), Err(said))
        }
    };
    Node { id: Some(member.id), address, is_voter: member.role == "voter", said }
}

/// A node in JSON, named as in the protocol.
#[derive(Serialize)]
struct Line<'a> {
    id: Option<u64>,
    reachable: bool,
    role: &'a str,
    leader: bool,
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(flatten)]
    said: Option<Said<'a>>,
}

#[derive(Serialize)]
struct Said<'a> {
    cluster_id: String,
    group: u32,
    term: u64,
    last_index: u64,
    commit_index: u64,
    applied_index: u64,
    folded_index: u64,
    lag: Option<u64>,
    revision: u64,
    keys: u64,
    state_bytes: u64,
    log_bytes: u64,
    storage: &'a str,
    version: &'a str,
}

fn print(view: &View, out: &mut Out) {
    if out.format() == Format::Json {
        view.nodes.iter().for_each(|node| out.json(&line(node, view)));
        return;
    }
    let mut table = Table::new(&[
        Column::Number("ID"),
        Column::Text("ROLE"),
        Column::Number("TERM"),
        Column::Number("APPLIED"),
        Column::Number("LAG"),
        Column::Number("REVISION"),
        Column::Number("KEYS"),
        Column::Number("STATE"),
        Column::Number("LOG"),
        Column::Text("STORAGE"),
        Column::Text("VERSION"),
        Column::Text("ADDRESS"),
    ]);
    let is_table = out.format() == Format::Table;
    let rows: Vec<Vec<Cell>> = view.nodes.iter().map(|node| row(node, view, is_table)).collect();
    table.rows(&rows, out);
    if !is_table {
        return;
    }
    let tone = if view.has_quorum() { Tone::Good } else { Tone::Bad };
    let summary = out.painted(&view.summary(), tone);
    out.line("");
    out.line(&summary);
    for node in &view.nodes {
        if let Err(error) = &node.said {
            let error = out.painted(&format!("{}: {}", node.address, error.replace('\n', " ")), Tone::Quiet);
            out.line(&error);
        }
    }
}

fn line<'a>(node: &'a Node, view: &View) -> Line<'a> {
    let said = node.said.as_ref().ok();
    Line {
        id: node.id,
        reachable: said.is_some(),
        role: role(node),
        leader: is_leader(node, view),
        address: &node.address,
        error: node.said.as_ref().err().map(String::as_str),
        said: said.map(|said| Said {
            cluster_id: format!("{:016x}", said.cluster_id),
            group: said.group,
            term: said.term,
            last_index: said.last_index,
            commit_index: said.commit_index,
            applied_index: said.applied_index,
            folded_index: said.folded_index,
            lag: view.lag(said),
            revision: said.revision,
            keys: said.keys,
            state_bytes: said.state_bytes,
            log_bytes: said.log_bytes,
            storage: &said.storage,
            version: &said.version,
        }),
    }
}

fn role(node: &Node) -> &str {
    node.said.as_ref().map_or("unreachable", |said| said.state.as_str())
}

fn is_leader(node: &Node, view: &View) -> bool {
    node.id.is_some() && node.id == view.leader
}

fn row(node: &Node, view: &View, is_table: bool) -> Vec<Cell> {
    let role = match (&node.said, is_leader(node, view)) {
        (Err(_), _) => Cell::toned(role(node), Tone::Bad),
        (Ok(_), true) => Cell::toned(if is_table { "leader *" } else { "leader" }, Tone::Good),
        (Ok(_), false) => role(node).into(),
    };
    let mut row = vec![Cell::number(node.id), role];
    match &node.said {
        Err(_) => row.extend((0..9).map(|_| Cell::unknown())),
        Ok(said) => {
            let bytes = |bytes| if is_table { size(bytes) } else { u64::to_string(&bytes) };
            let storage = if said.storage == "ample" { Tone::Normal } else { Tone::Warning };
            row.extend([
                Cell::number(Some(said.term)),
                Cell::number(Some(said.applied_index)),
                Cell::number(view.lag(said)),
                Cell::number(Some(said.revision)),
                Cell::number(Some(said.keys)),
                bytes(said.state_bytes).into(),
                bytes(said.log_bytes).into(),
                Cell::toned(said.storage.as_str(), storage),
                said.version.as_str().into(),
            ]);
        }
    }
    row.push(node.address.as_str().into());
    row
}

/// A size for people, with three figures or so.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut unit = "B";
    let mut whole = bytes;
    let mut tenths = 0;
    for larger in UNITS {
        if whole < 1024 {
            break;
        }
        (whole, tenths, unit) = (whole / 1024, whole % 1024 * 10 / 1024, larger);
    }
    if unit == "B" || whole >= 100 { format!("{whole} {unit}") } else { format!("{whole}.{tenths} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::super::output::testing::printed;
    use super::*;

    fn member(id: u64, role: &str) -> Member {
        Member { id, role: role.to_owned(), grpc: format!("n{id}:9001"), ..Member::default() }
    }

    fn says(id: u64, state: &str, term: u64, applied: u64) -> StatusResponse {
        StatusResponse {
            id,
            state: state.to_owned(),
            term,
            commit_index: 100,
            applied_index: applied,
            state_bytes: 1536,
            storage: "ample".to_owned(),
            version: "0.1.0".to_owned(),
            ..StatusResponse::default()
        }
    }

    fn view(members: &[Member], answers: &[(&str, Result<StatusResponse, &str>)]) -> View {
        let answers = answers
            .iter()
            .map(|(address, said)| ((*address).to_owned(), said.clone().map_err(ToOwned::to_owned)));
        let response = MembersResponse { members: members.to_vec(), ..MembersResponse::default() };
        View::of(&response, &answers.collect())
    }

    #[test]
    fn every_member_has_a_row_whoever_answers() {
        let members = [member(1, "voter"), member(2, "voter"), member(3, "voter"), member(4, "learner")];
        let view = view(
            &members,
            &[
                // Reached under another address than the one it advertises.
                ("localhost:1", Ok(says(1, "leader", 5, 100))),
                ("n2:9001", Ok(says(2, "follower", 5, 90))),
                ("localhost:3", Err("refused")),
                ("n3:9001", Err("no such host")),
                ("n4:9001", Ok(says(4, "learner", 5, 100))),
            ],
        );
        assert_eq!((view.leader, view.voters, view.voters_answering), (Some(1), 3, 2));
        assert_eq!(view.judge(), Ok(()));
        let plain = printed(Format::Plain, |out| print(&view, out));
        assert_eq!(
            plain,
            "1\tleader\t5\t100\t0\t0\t0\t1536\t0\tample\t0.1.0\tlocalhost:1\n\
             2\tfollower\t5\t90\t10\t0\t0\t1536\t0\tample\t0.1.0\tn2:9001\n\
             3\tunreachable\t-\t-\t-\t-\t-\t-\t-\t-\t-\tn3:9001\n\
             4\tlearner\t5\t100\t0\t0\t0\t1536\t0\tample\t0.1.0\tn4:9001\n"
        );
        let table = printed(Format::Table, |out| print(&view, out));
        assert!(table.contains(" 1  leader *") && table.contains("1.5 KiB"), "{table}");
        assert!(table.ends_with("\nnode 1 leads, 2 of 3 voters answer\nn3:9001: no such host\n"), "{table}");
        let json = printed(Format::Json, |out| print(&view, out));
        let third: serde_json::Value =
            serde_json::from_str(json.lines().nth(2).expect("a line")).expect("JSON");
        assert_eq!(third["error"], "no such host");
        assert!(third.get("term").is_none(), "{third}");
    }

    #[test]
    fn without_a_leader_or_a_majority_there_is_no_quorum() {
        let members = [member(1, "voter"), member(2, "voter"), member(3, "voter")];
        let leaderless = view(
            &members,
            &[("n1:9001", Ok(says(1, "candidate", 6, 9))), ("n2:9001", Ok(says(2, "follower", 6, 9)))],
        );
        let failure = leaderless.judge().expect_err("nobody leads");
        assert_eq!(
            (failure.code, failure.text.as_str()),
            (3, "no quorum is seen: no leader, 2 of 3 voters answer")
        );
        let alone = view(&members, &[("n1:9001", Ok(says(1, "leader", 5, 9)))]);
        assert!(alone.judge().is_err());
        assert!(view(&members[..1], &[("n1:9001", Ok(says(1, "leader", 5, 9)))]).judge().is_ok());
    }

    #[test]
    fn two_leaders_are_told_apart_by_their_terms() {
        let members = [member(1, "voter"), member(2, "voter"), member(3, "voter")];
        let old = ("n1:9001", Ok(says(1, "leader", 5, 9)));
        let view = view(
            &members,
            &[old, ("n2:9001", Ok(says(2, "leader", 6, 9))), ("n3:9001", Ok(says(3, "follower", 6, 9)))],
        );
        assert_eq!(view.leader, Some(2));
        let table = printed(Format::Table, |out| print(&view, out));
        assert_eq!(table.matches('*').count(), 1, "{table}");
    }

    #[test]
    fn strangers_are_shown() {
        let members = [member(1, "voter")];
        let view = view(
            &members,
            &[
                ("n1:9001", Ok(says(1, "leader", 5, 9))),
                ("n9:9001", Ok(says(9, "follower", 1, 2))),
                ("old:1", Err("gone")),
            ],
        );
        let ids: Vec<Option<u64>> = view.nodes.iter().map(|node| node.id).collect();
        assert_eq!(ids, [Some(1), Some(9), None]);
        assert_eq!((view.voters, view.judge()), (1, Ok(())));
    }

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (150 << 20, "150 MiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
