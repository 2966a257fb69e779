//! Which accounts a workload touches, and how often.

use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt};
use rand_distr::{Distribution as _, Zipf};

/// The share of picks that fall on the hot accounts of a hotspot.
const HOTSPOT_PICKS: f64 = 0.9;

/// How accounts are picked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Distribution {
    /// All alike.
    Uniform,
    /// Account `n` in proportion to `1 / n^theta`.
    Zipf(f64),
    /// 90 % of the picks on the first accounts, this fraction of all.
    Hotspot(f64),
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.parse::<f64>().map_err(|_| format!("`{text}` is not a number"));
        match text.split_once(':') {
            None if text == "uniform" => Ok(Self::Uniform),
            Some(("zipf", theta)) => match number(theta)? {
                theta if theta > 0.0 && theta <= 10.0 => Ok(Self::Zipf(theta)),
                theta => Err(format!("a zipf exponent of {theta}; above 0 and up to 10 is allowed")),
            },
            Some(("hotspot", fraction)) => match number(fraction)? {
                fraction if fraction > 0.0 && fraction < 1.0 => Ok(Self::Hotspot(fraction)),
                fraction => Err(format!("a hotspot of {fraction} of the accounts; between 0 and 1 is allowed")),
            },
            _ => Err("expected uniform, zipf:THETA or hotspot:FRACTION, like zipf:0.99".to_owned()),
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf(theta) => write!(f, "zipf:{theta}"),
            Self::Hotspot(fraction) => write!(f, "hotspot:{fraction}"),
        }
    }
}

/// Picks accounts, numbered from 0.
#[derive(Clone, Debug)]
pub(crate) enum Sampler {
    Uniform { accounts: usize },
    Zipf(Zipf<f64>, usize),
    Hotspot { accounts: usize, hot: usize },
}

impl Sampler {
    /// A sampler over so many accounts.
    pub(crate) fn new(distribution: Distribution, accounts: usize) -> Result<Self, String> {
        Ok(match distribution {
            Distribution::Uniform => Self::Uniform { accounts },
            Distribution::Zipf(theta) => {
                Self::Zipf(Zipf::new(accounts as f64, theta).map_err(|error| error.to_string())?, accounts)
            }
            Distribution::Hotspot(fraction) => {
                let hot = ((accounts as f64 * fraction).ceil() as usize).clamp(1, accounts - 1);
                Self::Hotspot { accounts, hot }
            }
        })
    }

    /// One account.
    pub(crate) fn pick(&self, rng: &mut impl Rng) -> usize {
        match self {
            Self::Uniform { accounts } => rng.random_range(0..*accounts),
            Self::Zipf(zipf, accounts) => (zipf.sample(rng) as usize).clamp(1, *accounts) - 1,
            Self::Hotspot { accounts, hot } => {
                if rng.random_bool(HOTSPOT_PICKS) {
                    rng.random_range(0..*hot)
                } else {
                    rng.random_range(*hot..*accounts)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn counts(distribution: Distribution, accounts: usize) -> Vec<usize> {
        let sampler = Sampler::new(distribution, accounts).unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let mut counts = vec![0; accounts];
        for _ in 0..100_000 {
            counts[sampler.pick(&mut rng)] += 1;
        }
        counts
    }

    #[test]
    fn uniform_picks_all_alike() {
        assert!(counts(Distribution::Uniform, 100).iter().all(|count| (800..1_200).contains(count)));
    }

    #[test]
    fn zipf_picks_the_first_twice_as_often_as_the_second_at_exponent_one() {
        let counts = counts(Distribution::Zipf(1.0), 1_000);
        let ratio = counts[0] as f64 / counts[1] as f64;
        assert!((1.8..2.2).contains(&ratio), "{ratio}");
        assert!(counts[0] > 50 * counts[500].max(1));
    }

    #[test]
    fn a_hotspot_takes_nine_of_ten_picks() {
        let counts = counts(Distribution::Hotspot(0.1), 100);
        let hot: usize = counts[..10].iter().sum();
        assert!((89_000..91_000).contains(&hot), "{hot}");
    }

    #[test]
    fn texts_are_read_and_written_alike_and_nonsense_is_refused() {
        for text in ["uniform", "zipf:0.99", "hotspot:0.1"] {
            assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
        }
        for text in ["", "zipf", "zipf:x", "zipf:-1", "zipf:NaN", "hotspot:0", "hotspot:1", "hotspot:2", "gauss:1"] {
            assert!(text.parse::<Distribution>().is_err(), "{text}");
        }
    }
}
