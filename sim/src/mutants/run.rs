//! One mutant after another: break, build, hunt, compare, note.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::build::{Flavour, Workshop};
use super::hunt::{FIRST_SEED, Find, Hunted, Hunter};
use super::patch::Mutant;
use super::show::Show;
use super::table::{self, Rows};
use super::tree::Copy;

/// What to do where.
pub struct Plan {
    /// The tree.
    pub root: PathBuf,
    /// Where to work.
    pub dir: PathBuf,
    /// The document with the table.
    pub table: PathBuf,
    /// How long to look for each mutant.
    pub budget: Duration,
    /// How many seeds at a time.
    pub jobs: u64,
    /// The one simulator to look with, if not all that can.
    pub with: Option<Flavour>,
}

/// Runs the chosen mutants and writes the table after each. Returns whether all were found.
///
/// # Errors
/// What kept it from going on: no mutant is to blame.
pub fn run_all(plan: &Plan, all: &[Mutant], chosen: &[&Mutant]) -> Result<bool, String> {
    // Before hours of work, not after them.
    write_rows(&plan.table, all, Rows::new())?;
    let at = |error: io::Error| format!("{}: {error}", plan.dir.display());
    let copy = Copy::new(&plan.root, &make(&plan.dir.join("tree")).map_err(at)?).map_err(at)?;
    let workshop = Workshop { tree: copy.path().to_path_buf(), dir: plan.dir.canonicalize().map_err(at)? };
    let show = Show::begin(chosen.len() as u64);
    copy.refresh().map_err(at)?;
    let commit = copy.commit();
    show.line(&format!("{} mutants at {commit}, in {}", chosen.len(), plan.dir.display()));
    let mut bench = Bench { plan, copy, workshop, show, sound: BTreeMap::new() };
    let mut found_all = true;
    for mutant in chosen {
        let found = bench.try_one(mutant)?;
        found_all &= found.is_ok();
        bench.show.line(&report(mutant, &found));
        bench.show.done();
        let row = table::row(mutant, &found, &commit);
        write_rows(&plan.table, all, Rows::from([(mutant.name.clone(), row)]))?;
    }
    bench.show.end();
    Ok(found_all)
}

fn make(dir: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    Ok(dir.to_path_buf())
}

fn write_rows(path: &Path, all: &[Mutant], rows: Rows) -> Result<(), String> {
    let at = |error: io::Error| format!("{}: {error}", path.display());
    let document = fs::read_to_string(path).map_err(at)?;
    let updated =
        table::update(&document, all, rows).map_err(|what| format!("{}: {what}", path.display()))?;
    if updated == document { Ok(()) } else { fs::write(path, updated).map_err(at) }
}

fn report(mutant: &Mutant, found: &Result<Find, String>) -> String {
    match found {
        Ok(find) => {
            let Find { simulator, violation, seed, seeds, took, .. } = find;
            let violation = violation.lines().next().unwrap_or_default();
            let took = took.as_secs_f64();
            format!(
                "{}: found by {simulator}, seed {seed}, {seeds} seeds, {took:.1} s: {violation}",
                mutant.name
            )
        }
        Err(why) => format!("{}: NOT FOUND: {why}", mutant.name),
    }
}

/// The simulators without any bug, built when they are first needed.
#[derive(Clone)]
struct Sound {
    program: PathBuf,
    /// Every seed from the first to before this one is known to be clean.
    clean_to: u64,
}

struct Bench<'a> {
    plan: &'a Plan,
    copy: Copy,
    workshop: Workshop,
    show: Show,
    sound: BTreeMap<Flavour, Sound>,
}

impl Bench<'_> {
    /// Hunts one mutant; why it was not found, if so.
    ///
    /// # Errors
    /// What kept it from being tried.
    fn try_one(&mut self, mutant: &Mutant) -> Result<Result<Find, String>, String> {
        let can = |flavour: &Flavour| mutant.is_of_core() || *flavour == Flavour::Cluster;
        let is_wanted = |flavour: &Flavour| self.plan.with.is_none_or(|with| with == *flavour);
        let flavours: Vec<Flavour> =
            [Flavour::Core, Flavour::Cluster].into_iter().filter(|it| can(it) && is_wanted(it)).collect();
        if flavours.is_empty() {
            return Ok(Err("that simulator does not run what is broken".to_owned()));
        }
        // What one simulator leaves of the budget is for the other: half of it if it finds nothing.
        let budget = self.plan.budget / u32::try_from(flavours.len()).unwrap_or(1);
        let mut missed = Vec::new();
        for flavour in flavours {
            self.make_sound(flavour)?;
            match self.hunt(mutant, flavour, budget) {
                Ok(Hunted::Found(find)) => {
                    return Ok(self.compare(flavour, find));
                }
                Ok(Hunted::Nothing(seeds, took)) => {
                    let simulator = flavour.simulator();
                    missed.push(format!(
                        "nothing in {seeds} seeds of {simulator} in {:.0} s",
                        took.as_secs_f64()
                    ));
                }
                Ok(Hunted::Broken(what)) | Err(what) => {
                    missed.push(format!("{}: {what}", flavour.simulator()));
                    break;
                }
            }
        }
        Ok(Err(missed.join("; ")))
    }

    /// Builds a mutant, sees that it passes without faults, and hunts it.
    fn hunt(&self, mutant: &Mutant, flavour: Flavour, budget: Duration) -> Result<Hunted, String> {
        let simulator = flavour.simulator();
        let stage = |what: &str| self.show.now(format!("{}: {simulator}: {what}", mutant.name));
        stage("building");
        let broken = self.copy.break_with(mutant).map_err(|error| error.to_string())?;
        let built = self.workshop.build(&mutant.name, flavour, &mut || {});
        broken.mend().map_err(|error| format!("{}: {error}", self.copy.path().display()))?;
        let program = built?;
        let hunter = self.hunter(&mutant.name, program.clone(), flavour);
        stage("a run without faults");
        hunter.calm(&mut || {})?;
        stage("looking for it");
        let hunted = hunter.hunt(budget, &mut |done| stage(&format!("looking for it, {done} seeds so far")));
        fs::remove_file(&program).map_err(|error| format!("{}: {error}", program.display()))?;
        Ok(hunted)
    }

    /// The seed that found the bug, and those before it, must be clean without it.
    fn compare(&mut self, flavour: Flavour, find: Find) -> Result<Find, String> {
        let simulator = flavour.simulator();
        self.show.now(format!("seed {} of {simulator} without the bug", find.seed));
        let sound = self.sound[&flavour].clone();
        let hunter = self.hunter("sound", sound.program, flavour);
        hunter.is_clean(&find.arguments, &mut || {})?;
        let end = find.seed + 1;
        if end > sound.clean_to {
            self.show.now(format!("seeds {} to {} of {simulator} without a bug", sound.clean_to, find.seed));
            hunter.are_clean(sound.clean_to, end - sound.clean_to, &mut || {})?;
            if let Some(sound) = self.sound.get_mut(&flavour) {
                sound.clean_to = end;
            }
        }
        Ok(find)
    }

    /// Builds a simulator without any bug; it must pass a run without faults itself.
    fn make_sound(&mut self, flavour: Flavour) -> Result<(), String> {
        if self.sound.contains_key(&flavour) {
            return Ok(());
        }
        let simulator = flavour.simulator();
        self.show.now(format!("building {simulator} without a bug"));
        let program = self.workshop.build("sound", flavour, &mut || {})?;
        self.show.now(format!("a run of {simulator} without faults and without a bug"));
        let calm = self.hunter("sound", program.clone(), flavour).calm(&mut || {});
        calm.map_err(|what| format!("{simulator} is broken without any mutant: {what}"))?;
        self.sound.insert(flavour, Sound { program, clean_to: FIRST_SEED });
        Ok(())
    }

    fn hunter(&self, name: &str, program: PathBuf, flavour: Flavour) -> Hunter<'_> {
        Hunter { workshop: &self.workshop, name: name.to_owned(), program, flavour, jobs: self.plan.jobs }
    }
}
