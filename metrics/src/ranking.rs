//! Quality of one user's ordered list of brands.
//!
//! In all of them `ranked` holds brand positions, best first, each once, and `labels` the
//! user's brands, ascending. A user without a label has no value (`None`), nor has `k = 0`.

/// Share of the first `k` brands that are labels.
///
/// * `ranked`: brand positions, best first; those after the first `k` are ignored.
/// * `labels`: the user's brands, ascending.
///
/// Returns hits / `k` in `[0, 1]`. The divisor is `k` even for a shorter list or fewer
/// labels, as in the Extreme Classification Repository.
pub fn precision_at(ranked: &[u32], labels: &[u32], k: usize) -> Option<f64> {
    is_defined(labels, k).then(|| hits(ranked, labels, k).count() as f64 / k as f64)
}

/// Share of the labels that are among the first `k` brands.
///
/// Arguments as in [`precision_at`]. Returns hits / number of labels in `[0, 1]`; a user with
/// more than `k` labels cannot reach 1.
pub fn recall_at(ranked: &[u32], labels: &[u32], k: usize) -> Option<f64> {
    is_defined(labels, k).then(|| hits(ranked, labels, k).count() as f64 / labels.len() as f64)
}

/// Normalised discounted cumulative gain of the first `k` brands.
///
/// Arguments as in [`precision_at`]. Returns a value in `[0, 1]`; 1 when the first
/// `min(k, n_labels)` brands are all labels.
///
/// # Source
///
/// Järvelin and Kekäläinen 2002 with gains 0 and 1: a hit at position `r`, from 1, is worth
/// `1 / log2(r + 1)`, and the sum is divided by that of `min(k, n_labels)` leading hits.
pub fn ndcg_at(ranked: &[u32], labels: &[u32], k: usize) -> Option<f64> {
    is_defined(labels, k).then(|| {
        let gain: f64 = hits(ranked, labels, k).map(discount).sum();
        let ideal: f64 = (0..k.min(labels.len())).map(discount).sum();
        gain / ideal
    })
}

fn is_defined(labels: &[u32], k: usize) -> bool {
    assert!(labels.is_sorted(), "labels must ascend");
    !labels.is_empty() && k > 0
}

/// The 0-based positions among the first `k` whose brand is a label.
fn hits(ranked: &[u32], labels: &[u32], k: usize) -> impl Iterator<Item = usize> {
    ranked
        .iter()
        .take(k)
        .enumerate()
        .filter(|(_, brand)| labels.binary_search(brand).is_ok())
        .map(|(position, _)| position)
}

/// Worth of a hit at a 0-based position.
fn discount(position: usize) -> f64 {
    1.0 / (position as f64 + 2.0).log2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;

    const RANKED: [u32; 4] = [9, 2, 7, 4];
    const LABELS: [u32; 3] = [2, 4, 8];

    #[test]
    fn precision_divides_by_k_whatever_there_is() {
        assert_eq!(precision_at(&RANKED, &LABELS, 2), Some(0.5)); // 2 of [9, 2]
        assert_eq!(precision_at(&RANKED, &LABELS, 8), Some(0.25)); // [2, 4] / 8
    }

    #[test]
    fn recall_divides_by_the_number_of_labels() {
        assert_eq!(recall_at(&RANKED, &LABELS, 2), Some(1.0 / 3.0));
        assert_eq!(recall_at(&RANKED, &LABELS, 4), Some(2.0 / 3.0));
    }

    /// Hits at positions 2 and 4 of 4; three labels, so the ideal has hits at 1, 2, 3.
    #[test]
    fn ndcg_discounts_by_position() {
        let gain = 1.0 / 3_f64.log2() + 1.0 / 5_f64.log2(); // 0.6309 + 0.4307
        let ideal = 1.0 + 1.0 / 3_f64.log2() + 1.0 / 4_f64.log2(); // 2.1309
        let ndcg = ndcg_at(&RANKED, &LABELS, 4).unwrap();
        assert!((ndcg - gain / ideal).abs() < 1e-12); // 0.498
    }

    /// One label, ranked first: nothing better is possible, however long the list.
    #[test]
    fn ndcg_of_the_best_possible_order_is_one() {
        assert_eq!(ndcg_at(&[3, 1, 2], &[3], 3), Some(1.0));
    }

    #[test]
    fn a_user_without_labels_has_no_value() {
        assert_eq!(precision_at(&RANKED, &[], 2), None);
        assert_eq!(recall_at(&RANKED, &[], 2), None);
        assert_eq!(ndcg_at(&RANKED, &[], 2), None);
        assert_eq!(precision_at(&RANKED, &LABELS, 0), None);
    }

    /// `ndcg_score` of scikit-learn, a user at a time (`reference/make_reference.py`).
    #[test]
    fn ndcg_agrees_with_scikit_learn() {
        let users = reference::users();
        for k in [3, 6] {
            let mean = crate::mean_defined(
                users.iter().map(|user| ndcg_at(&user.ranked, &user.labels, k)),
            );
            let expected = reference::value(&format!("ndcg_at_{k}"));
            assert!((mean.unwrap() - expected).abs() < 1e-12);
        }
    }
}
