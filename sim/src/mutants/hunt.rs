//! Looking for a bug with a simulator: seeds from the first one on, until one finds it or the time is up.
//!
//! The simulator is a program of its own, run again and again for a stretch of seeds at a time, so that nothing that a
//! mutant does can end the hunt, and no stretch outlives the hunter for long.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::build::{Ended, Flavour, Workshop, run};

/// The first seed of every hunt.
pub const FIRST_SEED: u64 = 1;

/// How long a stretch of seeds should take, once it is known how fast they are.
const STRETCH: Duration = Duration::from_secs(20);

/// A single run may take so long; one without faults takes far less.
const SINGLE_TIMEOUT: Duration = Duration::from_secs(300);

/// A simulator to hunt with.
#[derive(Clone, Debug)]
pub struct Hunter<'a> {
    /// Where its output goes.
    pub workshop: &'a Workshop,
    /// What the output is called.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Which simulator of it.
    pub flavour: Flavour,
    /// How many seeds at a time.
    pub jobs: u64,
}

/// A bug that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// By which simulator.
    pub simulator: &'static str,
    /// The violation, as it was printed.
    pub violation: String,
    /// The seed that showed it.
    pub seed: u64,
    /// How many seeds were run until then.
    pub seeds: u64,
    /// How long that took.
    pub took: Duration,
    /// The command line that repeats it: what stands behind the program's name.
    pub arguments: Vec<String>,
}

impl Find {
    /// Who found it: the violation up to its first colon.
    pub fn oracle(&self) -> &str {
        let end = self.violation.find([':', '\n']).unwrap_or(self.violation.len());
        self.violation[..end].trim()
    }
}

/// How a hunt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hunted {
    /// It was found.
    Found(Find),
    /// It was not, in so many seeds and so much time.
    Nothing(u64, Duration),
    /// The simulator itself failed.
    Broken(String),
}

impl Hunter<'_> {
    /// A run without faults; it must pass, or the bug is no subtle one.
    ///
    /// # Errors
    /// What went wrong.
    pub fn calm(&self, each: &mut dyn FnMut()) -> Result<(), String> {
        let arguments = ["--calm", "--seed", "0"].map(str::to_owned);
        let (ended, text) = self.run("calm", &arguments, SINGLE_TIMEOUT, each)?;
        match (ended, violation(&text)) {
            (Ended::Exit(Some(0)), None) => Ok(()),
            (_, Some(violation)) => Err(format!("a run without faults finds it: {violation}")),
            (ended, None) => Err(format!("a run without faults ended with {ended:?}: {}", last_line(&text))),
        }
    }

    /// Runs seeds until one finds something or the budget is spent. `each` is told of the seeds that are done.
    #[allow(clippy::disallowed_methods, reason = "outside every run: the budget is real time")]
    pub fn hunt(&self, budget: Duration, each: &mut dyn FnMut(u64)) -> Hunted {
        let begin = Instant::now();
        let (mut done, mut stretch) = (0, 4 * self.jobs);
        while let Some(left) = budget.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
            let first = FIRST_SEED + done;
            let stretch_begin = Instant::now();
            let arguments = self.seeds(first, stretch);
            let (ended, text) = match self.run("hunt", &arguments, left, &mut || each(done)) {
                Ok(ran) => ran,
                Err(error) => return Hunted::Broken(error),
            };
            match (ended, violation(&text)) {
                (Ended::Exit(Some(1)), Some(violation)) => {
                    let Some(arguments) = reproduction(&text) else {
                        return Hunted::Broken("the violation has no line that reproduces it".to_owned());
                    };
                    let Some(seed) = seed_of(&arguments) else {
                        return Hunted::Broken("the line that reproduces it names no seed".to_owned());
                    };
                    let (seeds, took) = (seed + 1 - FIRST_SEED, begin.elapsed());
                    let (simulator, violation) = (self.flavour.simulator(), violation.to_owned());
                    return Hunted::Found(Find { simulator, violation, seed, seeds, took, arguments });
                }
                // Too little activity (3) is for the simulator's own tests to judge.
                (Ended::Exit(Some(0 | 3)), None) => {}
                (Ended::Timeout, _) => break,
                (ended, _) => {
                    return Hunted::Broken(format!("{ended:?} at seed {first}: {}", last_line(&text)));
                }
            }
            done += stretch;
            let rate = stretch as f64 / stretch_begin.elapsed().as_secs_f64().max(0.001);
            stretch = ((rate * STRETCH.as_secs_f64()) as u64).clamp(2 * self.jobs, 8 * stretch);
        }
        Hunted::Nothing(done, begin.elapsed())
    }

    /// Runs one command line of the simulator's own, which must find nothing.
    ///
    /// # Errors
    /// What it found.
    pub fn is_clean(&self, arguments: &[String], each: &mut dyn FnMut()) -> Result<(), String> {
        let (ended, text) = self.run("clean", arguments, SINGLE_TIMEOUT, each)?;
        match (ended, violation(&text)) {
            (Ended::Exit(Some(0)), None) => Ok(()),
            (_, Some(violation)) => Err(format!("without the bug too: {violation}")),
            (ended, None) => Err(format!("without the bug it ends with {ended:?}: {}", last_line(&text))),
        }
    }

    /// Runs a stretch of seeds, which must find nothing. That too little happened in some is no find.
    ///
    /// # Errors
    /// What they found.
    pub fn are_clean(&self, first: u64, count: u64, each: &mut dyn FnMut()) -> Result<(), String> {
        let timeout = SINGLE_TIMEOUT.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        let (ended, text) = self.run("clean", &self.seeds(first, count), timeout, each)?;
        match (ended, violation(&text)) {
            (Ended::Exit(Some(0 | 3)), None) => Ok(()),
            (_, Some(violation)) => Err(format!("without the bug too: {violation}")),
            (ended, None) => Err(format!("without the bug it ends with {ended:?}: {}", last_line(&text))),
        }
    }

    fn seeds(&self, first: u64, count: u64) -> Vec<String> {
        let (first, count, jobs) = (first.to_string(), count.to_string(), self.jobs.to_string());
        ["--from", &first, "--seeds", &count, "--jobs", &jobs].map(str::to_owned).to_vec()
    }

    fn run(
        &self,
        what: &str,
        arguments: &[String],
        timeout: Duration,
        each: &mut dyn FnMut(),
    ) -> Result<(Ended, String), String> {
        let simulator = self.flavour.simulator();
        let output = self.workshop.output(&format!("{}-{simulator}-{what}", self.name));
        let mut command = Command::new(&self.program);
        command.arg(simulator).args(arguments);
        let at = |path: &Path, error: &std::io::Error| format!("{}: {error}", path.display());
        let ended = run(&mut command, &output, timeout, each).map_err(|error| at(&self.program, &error))?;
        let text = fs::read(&output).map_err(|error| at(&output, &error))?;
        Ok((ended, String::from_utf8_lossy(&text).into_owned()))
    }
}

/// The violation that a simulator printed.
fn violation(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("violation: "))
}

/// What stands behind the simulator's name on the line that reproduces a violation.
fn reproduction(text: &str) -> Option<Vec<String>> {
    let line = text.lines().find_map(|line| line.strip_prefix("reproduce: "))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "--");
    words.next()?;
    words.next()?;
    Some(words.map(str::to_owned).collect())
}

fn seed_of(arguments: &[String]) -> Option<u64> {
    let at = arguments.iter().position(|argument| argument == "--seed")?;
    arguments.get(at + 1)?.parse().ok()
}

fn last_line(text: &str) -> &str {
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it printed nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "core: seeds 1..9, 2 at a time\nseed 7: FAILED, 1.0 s simulated\n\
        violation: election safety: 1 and 2 led term 3\n\
        reproduce: cargo run --release -p quorate-sim -- core --seed 7 --nodes 5\n";

    #[test]
    fn what_a_simulator_prints_is_understood() {
        assert_eq!(violation(OUTPUT), Some("election safety: 1 and 2 led term 3"));
        let arguments = reproduction(OUTPUT).expect("a line that reproduces it");
        assert_eq!(arguments, ["--seed", "7", "--nodes", "5"]);
        assert_eq!(seed_of(&arguments), Some(7));
        assert_eq!((violation("all is well\n"), reproduction("all is well\n")), (None, None));
        assert_eq!(last_line("a\nb\n\n"), "b");
    }

    #[test]
    fn the_oracle_is_what_stands_before_the_colon() {
        let find = |violation: &str| Find {
            simulator: "core",
            violation: violation.to_owned(),
            seed: 7,
            seeds: 7,
            took: Duration::ZERO,
            arguments: Vec::new(),
        };
        assert_eq!(find("election safety: 1 and 2").oracle(), "election safety");
        assert_eq!(find("stuck").oracle(), "stuck");
    }
}
