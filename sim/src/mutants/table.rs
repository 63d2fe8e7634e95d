//! The table of the mutants in `sim/README.md`, between two comments that a reader does not see.
//!
//! A run replaces the rows of the mutants that it ran and leaves the others alone; rows of mutants that are no more go.

use std::collections::BTreeMap;

use super::hunt::Find;
use super::patch::Mutant;

/// Stands on a line of its own before the table.
pub const BEGIN: &str = "<!-- mutants: begin -->";
/// Stands on a line of its own after it.
pub const END: &str = "<!-- mutants: end -->";

const HEAD: &str = "| mutant | hazard | what is broken | found by | seed | seeds | seconds | commit |\n\
                    |---|---|---|---|--:|--:|--:|---|\n";

/// The rows of the table, by mutant.
pub type Rows = BTreeMap<String, String>;

/// The row of a mutant that was hunted; `found` is why not, where it was not found.
pub fn row(mutant: &Mutant, found: &Result<Find, String>, commit: &str) -> String {
    let Mutant { name, hazard, broken, .. } = mutant;
    let (by, seed, seeds, seconds) = match found {
        Ok(find) => {
            let by = format!("{}: {}", find.simulator, cell(find.oracle()));
            (by, find.seed.to_string(), find.seeds.to_string(), format!("{:.1}", find.took.as_secs_f64()))
        }
        Err(why) => (format!("**not found**: {}", cell(why)), String::new(), String::new(), String::new()),
    };
    format!("| `{name}` | {hazard} | {} | {by} | {seed} | {seeds} | {seconds} | {commit} |", cell(broken))
}

/// A text in one cell.
fn cell(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(160).collect();
    short.replace('|', "\\|")
}

/// Puts rows into the table of a document, in place of those of the same mutants; keeps the others of `known`.
///
/// # Errors
/// That the document has no place for the table.
pub fn update(document: &str, known: &[Mutant], new: Rows) -> Result<String, String> {
    let lacks = |mark: &str| format!("there is no line `{mark}`");
    let (before, rest) = document.split_once(BEGIN).ok_or_else(|| lacks(BEGIN))?;
    let (old, after) = rest.split_once(END).ok_or_else(|| lacks(END))?;
    let mut rows: Rows =
        old.lines().filter_map(|line| Some((name_of(line)?.to_owned(), line.to_owned()))).collect();
    rows.extend(new);
    rows.retain(|name, _| known.iter().any(|mutant| mutant.name == *name));
    let rows: String = rows.into_values().map(|row| row + "\n").collect();
    Ok([before, BEGIN, "\n", HEAD, &rows, END, after].concat())
}

/// The mutant that a line of the table is about.
fn name_of(line: &str) -> Option<&str> {
    line.strip_prefix("| `")?.split('`').next()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn mutant(name: &str) -> Mutant {
        let text =
            "Hazard: H8\nBroken: a | b\nMeans: harm\n\n--- a/src/x\n+++ b/src/x\n@@ -1 +1 @@\n-1\n+2\n";
        Mutant::parse(name, text).expect("a mutant")
    }

    #[test]
    fn rows_of_this_run_replace_the_old_ones_and_others_stay() {
        let known = [mutant("h08-a"), mutant("h08-b"), mutant("h08-c")];
        let old = format!(
            "text\n{BEGIN}\n{HEAD}| `h08-b` | old |\n| `h08-c` | old |\n| `h08-gone` | old |\n{END}\nmore\n"
        );
        let find = Find {
            simulator: "core",
            violation: "election safety: 1 and 2".to_owned(),
            seed: 9,
            seeds: 9,
            took: Duration::from_millis(1_250),
            arguments: Vec::new(),
        };
        let new = [(&known[0], Ok(find)), (&known[1], Err("not in 7 seeds".to_owned()))];
        let rows =
            new.iter().map(|(mutant, found)| (mutant.name.clone(), row(mutant, found, "abc"))).collect();
        let updated = update(&old, &known, rows).expect("there is a place");
        let expected = format!(
            "text\n{BEGIN}\n{HEAD}\
             | `h08-a` | H8 | a \\| b | core: election safety | 9 | 9 | 1.2 | abc |\n\
             | `h08-b` | H8 | a \\| b | **not found**: not in 7 seeds |  |  |  | abc |\n\
             | `h08-c` | old |\n{END}\nmore\n"
        );
        assert_eq!(updated, expected);
        assert!(update("no marks", &known, Rows::new()).is_err());
    }
}
