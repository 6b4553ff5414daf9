//! Rules that the schema cannot express: names that refer to others, settings that exclude each
//! other.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::load::{Loader, path_of};
use super::problems::suggest;
use super::yaml;
use super::{
    Calibration, Decision, Engine, Experiment, FeatureSource, Histories, Holdout, IdSpace,
    MAX_NAME, ModelKind, Note, RESERVED_NAMES, ReportParams, SelectEpoch,
};

impl Loader {
    /// Names of experiments become folder names and command-line arguments.
    pub(super) fn check_names(&mut self, names: &[String], run_dir: Option<&Path>) {
        if names.is_empty() && self.at(&["experiments"]).is_some_and(Value::is_object) {
            let message = "`experiments`: must name at least one".to_owned();
            self.problem(&path_of(&["experiments"]), false, message);
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let mut lower_case: HashMap<String, &str> = HashMap::new();
        for name in names {
            let folded = name.to_ascii_lowercase();
            let wrong = if name.is_empty() || !name.chars().all(is_plain) {
                Some("a name may hold letters, digits, `_` and `-` only".to_owned())
            } else if name.starts_with('-') {
                Some("a name must not begin with `-`: it would be read as an option".to_owned())
            } else if name.len() > MAX_NAME {
                let n = name.len();
                Some(format!("a name may have {MAX_NAME} characters at most, got {n}"))
            } else if RESERVED_NAMES.contains(&&*folded) {
                Some("this name is taken by a folder of results".to_owned())
            } else if let Some(other) = lower_case.get(&folded) {
                Some(format!(
                    "differs from `{other}` in upper and lower case only, which some file systems \
                     do not tell apart"
                ))
            } else {
                let path = run_dir.map(|dir| dir.join(name));
                let file = path.filter(|path| path.exists() && !path.is_dir());
                file.map(|file| {
                    format!("its results need the folder `{}`, which is a file", file.display())
                })
            };
            lower_case.entry(folded).or_insert(name);
            if let Some(wrong) = wrong {
                let message = format!("experiment `{}`: {wrong}", shortened(name));
                self.problem(&path_of(&["experiments", name]), true, message);
            }
        }
    }

    /// Checks `holdout`.
    pub(super) fn holdout(&mut self) -> Option<Holdout> {
        let path = path_of(&["holdout"]);
        let value = self.at(&path).cloned().unwrap_or_default();
        let holdout: Holdout = self.settings(std::slice::from_ref(&path), value)?;
        let column = &holdout.column;
        let amounts = [("valid", holdout.valid.users()), ("test", holdout.test.users())];
        for (key, amount) in amounts {
            let Some(amount) = amount else { continue };
            let is_fraction = amount < 1.0;
            let is_count = amount >= 2.0 && amount.fract() == 0.0;
            if !is_fraction && !is_count {
                let message = format!(
                    "`holdout.{key}`: must be a fraction below 1, or a whole number of at least 2 \
                     users, got {amount}"
                );
                self.problem(&path_of(&["holdout", key]), false, message);
            }
        }
        if let [(_, Some(valid)), (_, Some(test))] = amounts
            && column.is_none()
            && valid < 1.0
            && test < 1.0
            && valid + test >= 1.0
        {
            let message = format!(
                "`holdout`: valid {valid} and test {test} leave no user to train on; their sum must be below 1"
            );
            self.problem(&path, false, message);
        }
        if column.is_some() && self.at(&["holdout", "test"]).is_some() {
            self.note("`holdout.test` has no effect beside `holdout.column`".to_owned(), None);
        }
        Some(holdout)
    }

    /// Seeds of training, each once; `train.seed` has no place beside them.
    pub(super) fn seeds(&mut self) -> Option<Vec<u64>> {
        let seeds: Vec<u64> = self.sound_or_default(&["seeds"])?;
        if let Some(i) = (1..seeds.len()).find(|&i| seeds[..i].contains(&seeds[i])) {
            let message = format!("`seeds`: {} appears twice", seeds[i]);
            self.problem(&path_of(&["seeds", &i.to_string()]), false, message);
        }
        Some(seeds)
    }

    /// Where queries run, with addresses that can be ones.
    pub(super) fn engine(&mut self) -> Option<Engine> {
        let engine: Engine = self.sound_or_default(&["engine"])?;
        if let Some((i, message)) = engine.problem() {
            let path = path_of(&["engine", "workers", &i.to_string()]);
            self.problem(&path, false, format!("`engine.workers`: {message}"));
        }
        Some(engine)
    }

    /// With `seeds`, `train.seed` is not used, and a sample's seeds must be as many.
    fn check_seeds(&mut self, experiment: &Experiment) {
        let name = &experiment.name;
        let n_seeds = self.at(&["seeds"]).and_then(Value::as_array).map_or(0, Vec::len);
        let path = self.origin(name, &["train", "seed"]);
        if n_seeds > 0 && self.set_of(&path).is_some() {
            let message = "`train.seed`: has no effect beside `seeds`, which lists the seeds of all \
                           trainings\nhint: use `--set seeds=[8]`";
            self.problem(&path, true, message.to_owned());
        } else if n_seeds > 0 && experiment.needs_sample() && self.at(&path).is_some() {
            self.note("`train.seed` has no effect beside `seeds`".to_owned(), Some(name));
        }
        let n_of_sample = experiment.sample.seeds.len();
        if n_of_sample > 0 && n_of_sample != n_seeds {
            let path = self.origin(name, &["sample", "seeds"]);
            let message = format!(
                "`sample.seeds`: found {n_of_sample}, expected as many as `seeds` lists, {n_seeds}"
            );
            self.problem(&path, false, message);
        }
    }

    /// Checks `stages.report`.
    pub(super) fn report(&mut self) -> Option<ReportParams> {
        let path = path_of(&["stages", "report"]);
        let value = self.at(&path).cloned().unwrap_or_default();
        let report: ReportParams = self.settings(&[path], value)?;
        let lows: Vec<f64> = report.f1_buckets.iter().map(|bucket| bucket.0).collect();
        if let Some(i) = (1..lows.len()).find(|&i| lows[..i].contains(&lows[i])) {
            let path = path_of(&["stages", "report", "f1_buckets", &i.to_string()]);
            let message = format!("`stages.report.f1_buckets`: {} appears twice", lows[i]);
            self.problem(&path, false, message);
        }
        let (head, tail) = (report.tiers.head, report.tiers.tail);
        if head + tail > 1.0 + 1e-9 {
            let message = format!(
                "`stages.report.tiers`: head {head} and tail {tail} overlap; their sum must be at most 1"
            );
            self.problem(&path_of(&["stages", "report", "tiers"]), false, message);
        }
        Some(report)
    }

    /// Decides the length of training: `updates` replaces `epochs` and `patience`, so if they are
    /// set at several levels, the nearest counts.
    ///
    /// * `train`: the experiment's settings, merged with those of `stages`; what does not count is
    ///   removed.
    pub(super) fn decide_length(&mut self, name: &str, train: &mut Value) {
        let Some(updates) = self.set_at(name, "updates") else { return };
        for key in ["epochs", "patience"] {
            let Some(other) = self.set_at(name, key) else { continue };
            if other.level == updates.level {
                let message = format!(
                    "`train.{key}` does not go together with `train.updates` ({}), which takes its \
                     place; remove one of them",
                    self.place(&updates.path, true)
                );
                self.problem(&other.path, true, message);
                continue;
            }
            let is_nearer = other.level > updates.level;
            let (counts, given_up) =
                if is_nearer { (&other, &updates) } else { (&updates, &other) };
            if is_nearer && let Some(train) = train.as_object_mut() {
                train.shift_remove("updates");
            }
            let [counts, given_up] = [counts, given_up].map(|set| self.in_words(set));
            self.note(format!("{counts} takes the place of {given_up}"), Some(name));
        }
    }

    /// Where a key of `train` is set for an experiment; null counts as not set.
    fn set_at(&self, name: &str, key: &str) -> Option<SetAt> {
        let own = path_of(&["experiments", name, "train", key]);
        let base = path_of(&["stages", "train", key]);
        let (path, is_own) = if self.at(&own).is_some() { (own, true) } else { (base, false) };
        let value = self.at(&path).filter(|value| !value.is_null())?.clone();
        let level = (is_own, self.set_of(&path).is_some());
        Some(SetAt { path, value, level })
    }

    fn in_words(&self, SetAt { path, value, level }: &SetAt) -> String {
        let key = path.last().map_or("", String::as_str);
        let of = match (self.set_of(path), level) {
            (Some(_), _) => "of `--set`",
            (None, (true, _)) => "of the experiment",
            (None, (false, _)) => "of `stages`",
        };
        format!("`train.{key}: {value}` {of}")
    }

    /// Adds a remark on a valid manifest.
    ///
    /// * `experiment`: which it is about, `None` for all.
    pub(super) fn note(&mut self, text: String, experiment: Option<&str>) {
        let experiment = experiment.map(str::to_owned);
        if let Some(note) = self.notes.iter_mut().find(|note| note.text == text) {
            note.experiments.extend(experiment);
        } else {
            self.notes.push(Note { text, experiments: experiment.into_iter().collect() });
        }
    }

    /// Checks an experiment's references and its settings against each other.
    pub(super) fn check_experiment(
        &mut self,
        experiment: &Experiment,
        known: Option<&[FeatureSource]>,
    ) {
        if let Some(known) = known {
            self.check_features(experiment, known);
        }
        self.check_seeds(experiment);
        self.check_output(experiment);
        self.check_score(experiment);
        self.check_effect(experiment);
    }

    /// Cells can be left out only if the loss is a sum over cells.
    fn check_output(&mut self, experiment: &Experiment) {
        let Some(message) = experiment.train.output_problem() else { return };
        if experiment.needs_sample() {
            let path = self.origin(&experiment.name, &["train", "output"]);
            self.problem(&path, false, format!("`train.output`: {message}"));
        }
    }

    /// Notes settings of an experiment that another of its settings makes ineffective.
    fn check_effect(&mut self, experiment: &Experiment) {
        let name = &experiment.name;
        let train = &experiment.train;
        // What is set on the command line is set in all experiments, whatever their models.
        let written =
            |key: &&String| self.set_of(&path_of(&["experiments", name, "train", key])).is_none();
        let own = self.at(&["experiments", name, "train"]).and_then(Value::as_object);
        let own: Vec<String> =
            own.into_iter().flat_map(|map| map.keys().filter(written).cloned()).collect();
        let reads: &[&str] = match (train.model, &train.pretrained) {
            (_, Some(_)) => &["pretrained"],
            (ModelKind::Popularity, None) => &["model"],
            (ModelKind::Persistence, None) => &["model", "history"],
            (ModelKind::Mlp, None) => &[],
        };
        let cause = if train.pretrained.is_some() { "pretrained" } else { "model" };
        let mut idle: Vec<(String, String)> = Vec::new();
        if !reads.is_empty() {
            let idle_keys = own.into_iter().filter(|key| !reads.contains(&&**key));
            idle.extend(idle_keys.map(|key| (format!("train.{key}"), format!("train.{cause}"))));
        } else if own.iter().any(|key| key == "history") {
            idle.push(("train.history".to_owned(), "train.model: mlp".to_owned()));
        }
        let is_last = train.select_epoch == SelectEpoch::Last && train.updates.is_none();
        if reads.is_empty() && is_last && self.set_at(name, "patience").is_some_and(|s| s.level.0) {
            idle.push(("train.patience".to_owned(), "train.select_epoch: last".to_owned()));
        }
        let is_given = |keys: &[&str]| self.at(&self.origin(name, keys)).is_some();
        if matches!(experiment.score.decision, Decision::Gain { brand_share: Some(_), .. })
            && is_given(&["score", "decision", "user_loss"])
        {
            let (loss, share) = ("score.decision.user_loss", "score.decision.brand_share");
            idle.push((loss.to_owned(), share.to_owned()));
        }
        let memory = experiment.score.memory.as_ref();
        if memory.is_some_and(|memory| memory.by_tier && memory.weight.is_some()) {
            idle.push(("score.memory.by_tier".to_owned(), "score.memory.weight".to_owned()));
        }
        for (key, beside) in idle {
            self.note(format!("`{key}` has no effect beside `{beside}`"), Some(name));
        }
    }

    fn check_features(&mut self, experiment: &Experiment, known: &[FeatureSource]) {
        let name = &experiment.name;
        let names = || known.iter().map(FeatureSource::column);
        let train = &experiment.train;
        for (i, feature) in train.features.iter().flatten().enumerate() {
            if train.features.iter().flatten().take(i).any(|earlier| earlier == feature) {
                let path = self.origin(name, &["train", "features"]);
                self.problem(&path, false, format!("`train.features`: `{feature}` appears twice"));
            }
            if !names().any(|column| column == feature) {
                let path = self.origin(name, &["train", "features"]);
                let hint = suggest(feature, names());
                let message =
                    format!("`train.features`: no feature `{feature}` in `data.features`; {hint}");
                self.problem(&path, false, message);
            }
        }
        match (&train.model, &train.history) {
            (ModelKind::Persistence, Some(history)) => {
                self.check_history(name, &["train", "history"], history, known);
            }
            (ModelKind::Persistence, None) if !self.has_mistake(name, "train") => {
                let path = self.origin(name, &["train", "history"]);
                let message = "a `persistence` model needs `train.history`: the feature with a user's past brands";
                self.problem(&path, true, message.to_owned());
            }
            _ => {}
        }
        if let Some(by) = experiment.score.memory.as_ref().and_then(|memory| memory.by.as_ref()) {
            self.check_history(name, &["score", "memory", "by"], by, known);
            self.check_is_read(name, &["score", "memory", "by"], by, experiment);
        }
        let histories = train.own_history.as_ref().map_or(&[][..], Histories::names);
        for (i, history) in histories.iter().enumerate() {
            let path = self.origin(name, &["train", "own_history"]);
            if histories[..i].contains(history) {
                let message = format!("`train.own_history`: `{history}` appears twice");
                self.problem(&path, false, message);
                continue;
            }
            self.check_history(name, &["train", "own_history"], history, known);
            self.check_is_read(name, &["train", "own_history"], history, experiment);
        }
    }

    /// Some score settings need a sample or a network.
    fn check_score(&mut self, experiment: &Experiment) {
        let name = &experiment.name;
        let needs_sample = experiment.needs_sample();
        if experiment.score.calibration == Calibration::Prior && !needs_sample {
            let path = self.origin(name, &["score", "calibration"]);
            let message = "`score.calibration`: `prior` undoes what a sample did, but this \
                           experiment's model does not learn from one; use `none` or `platt`";
            self.problem(&path, false, message.to_owned());
        }
        if experiment.score.calibration == Calibration::Prior && experiment.score.memory.is_some() {
            let path = self.origin(name, &["score", "calibration"]);
            let message = "`score.calibration`: `prior` is for the model's own probabilities, and \
                           `score.memory` mixes others in; use `platt`";
            self.problem(&path, false, message.to_owned());
        }
        let by = experiment.score.memory.as_ref().map(|memory| memory.by.is_some());
        let has_hidden = needs_sample && !experiment.train.hidden.is_empty();
        if by == Some(true) && !needs_sample {
            let path = self.origin(name, &["score", "memory", "by"]);
            let message = "`score.memory` looks for neighbours among the users of a sample; this \
                           experiment's model does not learn from one";
            self.problem(&path, true, message.to_owned());
        } else if by == Some(false) && !has_hidden {
            let path = self.origin(name, &["score", "memory"]);
            let message = "`score.memory` looks for neighbours on the last hidden layer of a \
                           network that learns from a sample; this experiment's model has none";
            self.problem(&path, true, message.to_owned());
        }
    }

    /// The feature that a key names must be one that the model reads.
    fn check_is_read(&mut self, name: &str, keys: &[&str], feature: &str, experiment: &Experiment) {
        let chosen = experiment.train.features.as_ref();
        if chosen.is_some_and(|chosen| !chosen.iter().any(|chosen| chosen == feature)) {
            let path = self.origin(name, keys);
            let key = keys.join(".");
            let message =
                format!("`{key}`: feature `{feature}` is not in `train.features`; add it there");
            self.problem(&path, false, message);
        }
    }

    /// The feature that a key names must hold a user's past brands.
    fn check_history(&mut self, name: &str, keys: &[&str], history: &str, known: &[FeatureSource]) {
        let path = self.origin(name, keys);
        let key = keys.join(".");
        match known.iter().find(|feature| feature.column() == history) {
            Some(feature) if feature.options().ids == IdSpace::Brands => {}
            Some(_) => {
                let message = format!(
                    "`{key}`: feature `{history}` does not hold brands; \
                     write `{{column: {history}, ids: brands}}` in `data.features`"
                );
                self.problem(&path, false, message);
            }
            None => {
                let message = format!(
                    "`{key}`: no feature `{history}`; {}",
                    suggest(history, known.iter().map(FeatureSource::column))
                );
                self.problem(&path, false, message);
            }
        }
    }
}

/// A key that is set, and its level: the experiment's own before that of `stages`, and within each
/// `--set` before the manifest.
struct SetAt {
    path: yaml::Path,
    value: Value,
    level: (bool, bool),
}

/// A name, short enough for a message.
fn shortened(name: &str) -> String {
    if name.chars().count() <= MAX_NAME {
        return name.to_owned();
    }
    let start: String = name.chars().take(40).collect();
    format!("{start}…")
}
