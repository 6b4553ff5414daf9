//! What the report's words and figures mean; docs/REPORT.md says the same.

use indexmap::IndexMap;

/// Every word and its meaning, in the order of the report.
const DEFINITIONS: [(&str, &str); 37] = [
    (
        "F1",
        "2·tp / (2·tp + fp + fn), from counts of test users: tp are predicted and have the brand, fp are predicted and have it not, fn have it and are not predicted. Undefined if all three are 0. Precision is tp / (tp + fp), recall tp / (tp + fn).",
    ),
    (
        "item level",
        "F1 of each brand, then the unweighted mean over the brands where it is defined. A brand that test users have but that is never predicted has F1 0 and is included.",
    ),
    (
        "user level",
        "F1 of each test user who has at least one label, then the mean over those users. Precision is the mean over those of them who have a prediction.",
    ),
    ("median", "F1 that half of the users with a label reach and half do not exceed."),
    (
        "worst tenth",
        "Mean F1 of the tenth of the users, of those with a label, who have the lowest F1.",
    ),
    (
        "no correct brand",
        "Users with a label for whom no prediction is right, or nothing is predicted.",
    ),
    ("micro F1", "F1 of the counts summed over all brands."),
    (
        "change",
        "Experiment minus baseline, or minus the experiment it is compared with; in brackets as a share of that one's value. The interval is the central 95% of the change over the paired bootstrap draws of the test users. A draw without any user of a tier or band of volume shows no change there.",
    ),
    (
        "brands better, worse",
        "Brands whose own interval of the change of F1 lies wholly above or below 0; all others show no clear change. A draw without any of a brand's users shows no change, so a brand of two or three test users is in neither. Brands whose F1 is undefined in both experiments are left out; undefined in one counts as 0.",
    ),
    ("support", "Test users who have the brand."),
    ("volume", "Distinct training users who have the brand, before sampling."),
    (
        "head, torso, tail",
        "Brands by volume: the head is the fewest largest brands that together hold a given share of the training labels, the tail the smallest brands that together hold at most a given share, the torso what lies between.",
    ),
    ("F1 bucket", "Number of brands whose F1 is defined and at least the bound."),
    (
        "never predicted",
        "Brands that no test user is predicted to have: no probability reaches the threshold, or under the policies `top_k` and `gain` other brands come first.",
    ),
    ("predictions per user", "Brands predicted for a test user, the mean over all of them."),
    (
        "P@k, R@k, nDCG@k",
        "Of a user's k most probable brands: share that are labels; share of the user's labels among them; discounted gain relative to the best order. Mean over users with a label.",
    ),
    (
        "MAP",
        "Average precision of each brand over the test users ranked by its logit, then the mean over brands with support. Users of one logit are tied. Of a brand with more than 512 different logits those below the 512 highest are ranked by narrow bins that follow the spread of its logits: the mean is then right to three digits, whatever the scale of the logits.",
    ),
    (
        "mean imbalance ratio",
        "For each brand that has a label, labels of the most common brand over its own; then the mean over those brands (MeanIR, Charte et al. 2015). 1 is even.",
    ),
    (
        "SCUMBLE",
        "1 minus the geometric over the arithmetic mean of the imbalance ratios of a row's brands; then the mean over rows with a label (Charte et al. 2019). 0 if rare and common brands never share a row, toward 1 the more they do: then a row added for a rare brand adds to common ones too.",
    ),
    (
        "trivial floor",
        "Predicting every brand for every user: F1 is 2π / (1 + π) for a brand of prevalence π among the test users. No model is needed for it.",
    ),
    (
        "ceiling",
        "F1 of each brand at the threshold that is best on the test users themselves: a bound on what any choice of thresholds could reach with these logits, not a result. Mean over brands with support. Thresholds are tried between any two of the 512 highest logits, and below them between narrow bins.",
    ),
    (
        "threshold",
        "The calibrated probability from which a brand is predicted: set by the manifest, chosen on valid users, or expected from the probabilities alone, which with `over: scored` are those of the users to be decided.",
    ),
    (
        "precision and recall of a tier",
        "Of the counts summed over the brands of the tier. The curve ranks all pairs of a test user and a brand of the tier by calibrated probability.",
    ),
    (
        "expected labels",
        "Sum of the probabilities over users and brands, or over one brand. Calibrated probabilities expect as many labels as there are.",
    ),
    (
        "calibration error",
        "How far the labels expected are from those found, summed over brands (or over bands of probability), over all labels. 0 is right everywhere, 1 is off by as many as there are.",
    ),
    (
        "band of probability",
        "Pairs of a test user and a brand by their probability: how many there are, its mean, and the share of them that are labels.",
    ),
    ("audience", "Test users predicted to have a brand."),
    (
        "audience ratio",
        "Users predicted to have a brand over those who have it, over brands that a test user has.",
    ),
    (
        "chosen on valid",
        "What scoring chose on the valid users. Brand share, of the policy `gain`: weight of the mean F1 over brands in what a prediction gains, the mean over users having the rest; 1 is each brand's own threshold, 0 each user's own list. Memory weight: share of the nearest training users' labels in a probability, the model having the rest.",
    ),
    (
        "other decisions",
        "What the same probabilities would give with one threshold for all brands, or with the policy `gain`; the value is the threshold, or the brand share.",
    ),
    (
        "training rows",
        "Examples that training reads, clones counted; users are those among them, each once; without: brands that no example has. Labels are those that the examples show.",
    ),
    (
        "updates",
        "Gradient updates, one a batch, of all networks of an experiment together; kept after: how many the model that is used had seen, chosen on the valid users.",
    ),
    (
        "figures on valid",
        "Measured after an epoch on at most 20,000 valid users: the loss, mean average precision, and F1 at the thresholds that training uses. They choose the epoch, nothing else.",
    ),
    (
        "seconds",
        "Wall time of a stage when it last ran, on whatever machine, with whatever else was running.",
    ),
    (
        "written",
        "Rows and bytes that a stage wrote when it last ran, and the largest memory that its process held.",
    ),
    (
        "verdict",
        "A level is better or worse if the 95% interval of its change against the baseline lies wholly above or below 0, else there is no clear change; item level goes by macro F1. An experiment in which more than half of all brands are never predicted is called not working.",
    ),
    (
        "beats the baseline",
        "Better at one level at least and worse at none. The best experiment is the one of these with the highest item macro F1.",
    ),
];

/// As they stand in `report.json`.
pub fn definitions() -> IndexMap<String, String> {
    DEFINITIONS.map(|(term, text)| (term.to_owned(), text.to_owned())).into_iter().collect()
}

/// The meaning of a word.
///
/// # Panics
///
/// If it has none: headings name words of this file only.
pub fn meaning(term: &str) -> &'static str {
    let found = DEFINITIONS.iter().find(|(known, _)| *known == term);
    found.unwrap_or_else(|| panic!("`{term}` is not defined")).1
}

/// For links to a word.
pub fn term_id(term: &str) -> String {
    let slug = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("term-{}", term.chars().map(slug).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_word_has_its_own_place() {
        let ids: HashSet<String> = DEFINITIONS.iter().map(|(term, _)| term_id(term)).collect();
        assert_eq!(ids.len(), DEFINITIONS.len());
    }

    #[test]
    fn the_guide_defines_the_same_words() {
        let guide = include_str!("../../docs/REPORT.md");
        for (term, text) in DEFINITIONS {
            let line = format!("- **{term}**: {text}");
            assert!(guide.contains(&line), "docs/REPORT.md lacks the line\n{line}");
        }
    }
}
