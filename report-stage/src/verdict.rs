//! What intervals say of an experiment: better, worse, or no clear change.

use schemars::JsonSchema;
use serde::Serialize;

use crate::format;

/// What the interval of a change says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The interval lies entirely above 0
    Better,
    /// The interval lies entirely below 0
    Worse,
    /// The interval contains 0
    NoClearChange,
    /// The interval lies entirely on one side of 0, but not every seed agrees
    NotSettled,
    /// There is no interval: the metric is undefined for one of the two
    Undefined,
}

impl Outcome {
    /// Reads an interval.
    pub fn of(ci95: Option<[f64; 2]>) -> Self {
        match ci95 {
            None => Self::Undefined,
            Some([low, _]) if low > 0.0 => Self::Better,
            Some([_, high]) if high < 0.0 => Self::Worse,
            Some(_) => Self::NoClearChange,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoClearChange => "no clear change",
            Self::NotSettled => "not settled",
            Self::Undefined => "undefined",
        }
    }
}

/// The outcomes at item level and at user level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Outcomes {
    /// From the interval of item macro F1
    pub item: Outcome,
    /// From the interval of user F1
    pub user: Outcome,
    /// How many seeds agree, at item level and at user level
    #[serde(skip)]
    pub agreement: [Agreement; 2],
}

/// How many seeds say of a change what their mean says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    pub n_agree: u64,
    pub n_seeds: u64,
}

impl Outcomes {
    /// Better at one level at least, and worse at none.
    pub fn beats_baseline(self) -> bool {
        let levels = [self.item, self.user];
        levels.contains(&Outcome::Better) && !levels.contains(&Outcome::Worse)
    }

    /// Better at one level, worse at the other.
    pub fn is_trade_off(self) -> bool {
        let levels = [self.item, self.user];
        levels.contains(&Outcome::Better) && levels.contains(&Outcome::Worse)
    }

    fn words(self) -> String {
        let words = |outcome: Outcome, Agreement { n_agree, n_seeds }: Agreement| match outcome {
            Outcome::NotSettled => format!("{} ({n_agree} of {n_seeds} seeds)", outcome.words()),
            _ => outcome.words().to_owned(),
        };
        let [of_item, of_user] = self.agreement;
        let (item, user) = (words(self.item, of_item), words(self.user, of_user));
        match (self.item, self.user) {
            (Outcome::NoClearChange, Outcome::NoClearChange) => item,
            _ if item == user => format!("{item} at both levels"),
            _ => format!("{item} at item level, {user} at user level"),
        }
    }
}

/// How an experiment stands to the baseline.
#[derive(Clone, Copy, Debug)]
pub enum Standing {
    /// It is the baseline
    Baseline,
    /// Nothing can be judged with these test users
    Nothing,
    /// It has scores, the baseline has none
    NoBaseline,
    /// No seed of it is a seed of the baseline
    NoCommonSeed,
    /// Both have scores
    Compared(Outcomes),
}

/// The verdict: the standing, then the warning if there is one.
///
/// * `is_one_seed`: whether training with another seed might say something else.
pub fn verdict(standing: Standing, is_one_seed: bool, warning: Option<&str>) -> String {
    let words = match standing {
        Standing::Nothing => return "nothing to judge".to_owned(),
        Standing::Baseline => "the baseline".to_owned(),
        Standing::NoBaseline => "not compared: the baseline has no scores".to_owned(),
        Standing::NoCommonSeed => "not compared: no seed has scores of the baseline too".to_owned(),
        Standing::Compared(outcomes) if is_one_seed => format!("{} (one seed)", outcomes.words()),
        Standing::Compared(outcomes) => outcomes.words(),
    };
    let is_better = matches!(standing, Standing::Compared(outcomes) if outcomes.beats_baseline());
    match warning {
        None => words,
        Some(warning) if is_better => format!("{words}; still {warning}"),
        Some(warning) => format!("{words}; {warning}"),
    }
}

/// Says that an experiment does not work, if it never predicts more than half of the brands.
///
/// * `n_never`: brands that are predicted for no test user, of `n_brands`.
/// * `by_threshold`: whether a brand's threshold alone decides.
pub fn warning(n_never: u64, n_brands: u64, by_threshold: bool) -> Option<String> {
    let (never, all) = (format::count(n_never), format::count(n_brands));
    let is_most = 2 * n_never > n_brands;
    let words = if by_threshold {
        format!("not working: no score passes its threshold for {never} of {all} brands")
    } else {
        format!("not working: {never} of {all} brands are predicted for no test user")
    };
    is_most.then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_decides_only_when_zero_lies_outside() {
        assert_eq!(Outcome::of(Some([0.001, 0.02])), Outcome::Better);
        assert_eq!(Outcome::of(Some([-0.02, -0.001])), Outcome::Worse);
        assert_eq!(Outcome::of(Some([-0.01, 0.01])), Outcome::NoClearChange);
        assert_eq!(Outcome::of(Some([0.0, 0.01])), Outcome::NoClearChange, "0 itself is inside");
        assert_eq!(Outcome::of(Some([-0.01, 0.0])), Outcome::NoClearChange);
        assert_eq!(Outcome::of(None), Outcome::Undefined);
    }

    #[test]
    fn every_pair_of_outcomes_has_its_words() {
        use Outcome::{Better, NoClearChange, Undefined, Worse};
        let rows = [
            (Better, Better, "better at both levels", true, false),
            (Better, Worse, "better at item level, worse at user level", false, true),
            (
                Better,
                NoClearChange,
                "better at item level, no clear change at user level",
                true,
                false,
            ),
            (Worse, Better, "worse at item level, better at user level", false, true),
            (Worse, Worse, "worse at both levels", false, false),
            (
                Worse,
                NoClearChange,
                "worse at item level, no clear change at user level",
                false,
                false,
            ),
            (
                NoClearChange,
                Better,
                "no clear change at item level, better at user level",
                true,
                false,
            ),
            (
                NoClearChange,
                Worse,
                "no clear change at item level, worse at user level",
                false,
                false,
            ),
            (NoClearChange, NoClearChange, "no clear change", false, false),
            (Better, Undefined, "better at item level, undefined at user level", true, false),
            (Undefined, Undefined, "undefined at both levels", false, false),
        ];
        for (item, user, words, beats, trades) in rows {
            let outcomes = Outcomes { item, user, agreement: [Agreement::default(); 2] };
            assert_eq!(outcomes.words(), words);
            assert_eq!(outcomes.beats_baseline(), beats, "{words}");
            assert_eq!(outcomes.is_trade_off(), trades, "{words}");
        }
    }

    #[test]
    fn a_model_that_never_predicts_most_brands_is_not_working() {
        let expected = "not working: no score passes its threshold for 2,311 of 3,000 brands";
        assert_eq!(warning(2311, 3000, true).as_deref(), Some(expected));
        let expected = "not working: 2,311 of 3,000 brands are predicted for no test user";
        assert_eq!(warning(2311, 3000, false).as_deref(), Some(expected));
        assert_eq!(warning(1500, 3000, true), None, "one half is not most");
    }

    #[test]
    fn a_verdict_is_the_standing_and_the_warning() {
        let compared = |item, user| {
            Standing::Compared(Outcomes { item, user, agreement: [Agreement::default(); 2] })
        };
        let better = compared(Outcome::Better, Outcome::NoClearChange);
        let rows = [
            (Standing::Baseline, None, "the baseline"),
            (Standing::Baseline, Some("not working"), "the baseline; not working"),
            (Standing::NoBaseline, None, "not compared: the baseline has no scores"),
            (
                compared(Outcome::Worse, Outcome::Worse),
                Some("not working"),
                "worse at both levels; not working",
            ),
            (better, None, "better at item level, no clear change at user level"),
            (
                better,
                Some("not working"),
                "better at item level, no clear change at user level; still not working",
            ),
        ];
        for (standing, warning, words) in rows {
            assert_eq!(verdict(standing, false, warning), words);
        }
        let expected = "better at item level, no clear change at user level (one seed)";
        assert_eq!(verdict(better, true, None), expected);
        assert_eq!(verdict(Standing::Baseline, true, None), "the baseline");
    }

    #[test]
    fn a_verdict_that_a_seed_does_not_share_is_not_settled() {
        let agreement = [1, 2].map(|n_agree| Agreement { n_agree, n_seeds: 3 });
        let outcomes = Outcomes { item: Outcome::Better, user: Outcome::NotSettled, agreement };
        let expected = "better at item level, not settled (2 of 3 seeds) at user level";
        assert_eq!(outcomes.words(), expected);
        assert!(outcomes.beats_baseline() && !outcomes.is_trade_off());
        let outcomes = Outcomes { item: Outcome::NotSettled, ..outcomes };
        let expected =
            "not settled (1 of 3 seeds) at item level, not settled (2 of 3 seeds) at user level";
        assert_eq!(outcomes.words(), expected);
        assert!(!outcomes.beats_baseline());
    }
}
