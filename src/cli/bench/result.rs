//! The results of a run: what is written as JSON, shown as a table, and drawn.
//!
//! The JSON is read by later versions (`--compare-with`) and by scripts: fields are added, never renamed, and [`SCHEMA`] is raised when
//! a reader of before would misunderstand.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use comfy_table::{Cell, CellAlignment, Table, TableComponent, presets};
use serde::{Deserialize, Serialize};

use super::load::Outcome;
use super::plan::Plan;
use super::record::{ErrorCount, Latency, Point};
use super::text;

/// The version of the JSON.
pub(crate) const SCHEMA: u32 = 1;

/// A run and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// [`SCHEMA`] of the writer.
    pub(crate) schema: u32,
    /// The version of this program.
    pub(crate) version: String,
    /// What the user calls this run.
    pub(crate) label: String,
    /// When it ended.
    pub(crate) unix_s: u64,
    /// Where the generator ran.
    pub(crate) machine: Machine,
    /// What was to be done.
    pub(crate) plan: Plan,
    /// From the first measured request that could begin to the end of the last one.
    pub(crate) elapsed_s: f64,
    /// Answers a second.
    pub(crate) rate: f64,
    /// Requests that were answered.
    pub(crate) answered: u64,
    /// Requests that failed.
    pub(crate) failed: u64,
    /// Failures by kind.
    pub(crate) errors: BTreeMap<String, ErrorCount>,
    /// Reads that found nothing.
    pub(crate) empty_reads: u64,
    /// Open loop: requests that were due and never sent.
    pub(crate) unsent: u64,
    /// Seconds of CPU that the generator itself spent.
    pub(crate) generator_cpu_s: f64,
    /// Whether it was ended early.
    pub(crate) was_interrupted: bool,
    /// From when a request was due (closed loop: sent) until it was answered.
    pub(crate) latency: Latency,
    /// The same for each kind of request.
    pub(crate) latency_by_kind: BTreeMap<String, Latency>,
    /// Open loop: how long requests were due before a client was free to send them.
    pub(crate) delay: Option<Latency>,
    /// Second by second.
    pub(crate) series: Vec<Point>,
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// How many threads run at the same time.
    pub(crate) cores: usize,
    /// What the CPU calls itself.
    pub(crate) cpu: String,
    /// The operating system and its version.
    pub(crate) kernel: String,
    /// Bytes of memory; 0: not known.
    pub(crate) memory_bytes: u64,
}

impl Machine {
    /// This one. What it does not tell is left empty.
    pub(crate) fn this() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let memory = value(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let memory_kib: u64 =
            memory.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        Machine {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            cpu: value(&read("/proc/cpuinfo"), "model name")
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            kernel: format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim()),
            memory_bytes: memory_kib << 10,
        }
    }

    /// In a line.
    pub(crate) fn summary(&self) -> String {
        let cores = if self.cores == 1 { "core" } else { "cores" };
        format!("{} {cores}, {}, {}, {}", self.cores, text::bytes(self.memory_bytes), self.cpu, self.kernel)
    }
}

/// Seconds since 1970.
pub(crate) fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
}

impl Report {
    /// Of a run that just ended.
    pub(crate) fn new(plan: Plan, label: String, outcome: Outcome) -> Report {
        let Outcome { total, series, elapsed, unsent, cpu_s, was_interrupted } = outcome;
        let latency = total.latency();
        let elapsed_s = elapsed.as_secs_f64();
        Report {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            label,
            unix_s: unix_s(),
            machine: Machine::this(),
            elapsed_s,
            rate: if elapsed_s > 0.0 { latency.count as f64 / elapsed_s } else { 0.0 },
            answered: latency.count,
            failed: total.failed(),
            errors: total.errors().clone(),
            empty_reads: total.empty_reads(),
            unsent,
            generator_cpu_s: cpu_s,
            was_interrupted,
            latency,
            latency_by_kind: total.latency_by_kind(),
            delay: plan.rate.is_some().then(|| total.delay()),
            series,
            plan,
        }
    }

    /// Reads one that was written.
    ///
    /// # Errors
    /// There is none, or it is of a later version.
    pub(crate) fn read(path: &Path) -> Result<Report, String> {
        #[derive(Deserialize)]
        struct Schema {
            schema: u32,
        }
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
        let no_result = |error| wrong(&format!("it holds no result of quorate bench: {error}"));
        let Schema { schema } = serde_json::from_str(&text).map_err(no_result)?;
        if schema != SCHEMA {
            let text =
                format!("its schema is {schema}, this version reads {SCHEMA}: use the version that wrote it");
            return Err(wrong(&text));
        }
        serde_json::from_str(&text).map_err(no_result)
    }

    /// What a reader of the figures must know.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.was_interrupted {
            warnings.push("it was ended early".to_owned());
        }
        if self.unsent > 0 {
            warnings.push(format!(
                "{} requests were due and never sent, because all clients were waiting: true latencies are higher; \
                 use more --clients, or a lower --rate",
                text::count(self.unsent)
            ));
        }
        if self.empty_reads > 0 {
            warnings.push(format!(
                "{} reads found nothing, which is less work than finding something: use --preload",
                text::count(self.empty_reads)
            ));
        }
        warnings.extend(debug_build());
        let cores = self.machine.cores as f64;
        if self.generator_cpu_s > 0.9 * self.elapsed_s * cores {
            warnings.push(
                "the generator used this machine's CPU nearly alone: it is what was measured".to_owned(),
            );
        }
        warnings
    }

    /// For a terminal.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{}\n", self.plan.summary());
        let mut table = new_table(&["", "requests", "rate", "p50", "p90", "p99", "p99.9", "max", "mean"]);
        let row = |name: &str, latency: &Latency| {
            let mut row = vec![name.to_owned(), text::count(latency.count)];
            row.push(format!(
                "{}/s",
                text::rate(latency.count as f64 / self.elapsed_s.max(f64::MIN_POSITIVE))
            ));
            let times = [
                latency.p50_us,
                latency.p90_us,
                latency.p99_us,
                latency.p999_us,
                latency.max_us,
                latency.mean_us,
            ];
            row.extend(times.map(|us| if latency.count == 0 { "-".to_owned() } else { text::micros(us) }));
            row
        };
        let kinds = &self.latency_by_kind;
        for (kind, latency) in kinds {
            table.add_row(row(kind, latency));
        }
        if kinds.len() != 1 {
            table.add_row(row("all", &self.latency));
        }
        align_numbers(&mut table);
        text.push_str(&format!("{table}\n"));
        let cpu = 1e6 * self.generator_cpu_s / self.answered.max(1) as f64;
        text.push_str(&format!(
            "{:.1} s, {} failed; the generator used {:.1} s of CPU ({} a request)\n",
            self.elapsed_s,
            text::count(self.failed),
            self.generator_cpu_s,
            text::micros(cpu)
        ));
        if let Some(delay) = &self.delay {
            text.push_str(&format!(
                "sent after it was due: p50 {}, p99 {}, max {} (part of the latency)\n",
                text::micros(delay.p50_us),
                text::micros(delay.p99_us),
                text::micros(delay.max_us)
            ));
        }
        for (kind, error) in &self.errors {
            text.push_str(&format!(
                "failed: {} \u{d7} {kind}: {}\n",
                text::count(error.count),
                error.example
            ));
        }
        for warning in self.warnings() {
            text.push_str(&format!("note: {warning}\n"));
        }
        text
    }
}

/// What is to be said of a build that is many times slower than a release.
pub(crate) fn debug_build() -> Option<String> {
    cfg!(debug_assertions).then(|| "this is a debug build, which measures itself: use a release".to_owned())
}

/// A table without frames, which a terminal and a pipe can both take.
pub(crate) fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.iter().map(Cell::new));
    table
        .set_style(TableComponent::HeaderLines, '\u{2500}')
        .set_style(TableComponent::MiddleHeaderIntersections, '\u{2500}');
    table
}

/// All columns but the first hold numbers.
pub(crate) fn align_numbers(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::super::draw::OpKind;
    use super::super::plan::tests::plan;
    use super::super::record::{Collector, Recorder, Sample};
    use super::super::target::Fault;
    use super::*;

    /// A run of some seconds, with latencies that grow, and a failure.
    pub(crate) fn report(label: &str, us: u64) -> Report {
        let (recorder, mut collector) = (Recorder::new(), Collector::new());
        for second in 1..=3 {
            for at in 0..500 {
                let latency = Duration::from_micros(us + at * at / 50 + 10 * second);
                let kind = if at % 5 == 0 { OpKind::Put } else { OpKind::Get };
                let sample = Sample { kind, latency, delay: Duration::ZERO, outcome: Ok(1) };
                recorder.record(at as usize, sample);
            }
            collector.collect(&recorder, Duration::from_secs(second));
        }
        let outcome = Err(Fault::new("unavailable", "no <leader>"));
        let failed = Sample { kind: OpKind::Put, latency: Duration::ZERO, delay: Duration::ZERO, outcome };
        recorder.record(0, failed);
        collector.collect(&recorder, Duration::from_millis(3_200));
        let (total, series) = collector.finish();
        let elapsed = Duration::from_secs(3);
        let outcome = Outcome { total, series, elapsed, unsent: 0, cpu_s: 0.5, was_interrupted: false };
        Report::new(plan(), label.to_owned(), outcome)
    }

    #[test]
    fn results_are_read_as_they_were_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("run.json");
        let written = report("one", 100);
        fs::write(&path, serde_json::to_vec(&written).expect("it can be written")).expect("a file");
        assert_eq!(Report::read(&path), Ok(written));
    }

    #[test]
    fn what_is_no_result_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("run.json");
        assert!(Report::read(&path).is_err(), "there is none");
        for (text, part) in [("{", "no result"), ("{}", "no result"), (r#"{"schema":99}"#, "schema is 99")] {
            fs::write(&path, text).expect("a file");
            let error = Report::read(&path).expect_err(text);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_table_has_each_kind_and_the_errors() {
        let table = report("one", 100).table();
        for part in ["put", "get", "all", "p99.9", "1,500", "500/s", "1 \u{d7} unavailable: no <leader>"] {
            assert!(table.contains(part), "{part}:\n{table}");
        }
        let notes = usize::from(debug_build().is_some());
        assert_eq!(table.matches("note:").count(), notes, "{table}");
    }

    #[test]
    fn what_a_reader_must_know_is_said() {
        let mut report = report("one", 100);
        (report.unsent, report.empty_reads, report.was_interrupted) = (7, 8, true);
        report.generator_cpu_s = 1e6;
        let table = report.table();
        for part in ["7 requests were due", "8 reads found nothing", "ended early", "the generator used"] {
            assert!(table.contains(part), "{part}:\n{table}");
        }
    }

    #[test]
    fn this_machine_has_a_core() {
        let machine = Machine::this();
        assert!(machine.cores > 0 && !machine.kernel.is_empty() && !machine.cpu.is_empty(), "{machine:?}");
    }
}
