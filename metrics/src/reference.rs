//! Values of scikit-learn and numpy for the tests, made by `reference/make_reference.py`
//! with the versions in `reference/requirements.txt`.

use crate::{Histogram, N_BINS};

/// One line of `users.csv`: brand positions, ascending except for `ranked`.
pub struct User {
    pub labels: Vec<u32>,
    pub predicted: Vec<u32>,
    pub ranked: Vec<u32>,
}

pub fn users() -> Vec<User> {
    rows(include_str!("../reference/users.csv"))
        .map(|row| {
            let [labels, predicted, ranked] = row[..] else { panic!("three columns") };
            User { labels: ids(labels), predicted: ids(predicted), ranked: ids(ranked) }
        })
        .collect()
}

/// The one brand of `histogram.csv`.
pub fn histogram() -> Histogram {
    let (mut positives, mut negatives) = (vec![0; N_BINS], vec![0; N_BINS]);
    for row in rows(include_str!("../reference/histogram.csv")) {
        let bin: usize = row[0].parse().unwrap();
        positives[bin] = row[1].parse().unwrap();
        negatives[bin] = row[2].parse().unwrap();
    }
    Histogram::from_counts(1, positives, negatives).unwrap()
}

/// The value of this name in `values.csv`.
pub fn value(name: &str) -> f64 {
    rows(include_str!("../reference/values.csv")).find(|row| row[0] == name).unwrap()[1]
        .parse()
        .unwrap()
}

fn rows(csv: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    csv.lines().skip(1).map(|line| line.split(',').collect())
}

fn ids(cell: &str) -> Vec<u32> {
    cell.split_whitespace().map(|id| id.parse().unwrap()).collect()
}
