//! Reads and measures what the stages left of every experiment, one experiment after the other.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use anyhow::Context as _;
use arrow::array::ArrayRef;
use contract::columns::u32_lists;
use contract::commands;
use contract::exit::DataError;
use contract::features::{self, FeatureKind};
use contract::ipc::{self, Table};
use contract::manifest::{Experiment, IdSpace};
use contract::run::StageRun;
use contract::tables::{Contract, HISTOGRAM, HISTORY, HOLDOUT, SCORES, THRESHOLDS, TRADE_OFF};
use contract::words::plural;
use contract::{Manifest, query};
use metrics::{
    BrandDraws, Classified, Counts, Histogram, Jackknife, OwnedLists, f1, mean_defined, precision,
    recall,
};

use crate::bands::{self, VolumeBand};
use crate::compare::{self, Delta, Judged, Pair, Side};
use crate::evaluate::{self, Evaluation};
use crate::figures::Figures;
use crate::load::{self, Alternative, Brands, Scores, Threshold};
use crate::records::{Effort, outdated_holdout};
use crate::repeats::PartCounts;
use crate::test_users::TestUsers;
use crate::trial::{BrandFigures, Scored, SeedFigures, Trial};
use crate::{calibration, figures, precision_recall, settings};

/// What was found of the experiments.
pub struct Found<'a> {
    /// In the order asked for
    pub trials: Vec<Trial<'a>>,
    /// `None` if no experiment has scores
    pub users: Option<TestUsers>,
}

impl<'a> Found<'a> {
    /// Reads experiments, those that all are compared with before the others. The scores and resamples of
    /// each of the others are dropped at once: memory holds the scores of two trainings and, one for
    /// each seed, the resamples of what all are compared with and of one more experiment, however many
    /// experiments there are.
    pub fn read(
        run: &StageRun,
        manifest: &Manifest,
        brands: &Brands,
        experiments: &[&'a Experiment],
    ) -> anyhow::Result<Self> {
        let mut reader = Reader {
            had: had(run, manifest)?,
            run,
            manifest,
            brands,
            bands: bands::volume_bands(&brands.list),
            f1_buckets: settings::f1_buckets(manifest),
            outdated_holdout: outdated_holdout(manifest),
            first: None,
            rivals: HashMap::new(),
        };
        let names: Vec<&String> = std::iter::once(&manifest.baseline)
            .chain(manifest.also_against().map(|rival| &rival.name))
            .collect();
        let rank = |place: usize| names.iter().position(|&name| *name == experiments[place].name);
        let (mut rivals, others): (Vec<usize>, Vec<usize>) =
            (0..experiments.len()).partition(|&place| rank(place).is_some());
        rivals.sort_by_key(|&place| rank(place));
        // They are compared with each other, so all are read before one is judged.
        let mut read = Vec::new();
        for &place in &rivals {
            let Read { trial, tables, seeds } = reader.read(experiments[place])?;
            reader.rivals.insert(trial.settings.name.clone(), seeds);
            read.push((place, trial, tables));
        }
        let mut trials: Vec<(usize, Trial)> = Vec::new();
        for (place, mut trial, tables) in read {
            let seeds = &reader.rivals[&trial.settings.name];
            trial.scored = tables.map(|tables| reader.scored(trial.settings, tables, seeds));
            trials.push((place, trial));
        }
        for place in others {
            let Read { mut trial, tables, seeds } = reader.read(experiments[place])?;
            trial.scored = tables.map(|tables| reader.scored(trial.settings, tables, &seeds));
            trials.push((place, trial));
        }
        trials.sort_by_key(|&(place, _)| place);
        let trials = trials.into_iter().map(|(_, trial)| trial).collect();
        Ok(Self { trials, users: reader.first.map(|first| first.users) })
    }
}

struct Reader<'a> {
    /// Ids of the test users and the brands that each had before, if that is known
    had: Option<(ArrayRef, OwnedLists)>,
    run: &'a StageRun,
    manifest: &'a Manifest,
    brands: &'a Brands,
    bands: Vec<VolumeBand>,
    f1_buckets: Vec<f64>,
    outdated_holdout: Option<String>,
    first: Option<First>,
    /// What all are compared with, by name, once for each seed; none without scores
    rivals: HashMap<String, Vec<Seeded>>,
}

/// An experiment that is not judged yet.
struct Read<'a> {
    trial: Trial<'a>,
    /// Of the first seed; `None` without scores
    tables: Option<SeedTables>,
    seeds: Vec<Seeded>,
}

/// The experiment that was read first; the users of all others must be the same.
struct First {
    name: String,
    scores: Scores,
    users: TestUsers,
}

/// What a comparison needs of an experiment.
struct Measured {
    evaluation: Evaluation,
    /// `None` without valid users
    on_valid: Option<Figures>,
    /// Hash of the predictions for the test users
    decisions: u64,
    jackknife: Jackknife,
    draws: BrandDraws,
}

impl Measured {
    fn side(&self) -> Side<'_> {
        let Evaluation { figures, counts, .. } = &self.evaluation;
        Side { figures, counts, jackknife: &self.jackknife, draws: &self.draws }
    }
}

/// The tables of an experiment that was scored.
struct Tables {
    scores: Scores,
    /// Decisions for the valid users, by what was fitted on other valid users
    valid_scores: Option<Scores>,
    /// Logits of the valid users
    valid: Option<Histogram>,
    /// Logits of the test users
    test: Option<Histogram>,
    thresholds: Option<Vec<Threshold>>,
    trade_off: Vec<Alternative>,
}

impl Reader<'_> {
    fn read<'a>(&mut self, experiment: &'a Experiment) -> anyhow::Result<Read<'a>> {
        let trainings = self.manifest.trainings(experiment);
        let history = self.table(&trainings[0], "history", &HISTORY)?;
        let trial = Trial {
            settings: experiment,
            scored: None,
            history: history.as_ref().map_or_else(Vec::new, load::history),
            effort: Effort::of(self.manifest, experiment, self.outdated_holdout.as_ref()),
            query: sampling_query(experiment)?,
        };
        let mut first = None;
        let mut seeds = Vec::new();
        for training in &trainings {
            let Some(tables) = self.tables(training)? else { continue };
            if let Some(first) = &self.first {
                same_users(first, &experiment.name, &tables.scores)?;
            }
            let measured = self.measured(experiment, &tables);
            seeds.push(Seeded { seed: training.seed, measured });
            let tables = self.keep_users(experiment, tables);
            first.get_or_insert(tables);
        }
        Ok(Read { trial, tables: first, seeds })
    }

    /// An input of the report; `None` if the experiment does not have it.
    fn table(
        &self,
        experiment: &Experiment,
        file: &str,
        contract: &'static Contract,
    ) -> Result<Option<Table>, ipc::Error> {
        let input = self.manifest.report_input(experiment, file);
        self.run.input(&input).exists().then(|| self.run.read(&input, contract)).transpose()
    }

    /// `None` without scores.
    fn tables(&self, experiment: &Experiment) -> anyhow::Result<Option<Tables>> {
        let n_brands = self.brands.list.len();
        let Some(table) = self.table(experiment, "scores", &SCORES)? else { return Ok(None) };
        let scores = load::scores(&table, n_brands)?;
        drop(table);
        let valid_scores = self.table(experiment, "valid_scores", &SCORES)?;
        let histogram = self.table(experiment, "histogram", &HISTOGRAM)?;
        let of_split = |split| {
            let table = histogram.as_ref();
            table.map(|table| load::histogram(table, split, n_brands)).transpose()
        };
        let thresholds = self.table(experiment, "thresholds", &THRESHOLDS)?;
        let trade_off = self.table(experiment, "trade_off", &TRADE_OFF)?;
        Ok(Some(Tables {
            scores,
            valid_scores: valid_scores.map(|table| load::scores(&table, n_brands)).transpose()?,
            valid: of_split("valid")?,
            test: of_split("test")?,
            thresholds: thresholds
                .map(|table| load::thresholds(&table, self.brands))
                .transpose()?,
            trade_off: trade_off
                .map(|table| load::trade_off(&table))
                .transpose()?
                .unwrap_or_default(),
        }))
    }

    fn measured(&self, experiment: &Experiment, tables: &Tables) -> Measured {
        let Tables { scores, valid_scores, valid, test, .. } = tables;
        let list = &self.brands.list;
        let params = &self.manifest.report;
        let ks = figures::ks(experiment.score.top_k);
        let (draws, seed) = (params.bootstrap_draws, params.seed);
        let evaluate = |scores: &Scores, logits: &Option<Histogram>| {
            // Only of the same users; the valid users are others.
            let had = self.had.as_ref().filter(|(ids, _)| **ids == *scores.user_ids);
            let had = had.map(|(_, had)| had);
            evaluate::evaluate(list, scores, logits.as_ref(), &self.f1_buckets, &ks, had)
        };
        let classified = Classified::of(&scores.decisions(), list.len());
        let on_valid = valid_scores.as_ref().filter(|scores| scores.n_users() > 0);
        Measured {
            evaluation: evaluate(scores, test),
            on_valid: on_valid.map(|scores| evaluate(scores, valid).figures),
            decisions: hash(&scores.predicted),
            draws: metrics::bootstrap(&classified, draws, seed),
            jackknife: Jackknife::of(classified),
        }
    }

    /// Drops the scores, unless they are the first: the users of all others must be theirs.
    fn keep_users(&mut self, experiment: &Experiment, tables: Tables) -> SeedTables {
        let Tables { scores, valid_scores, test, thresholds, trade_off, .. } = tables;
        let n_valid_users = valid_scores.map(|scores| scores.n_users() as u64);
        if self.first.is_none() {
            let users = TestUsers::of(&scores, self.brands.list.len(), &self.f1_buckets);
            self.first = Some(First { name: experiment.name.clone(), scores, users });
        }
        SeedTables { n_valid_users, test, thresholds, trade_off }
    }

    /// Puts the seeds of an experiment together.
    ///
    /// * `tables`: of the first seed.
    fn scored(&self, experiment: &Experiment, tables: SeedTables, ours: &[Seeded]) -> Scored {
        let SeedTables { n_valid_users, test, thresholds, trade_off } = tables;
        let list = &self.brands.list;
        let all: Vec<&Figures> = ours.iter().map(Seeded::figures).collect();
        let figures = Figures::mean(&all);
        let on_valid: Option<Vec<&Figures>> =
            ours.iter().map(|seeded| seeded.measured.on_valid.as_ref()).collect();
        let others = self.manifest.also_against().filter(|rival| rival.name != experiment.name);
        let against = others.filter_map(|rival| {
            let (delta, _) = self.changes(ours, &rival.name)?;
            Some((rival.name.clone(), delta))
        });

        let first = &ours[0].measured.evaluation;
        let counts = &first.counts;
        let known = test.as_ref().zip(thresholds.as_deref());
        Scored {
            n_valid_users,
            valid: on_valid.map(|seeds| Figures::mean(&seeds)),
            decisions: ours.iter().map(|seeded| seeded.measured.decisions).collect(),
            calibration: known
                .map(|(test, thresholds)| calibration::measure(test, thresholds, counts)),
            precision_recall: known.map(|(test, thresholds)| {
                precision_recall::by_tier(list, test, thresholds, counts)
            }),
            expected: known.map(|(test, thresholds)| calibration::expected(test, thresholds)),
            brands: (0..list.len()).map(|brand| brand_figures(ours, brand)).collect(),
            parts: [0, 1].map(|part| part_figures(ours, part, list.len())),
            seeds: ours
                .iter()
                .filter_map(|seeded| {
                    Some(SeedFigures { seed: seeded.seed?, figures: seeded.figures().clone() })
                })
                .collect(),
            evaluation: Evaluation { figures, ..first.clone() },
            thresholds,
            trade_off,
            delta: self.changes(ours, &self.manifest.baseline),
            against: against.collect(),
        }
    }

    /// The changes against another experiment, and each brand's by `brand_idx`; `None` if no seed has
    /// scores of both.
    fn changes(&self, ours: &[Seeded], rival: &str) -> Option<(Delta, Vec<Judged>)> {
        let pairs = pairs(ours, self.rivals.get(rival)?);
        if pairs.is_empty() {
            return None;
        }
        let means = [0, 1].map(|side| {
            let seeds: Vec<&Figures> = pairs.iter().map(|pair| pair[side].figures()).collect();
            Figures::mean(&seeds)
        });
        let sides: Vec<Pair> =
            pairs.iter().map(|pair| pair.map(|seed| seed.measured.side())).collect();
        Some(compare::delta(&self.brands.list, &self.bands, &sides, means.each_ref()))
    }
}

/// The tables of a seed that are shown.
struct SeedTables {
    n_valid_users: Option<u64>,
    test: Option<Histogram>,
    thresholds: Option<Vec<Threshold>>,
    trade_off: Vec<Alternative>,
}

/// What was measured with one seed.
struct Seeded {
    /// `None` where the manifest lists no seeds or nothing is learned
    seed: Option<u64>,
    measured: Measured,
}

impl Seeded {
    fn figures(&self) -> &Figures {
        &self.measured.evaluation.figures
    }
}

/// Each seed of an experiment with the same one of the baseline. What takes no training has no seed
/// and is paired with every seed of the other.
fn pairs<'a>(ours: &'a [Seeded], base: &'a [Seeded]) -> Vec<[&'a Seeded; 2]> {
    let is_pair =
        |ours: &Seeded, base: &Seeded| ours.seed.zip(base.seed).is_none_or(|(a, b)| a == b);
    ours.iter()
        .flat_map(|ours| base.iter().map(move |base| [ours, base]))
        .filter(|&[ours, base]| is_pair(ours, base))
        .collect()
}

/// The same for the same lists within a run of the program.
fn hash(lists: &OwnedLists) -> u64 {
    let mut hasher = DefaultHasher::new();
    lists.as_lists().iter().for_each(|list| list.hash(&mut hasher));
    hasher.finish()
}

fn brand_figures(seeds: &[Seeded], brand: usize) -> BrandFigures {
    let counts: Vec<Counts> =
        seeds.iter().map(|seed| seed.measured.evaluation.counts[brand]).collect();
    mean_figures(&counts)
}

/// The same of one part of the decisions; `None` if the parts are not known.
fn part_figures(seeds: &[Seeded], part: usize, n_brands: usize) -> Option<Vec<BrandFigures>> {
    let parts: Option<Vec<&PartCounts>> =
        seeds.iter().map(|seed| Some(&seed.measured.evaluation.parts.as_ref()?[part])).collect();
    let parts = parts?;
    let of_brand = |brand: usize| {
        let counts: Vec<Counts> = parts.iter().map(|part| part.brands[brand]).collect();
        mean_figures(&counts)
    };
    Some((0..n_brands).map(of_brand).collect())
}

/// * `seeds`: what was counted with each seed.
fn mean_figures(seeds: &[Counts]) -> BrandFigures {
    let mean = |metric: fn(Counts) -> Option<f64>| {
        mean_defined(seeds.iter().map(|&counts| metric(counts)))
    };
    BrandFigures { precision: mean(precision), recall: mean(recall), f1: mean(f1) }
}

/// Ids of the test users, and the brands that each had before; `None` if the manifest names no such
/// feature or the file is not there.
fn had(run: &StageRun, manifest: &Manifest) -> anyhow::Result<Option<(ArrayRef, OwnedLists)>> {
    let Some(name) = manifest.past_feature() else { return Ok(None) };
    if !run.input("test").exists() {
        return Ok(None);
    }
    let test = run.read("test", &HOLDOUT)?;
    let is_there = features::of_schema(&test.schema).into_iter().any(|feature| {
        let of_brands = FeatureKind::Sparse { is_weighted: false, ids: IdSpace::Brands };
        let weighted = FeatureKind::Sparse { is_weighted: true, ids: IdSpace::Brands };
        feature.name == name && [of_brands, weighted].contains(&feature.kind)
    });
    if !is_there {
        return Ok(None);
    }
    let mut lists = OwnedLists::default();
    for batch in &test.batches {
        for brands in u32_lists(batch, name).iter() {
            let mut brands = brands.to_vec();
            brands.sort_unstable();
            brands.dedup();
            lists.push(&brands);
        }
    }
    Ok(Some((test.whole_column("user_id")?, lists)))
}

fn sampling_query(experiment: &Experiment) -> anyhow::Result<Option<String>> {
    if !experiment.needs_sample() {
        return Ok(None);
    }
    let path = experiment.sql();
    query::read(path).with_context(|| path.display().to_string()).map(Some)
}

fn same_users(first: &First, name: &str, scores: &Scores) -> Result<(), DataError> {
    let is_same =
        *first.scores.user_ids == *scores.user_ids && first.scores.labels == scores.labels;
    if is_same {
        return Ok(());
    }
    Err(DataError(format!(
        "experiment `{name}` was scored on other test users than `{}`: found {}, expected the same {} with the same labels\n\
         hint: run `{}` again",
        first.name,
        plural(scores.n_users() as u64, "user"),
        first.scores.n_users(),
        commands::run(),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeded(seeds: &[Option<u64>]) -> Vec<Seeded> {
        let measured = || Measured {
            evaluation: Evaluation {
                counts: Vec::new(),
                average_precision: Vec::new(),
                parts: None,
                figures: Figures::default(),
            },
            on_valid: None,
            decisions: 0,
            jackknife: Jackknife::default(),
            draws: BrandDraws::default(),
        };
        seeds.iter().map(|&seed| Seeded { seed, measured: measured() }).collect()
    }

    fn paired(ours: &[Option<u64>], base: &[Option<u64>]) -> Vec<[Option<u64>; 2]> {
        let (ours, base) = (seeded(ours), seeded(base));
        pairs(&ours, &base).iter().map(|pair| pair.map(|seeded| seeded.seed)).collect()
    }

    #[test]
    fn a_seed_is_compared_with_the_same_one_of_the_baseline() {
        let [none, seven, eight, nine] = [None, Some(7), Some(8), Some(9)];
        let both = paired(&[eight, nine], &[seven, eight]);
        assert_eq!(both, [[eight, eight]], "others have no partner");
        assert_eq!(paired(&[none], &[seven, eight]), [[none, seven], [none, eight]]);
        assert_eq!(paired(&[seven, eight], &[none]), [[seven, none], [eight, none]]);
        assert_eq!(paired(&[none], &[none]), [[none, none]]);
        assert!(paired(&[seven], &[eight]).is_empty());
    }
}
