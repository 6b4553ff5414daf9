//! What the report's terms mean; docs/REPORT.md says the same.

use indexmap::IndexMap;

/// Every term and its meaning, in the order of the report.
const DEFINITIONS: [(&str, &str); 41] = [
    (
        "F1",
        "2·tp / (2·tp + fp + fn). Of the test users, tp have the brand and are predicted to have it, fp are predicted but do not have it, fn have it but are not predicted. Undefined if all three are 0. Precision is tp / (tp + fp), recall tp / (tp + fn).",
    ),
    (
        "item level",
        "F1 of each brand, then the unweighted mean over the brands where it is defined (macro F1). A brand that test users have but that is never predicted has an F1 of 0 and is included.",
    ),
    (
        "user level",
        "F1 of each test user with at least one label, then the mean over those users. A label is a predicted brand that the user has. Precision is the mean over those of them who have a prediction.",
    ),
    ("median", "F1 of the user in the middle, of all users with a label ordered by F1."),
    ("worst tenth", "Mean F1 of the tenth of the users with a label whose F1 is lowest."),
    (
        "no correct brand",
        "Users with a label for whom no prediction is right, or nothing is predicted.",
    ),
    ("micro F1", "F1 of the counts summed over all brands."),
    (
        "change",
        "Experiment minus baseline, or minus the experiment that it is compared with; in brackets, as a percentage of that one's value. The 95% interval covers other test users, by the jackknife (how the change differs if one user after another is left out; for F1 buckets, paired bootstrap draws), and other seeds of training, by how much the change differs between the seeds; with one seed it covers other users only.",
    ),
    (
        "seeds",
        "Training starts from random weights and a random order of examples, drawn from a seed. With `seeds` in the manifest every experiment is trained once for each; figures are means over them (counts rounded), the spread is the standard deviation of a change over them. Curves, thresholds, calibration, trade-offs and counts of single brands are those of the first seed.",
    ),
    (
        "brands better, worse",
        "A brand is better or worse if the central 95% of its own change of F1 over bootstrap draws of the test users lies entirely above or below 0, on the same side for every seed; otherwise there is no clear change. A draw without any of the brand's users counts as no change, so a brand with two or three test users is neither. Brands whose F1 is undefined in both experiments are left out; undefined in one counts as 0.",
    ),
    ("support", "Test users who have the brand."),
    (
        "volume",
        "Distinct training users who have the brand, before sampling; with several dates of training a user counts once for each.",
    ),
    (
        "head, torso, tail",
        "Tiers of brands by volume. The head is as many of the largest brands as it takes to hold a given share of the training labels; the tail is as many of the smallest brands as hold at most a given share; the torso is what lies between.",
    ),
    ("F1 bucket", "Number of brands whose F1 is defined and at least this bound."),
    (
        "never predicted",
        "Brands that are predicted for no test user: no probability reaches the threshold or, under the policies `top_k` and `gain`, other brands come first.",
    ),
    ("predictions per user", "Brands predicted for a test user, as the mean over all test users."),
    (
        "P@k, R@k, nDCG@k",
        "Of a user's k most probable brands: P@k is the share that are labels, R@k the share of the user's labels that are among them, nDCG@k the discounted gain relative to the best possible order. Each is the mean over users with a label.",
    ),
    (
        "repeat, new",
        "A pair of a test user and a brand is a repeat if the user had the brand before, by the feature with past brands, and new otherwise. Item level of either counts only its pairs: per brand, then the mean over brands where it is defined; user level is the mean over users with a label of that kind.",
    ),
    (
        "MAP",
        "Mean average precision: the average precision of each brand over the test users ranked by its logit (the model's output before the sigmoid), then the mean over brands with support. Users with equal logits are tied. For a brand with more than 512 different logits, those below the 512 highest are ranked in narrow bins that follow the spread of its logits; the mean is then right to three digits, whatever the scale of the logits.",
    ),
    (
        "mean imbalance ratio",
        "Labels of the most common brand divided by those of each brand that has a label, then the mean over those brands (MeanIR, Charte et al. 2015). 1 means that all brands are equally common.",
    ),
    (
        "SCUMBLE",
        "How much rare and common brands share rows: 1 minus the geometric mean divided by the arithmetic mean of the imbalance ratios of a row's brands, then the mean over rows with a label (Charte et al. 2019). 0 means that they never share a row. The closer to 1, the more a row added for a rare brand adds to common ones too.",
    ),
    (
        "trivial floor",
        "What predicting every brand for every user would reach, without any model. F1 is then 2π / (1 + π) for a brand that a share π of the test users has.",
    ),
    (
        "ceiling",
        "F1 of each brand at the threshold that is best on the test users themselves, then the mean over brands with support: a bound on what any choice of thresholds could reach with these logits, not a result. Thresholds are tried between any two of the 512 highest logits and, below them, between narrow bins.",
    ),
    (
        "threshold",
        "A brand is predicted where its calibrated probability is at least the threshold. Thresholds are set in the manifest, chosen on the valid users, or derived from the probabilities alone; with `over: scored`, those are the probabilities of the users to be decided on.",
    ),
    (
        "precision and recall of a tier",
        "Precision and recall of the counts summed over the brands of the tier. The curve ranks all pairs of a test user and a brand of the tier by calibrated probability.",
    ),
    (
        "expected labels",
        "Sum of the probabilities over users and brands, or over the users of one brand. Calibrated probabilities expect as many labels as there are.",
    ),
    (
        "calibration error",
        "Absolute difference between expected and found labels, summed over brands (or over bands of probability), divided by the number of labels. 0 means right everywhere; 1 means off by as many labels as there are.",
    ),
    (
        "band of probability",
        "Pairs of a test user and a brand, grouped by their probability: the number of pairs, their mean probability, and the share of them that are labels.",
    ),
    ("audience", "Test users predicted to have a brand."),
    (
        "audience ratio",
        "Users predicted to have a brand divided by users who have it, for brands with support.",
    ),
    (
        "chosen on valid",
        "What scoring chose on the valid users. Brand share, of the policy `gain`: the weight of the mean F1 over brands when a prediction's gain is computed; the mean over users has the rest. 1 means a threshold for each brand, 0 a list for each user. Memory weight: the weight of the nearest training users' labels in a probability; the model has the rest.",
    ),
    (
        "other decisions",
        "What the same probabilities would give with one threshold for all brands, or with the policy `gain`. The value is the threshold or the brand share.",
    ),
    (
        "training rows",
        "Examples that training reads, clones included. Users: the distinct users among them. Labels: those that the examples show. Missing brands: brands that no example has.",
    ),
    (
        "updates",
        "Gradient updates, one for each batch, of all networks of an experiment together. Kept after: how many the model in use had seen, chosen on the valid users.",
    ),
    (
        "figures on valid",
        "Measured after each epoch on at most 20,000 valid users: the loss, mean average precision, and F1 at the thresholds that training uses. They choose the epoch and nothing else.",
    ),
    (
        "seconds",
        "Wall time of a stage's last run, on whatever machine, with whatever else was running.",
    ),
    (
        "written",
        "Rows and bytes that a stage wrote in its last run, and the peak memory of its process.",
    ),
    (
        "verdict",
        "A level is better or worse if the 95% interval of its change against the baseline lies entirely above or below 0; otherwise there is no clear change. With several seeds each must say the same, or the level is not settled. With one seed the verdict says so: training with another seed may change it. Item level is judged by macro F1. An experiment that never predicts more than half of the brands is called not working.",
    ),
    (
        "beats the baseline",
        "Better at one level at least and worse at none, by the intervals on the test users.",
    ),
    (
        "valid figures",
        "The same figures on the valid users, who choose what is chosen. So that they flatter nobody, the valid users are decided in five folds, each by calibration, thresholds and a brand share that were fitted on the other four. What one number chose for all of them (the epoch, the neighbours' weight) still knew them.",
    ),
    (
        "best",
        "The experiment to use, chosen on the valid users alone: of those that are better than the baseline at one level there and not worse at the other, the one with the highest item macro F1. The test users only judge it.",
    ),
];

/// All terms and their meanings, as `report.json` has them.
pub fn definitions() -> IndexMap<String, String> {
    DEFINITIONS.map(|(term, text)| (term.to_owned(), text.to_owned())).into_iter().collect()
}

/// The meaning of a term.
///
/// # Panics
///
/// If the term is not defined: headings link only to terms of this file.
pub fn meaning(term: &str) -> &'static str {
    let found = DEFINITIONS.iter().find(|(known, _)| *known == term);
    found.unwrap_or_else(|| panic!("`{term}` is not defined")).1
}

/// The HTML id of a term's definition.
pub fn term_id(term: &str) -> String {
    let slug = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("term-{}", term.chars().map(slug).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_term_has_an_id_of_its_own() {
        let ids: HashSet<String> = DEFINITIONS.iter().map(|(term, _)| term_id(term)).collect();
        assert_eq!(ids.len(), DEFINITIONS.len());
    }

    #[test]
    fn the_guide_defines_the_same_terms() {
        let guide = include_str!("../../docs/REPORT.md");
        for (term, text) in DEFINITIONS {
            let line = format!("- **{term}**: {text}");
            assert!(guide.contains(&line), "docs/REPORT.md lacks the line\n{line}");
        }
    }
}
