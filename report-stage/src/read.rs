//! Reads and measures what the stages left of every experiment, one experiment after the other.

use anyhow::Context as _;
use contract::exit::DataError;
use contract::ipc::{self, Table};
use contract::manifest::Experiment;
use contract::run::StageRun;
use contract::tables::{Contract, HISTOGRAM, HISTORY, SCORES, THRESHOLDS, TRADE_OFF};
use contract::words::plural;
use contract::{Manifest, query};
use metrics::{Draws, Histogram};

use crate::bands::{self, VolumeBand};
use crate::compare::{self, Side};
use crate::evaluate::{self, Evaluation};
use crate::load::{self, Alternative, Brands, Scores, Threshold};
use crate::records::Effort;
use crate::test_users::TestUsers;
use crate::trial::{Scored, Trial};
use crate::{calibration, figures, precision_recall, settings};

/// What was found of the experiments.
pub struct Found<'a> {
    /// In the order asked for
    pub trials: Vec<Trial<'a>>,
    /// `None` if no experiment has scores
    pub users: Option<TestUsers>,
}

impl<'a> Found<'a> {
    /// Reads experiments, the baseline before the others. The scores and draws of each of the others
    /// are dropped at once: memory holds those of two experiments, however many there are.
    pub fn read(
        run: &StageRun,
        manifest: &Manifest,
        brands: &Brands,
        experiments: &[&'a Experiment],
    ) -> anyhow::Result<Self> {
        let mut reader = Reader {
            run,
            manifest,
            brands,
            bands: bands::volume_bands(&brands.list),
            f1_buckets: settings::f1_buckets(manifest),
            first: None,
            baseline: None,
        };
        let is_baseline = |&place: &usize| experiments[place].name == manifest.baseline;
        let (mut order, others): (Vec<usize>, Vec<usize>) =
            (0..experiments.len()).partition(is_baseline);
        order.extend(others);
        let mut trials: Vec<(usize, Trial)> = Vec::new();
        for place in order {
            trials.push((place, reader.trial(experiments[place])?));
        }
        trials.sort_by_key(|&(place, _)| place);
        let trials = trials.into_iter().map(|(_, trial)| trial).collect();
        Ok(Self { trials, users: reader.first.map(|first| first.users) })
    }
}

struct Reader<'a> {
    run: &'a StageRun,
    manifest: &'a Manifest,
    brands: &'a Brands,
    bands: Vec<VolumeBand>,
    f1_buckets: Vec<f64>,
    first: Option<First>,
    baseline: Option<Measured>,
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
    draws: Draws,
}

impl Measured {
    fn side(&self) -> Side<'_> {
        let Evaluation { figures, counts, .. } = &self.evaluation;
        Side { figures, counts, draws: &self.draws }
    }
}

/// The tables of an experiment that was scored.
struct Tables {
    scores: Scores,
    /// Logits of the test users
    test: Option<Histogram>,
    thresholds: Option<Vec<Threshold>>,
    trade_off: Vec<Alternative>,
}

impl Reader<'_> {
    fn trial<'a>(&mut self, experiment: &'a Experiment) -> anyhow::Result<Trial<'a>> {
        let history = self.table(experiment, "history", &HISTORY)?;
        let mut trial = Trial {
            settings: experiment,
            scored: None,
            history: history.as_ref().map_or_else(Vec::new, load::history),
            effort: Effort::of(self.manifest, experiment),
            query: sampling_query(experiment)?,
        };
        if let Some(tables) = self.tables(experiment)? {
            if let Some(first) = &self.first {
                same_users(first, &experiment.name, &tables.scores)?;
            }
            trial.scored = Some(self.measure(experiment, tables));
        }
        Ok(trial)
    }

    /// An input of the report; `None` if the experiment does not have it.
    fn table(
        &self,
        experiment: &Experiment,
        file: &str,
        contract: &'static Contract,
    ) -> Result<Option<Table>, ipc::Error> {
        let input = format!("{}/{file}", experiment.name);
        self.run.input(&input).exists().then(|| self.run.read(&input, contract)).transpose()
    }

    /// `None` without scores.
    fn tables(&self, experiment: &Experiment) -> anyhow::Result<Option<Tables>> {
        let n_brands = self.brands.list.len();
        let Some(table) = self.table(experiment, "scores", &SCORES)? else { return Ok(None) };
        let scores = load::scores(&table, n_brands)?;
        drop(table);
        let histogram = self.table(experiment, "histogram", &HISTOGRAM)?;
        let thresholds = self.table(experiment, "thresholds", &THRESHOLDS)?;
        let trade_off = self.table(experiment, "trade_off", &TRADE_OFF)?;
        Ok(Some(Tables {
            scores,
            test: histogram.map(|table| load::test_histogram(&table, n_brands)).transpose()?,
            thresholds: thresholds
                .map(|table| load::thresholds(&table, self.brands))
                .transpose()?,
            trade_off: trade_off
                .map(|table| load::trade_off(&table))
                .transpose()?
                .unwrap_or_default(),
        }))
    }

    fn measure(&mut self, experiment: &Experiment, tables: Tables) -> Scored {
        let Tables { scores, test, thresholds, trade_off } = tables;
        let list = &self.brands.list;
        let params = &self.manifest.report;
        let ks = figures::ks(experiment.score.top_k);
        let decisions = scores.decisions();
        let ours = Measured {
            evaluation: evaluate::evaluate(list, &scores, test.as_ref(), &self.f1_buckets, &ks),
            draws: metrics::bootstrap(&decisions, list.len(), params.bootstrap_draws, params.seed),
        };
        let is_baseline = experiment.name == self.manifest.baseline;
        let baseline = if is_baseline { Some(&ours) } else { self.baseline.as_ref() };
        let delta =
            baseline.map(|base| compare::delta(list, &self.bands, ours.side(), base.side()));

        let Measured { evaluation, draws } = ours;
        let counts = &evaluation.counts;
        let known = test.as_ref().zip(thresholds.as_deref());
        let scored = Scored {
            calibration: known
                .map(|(test, thresholds)| calibration::measure(test, thresholds, counts)),
            precision_recall: known.map(|(test, thresholds)| {
                precision_recall::by_tier(list, test, thresholds, counts)
            }),
            expected: known.map(|(test, thresholds)| calibration::expected(test, thresholds)),
            evaluation,
            thresholds,
            trade_off,
            delta,
        };
        if is_baseline {
            self.baseline = Some(Measured { evaluation: scored.evaluation.clone(), draws });
        }
        if self.first.is_none() {
            let users = TestUsers::of(&scores, list.len(), &self.f1_buckets);
            self.first = Some(First { name: experiment.name.clone(), scores, users });
        }
        scored
    }
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
         hint: run `make pipeline` again",
        first.name,
        plural(scores.n_users() as u64, "user"),
        first.scores.n_users(),
    )))
}
