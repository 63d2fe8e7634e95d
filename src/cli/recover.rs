//! `quorate recover`: when a quorum is lost for good, shows what the survivors have, and makes a new cluster of one of
//! them if the loss is accepted.

use std::path::PathBuf;

use super::{Failure, say};
use crate::config;
use crate::server::offline::{self, Disk, REVISION_JUMP_MAX, REVISION_JUMP_MIN, Survivor, Wish};
use crate::server::{Exit, Seams};
use crate::types::NodeId;

const AFTER_HELP: &str = "\
For the loss of a majority of the voters with their disks, and for nothing else. Bring back what can be brought back first:
a majority that starts on its own data loses nothing.

  1. Stop all nodes for good, and copy the survivors' directories to a safe place.
  2. See what each has; this changes nothing:
       quorate recover --data-dir /var/lib/quorate
  3. On the best one, whose last entry has the highest term, and among equals the highest index:
       quorate recover --data-dir /var/lib/quorate --id 1 --peer a:7001 --accept-data-loss
  4. Start it: quorate serve --id 1 --data-dir /var/lib/quorate ...
     Empty the directories of all others, and let them join with --join.

Danger: acknowledged writes that only the lost nodes had are gone, and writes that were never acknowledged may appear.
The result is another cluster: with an id of its own, which refuses the old one's nodes, revisions that are ahead by
--revision-jump, and without sessions. What was in the directory stays in it, unused.

Exit codes: 0 done, 2 usage, or a node runs on the directory; nothing was changed, 3 damaged data, 4 the disk failed.";

/// Make a new cluster of one survivor, when a quorum is lost for good
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// A survivor's data directory; may be repeated, to compare survivors
    #[arg(long, value_name = "DIR", required = true)]
    data_dir: Vec<PathBuf>,
    /// The id of the new cluster's only member: the survivor's own, or one that was never used
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(required_if_eq("accept_data_loss", "true"))]
    id: Option<u64>,
    /// The address at which others will reach that member, host:port
    #[arg(long, value_name = "ADDR", required_if_eq("accept_data_loss", "true"))]
    peer: Option<String>,
    /// How far revisions move ahead, so that none is given out twice
    #[arg(long, value_name = "N", default_value_t = REVISION_JUMP_MIN)]
    #[arg(value_parser = clap::value_parser!(u64).range(REVISION_JUMP_MIN..=REVISION_JUMP_MAX))]
    revision_jump: u64,
    /// Do it. Without this flag nothing is changed
    #[arg(long)]
    accept_data_loss: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if let Some(peer) = &args.peer {
        config::check_address("--peer", peer).map_err(Failure::usage)?;
        if config::is_wildcard(peer) {
            return Err(Failure::usage(format!(
                "--peer '{peer}': nobody can connect to that; name this machine"
            )));
        }
    }
    match args.accept_data_loss {
        false => survey(args),
        true => recover(args),
    }
}

fn failure(exit: Exit) -> Failure {
    Failure::new(exit.code as u8, exit.message)
}

/// Shows what each survivor has. One that cannot be read does not hide the others.
fn survey(args: &Args) -> Result<(), Failure> {
    let (disk, mut survivors, mut failed) = (Disk::to_read(), Vec::new(), None);
    say(&columns(["node", "last term", "last index", "applied", "in term"], "directory"));
    for dir in &args.data_dir {
        match offline::survey(&disk, dir) {
            Ok(survivor) => {
                say(&row(&survivor));
                survivors.push(survivor);
            }
            Err(exit) => {
                say(&format!("not readable: {}", exit.message));
                failed = failed.or(Some(failure(exit)));
            }
        }
    }
    if let Some(best) = offline::best(&survivors) {
        let members: Vec<String> = best.members.iter().map(ToString::to_string).collect();
        say(&format!("members: {}", members.join(", ")));
        let clusters = survivors.iter().filter(|survivor| survivor.owner.cluster != best.owner.cluster);
        if clusters.count() > 0 {
            say("attention: these are not all of one cluster; compare those of one only");
        }
        if survivors.len() > 1 {
            say(&format!("the best of these: {} (node {})", best.dir.display(), best.owner.node));
        }
    }
    say("nothing was changed; the loss is accepted with --accept-data-loss, see quorate recover --help");
    failed.map_or(Ok(()), Err)
}

fn columns([node, term, index, applied, now]: [&str; 5], dir: &str) -> String {
    format!("{node:>8}  {term:>10}  {index:>12}  {applied:>12}  {now:>10}  {dir}")
}

fn row(survivor: &Survivor) -> String {
    let (index, term) = survivor.last;
    let cells = [survivor.owner.node.0, term.0, index.0, survivor.committed.0, survivor.term.0];
    let cells = cells.map(|cell| cell.to_string());
    columns(std::array::from_fn(|at| cells[at].as_str()), &survivor.dir.display().to_string())
}

fn recover(args: &Args) -> Result<(), Failure> {
    let [dir] = args.data_dir.as_slice() else {
        return Err(Failure::usage(
            "--accept-data-loss takes exactly one --data-dir: the best survivor's; without it they are compared",
        ));
    };
    let (Some(id), Some(peer)) = (args.id, args.peer.clone()) else {
        return Err(Failure::usage("--accept-data-loss needs --id and --peer"));
    };
    let wish = Wish { id: NodeId(id), peer, revision_jump: args.revision_jump };
    let mut tell = |text: &str| {
        say(&format!("{text} ..."));
    };
    let new =
        offline::recover(&Disk::to_read(), &Seams::production(), dir, &wish, &mut tell).map_err(failure)?;
    let retired: Vec<String> = new.retired.iter().map(ToString::to_string).collect();
    say(&format!(
        "done: {}; its log begins after index {} of term {}; {} keys, revision {}",
        new.owner, new.begins.0, new.begins.1, new.keys, new.revision
    ));
    if !retired.is_empty() {
        say(&format!("ids that are gone for good: {}", retired.join(", ")));
    }
    say(&format!("its files are in {}; what was there before lies beside it, unused", new.home.display()));
    say(&format!("start it: quorate serve --id {id} --data-dir {} ...", dir.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(data_dir: &[&str]) -> Args {
        Args {
            data_dir: data_dir.iter().map(PathBuf::from).collect(),
            id: Some(1),
            peer: Some("a:7001".to_owned()),
            revision_jump: REVISION_JUMP_MIN,
            accept_data_loss: true,
        }
    }

    #[test]
    fn one_directory_and_an_address_that_can_be_reached() {
        let failure = run(&args(&["/a", "/b"])).expect_err("two");
        assert!(failure.code == 2 && failure.text.contains("exactly one --data-dir"), "{failure:?}");
        for peer in ["a", "0.0.0.0:7001", "http://a:7001"] {
            let failure = run(&Args { peer: Some(peer.to_owned()), ..args(&["/a"]) }).expect_err(peer);
            assert!(failure.code == 2 && failure.text.contains("--peer"), "{failure:?}");
        }
        for accept_data_loss in [false, true] {
            let failure = run(&Args { accept_data_loss, ..args(&["/nowhere"]) }).expect_err("there is none");
            assert_eq!((failure.code, failure.text.as_str()), (2, "/nowhere: no such directory"));
        }
    }
}
