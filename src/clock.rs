//! The only place that asks the time.
//!
//! Effectful modules hold a [`Clock`]; pure ones are handed a time as an argument.
//! A fixed clock stands still until somebody sleeps on it or moves it, so that
//! time-outs and ages are tested without waiting.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Wall clock, stopwatch and sleep in one, cheap to clone.
#[derive(Clone)]
pub struct Clock(Kind);

#[derive(Clone)]
enum Kind {
    System {
        origin: Instant,
    },
    /// Waits are divided and elapsed time is multiplied by the same number.
    Lapse {
        origin: Instant,
        speed: u32,
    },
    Fixed {
        start_ms: i64,
        elapsed_us: Arc<AtomicU64>,
    },
}

impl Clock {
    /// The machine's own clock.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that may ask")]
    pub fn system() -> Self {
        Self(Kind::System { origin: Instant::now() })
    }

    /// The machine's own clock in time-lapse: what would take this many seconds takes one.
    /// The time of day is the machine's, since other machines compare it with theirs.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that may ask")]
    pub fn time_lapse(speed: u32) -> Self {
        Self(Kind::Lapse { origin: Instant::now(), speed: speed.max(1) })
    }

    /// A clock that shows this time until it is slept on or moved. Clones share it.
    pub fn fixed(now_ms: i64) -> Self {
        Self(Kind::Fixed { start_ms: now_ms, elapsed_us: Arc::default() })
    }

    /// Milliseconds since 1970, UTC. May jump; for records and for comparing with
    /// what other machines wrote down, never for measuring.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that may ask")]
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            // A machine whose clock stands before 1970 has worse problems than a 0 here.
            Kind::System { .. } | Kind::Lapse { .. } => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Kind::Fixed { start_ms, .. } => {
                let elapsed_ms = i64::try_from(self.monotonic().as_millis()).unwrap_or(i64::MAX);
                start_ms.saturating_add(elapsed_ms)
            }
        }
    }

    /// Time since this clock was made; never goes back.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Kind::System { origin } => origin.elapsed(),
            Kind::Lapse { origin, speed } => origin.elapsed() * *speed,
            Kind::Fixed { elapsed_us, .. } => {
                Duration::from_micros(elapsed_us.load(Ordering::SeqCst))
            }
        }
    }

    /// Waits. A fixed clock moves on by that much at once and lets others run.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Kind::System { .. } => tokio::time::sleep(duration).await,
            Kind::Lapse { speed, .. } => tokio::time::sleep(duration / *speed).await,
            Kind::Fixed { .. } => {
                self.advance(duration);
                tokio::task::yield_now().await;
            }
        }
    }

    /// Moves a fixed clock on. The machine's own clock cannot be moved and stays.
    pub fn advance(&self, duration: Duration) {
        match &self.0 {
            Kind::System { .. } | Kind::Lapse { .. } => {}
            Kind::Fixed { elapsed_us, .. } => {
                let by_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
                elapsed_us.fetch_add(by_us, Ordering::SeqCst);
            }
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::System { .. } => f.write_str("Clock(system)"),
            Kind::Lapse { speed, .. } => write!(f, "Clock(system, {speed} times faster)"),
            Kind::Fixed { .. } => write!(f, "Clock(fixed at {} ms)", self.now_ms()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fixed_clock_moves_only_when_slept_on_and_clones_share_it() {
        let clock = Clock::fixed(1_000);
        let other = clock.clone();
        assert_eq!((clock.now_ms(), clock.monotonic()), (1_000, Duration::ZERO));
        clock.sleep(Duration::from_secs(3600)).await;
        assert_eq!(other.now_ms(), 3_601_000);
        assert_eq!(other.monotonic(), Duration::from_secs(3600));
    }

    #[tokio::test]
    async fn in_time_lapse_a_long_wait_is_short_and_counts_as_long() {
        let clock = Clock::time_lapse(1000);
        clock.sleep(Duration::from_secs(5)).await;
        assert!(clock.monotonic() >= Duration::from_secs(5));
        assert!(clock.now_ms() > 1_577_836_800_000);
    }

    #[test]
    fn the_system_clock_is_later_than_2020_and_does_not_go_back() {
        let clock = Clock::system();
        let before = clock.monotonic();
        assert!(clock.now_ms() > 1_577_836_800_000);
        clock.advance(Duration::from_secs(9));
        let after = clock.monotonic();
        assert!(after >= before && after < Duration::from_secs(9));
    }
}
