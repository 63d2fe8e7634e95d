//! A run: clients, their pace, what became of it.
//!
//! ```text
//! pace -> client: draw -> target -> record        one task for each client
//!                                      |
//!                    collect once a second -> screen, series, total
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::draw::{Draw, Op, Supply};
use super::pace::{Pace, Window};
use super::plan::{Plan, TargetKind};
use super::record::{Collector, Interval, Point, Recorder, Sample};
use super::screen::Screen;
use super::target::etcd::Etcd;
use super::target::grpc::Grpc;
use super::target::library::Library;
use super::target::rest::Rest;
use super::target::{Fault, Target, Worker};

/// How often what was recorded becomes a point.
const COLLECT_INTERVAL: Duration = Duration::from_secs(1);
/// A client whose request failed rests so long: a store that is down is not asked as fast as it can refuse.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);
/// Writes under way while keys are loaded before the run, at least.
const PRELOAD_CLIENTS: usize = 64;
/// How often a write of the preloading is repeated when it fails.
const PRELOAD_ATTEMPTS: u32 = 20;

/// What became of a run.
pub(crate) struct Outcome {
    /// All that was measured.
    pub(crate) total: Interval,
    /// Second by second.
    pub(crate) series: Vec<Point>,
    /// From the first measured request that could begin to the end of the last one.
    pub(crate) elapsed: Duration,
    /// Requests that were due and never sent.
    pub(crate) unsent: u64,
    /// Seconds of CPU that this process spent meanwhile.
    pub(crate) cpu_s: f64,
    /// Whether it was ended early.
    pub(crate) was_interrupted: bool,
}

/// Runs a plan.
///
/// # Errors
/// The target cannot be reached, or keys cannot be loaded.
pub(crate) async fn run(plan: &Plan, screen: &mut Screen) -> Result<Outcome, String> {
    match plan.target {
        TargetKind::Library => run_on(Library::connect(plan).await?, plan, screen).await,
        TargetKind::Grpc => run_on(Grpc::connect(plan).await?, plan, screen).await,
        TargetKind::Rest => run_on(Rest::connect(plan).await?, plan, screen).await,
        TargetKind::Etcd => run_on(Etcd::connect(plan).await?, plan, screen).await,
    }
}

/// Runs a plan on a target that is connected.
pub(crate) async fn run_on<T: Target>(
    target: T,
    plan: &Plan,
    screen: &mut Screen,
) -> Result<Outcome, String> {
    let supply = Supply::new(plan);
    if plan.preload {
        preload(&target, plan, &supply, screen).await?;
    }
    let window = Window::new(plan, Instant::now());
    let pace = Arc::new(Pace::new(plan, window));
    let recorder = Arc::new(Recorder::new());
    let mut clients = JoinSet::new();
    for at in 0..plan.clients {
        let client = Client {
            at,
            worker: target.worker(at),
            draw: supply.draw(at),
            pace: pace.clone(),
            recorder: recorder.clone(),
            timeout: plan.timeout(),
            rests: plan.rate.is_none(),
        };
        clients.spawn(client.run());
    }
    let releasing = match &*pace {
        Pace::Open(open) => Some(open.spawn().map_err(|error| format!("no thread: {error}"))?),
        Pace::Closed(_) => None,
    };
    let mut outcome = watch(plan, window, &pace, &recorder, &mut clients, screen).await?;
    if let (Pace::Open(open), Some(releasing)) = (&*pace, releasing) {
        pace.stop();
        // It looks at the end every few milliseconds, and has nothing to say.
        let _ = releasing.join();
        outcome.unsent = open.unsent();
    }
    Ok(outcome)
}

/// Collects and shows, until all clients are done.
async fn watch(
    plan: &Plan,
    window: Window,
    pace: &Pace,
    recorder: &Recorder,
    clients: &mut JoinSet<()>,
    screen: &mut Screen,
) -> Result<Outcome, String> {
    let mut collector = Collector::new();
    let mut cpu = CpuTime::now();
    let mut was_interrupted = false;
    let mut next = window.measured_from;
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    screen.begin(plan);
    loop {
        tokio::select! {
            biased;
            ended = clients.join_next() => match ended {
                None => break,
                Some(Ok(())) => {}
                Some(Err(error)) => return Err(format!("a client of the generator failed: {error}")),
            },
            _ = &mut interrupt, if !was_interrupted => {
                was_interrupted = true;
                pace.stop();
            }
            () = tokio::time::sleep_until(next) => {
                let is_begin = next == window.measured_from;
                next += COLLECT_INTERVAL;
                if is_begin {
                    cpu = CpuTime::now();
                    continue;
                }
                let at = window.measured_from.elapsed();
                let point = collector.collect(recorder, at).cloned();
                screen.show(plan, at, point.as_ref());
            }
        }
    }
    let elapsed = window.measured_from.elapsed();
    collector.collect(recorder, elapsed);
    screen.end();
    let (total, series) = collector.finish();
    Ok(Outcome { total, series, elapsed, unsent: 0, cpu_s: cpu.spent(), was_interrupted })
}

/// One that sends requests.
struct Client<W> {
    at: usize,
    worker: W,
    draw: Draw,
    pace: Arc<Pace>,
    recorder: Arc<Recorder>,
    timeout: Duration,
    rests: bool,
}

impl<W: Worker> Client<W> {
    async fn run(mut self) {
        while let Some(start) = self.pace.next().await {
            let op = self.draw.next();
            let kind = op.kind();
            let sent = Instant::now();
            let outcome = perform(&mut self.worker, op, self.timeout).await;
            let failed = outcome.is_err();
            if start.is_measured {
                let sample = Sample { kind, latency: start.due.elapsed(), delay: sent - start.due, outcome };
                self.recorder.record(self.at, sample);
            }
            if failed && self.rests {
                tokio::time::sleep(FAILURE_PAUSE).await;
            }
        }
    }
}

async fn perform(worker: &mut impl Worker, op: Op, timeout: Duration) -> Result<u64, Fault> {
    let answered = tokio::time::timeout(timeout, worker.perform(op)).await;
    answered.unwrap_or_else(|_| Err(Fault::new("timeout", format!("no answer within {timeout:?}"))))
}

/// Writes every key once.
async fn preload<T: Target>(
    target: &T,
    plan: &Plan,
    supply: &Arc<Supply>,
    screen: &mut Screen,
) -> Result<(), String> {
    let next = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    for at in 0..plan.clients.max(PRELOAD_CLIENTS) {
        let (mut worker, mut draw, next) = (target.worker(at), supply.draw(at), next.clone());
        let (count, timeout) = (supply.key_count(), plan.timeout());
        writers.spawn(async move {
            loop {
                let key = next.fetch_add(1, Ordering::Relaxed);
                if key >= count {
                    return Ok(());
                }
                let mut attempts = 0;
                while let Err(fault) = perform(&mut worker, draw.put(key), timeout).await {
                    attempts += 1;
                    if attempts == PRELOAD_ATTEMPTS {
                        return Err(format!("loading keys: {}: {}", fault.kind, fault.text));
                    }
                    tokio::time::sleep(FAILURE_PAUSE * attempts).await;
                }
            }
        });
    }
    let mut shown = Instant::now();
    loop {
        tokio::select! {
            biased;
            ended = writers.join_next() => match ended {
                None => break,
                Some(Ok(outcome)) => outcome?,
                Some(Err(error)) => return Err(format!("a writer failed: {error}")),
            },
            () = tokio::time::sleep_until(shown + COLLECT_INTERVAL) => {
                shown = Instant::now();
                screen.preloading(next.load(Ordering::Relaxed).min(supply.key_count()), supply.key_count());
            }
        }
    }
    screen.end();
    Ok(())
}

/// CPU time of this process.
struct CpuTime(f64);

impl CpuTime {
    fn now() -> CpuTime {
        use nix::sys::resource::{UsageWho, getrusage};
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        let usage = getrusage(UsageWho::RUSAGE_SELF);
        CpuTime(usage.map_or(0.0, |usage| seconds(usage.user_time()) + seconds(usage.system_time())))
    }

    /// Since then.
    fn spent(&self) -> f64 {
        CpuTime::now().0 - self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use bytes::Bytes;

    use super::super::pace::tests::release;
    use super::super::plan::Work;
    use super::super::plan::tests::plan;
    use super::*;

    /// A store in memory that fails as it is told.
    #[derive(Clone, Default)]
    struct Memory {
        data: Arc<Mutex<BTreeMap<Bytes, Bytes>>>,
        /// Each nth request fails.
        fails_each: u64,
        /// Each request takes so long.
        takes: Duration,
        /// And the first one so much longer.
        hangs: Duration,
        seen: Arc<AtomicU64>,
    }

    impl Target for Memory {
        type Worker = Memory;

        fn worker(&self, _: usize) -> Memory {
            self.clone()
        }
    }

    impl Worker for Memory {
        async fn perform(&mut self, op: Op) -> Result<u64, Fault> {
            let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
            // What a store takes, in the test's own time.
            let hangs = if seen == 1 { self.hangs } else { Duration::ZERO };
            tokio::time::sleep_until(Instant::now() + self.takes + hangs).await;
            if self.fails_each != 0 && seen.is_multiple_of(self.fails_each) {
                return Err(Fault::new("broken", "as it was told"));
            }
            let mut data = self.data.lock().expect("no test panics with it");
            match op {
                Op::Put { key, value } => {
                    data.insert(key, value);
                    Ok(0)
                }
                Op::Get { key } => Ok(u64::from(data.contains_key(&key))),
                Op::List { from, limit } => Ok(data.range(from..).take(limit as usize).count() as u64),
            }
        }
    }

    async fn ran(target: &Memory, plan: &Plan) -> Outcome {
        run_on(target.clone(), plan, &mut Screen::silent()).await.expect("it runs")
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_requests_as_were_asked_for_are_measured() {
        let memory = Memory { takes: Duration::from_millis(10), ..Memory::default() };
        let outcome = ran(&memory, &Plan { requests: Some(100), warmup_s: 0.1, ..plan() }).await;
        assert_eq!(outcome.total.latency().count, 100);
        // The runtime's timers have a grain of a millisecond.
        let warmed_up = memory.seen.load(Ordering::Relaxed) - 100;
        assert!((36..=40).contains(&warmed_up), "four clients, ten times each: {warmed_up}");
        assert!((250..280).contains(&outcome.elapsed.as_millis()), "{:?}", outcome.elapsed);
        let latency = outcome.total.latency();
        assert!((9_990.0..11_020.0).contains(&latency.p99_us), "{latency:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn time_ends_a_run_and_each_second_is_a_point() {
        let memory = Memory { takes: Duration::from_millis(10), ..Memory::default() };
        let outcome = ran(&memory, &Plan { requests: None, duration_s: Some(3.0), ..plan() }).await;
        let count = outcome.total.latency().count;
        assert!((4 * 270..=4 * 300).contains(&count), "four clients, each 10 ms: {count}");
        assert_eq!(outcome.series.iter().map(|point| point.count).sum::<u64>(), count);
        assert!(outcome.series.len() >= 3, "{:?}", outcome.series);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_counted_and_are_no_answers() {
        let memory = Memory { fails_each: 10, ..Memory::default() };
        let outcome = ran(&memory, &Plan { requests: Some(100), ..plan() }).await;
        assert_eq!((outcome.total.latency().count, outcome.total.failed()), (90, 10));
        assert_eq!(outcome.total.errors().keys().collect::<Vec<_>>(), ["broken"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_is_given_up() {
        let memory = Memory { takes: Duration::from_secs(3_600), ..Memory::default() };
        let outcome = ran(&memory, &Plan { requests: Some(4), timeout_s: 1.0, ..plan() }).await;
        assert_eq!(outcome.total.errors()["timeout"].count, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn preloaded_keys_are_all_there() {
        let memory = Memory { fails_each: 7, ..Memory::default() };
        let reads = Plan { work: Work::Get, preload: true, key_count: 500, requests: Some(60), ..plan() };
        let outcome = ran(&memory, &reads).await;
        assert_eq!(memory.data.lock().expect("nobody panicked").len(), 500);
        assert_eq!(outcome.total.empty_reads(), 0);
        let empty = ran(&Memory::default(), &Plan { preload: false, ..reads }).await;
        assert_eq!(empty.total.empty_reads(), 60, "and without it each read finds nothing");
    }

    /// No coordinated omission: ten requests are due 100 ms apart, there is one client, and the store hangs for a second with
    /// the first of them.
    #[tokio::test(start_paused = true)]
    async fn what_is_due_while_the_store_hangs_takes_its_time_from_then() {
        let memory = Memory { hangs: Duration::from_secs(1), ..Memory::default() };
        let plan = Plan { rate: Some(10.0), requests: Some(10), clients: 1, ..plan() };
        let pace = Arc::new(Pace::new(&plan, Window::new(&plan, Instant::now())));
        let Pace::Open(open) = &*pace else { panic!("the plan has a rate") };
        let releasing = tokio::spawn(release(open.clone()));
        let recorder = Arc::new(Recorder::new());
        let client = Client {
            at: 0,
            worker: memory.worker(0),
            draw: Supply::new(&plan).draw(0),
            pace: pace.clone(),
            recorder: recorder.clone(),
            timeout: plan.timeout(),
            rests: false,
        };
        client.run().await;
        releasing.await.expect("it ends by itself");
        let mut collector = Collector::new();
        collector.collect(&recorder, Duration::from_secs(1));
        let (total, _) = collector.finish();
        let latency = total.latency();
        assert_eq!(latency.count, 10);
        // 1,000 ms, 900, ... 100. From when they were sent all but the first would have taken nothing. (The runtime's timers have
        // a grain of a millisecond.)
        assert!(latency.min_us >= 99_000.0, "{latency:?}");
        assert!((549_000.0..575_000.0).contains(&latency.mean_us), "{latency:?}");
        assert!(latency.max_us >= 999_000.0, "{latency:?}");
    }

    #[tokio::test]
    async fn an_open_loop_sends_all_that_is_due() {
        let memory = Memory::default();
        let outcome = ran(&memory, &Plan { rate: Some(2_000.0), requests: Some(200), ..plan() }).await;
        assert_eq!(outcome.total.latency().count, 200);
        assert_eq!(outcome.unsent, 0);
    }
}
