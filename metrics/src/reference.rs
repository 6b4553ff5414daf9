//! Values of scikit-learn and numpy for the tests, made by `reference/make_reference.py`
//! with the versions in `reference/requirements.txt`.

use crate::{Bin, Histogram, step_centre};

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

/// The one brand of `histogram.csv`: users at the centres of steps.
pub fn histogram() -> Histogram {
    let bin = |row: Vec<&str>| {
        let numbers: Vec<u64> = row.iter().map(|cell| cell.parse().unwrap()).collect();
        Bin::at(step_centre(numbers[0] as usize), numbers[1], numbers[2])
    };
    let bins = rows(include_str!("../reference/histogram.csv")).map(bin).collect();
    Histogram::from_bins(vec![bins])
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
