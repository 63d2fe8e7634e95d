//! What became of the requests: histograms, a point for each second, errors by kind.
//!
//! Clients record into a handful of shards, so that none waits for another; once a second the collector takes the shards' content
//! and leaves empty ones, so that it holds their locks for a moment only. Latencies are kept in nanoseconds to three digits.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::draw::OpKind;
use super::target::Fault;

/// Clients share so many places to record at.
const SHARDS: usize = 8;
/// Digits that a latency is exact to.
const DIGITS: u8 = 3;
/// Different errors that are told apart; more are counted as `other`.
const ERROR_KINDS_MAX: usize = 32;
/// Points of a percentile curve for each halving of what lies above.
const CURVE_TICKS: u32 = 5;

/// What happened in some time.
pub(crate) struct Interval {
    latencies: [Histogram<u64>; OpKind::ALL.len()],
    /// How long requests were due before a client sent them.
    delays: Histogram<u64>,
    /// Reads that found nothing.
    empty_reads: u64,
    errors: BTreeMap<String, ErrorCount>,
}

/// Errors of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorCount {
    /// How many.
    pub(crate) count: u64,
    /// What the first one said.
    pub(crate) example: String,
}

/// A request that ended.
pub(crate) struct Sample {
    /// What was asked.
    pub(crate) kind: OpKind,
    /// From when it was due until it was answered.
    pub(crate) latency: Duration,
    /// From when it was due until it was sent.
    pub(crate) delay: Duration,
    /// How many pairs were read, or what went wrong.
    pub(crate) outcome: Result<u64, Fault>,
}

fn histogram() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("three digits are possible")
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2)
}

fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    histogram.record(nanos(duration).max(1)).expect("it grows as it must");
}

impl Default for Interval {
    fn default() -> Interval {
        Interval {
            latencies: [histogram(), histogram(), histogram()],
            delays: histogram(),
            empty_reads: 0,
            errors: BTreeMap::new(),
        }
    }
}

impl Interval {
    fn record(&mut self, sample: Sample) {
        record(&mut self.delays, sample.delay);
        match sample.outcome {
            Ok(pairs) => {
                record(&mut self.latencies[sample.kind as usize], sample.latency);
                self.empty_reads += u64::from(pairs == 0 && sample.kind != OpKind::Put);
            }
            Err(fault) => self.fail(fault),
        }
    }

    fn fail(&mut self, Fault { kind, text }: Fault) {
        self.merge_error(kind.into_owned(), ErrorCount { count: 1, example: text });
    }

    fn merge_error(&mut self, mut kind: String, error: ErrorCount) {
        if self.errors.len() >= ERROR_KINDS_MAX && !self.errors.contains_key(&kind) {
            "other".clone_into(&mut kind);
        }
        self.errors.entry(kind).and_modify(|known| known.count += error.count).or_insert(error);
    }

    /// Adds what happened in another time.
    fn add(&mut self, other: &Interval) {
        let add = |to: &mut Histogram<u64>, from: &Histogram<u64>| {
            to.add(from).expect("both grow, and have the same digits");
        };
        for (to, from) in self.latencies.iter_mut().zip(&other.latencies) {
            add(to, from);
        }
        add(&mut self.delays, &other.delays);
        self.empty_reads += other.empty_reads;
        for (kind, error) in &other.errors {
            self.merge_error(kind.clone(), error.clone());
        }
    }

    fn reset(&mut self) {
        self.latencies.iter_mut().for_each(Histogram::reset);
        self.delays.reset();
        self.empty_reads = 0;
        self.errors.clear();
    }

    /// Latencies of all kinds together.
    fn all(&self) -> Histogram<u64> {
        let mut all = histogram();
        for one in &self.latencies {
            all.add(one).expect("both grow, and have the same digits");
        }
        all
    }

    /// Requests that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.errors.values().map(|error| error.count).sum()
    }

    /// Errors by kind.
    pub(crate) fn errors(&self) -> &BTreeMap<String, ErrorCount> {
        &self.errors
    }

    /// Reads that found nothing.
    pub(crate) fn empty_reads(&self) -> u64 {
        self.empty_reads
    }

    /// Latencies of all kinds together.
    pub(crate) fn latency(&self) -> Latency {
        Latency::of(&self.all())
    }

    /// Latencies of each kind that there was.
    pub(crate) fn latency_by_kind(&self) -> BTreeMap<String, Latency> {
        let all = OpKind::ALL.into_iter().zip(&self.latencies);
        all.filter(|(_, one)| !one.is_empty())
            .map(|(kind, one)| (kind.name().to_owned(), Latency::of(one)))
            .collect()
    }

    /// How late requests were sent.
    pub(crate) fn delay(&self) -> Latency {
        Latency::of(&self.delays)
    }
}

/// A distribution of times, in microseconds. All are zero if there is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// How many.
    pub(crate) count: u64,
    /// The least.
    pub(crate) min_us: f64,
    /// The average.
    pub(crate) mean_us: f64,
    /// The root of the average of the squared distances from it.
    pub(crate) stdev_us: f64,
    /// Half are at most this.
    pub(crate) p50_us: f64,
    /// Three quarters.
    pub(crate) p75_us: f64,
    /// 90 %.
    pub(crate) p90_us: f64,
    /// 99 %.
    pub(crate) p99_us: f64,
    /// 99.9 %.
    pub(crate) p999_us: f64,
    /// 99.99 %.
    pub(crate) p9999_us: f64,
    /// The most.
    pub(crate) max_us: f64,
    /// Shares and the times that they are at most, from 0 to 1, closer together near 1.
    pub(crate) curve: Vec<(f64, f64)>,
}

impl Latency {
    fn of(times: &Histogram<u64>) -> Latency {
        if times.is_empty() {
            return Latency::default();
        }
        let us = |nanos: u64| nanos as f64 / 1e3;
        // More digits than there are in what was measured are noise in the JSON.
        let round = |number: f64, digits: i32| (number * 10_f64.powi(digits)).round() / 10_f64.powi(digits);
        let at = |quantile: f64| us(times.value_at_quantile(quantile).min(times.max()));
        let steps = times.iter_quantiles(CURVE_TICKS);
        let curve = steps
            .map(|step| {
                (round(step.quantile_iterated_to(), 8), us(step.value_iterated_to().min(times.max())))
            })
            .collect();
        Latency {
            count: times.len(),
            min_us: us(times.min()),
            mean_us: round(times.mean() / 1e3, 3),
            stdev_us: round(times.stdev() / 1e3, 3),
            p50_us: at(0.5),
            p75_us: at(0.75),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: us(times.max()),
            curve,
        }
    }
}

/// A second of a run, or what is left of one at its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// When it ended, in seconds since measuring began.
    pub(crate) at_s: f64,
    /// How long it was.
    pub(crate) seconds: f64,
    /// Requests that were answered in it.
    pub(crate) count: u64,
    /// Requests that failed in it.
    pub(crate) failed: u64,
    /// Half of the answers took at most this.
    pub(crate) p50_us: f64,
    /// 99 % of them.
    pub(crate) p99_us: f64,
    /// All of them.
    pub(crate) max_us: f64,
}

impl Point {
    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }
}

/// Less than that is added to the second before.
const REST_S: f64 = 0.5;

/// Where clients record.
pub(crate) struct Recorder {
    shards: Vec<Mutex<Interval>>,
}

impl Recorder {
    /// An empty one.
    pub(crate) fn new() -> Recorder {
        Recorder { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Notes a request of the nth client.
    pub(crate) fn record(&self, client: usize, sample: Sample) {
        let shard = &self.shards[client % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner).record(sample);
    }
}

/// Takes what was recorded, second by second.
pub(crate) struct Collector {
    total: Interval,
    series: Vec<Point>,
    now: Interval,
    spare: Interval,
    /// The end of the last point.
    since: Duration,
}

impl Collector {
    /// At the begin of what is measured.
    pub(crate) fn new() -> Collector {
        Collector {
            total: Interval::default(),
            series: Vec::new(),
            now: Interval::default(),
            spare: Interval::default(),
            since: Duration::ZERO,
        }
    }

    /// Makes a point of what was recorded since the last one, if it is a second's worth; `at`: since measuring began.
    pub(crate) fn collect(&mut self, recorder: &Recorder, at: Duration) -> Option<&Point> {
        self.now.reset();
        for shard in &recorder.shards {
            std::mem::swap(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner), &mut self.spare);
            self.now.add(&self.spare);
            self.spare.reset();
        }
        self.total.add(&self.now);
        let seconds = at.saturating_sub(self.since).as_secs_f64();
        let (latency, failed) = (self.now.latency(), self.now.failed());
        // The rest of a run is no second of its own: its rate would be drawn beside those of whole ones.
        if let Some(last) = self.series.last_mut().filter(|_| seconds < REST_S) {
            if latency.count + failed > 0 {
                self.since = at;
                last.at_s = at.as_secs_f64();
                last.seconds += seconds;
                last.count += latency.count;
                last.failed += failed;
                last.max_us = last.max_us.max(latency.max_us);
            }
            return None;
        }
        if seconds <= 0.0 {
            return None;
        }
        self.since = at;
        self.series.push(Point {
            at_s: at.as_secs_f64(),
            seconds,
            count: latency.count,
            failed,
            p50_us: latency.p50_us,
            p99_us: latency.p99_us,
            max_us: latency.max_us,
        });
        self.series.last()
    }

    /// All that was collected.
    pub(crate) fn finish(self) -> (Interval, Vec<Point>) {
        (self.total, self.series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(kind: OpKind, us: u64, outcome: Result<u64, Fault>) -> Sample {
        Sample { kind, latency: Duration::from_micros(us), delay: Duration::ZERO, outcome }
    }

    /// Exact to three digits.
    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() <= expected * 0.001, "{found} is not {expected}");
    }

    #[test]
    fn percentiles_are_those_of_the_samples() {
        let (recorder, mut collector) = (Recorder::new(), Collector::new());
        for us in 1..=10_000_u64 {
            recorder.record(us as usize, sample(OpKind::Put, us, Ok(0)));
        }
        collector.collect(&recorder, Duration::from_secs(1));
        let (total, _) = collector.finish();
        let latency = total.latency();
        assert_eq!(latency.count, 10_000);
        near(latency.p50_us, 5_000.0);
        near(latency.p99_us, 9_900.0);
        near(latency.p999_us, 9_990.0);
        near(latency.min_us, 1.0);
        near(latency.max_us, 10_000.0);
        near(latency.mean_us, 5_000.5);
        let (shares, times): (Vec<f64>, Vec<f64>) = latency.curve.iter().copied().unzip();
        assert!(shares.is_sorted() && times.is_sorted(), "{:?}", latency.curve);
        assert_eq!(shares.last(), Some(&1.0));
        near(*times.last().expect("it has points"), 10_000.0);
    }

    #[test]
    fn each_second_is_a_point_and_the_total_is_their_sum() {
        let (recorder, mut collector) = (Recorder::new(), Collector::new());
        for (second, count) in [(1, 10), (2, 20)] {
            for client in 0..count {
                recorder.record(client, sample(OpKind::Get, 100 * second, Ok(1)));
            }
            let point = collector.collect(&recorder, Duration::from_secs(second)).expect("a second passed");
            assert_eq!((point.count, point.rate()), (count as u64, count as f64));
            near(point.p50_us, 100.0 * second as f64);
        }
        assert!(collector.collect(&recorder, Duration::from_millis(2_100)).is_none(), "nothing happened");
        recorder.record(0, sample(OpKind::Get, 900, Ok(1)));
        assert!(
            collector.collect(&recorder, Duration::from_millis(2_200)).is_none(),
            "the rest is no second"
        );
        let (total, series) = collector.finish();
        assert_eq!(series.len(), 2);
        assert_eq!(total.latency().count, series.iter().map(|point| point.count).sum::<u64>());
        near(series[1].seconds, 1.2);
        near(series[1].max_us, 900.0);
    }

    #[test]
    fn errors_are_counted_by_kind_and_are_no_answers() {
        let (recorder, mut collector) = (Recorder::new(), Collector::new());
        let fault = |kind: &'static str, text: &str| Err(Fault::new(kind, text));
        recorder.record(0, sample(OpKind::Put, 1, fault("timeout", "first")));
        recorder.record(0, sample(OpKind::Put, 1, fault("timeout", "second")));
        recorder.record(1, sample(OpKind::Get, 1, fault("unavailable", "no leader")));
        recorder.record(1, sample(OpKind::Get, 1, Ok(0)));
        collector.collect(&recorder, Duration::from_secs(1));
        let (total, series) = collector.finish();
        assert_eq!((series[0].count, series[0].failed), (1, 3));
        let expected = ErrorCount { count: 2, example: "first".to_owned() };
        assert_eq!(total.errors().get("timeout"), Some(&expected));
        assert_eq!((total.failed(), total.empty_reads()), (3, 1));
        assert_eq!(total.latency_by_kind().keys().collect::<Vec<_>>(), ["get"]);
    }

    #[test]
    fn errors_beyond_count_have_a_kind_in_common() {
        let mut interval = Interval::default();
        for at in 0..100 {
            interval.fail(Fault::new(format!("kind {at}"), ""));
        }
        assert_eq!(interval.errors().len(), ERROR_KINDS_MAX + 1);
        assert_eq!(interval.failed(), 100);
    }
}
