//! The truth: brand volumes, users' tastes, labels and embeddings.

use anyhow::{Result, ensure};
use clap::Args;
use contract::features::{Feature, FeatureKind};
use contract::splitmix::GOLDEN;
use model::mlp::Layer;
use model::{Kind, Mlp, Model};
use ndarray::{Array1, Array2};
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_distr::{Distribution as _, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::json;

/// Length of a taste.
pub const TASTE_DIM: usize = 16;

/// Share of users that have the largest brand.
const COMMONEST: f64 = 0.5;

/// Largest signal for which the biases can be found.
const MAX_SIGNAL: f64 = 20.0;

/// Most spreads that are added to the logarithm of a signal.
const MAX_SPREADS: f64 = 2.0;

/// The parameters of a population.
#[derive(Args)]
pub struct Law {
    /// Mean number of brands a user has
    #[arg(long, value_name = "NUM", default_value_t = 10.0)]
    labels: f64,
    /// Share of users that have the smallest brand
    #[arg(long, value_name = "NUM", default_value_t = 0.001)]
    rarest: f64,
    /// How much taste decides: the standard deviation of a brand's logit over users; with a spread,
    /// that of the brand for which taste decides least. At 2.5 the truth finds users with a dozen
    /// times the average probability of a brand, while few rare brands ever reach a probability of
    /// one half
    #[arg(long, value_name = "NUM", default_value_t = 2.5)]
    signal: f64,
    /// How much more taste decides for some brands than for others: the scale of a half-normal term
    /// that is added to the logarithm of the signal
    #[arg(long, value_name = "NUM", default_value_t = 0.0)]
    spread: f64,
    /// Standard deviation of the noise on each embedding value, whose signal has 0.6
    #[arg(long, value_name = "NUM", default_value_t = 0.5)]
    noise: f32,
}

/// A population.
pub struct Population {
    seed: u64,
    noise: f32,
    /// `(TASTE_DIM, n_brands)`
    directions: Array2<f32>,
    /// `(n_brands,)`
    biases: Array1<f32>,
    /// `(TASTE_DIM, dim)`
    view: Array2<f32>,
}

/// A user.
pub struct User {
    /// Seen by the oracle only
    pub taste: Vec<f32>,
    /// Seen by models
    pub embedding: Vec<f32>,
    /// Brands and how often the user interacted with each
    pub labels: Vec<(u32, u32)>,
}

impl Population {
    /// Draws brands.
    ///
    /// # Errors
    ///
    /// If no law of volumes from one half down to `rarest` gives the mean number of labels.
    pub fn new(n_brands: usize, dim: usize, law: &Law, seed: u64) -> Result<Self> {
        let Law { labels, rarest, signal, spread, noise } = *law;
        ensure!(
            signal > 0.0 && spread >= 0.0 && noise >= 0.0 && noise.is_finite(),
            "the signal must be above 0, spread and noise 0 or more, got {signal}, {spread} and {noise}"
        );
        let strongest = signal * (MAX_SPREADS * spread).exp();
        ensure!(
            strongest <= MAX_SIGNAL,
            "the strongest brand would have a signal of {strongest:.1}, more than {MAX_SIGNAL}"
        );
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut prevalences = prevalences(n_brands, labels, rarest)?;
        prevalences.shuffle(&mut rng); // so that an id does not reveal the volume
        let mut gaussian = |rows, columns| -> Array2<f32> {
            Array2::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut rng))
        };
        let mut directions = gaussian(TASTE_DIM, n_brands);
        let view = gaussian(TASTE_DIM, dim) / (TASTE_DIM as f32).sqrt();
        let signals: Vec<f64> = (0..n_brands)
            .map(|_| {
                let z: f64 = StandardNormal.sample(&mut rng);
                signal * (spread * z.abs().min(MAX_SPREADS)).exp()
            })
            .collect();
        for (mut direction, &signal) in directions.columns_mut().into_iter().zip(&signals) {
            let length = direction.dot(&direction).sqrt();
            direction.mapv_inplace(|v| v / length * signal as f32);
        }
        let biases = prevalences.iter().zip(&signals).map(|(&p, &s)| bias(p, s) as f32).collect();
        Ok(Self { seed, noise, directions, biases, view })
    }

    /// The user of this number, the same at every call.
    pub fn user(&self, number: u64) -> User {
        let mut rng =
            Xoshiro256PlusPlus::seed_from_u64(self.seed ^ (number + 1).wrapping_mul(GOLDEN));
        let taste: Array1<f32> =
            Array1::from_shape_simple_fn(TASTE_DIM, || StandardNormal.sample(&mut rng));
        let chances = taste.dot(&self.directions) + &self.biases;
        let mut labels = Vec::new();
        for (brand, &z) in chances.iter().enumerate() {
            if rng.random::<f32>() < 1.0 / (1.0 + (-z).exp()) {
                // Events: one, and one more for each head before the first tail of a coin.
                let more = (0..20).take_while(|_| rng.random::<bool>()).count();
                labels.push((brand as u32, 1 + more as u32));
            }
        }
        let embedding = taste
            .dot(&self.view)
            .iter()
            .map(|signal| {
                let noise: f32 = StandardNormal.sample(&mut rng);
                signal.tanh() + self.noise * noise
            })
            .collect();
        User { taste: taste.to_vec(), embedding, labels }
    }

    /// Identifiers of the brands, in order.
    pub fn brand_ids(&self) -> Vec<String> {
        (1..=self.biases.len()).map(|i| format!("b{i:04}")).collect()
    }

    /// The truth as a model over the feature `latent`.
    pub fn oracle(&self) -> Model {
        Model {
            kind: Kind::Mlp(Mlp {
                features: vec![Feature::new("latent", FeatureKind::Dense { dim: TASTE_DIM })],
                offsets: Array1::zeros(TASTE_DIM),
                scales: Array1::ones(TASTE_DIM),
                ids: Vec::new(),
                log_bags: Vec::new(),
                bags: Vec::new(),
                layers: vec![Layer { weights: self.directions.clone(), bias: self.biases.clone() }],
                own_history: Vec::new(),
            }),
            brand_ids: self.brand_ids(),
            training: json!({"truth": true}),
        }
    }
}

/// Prevalences by the law of Zipf and Mandelbrot, `c·(rank + shift)^-exponent`, from
/// [`COMMONEST`] to `rarest`; the shift is the one that gives `n_labels` a user.
fn prevalences(n_brands: usize, n_labels: f64, rarest: f64) -> Result<Vec<f64>> {
    ensure!(
        rarest > 0.0 && rarest < COMMONEST,
        "the rarest brand's share must be between 0 and {COMMONEST}, got {rarest}"
    );
    let law = |shift: f64| -> Vec<f64> {
        let span = ((n_brands as f64 + shift) / (1.0 + shift)).ln();
        let exponent = (COMMONEST / rarest).ln() / span;
        (1..=n_brands)
            .map(|rank| COMMONEST * ((1.0 + shift) / (rank as f64 + shift)).powf(exponent))
            .collect()
    };
    let mean = |shift: f64| law(shift).iter().sum::<f64>();
    let (mut low, mut high) = (-0.99, 1e6);
    ensure!(
        (mean(low)..=mean(high)).contains(&n_labels),
        "{n_brands} brands from {COMMONEST} to {rarest} of the users give {:.2} to {:.2} brands a user, not {n_labels}",
        mean(low),
        mean(high)
    );
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if mean(middle) < n_labels { low = middle } else { high = middle }
    }
    Ok(law(high))
}

/// The bias with which `σ(bias + signal·x)`, `x` standard normal, has this mean.
fn bias(prevalence: f64, signal: f64) -> f64 {
    // The mean over x by the trapezoid rule on [-8, 8].
    let mean = |bias: f64| {
        let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        (-400..=400)
            .map(|i| f64::from(i) * 0.02)
            .map(|x| density(x) * 0.02 / (1.0 + (-bias - signal * x).exp()))
            .sum::<f64>()
    };
    let (mut low, mut high) = (-200.0, 200.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if mean(middle) < prevalence { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_fall_from_one_half_to_the_rarest_and_sum_to_the_labels() {
        let law = prevalences(600, 10.0, 0.001).unwrap();
        assert!((law[0] - 0.5).abs() < 1e-9 && (law[599] - 0.001).abs() < 1e-9);
        assert!((law.iter().sum::<f64>() - 10.0).abs() < 1e-6);
        assert!(law.windows(2).all(|pair| pair[0] > pair[1]));
    }

    #[test]
    fn an_impossible_mean_is_an_error() {
        let message = prevalences(10, 100.0, 0.001).unwrap_err().to_string();
        assert!(message.contains("not 100"), "{message}");
    }

    /// 20,000 users of 50 brands: the mean number of labels, 3, has deviation 0.02.
    #[test]
    fn users_have_as_many_labels_as_asked_for_and_are_always_the_same() {
        let law = Law { labels: 3.0, rarest: 0.002, signal: 2.5, spread: 0.0, noise: 0.5 };
        let population = Population::new(50, 8, &law, 7).unwrap();
        let n: usize = (0..20_000).map(|i| population.user(i).labels.len()).sum();
        assert!((n as f64 / 20_000.0 - 3.0).abs() < 0.1, "{n}");
        assert_eq!(population.user(5).labels, population.user(5).labels);
        assert_ne!(population.user(5).taste, population.user(6).taste);
    }
}
