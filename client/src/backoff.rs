//! Pauses between tries: doubling, bounded, jittered so that many clients do not come back at once.

use std::time::Duration;

/// The pauses of one sequence of tries.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { next: min, max }
    }

    /// The next pause: between half of the current step and all of it.
    pub(crate) fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.max);
        step.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_maximum_and_are_never_longer_than_the_step() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(40));
        for step_ms in [10, 20, 40, 40, 40] {
            let pause = backoff.pause();
            assert!(
                pause >= Duration::from_millis(step_ms) / 2 && pause <= Duration::from_millis(step_ms),
                "{pause:?}"
            );
        }
    }
}
