//! `quorate-sim mutants`.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::build::Flavour;
use super::patch::Mutant;
use super::run::{Plan, run_all};
use super::tree;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Where to work: a copy of the tree, its target folder and all output. Kept from run to run, so that the next one
    /// builds less.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How many seconds to look for each.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    budget: u64,
    /// How many seeds at a time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=256))]
    jobs: u64,
    /// Look with this simulator alone: core or cluster.
    #[arg(long, value_name = "SIMULATOR", value_parser = parse_simulator)]
    with: Option<Flavour>,
    /// The document that has the table; sim/README.md if it is not given.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Name the mutants and say what each breaks; run nothing.
    #[arg(long)]
    list: bool,
    /// Which mutants: their names, or what the names begin with, such as h08; all if none is given.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

fn parse_simulator(name: &str) -> Result<Flavour, String> {
    let found = [Flavour::Core, Flavour::Cluster].into_iter().find(|flavour| flavour.simulator() == name);
    found.ok_or_else(|| "core or cluster".to_owned())
}

/// Runs it. Exit codes: 0 if all were found, 1 if not, 2 usage.
pub fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let root = tree::root();
    let all = match Mutant::all(&root.join("sim/mutants")) {
        Ok(all) => all,
        Err(what) => return usage(&what),
    };
    let (chosen, unknown) = choose(&all, &arguments.names);
    if !unknown.is_empty() {
        let names: Vec<&str> = all.iter().map(|mutant| mutant.name.as_str()).collect();
        return usage(&format!(
            "no mutant is called {}; there are:\n  {}",
            unknown.join(", "),
            names.join("\n  ")
        ));
    }
    if arguments.list {
        let mut out = io::stdout().lock();
        for mutant in chosen {
            writeln!(out, "{:<40} {:<4} {}", mutant.name, mutant.hazard, mutant.broken)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let plan = Plan {
        table: arguments.table.clone().unwrap_or_else(|| root.join("sim/README.md")),
        root,
        dir: arguments.dir.clone().unwrap_or_else(|| std::env::temp_dir().join("quorate-mutants")),
        budget: Duration::from_secs(arguments.budget),
        jobs: arguments.jobs,
        with: arguments.with,
    };
    Ok(match run_all(&plan, &all, &chosen) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(what) => {
            complain(&what)?;
            ExitCode::from(1)
        }
    })
}

/// The mutants that are meant by `names`, and the names that mean none.
fn choose<'a>(all: &'a [Mutant], names: &[String]) -> (Vec<&'a Mutant>, Vec<String>) {
    let is_meant = |mutant: &Mutant, name: &String| {
        let rest = mutant.name.strip_prefix(name.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let unknown: BTreeSet<&String> =
        names.iter().filter(|name| !all.iter().any(|mutant| is_meant(mutant, name))).collect();
    let is_chosen = |mutant: &&Mutant| names.is_empty() || names.iter().any(|name| is_meant(mutant, name));
    (all.iter().filter(is_chosen).collect(), unknown.into_iter().cloned().collect())
}

fn usage(text: &str) -> io::Result<ExitCode> {
    complain(text)?;
    Ok(ExitCode::from(2))
}

fn complain(text: &str) -> io::Result<()> {
    writeln!(io::stderr().lock(), "{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_whole_or_a_beginning_up_to_a_hyphen() {
        let text = |hazard: &str| {
            format!(
                "Hazard: {hazard}\nBroken: b\nMeans: m\n\n--- a/src/x\n+++ b/src/x\n@@ -1 +1 @@\n-1\n+2\n"
            )
        };
        let mutant = |name: &str, hazard: &str| Mutant::parse(name, &text(hazard)).expect("a mutant");
        let all = [mutant("h08-a", "H8"), mutant("h08-ab", "H8"), mutant("h10-a", "H10")];
        let chosen = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let (chosen, unknown) = choose(&all, &names);
            (chosen.into_iter().map(|mutant| mutant.name.clone()).collect::<Vec<_>>(), unknown)
        };
        assert_eq!(chosen(&[]).0.len(), 3);
        assert_eq!(chosen(&["h08"]).0, ["h08-a", "h08-ab"]);
        assert_eq!(chosen(&["h08-a"]).0, ["h08-a"]);
        assert_eq!(chosen(&["h1", "h10-a"]), (vec!["h10-a".to_owned()], vec!["h1".to_owned()]));
    }
}
