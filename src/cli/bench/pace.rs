//! When requests are sent.
//!
//! - **Closed loop**: a client asks when it was answered. It says what a number of clients get, and nothing of what would have
//!   happened to those who come meanwhile: a store that hangs is asked less.
//! - **Open loop**: request n is due at `begin + n / rate`, whatever the answers. Its latency begins *then*, also if no client was
//!   free to send it. So a store that hangs for a second shows a second's worth of slow requests, and not one (the mistake
//!   that G. Tene calls coordinated omission).
//!
//! What is due is released by a thread of its own and not by the runtime's timers: those have a grain of a millisecond, which
//! is longer than many answers take.
//!
//! Requests that are due before the end, and that no client was free to send, are never sent. They are counted ([`Open::unsent`]),
//! since all latencies of such a run are too low.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::plan::Plan;

/// How long after the end what was due last may still be sent: no client is to be blamed that was just woken.
const END_GRACE: Duration = Duration::from_millis(100);
/// The longest sleep of the releasing thread: so late it learns that all is over.
const RELEASE_INTERVAL_MAX: Duration = Duration::from_millis(20);

/// The permission to send a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// When it was to be sent: its latency counts from then.
    pub(crate) due: Instant,
    /// Whether it is measured, or warms up.
    pub(crate) is_measured: bool,
}

/// From when to when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The first request.
    pub(crate) begin: Instant,
    /// The first measured one.
    pub(crate) measured_from: Instant,
    /// The end, if time is what ends it.
    pub(crate) until: Option<Instant>,
}

impl Window {
    /// The plan's, from now on.
    pub(crate) fn new(plan: &Plan, begin: Instant) -> Window {
        let measured_from = begin + Duration::from_secs_f64(plan.warmup_s);
        let until = plan.duration_s.map(|seconds| measured_from + Duration::from_secs_f64(seconds));
        Window { begin, measured_from, until }
    }
}

/// When requests are sent.
pub(crate) enum Pace {
    /// After answers.
    Closed(Closed),
    /// By the clock.
    Open(Arc<Open>),
}

impl Pace {
    /// The plan's.
    pub(crate) fn new(plan: &Plan, window: Window) -> Pace {
        match plan.rate {
            None => Pace::Closed(Closed::new(window, plan.requests)),
            Some(rate) => Pace::Open(Arc::new(Open::new(window, rate, plan.requests))),
        }
    }

    /// Waits until a request may be sent; none when all is over.
    pub(crate) async fn next(&self) -> Option<Start> {
        match self {
            Pace::Closed(closed) => closed.next(Instant::now()),
            Pace::Open(open) => open.next().await,
        }
    }

    /// No further requests.
    pub(crate) fn stop(&self) {
        match self {
            Pace::Closed(closed) => closed.is_over.store(true, Ordering::Relaxed),
            Pace::Open(open) => open.permits.close(),
        }
    }
}

/// A client asks when it was answered.
pub(crate) struct Closed {
    window: Window,
    /// Measured requests in all.
    requests: Option<u64>,
    taken: AtomicU64,
    is_over: AtomicBool,
}

impl Closed {
    fn new(window: Window, requests: Option<u64>) -> Closed {
        Closed { window, requests, taken: AtomicU64::new(0), is_over: AtomicBool::new(false) }
    }

    fn next(&self, now: Instant) -> Option<Start> {
        if self.is_over.load(Ordering::Relaxed) || self.window.until.is_some_and(|until| now >= until) {
            return None;
        }
        let is_measured = now >= self.window.measured_from;
        if let Some(requests) = self.requests.filter(|_| is_measured)
            && self.taken.fetch_add(1, Ordering::Relaxed) >= requests
        {
            return None;
        }
        Some(Start { due: now, is_measured })
    }
}

/// Requests are due by the clock.
pub(crate) struct Open {
    window: Window,
    rate: f64,
    /// In all, those that warm up included.
    total: u64,
    /// `released <= total`; both only grow, and `taken <= released`.
    released: AtomicU64,
    taken: AtomicU64,
    permits: Semaphore,
}

impl Open {
    fn new(window: Window, rate: f64, requests: Option<u64>) -> Open {
        let due_by = |end: Instant| ((end - window.begin).as_secs_f64() * rate).ceil() as u64;
        let by_count = requests.map(|requests| due_by(window.measured_from).saturating_add(requests));
        let by_time = window.until.map(due_by);
        let total = by_count.into_iter().chain(by_time).min().unwrap_or(0);
        Open {
            window,
            rate,
            total,
            released: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            permits: Semaphore::new(0),
        }
    }

    /// When the nth request is due.
    fn due(&self, n: u64) -> Instant {
        self.window.begin + Duration::from_secs_f64(n as f64 / self.rate)
    }

    /// Releases what is due by now, and says when to come again; none when all is over.
    pub(crate) fn release(&self, now: Instant) -> Option<Instant> {
        if self.permits.is_closed() {
            return None;
        }
        if self.window.until.is_some_and(|until| now >= until + END_GRACE) {
            self.permits.close();
            return None;
        }
        let passed = now.saturating_duration_since(self.window.begin).as_secs_f64();
        let mut due = ((passed * self.rate) as u64 + 1).min(self.total);
        // What rounding left out: else it would be said to be due now, for as long as it is now.
        while due < self.total && self.due(due) <= now {
            due += 1;
        }
        let released = self.released.load(Ordering::Relaxed);
        if due > released {
            self.released.store(due, Ordering::Relaxed);
            self.permits.add_permits(usize::try_from(due - released).unwrap_or(usize::MAX));
        }
        let soon = now + RELEASE_INTERVAL_MAX;
        Some(if due < self.total { self.due(due).min(soon) } else { soon })
    }

    async fn next(&self) -> Option<Start> {
        loop {
            self.permits.acquire().await.ok()?.forget();
            let n = self.taken.fetch_add(1, Ordering::Relaxed);
            if n + 1 >= self.total {
                self.permits.close();
            }
            let due = self.due(n);
            let is_measured = due >= self.window.measured_from;
            // What the warming up left behind is not sent in the time that is measured: it would come before what is.
            if is_measured || Instant::now() < self.window.measured_from {
                return Some(Start { due, is_measured });
            }
        }
    }

    /// How many requests were due and never sent.
    pub(crate) fn unsent(&self) -> u64 {
        self.released.load(Ordering::Relaxed).saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    /// Releases requests until all is over, on a thread of its own.
    pub(crate) fn spawn(self: &Arc<Open>) -> std::io::Result<std::thread::JoinHandle<()>> {
        let open = self.clone();
        std::thread::Builder::new().name("pace".to_owned()).spawn(move || {
            while let Some(again) = open.release(Instant::now()) {
                std::thread::sleep(again.saturating_duration_since(Instant::now()));
            }
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::plan::tests::plan;
    use super::*;

    fn open(plan: &Plan) -> Arc<Open> {
        match Pace::new(plan, Window::new(plan, Instant::now())) {
            Pace::Open(open) => open,
            Pace::Closed(_) => panic!("the plan has a rate"),
        }
    }

    /// Lets time pass, and all that is due in it happen: the test owns the time.
    async fn pass(time: Duration) {
        tokio::time::sleep_until(Instant::now() + time).await;
    }

    /// What the thread does, in the runtime's time.
    pub(crate) async fn release(open: Arc<Open>) {
        while let Some(again) = open.release(Instant::now()) {
            tokio::time::sleep_until(again).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_due_by_the_clock_whatever_the_answers() {
        let plan = Plan { rate: Some(100.0), requests: Some(5), warmup_s: 0.02, ..plan() };
        let (begin, open) = (Instant::now(), open(&plan));
        let releasing = tokio::spawn(release(open.clone()));
        let mut starts = Vec::new();
        while let Some(start) = open.next().await {
            starts.push(((start.due - begin).as_millis(), start.is_measured));
            if starts.len() == 3 {
                // The store hangs: what comes meanwhile is due all the same.
                pass(Duration::from_secs(1)).await;
            }
        }
        assert_eq!(
            starts,
            [(0, false), (10, false), (20, true), (30, true), (40, true), (50, true), (60, true)]
        );
        assert_eq!(open.unsent(), 0);
        releasing.await.expect("it ends by itself");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_was_free_to_send_is_counted() {
        let plan = Plan { rate: Some(1_000.0), requests: None, duration_s: Some(1.0), ..plan() };
        let open = open(&plan);
        let releasing = tokio::spawn(release(open.clone()));
        let mut sent = 0;
        while open.next().await.is_some() {
            sent += 1;
            pass(Duration::from_millis(100)).await;
        }
        releasing.await.expect("it ends by itself");
        assert!((10..=12).contains(&sent), "one in 100 ms: {sent}");
        assert_eq!(open.unsent(), 1_000 - sent);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_warming_up_left_behind_is_not_sent() {
        let plan = Plan { rate: Some(1_000.0), requests: Some(10), warmup_s: 1.0, ..plan() };
        let (begin, open) = (Instant::now(), open(&plan));
        let releasing = tokio::spawn(release(open.clone()));
        assert_eq!(open.next().await.expect("it warms up").due, begin);
        pass(Duration::from_secs(2)).await;
        let first = open.next().await.expect("the measured ones are sent");
        assert_eq!((first.due - begin, first.is_measured), (Duration::from_secs(1), true));
        assert_eq!(open.unsent(), 9, "and they alone are missed when they are not");
        open.permits.close();
        releasing.await.expect("it ends by itself");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_clock_hand_releases_no_more_than_is_due() {
        let plan = Plan { rate: Some(1_000_000.0), requests: Some(1_000), ..plan() };
        let open = open(&plan);
        open.release(Instant::now());
        assert_eq!(open.permits.available_permits(), 1, "the first is due at once");
        tokio::time::advance(Duration::from_micros(10)).await;
        open.release(Instant::now());
        assert!((10..=11).contains(&open.permits.available_permits()));
        tokio::time::advance(Duration::from_secs(1)).await;
        open.release(Instant::now());
        assert_eq!(open.permits.available_permits(), 1_000, "and no more than there are");
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_loop_ends_by_time_or_by_count() {
        let by_count = Plan { requests: Some(3), warmup_s: 1.0, ..plan() };
        let pace = Pace::new(&by_count, Window::new(&by_count, Instant::now()));
        assert!(!pace.next().await.expect("it warms up").is_measured);
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..3 {
            assert!(pace.next().await.expect("there are three").is_measured);
        }
        assert_eq!(pace.next().await, None);

        let by_time = Plan { requests: None, duration_s: Some(2.0), ..plan() };
        let pace = Pace::new(&by_time, Window::new(&by_time, Instant::now()));
        tokio::time::advance(Duration::from_millis(1_999)).await;
        assert!(pace.next().await.is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(pace.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn both_are_stopped() {
        let closed = Pace::new(&plan(), Window::new(&plan(), Instant::now()));
        closed.stop();
        assert_eq!(closed.next().await, None);
        let plan = Plan { rate: Some(1.0), ..plan() };
        let open = Pace::new(&plan, Window::new(&plan, Instant::now()));
        open.stop();
        assert_eq!(open.next().await, None);
    }
}
