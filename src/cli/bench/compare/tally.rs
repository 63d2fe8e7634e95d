//! What a comparison found: every run, the medians of the rounds, and the ratios.

use serde::{Deserialize, Serialize};

use super::super::load::Outcome;
use super::super::record::Latency;
use super::super::result::{Machine, align_numbers, debug_build, new_table, unix_s};
use super::super::text;
use super::nodes::Usage;
use super::{Contender, Load, load_name};

/// The version of the JSON.
const SCHEMA: u32 = 1;

/// A comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Comparison {
    /// The version of this form.
    pub(in super::super) schema: u32,
    /// The version of this program.
    pub(in super::super) version: String,
    /// When it began.
    pub(in super::super) unix_s: u64,
    /// Where all of it ran.
    pub(in super::super) machine: Machine,
    /// Different keys.
    pub(in super::super) key_count: u64,
    /// Bytes of a value.
    pub(in super::super) value_bytes: usize,
    /// Connections of the gRPC APIs.
    pub(in super::super) connections: usize,
    /// All runs, in the order in which they were made.
    pub(in super::super) runs: Vec<Run>,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Run {
    /// From 1.
    pub(in super::super) round: u32,
    /// Whose.
    pub(in super::super) contender: Contender,
    /// What was asked.
    pub(in super::super) load: Load,
    /// Requests under way at the same time.
    pub(in super::super) clients: usize,
    /// What was found.
    pub(in super::super) measured: Measurement,
}

/// What one run, or the median of several, found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Measurement {
    /// Answers a second.
    pub(in super::super) rate: f64,
    /// Half of the answers took at most this.
    pub(in super::super) p50_us: f64,
    /// 99 % of them.
    pub(in super::super) p99_us: f64,
    /// Requests that failed.
    pub(in super::super) failed: f64,
    /// CPU time of all nodes for each answer.
    pub(in super::super) cpu_us: f64,
    /// CPU time of the generator for each answer.
    pub(in super::super) generator_cpu_us: f64,
    /// Bytes that all nodes had their disks write, for each answer.
    pub(in super::super) written_bytes: f64,
    /// Resident memory of the largest node, after the run.
    pub(in super::super) memory_bytes: f64,
}

impl Measurement {
    /// Of a run.
    pub(super) fn new(outcome: &Outcome, used: &Usage) -> Measurement {
        let Latency { count, p50_us, p99_us, .. } = outcome.total.latency();
        let answers = count.max(1) as f64;
        Measurement {
            rate: count as f64 / outcome.elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
            p50_us,
            p99_us,
            failed: outcome.total.failed() as f64,
            cpu_us: 1e6 * used.cpu_s / answers,
            generator_cpu_us: 1e6 * outcome.cpu_s / answers,
            written_bytes: used.written_bytes as f64 / answers,
            memory_bytes: used.memory_bytes_max as f64,
        }
    }

    /// Of each figure the median of the rounds; of failures the sum.
    fn median(all: &[Measurement]) -> Measurement {
        let of = |figure: fn(&Measurement) -> f64| median(all.iter().map(figure).collect());
        Measurement {
            rate: of(|one| one.rate),
            p50_us: of(|one| one.p50_us),
            p99_us: of(|one| one.p99_us),
            failed: all.iter().map(|one| one.failed).sum(),
            cpu_us: of(|one| one.cpu_us),
            generator_cpu_us: of(|one| one.generator_cpu_us),
            written_bytes: of(|one| one.written_bytes),
            memory_bytes: of(|one| one.memory_bytes),
        }
    }
}

/// The middle one; of two in the middle their mean; of none no number.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

/// A contender under a load: the rounds together.
pub(in super::super) struct Cell {
    /// Who.
    pub(in super::super) contender: Contender,
    /// The medians.
    pub(in super::super) median: Measurement,
    /// Its rate over etcd's, if etcd took part: the median of the rounds' ratios.
    pub(in super::super) rate_to_etcd: Option<f64>,
    /// Its p99 over etcd's.
    pub(in super::super) p99_to_etcd: Option<f64>,
    /// Its rate over the ceiling's.
    pub(in super::super) rate_to_ceiling: Option<f64>,
}

impl Comparison {
    /// An empty one.
    pub(super) fn new(key_count: u64, value_bytes: usize, connections: usize) -> Comparison {
        Comparison {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            unix_s: unix_s(),
            machine: Machine::this(),
            key_count,
            value_bytes,
            connections,
            runs: Vec::new(),
        }
    }

    /// Adds a run.
    pub(super) fn add(
        &mut self,
        round: u32,
        contender: Contender,
        load: Load,
        clients: usize,
        measured: Measurement,
    ) {
        self.runs.push(Run { round, contender, load, clients, measured });
    }

    /// The loads, in the order in which they were first run.
    pub(in super::super) fn loads(&self) -> Vec<(Load, usize)> {
        let mut loads = Vec::new();
        for run in &self.runs {
            if !loads.contains(&(run.load, run.clients)) {
                loads.push((run.load, run.clients));
            }
        }
        loads
    }

    /// How many rounds there were.
    pub(in super::super) fn rounds(&self) -> u32 {
        self.runs.iter().map(|run| run.round).max().unwrap_or(0)
    }

    /// Everybody under a load, in the order of the first round.
    pub(in super::super) fn cells(&self, load: Load, clients: usize) -> Vec<Cell> {
        let runs: Vec<&Run> =
            self.runs.iter().filter(|run| (run.load, run.clients) == (load, clients)).collect();
        let mut contenders: Vec<Contender> = Vec::new();
        for run in &runs {
            if !contenders.contains(&run.contender) {
                contenders.push(run.contender);
            }
        }
        let of = |contender| runs.iter().filter(move |run| run.contender == contender);
        let ratio = |contender, other, figure: fn(&Measurement) -> f64| {
            let ratios = of(contender).filter_map(|run| {
                let other = of(other).find(|other| other.round == run.round)?;
                Some(figure(&run.measured) / figure(&other.measured))
            });
            let ratio = median(ratios.collect());
            ratio.is_finite().then_some(ratio)
        };
        let cell = |contender| Cell {
            contender,
            median: Measurement::median(&of(contender).map(|run| run.measured).collect::<Vec<_>>()),
            rate_to_etcd: ratio(contender, Contender::Etcd, |one| one.rate),
            p99_to_etcd: ratio(contender, Contender::Etcd, |one| one.p99_us),
            rate_to_ceiling: ratio(contender, Contender::Ceiling, |one| one.rate),
        };
        contenders.into_iter().map(cell).collect()
    }

    /// What was the same for all.
    pub(in super::super) fn summary(&self) -> String {
        format!(
            "3 nodes each and the generator on one machine; {} keys, {} B values, {} connections of gRPC; median of {} {}",
            text::count(self.key_count),
            self.value_bytes,
            self.connections,
            self.rounds(),
            if self.rounds() == 1 { "round" } else { "rounds" }
        )
    }

    /// For a terminal.
    pub(super) fn table(&self) -> String {
        let mut whole = format!("{}\n{}\n", self.summary(), self.machine.summary());
        for (load, clients) in self.loads() {
            let noun = if clients == 1 { "client" } else { "clients" };
            whole.push_str(&format!("\n{}, {clients} {noun}\n", load_name(load)));
            let mut table = new_table(&HEADER);
            for cell in self.cells(load, clients) {
                table.add_row(row(&cell));
            }
            align_numbers(&mut table);
            whole.push_str(&format!("{table}\n"));
        }
        whole.extend(debug_build().map(|note| format!("\nnote: {note}\n")));
        whole
    }
}

/// The columns of [`row`].
pub(in super::super) const HEADER: [&str; 10] = [
    "",
    "rate",
    "to etcd",
    "of ceiling",
    "p50",
    "p99",
    "p99 to etcd",
    "CPU/op",
    "RSS, largest",
    "written/op",
];

/// A contender's figures.
pub(in super::super) fn row(cell: &Cell) -> Vec<String> {
    let Cell { contender, median, rate_to_etcd, p99_to_etcd, rate_to_ceiling } = cell;
    let ratio = |ratio: &Option<f64>| ratio.map_or_else(|| "-".to_owned(), text::ratio);
    let mut name = contender.name().to_owned();
    if median.failed > 0.0 {
        name.push_str(&format!(" ({} FAILED)", text::count(median.failed as u64)));
    }
    vec![
        name,
        format!("{}/s", text::rate(median.rate)),
        ratio(rate_to_etcd),
        rate_to_ceiling.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", 100.0 * share)),
        text::micros(median.p50_us),
        text::micros(median.p99_us),
        ratio(p99_to_etcd),
        text::micros(median.cpu_us),
        text::bytes(median.memory_bytes as u64),
        text::bytes(median.written_bytes as u64),
    ]
}

#[cfg(test)]
pub(in super::super::super) mod tests {
    use super::*;

    /// Three rounds on a machine that gets faster.
    pub(in super::super::super) fn comparison() -> Comparison {
        let mut comparison = Comparison::new(10_000, 256, 16);
        for (round, speed) in [(1, 1.0), (2, 3.0), (3, 2.0)] {
            for (contender, rate) in
                [(Contender::Etcd, 100.0), (Contender::Grpc, 400.0), (Contender::Ceiling, 800.0)]
            {
                let measured = Measurement { rate: rate * speed, p99_us: 1e6 / rate, ..Default::default() };
                comparison.add(round, contender, Load::Put, 64, measured);
            }
        }
        comparison
    }

    #[test]
    fn the_middle_is_found() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        let cells = comparison().cells(Load::Put, 64);
        let [etcd, grpc, ceiling] = &cells[..] else { panic!("three took part") };
        assert_eq!((etcd.rate_to_etcd, etcd.median.rate), (Some(1.0), 200.0));
        assert_eq!((grpc.rate_to_etcd, grpc.p99_to_etcd), (Some(4.0), Some(0.25)));
        assert_eq!(grpc.rate_to_ceiling, Some(0.5));
        assert_eq!(ceiling.rate_to_etcd, Some(8.0));
    }

    #[test]
    fn without_etcd_there_is_no_ratio() {
        let mut comparison = comparison();
        comparison.runs.retain(|run| run.contender == Contender::Grpc);
        assert_eq!(comparison.cells(Load::Put, 64)[0].rate_to_etcd, None);
        assert!(comparison.table().contains("quorate, gRPC"));
    }

    #[test]
    fn failures_are_shouted() {
        let mut comparison = comparison();
        comparison.runs[1].measured.failed = 3.0;
        let table = comparison.table();
        for part in
            ["put, 64 clients", "quorate, gRPC (3 FAILED)", "4.00\u{d7}", "50 %", "median of 3 rounds"]
        {
            assert!(table.contains(part), "{part}:\n{table}");
        }
    }

    #[test]
    fn a_comparison_is_kept_in_json() {
        let text = serde_json::to_string(&comparison()).expect("it can be written");
        assert_eq!(serde_json::from_str::<Comparison>(&text).expect("it can be read"), comparison());
    }
}
