//! `quorate member` and `quorate leader`: who belongs to the cluster, and who leads it.

use serde::Serialize;

use super::super::Failure;
use super::connect::Common;
use super::exit;
use super::output::{Format, Out, Tone};
use super::table::{Cell, Column, Table};
use crate::client::blocking::Client;
use crate::client::{Error, Member, MembersResponse, NewAddresses, NewMember};

const AFTER_HELP: &str = "\
Examples:
  quorate member list
  quorate member add 127.0.0.1:7004           announce a node; it is started with serve --join
  quorate member remove 4                     for ever: its id is never used again
  quorate member promote 4                    give a learner a vote
  quorate member update 4 --peer node4:7001   it is reached elsewhere now

A change is answered once it is committed, and prints the members. One at a time: a second one waits, up to --timeout.

Exit codes: 0 done, 1 no such member, there is one already, its id is used up, or the quorum would be at risk, 2 usage,
3 unavailable: not changed, 4 unknown: perhaps changed, which member list shows.";

/// See and change who belongs to the cluster
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, arg_required_else_help = true)]
pub(in super::super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List the members, as the leader knows them
    #[command(after_help = "\
Example:
  quorate member list -o json | jq -r 'select(.leader).id'

MATCH is how far the leader knows a member's log to be. In plain the columns are id, role, whether it leads (* or -), match,
version, and the addresses of peers, REST and gRPC.")]
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Announce a node as a new member
    #[command(after_help = "\
Examples:
  quorate member add 127.0.0.1:7004
  quorate serve --join 127.0.0.1:7001 --peer 127.0.0.1:7004 --http 127.0.0.1:8084 --grpc 127.0.0.1:9004 --data-dir node4

It catches up without a vote first, and then gets one by itself, but for a --learner. A node that is started with --join
announces itself: this command is for those that cannot, or to choose the id.")]
    Add {
        /// Where the other members will reach it: its peer address
        #[arg(value_name = "HOST:PORT")]
        peer: String,
        /// Its id [default: the cluster chooses]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        id: Option<u64>,
        /// Without a vote, for good: a read replica
        #[arg(long)]
        learner: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Remove a member, its id for ever
    #[command(after_help = "\
Example:
  quorate member remove 4

Stop its process afterwards: it ends by itself once it learns of it. A cluster that would then reach fewer voters than
a quorum needs refuses; --force does it nonetheless.")]
    Remove {
        /// The member
        #[arg(value_name = "ID")]
        id: u64,
        /// Also if the quorum is at risk
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Give a learner a vote
    #[command(after_help = "\
Example:
  quorate member promote 4

A learner that was added without --learner is promoted by itself when it has caught up.")]
    Promote {
        /// The member
        #[arg(value_name = "ID")]
        id: u64,
        /// Also if the quorum is at risk
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Change where a member is reached
    #[command(after_help = "\
Example:
  quorate member update 4 --peer node4:7001 --grpc node4:9001

What is not named stays.")]
    Update {
        /// The member
        #[arg(value_name = "ID")]
        id: u64,
        /// By its peers
        #[arg(long, value_name = "HOST:PORT", required_unless_present_any = ["http", "grpc"])]
        peer: Option<String>,
        /// Over REST
        #[arg(long, value_name = "HOST:PORT")]
        http: Option<String>,
        /// Over gRPC
        #[arg(long, value_name = "HOST:PORT")]
        grpc: Option<String>,
        #[command(flatten)]
        common: Common,
    },
}

/// Hand the lead to another node
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(in super::super) struct LeaderArgs {
    #[command(subcommand)]
    what: LeaderWhat,
}

#[derive(Debug, clap::Subcommand)]
enum LeaderWhat {
    /// Make a voter lead
    #[command(after_help = "\
Examples:
  quorate leader transfer 2
  quorate status                              shows who leads

Writes wait for a moment meanwhile, and none is lost. Answered once it leads; prints the members.

Exit codes: 0 it leads, 1 no such member, 2 usage, 3 unavailable, 4 unknown, which status shows.")]
    Transfer {
        /// The member, a voter
        #[arg(value_name = "ID")]
        id: u64,
        #[command(flatten)]
        common: Common,
    },
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::List { common } => ask(common, Client::members),
        What::Add { peer, id, learner, common } => ask(common, |client| {
            let mut member = NewMember::at(peer.as_str()).id(id.unwrap_or(0));
            if *learner {
                member = member.learner();
            }
            client.add_member(member)
        }),
        What::Remove { id, force, common } => ask(common, |client| client.remove_member(*id, *force)),
        What::Promote { id, force, common } => ask(common, |client| client.promote_member(*id, *force)),
        What::Update { id, peer, http, grpc, common } => ask(common, |client| {
            let addresses = NewAddresses::new();
            let addresses = peer.iter().fold(addresses, NewAddresses::peer);
            let addresses = http.iter().fold(addresses, NewAddresses::http);
            let addresses = grpc.iter().fold(addresses, NewAddresses::grpc);
            client.update_member(*id, addresses)
        }),
    }
}

pub(super) fn run_leader(args: &LeaderArgs) -> Result<(), Failure> {
    let LeaderWhat::Transfer { id, common } = &args.what;
    ask(common, |client| client.transfer_leader(*id))
}

fn ask(common: &Common, ask: impl FnOnce(&Client) -> Result<MembersResponse, Error>) -> Result<(), Failure> {
    common.run(Format::Table, |client, out, _| {
        let response = ask(client).map_err(|error| exit::failure(&error))?;
        print(&response, out);
        Ok(())
    })
}

/// A member in JSON, named as in REST.
#[derive(Serialize)]
struct Line<'a> {
    id: u64,
    role: &'a str,
    leader: bool,
    match_index: Option<u64>,
    version: &'a str,
    peer: &'a str,
    http: &'a str,
    grpc: &'a str,
}

fn print(response: &MembersResponse, out: &mut Out) {
    if out.format() == Format::Json {
        for Member { id, role, leader, match_index, version, peer, http, grpc } in &response.members {
            let (id, leader, match_index) = (*id, *leader, *match_index);
            out.json(&Line { id, role, leader, match_index, version, peer, http, grpc });
        }
        return;
    }
    let mut table = Table::new(&[
        Column::Number("ID"),
        Column::Text("ROLE"),
        Column::Text("LEADER"),
        Column::Number("MATCH"),
        Column::Text("VERSION"),
        Column::Text("PEER"),
        Column::Text("HTTP"),
        Column::Text("GRPC"),
    ]);
    let text = |text: &str| if text.is_empty() { Cell::unknown() } else { text.into() };
    let row = |member: &Member| {
        vec![
            Cell::number(Some(member.id)),
            text(&member.role),
            if member.leader { Cell::toned("*", Tone::Good) } else { Cell::unknown() },
            Cell::number(member.match_index),
            text(&member.version),
            text(&member.peer),
            text(&member.http),
            text(&member.grpc),
        ]
    };
    let rows: Vec<Vec<Cell>> = response.members.iter().map(row).collect();
    table.rows(&rows, out);
    if out.format() == Format::Table && response.joint {
        out.line("a change of the voters is under way");
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::testing::printed;
    use super::*;

    #[test]
    fn members_are_printed_in_three_ways() {
        let member = |id, leader, match_index| Member {
            id,
            role: "voter".to_owned(),
            peer: format!("n{id}:7001"),
            leader,
            match_index,
            ..Member::default()
        };
        let members = vec![member(1, true, Some(17)), member(12, false, None)];
        let response = MembersResponse { members, ..MembersResponse::default() };
        let table = [
            "ID  ROLE   LEADER  MATCH  VERSION  PEER      HTTP  GRPC",
            " 1  voter  *          17  -        n1:7001   -     -",
            "12  voter  -           -  -        n12:7001  -     -",
        ];
        assert_eq!(printed(Format::Table, |out| print(&response, out)).lines().collect::<Vec<_>>(), table);
        assert!(
            printed(Format::Plain, |out| print(&response, out))
                .starts_with("1\tvoter\t*\t17\t-\tn1:7001\t-\t-\n")
        );
        let json = printed(Format::Json, |out| print(&response, out));
        assert_eq!(
            json.lines().nth(1),
            Some(
                "{\"id\":12,\"role\":\"voter\",\"leader\":false,\"match_index\":null,\"version\":\"\",\"peer\":\"n12:7001\",\"http\":\"\",\"grpc\":\"\"}"
            )
        );
    }
}
