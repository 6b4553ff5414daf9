//! The users that all experiments are tested on.

use contract::words::plural;

use crate::evaluate;
use crate::figures::Floor;
use crate::load::Scores;

/// With fewer test users, a note says that the intervals mean little.
const ENOUGH_USERS: u64 = 100;

/// What all experiments are tested on.
#[derive(Clone, Debug)]
pub struct TestUsers {
    /// All of them
    pub n_users: u64,
    /// Those that have at least one of the predicted brands
    pub n_with_labels: u64,
    /// Mean over all of them
    pub labels_per_user: Option<f64>,
    /// By `brand_idx`, test users that have the brand
    pub supports: Vec<u64>,
    /// What predicting everything would reach
    pub floor: Floor,
}

impl TestUsers {
    /// Counts the labels, which are the same in the scores of all experiments.
    pub fn of(scores: &Scores, n_brands: usize, f1_buckets: &[f64]) -> Self {
        let labels = scores.labels.as_lists();
        let mut supports = vec![0; n_brands];
        for &brand in labels.values {
            supports[brand as usize] += 1;
        }
        Self {
            n_users: scores.n_users() as u64,
            n_with_labels: labels.iter().filter(|labels| !labels.is_empty()).count() as u64,
            labels_per_user: evaluate::per_user(supports.iter().sum(), scores.n_users()),
            floor: evaluate::floor(&supports, scores, f1_buckets),
            supports,
        }
    }

    /// Why nothing can be judged with these users, if so.
    pub fn nothing_to_judge(&self) -> Option<String> {
        match (self.n_users, self.n_with_labels) {
            (_, 0) => Some("no test user has a label of a predicted brand".to_owned()),
            (1, _) => Some("there is only one test user".to_owned()),
            _ => None,
        }
    }

    /// A note if there are few of them.
    pub fn warning(&self) -> Option<String> {
        let is_few = self.n_users < ENOUGH_USERS;
        let n_users = plural(self.n_users, "test user");
        is_few.then(|| format!("With only {n_users}, the intervals mean little."))
    }
}
