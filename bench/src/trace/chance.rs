//! Chance from a seed: the same numbers on every machine and with every release of every crate.

use antiphon_core::Dice;
use std::f64::consts::TAU;

/// The distributions that a trace is made of.
#[derive(Clone, Debug)]
pub struct Chance(Dice);

impl Chance {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(Dice::new(seed))
    }

    /// 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0.roll()
    }

    /// Evenly from 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Waiting times with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Log-normal: half are below `median`, two thirds within a factor of `e^sigma` of it.
    pub fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        let (radius, angle) = ((-2.0 * (1.0 - self.unit()).ln()).sqrt(), TAU * self.unit());
        median * (sigma * radius * angle.cos()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_medians_are_as_asked_for() {
        let mut chance = Chance::new(1);
        let mean = (0..10_000).map(|_| chance.exponential(5.0)).sum::<f64>() / 10_000.0;
        assert!((4.8..5.2).contains(&mean), "{mean}");
        let below = (0..10_000).filter(|_| chance.log_normal(200.0, 0.3) < 200.0).count();
        assert!((4_800..5_200).contains(&below), "{below}");
    }
}
