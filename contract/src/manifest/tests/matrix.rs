//! Experiments that a `matrix` makes: their names, settings and mistakes.

use std::fmt::Write as _;

use serde_json::json;

use super::{File, Manifest, changed};
use crate::manifest::{Loss, Note, in_words, sweep_as_set};
use crate::plan::Stage;

const GRID: &str =
    "grid: {matrix: {train.learning_rate: [0.001, 0.003], train.hidden: [[8], [16]]}}";

/// The valid manifest with an experiment in place of `b`.
fn with(experiment: &str) -> File {
    changed(&[("  b: {}", &format!("  {experiment}"))])
}

fn names(manifest: &Manifest) -> Vec<&str> {
    manifest.experiments().map(|experiment| &*experiment.name).collect()
}

/// Each experiment of a matrix with its values.
fn cells(manifest: &Manifest) -> Vec<String> {
    let cell = |e: &super::super::Experiment| {
        Some(format!("{}: {}", e.name, in_words(&e.matrix.as_ref()?.values)))
    };
    manifest.experiments().filter_map(cell).collect()
}

#[test]
fn every_combination_is_an_experiment_in_the_place_of_the_matrix() {
    let manifest = changed(&[("  a: {}", &format!("  {GRID}"))]).load(&[]).unwrap();
    assert_eq!(names(&manifest), ["grid-1", "grid-2", "grid-3", "grid-4", "b"]);
    assert_eq!(
        cells(&manifest),
        [
            "grid-1: train.learning_rate=0.001 train.hidden=[8]",
            "grid-2: train.learning_rate=0.001 train.hidden=[16]",
            "grid-3: train.learning_rate=0.003 train.hidden=[8]",
            "grid-4: train.learning_rate=0.003 train.hidden=[16]",
        ]
    );
    let train = &manifest.experiment("grid-4").unwrap().train;
    assert_eq!((train.learning_rate, train.hidden[0].0), (0.003, 16));
    assert_eq!(manifest.baseline, "grid-1");
    let matrix = manifest.matrix("grid").unwrap();
    assert_eq!((matrix.cells.len(), matrix.has_base), (4, false));
    assert_eq!(matrix.axes["train.hidden"], [json!([8]), json!([16])]);
}

#[test]
fn a_cell_has_the_plans_of_an_experiment_written_by_hand() {
    let by_hand = "c: {train: {loss: {kind: bfce, gamma: 3}, epochs: 2}, score: {top_k: 5}}";
    let matrix =
        "grid: {train: {epochs: 2}, matrix: {train: {loss.gamma: [1, 3]}, score.top_k: [5]}}";
    let file = changed(&[
        ("train: {hidden: [8]}", "train: {hidden: [8], loss: {kind: bfce}}"),
        ("  b: {}", &format!("  {by_hand}\n  {matrix}")),
    ]);
    let manifest = file.load(&[]).unwrap();
    assert_eq!(names(&manifest), ["a", "c", "grid-1", "grid-3"]);
    let [hand, cell] = ["c", "grid-3"].map(|name| manifest.experiment(name).unwrap());
    assert_eq!(cell.train.loss, Loss::Bfce { gamma: 3.0, alpha: None });
    for stage in Stage::OF_EXPERIMENT {
        let [hand, cell] = [hand, cell].map(|e| manifest.plan(stage, Some(e)).params);
        assert_eq!(hand, cell, "{stage}");
    }
}

#[test]
fn values_may_be_anything_that_the_key_may_be() {
    let file = with(
        "m: {matrix: {train.patience: [null, 3], train.loss: [{kind: bce}, {kind: asl, clip: 0}]}}",
    );
    let manifest = file.load(&[]).unwrap();
    let train = |name: &str| manifest.experiment(name).unwrap().train.clone();
    assert_eq!((train("m-1").patience, train("m-1").loss), (None, Loss::Bce {}));
    assert_eq!(train("m-4").patience, Some(3));
    assert!(matches!(train("m-4").loss, Loss::Asl { clip: 0.0, .. }));
    // Several keys at once: each value is laid over the experiment's own settings.
    let file = with(
        "m: {train: {epochs: 2}, matrix: {train: [{hidden: [4]}, {hidden: [9], dropout: 0}]}}",
    );
    let manifest = file.load(&[]).unwrap();
    let train = &manifest.experiment("m-2").unwrap().train;
    assert_eq!((train.epochs, train.hidden[0].0, train.dropout), (2, 9, 0.0));
}

#[test]
fn excluded_combinations_are_no_experiments() {
    let grid = GRID.replace(
        "{train.l",
        "{exclude: [{train.learning_rate: 0.003, train: {hidden: [16]}}], train.l",
    );
    assert_eq!(names(&with(&grid).load(&[]).unwrap()), ["a", "grid-1", "grid-2", "grid-3"]);
    let grid = GRID.replace("{train.l", "{exclude: [{train.hidden: [8]}], train.l");
    assert_eq!(names(&with(&grid).load(&[]).unwrap()), ["a", "grid-2", "grid-4"]);
}

#[test]
fn every_mistake_in_a_matrix_has_its_place() {
    let rows = [
        (
            "m: {matrix: {}}",
            "m.yaml:14:15: `experiments.m.matrix`: expected at least one key with values",
        ),
        (
            "m: {matrix: 5}",
            "m.yaml:14:15: `experiments.m.matrix`: expected a map of keys and lists of values, got `5`",
        ),
        (
            "m: {matrix: {trian.epochs: [1]}}",
            "m.yaml:14:16: unknown key `trian.epochs`; a matrix has keys such as `train.epochs`; did you mean `train`?",
        ),
        (
            "m: {matrix: {train.epoch: [1]}}",
            "m.yaml:14:16: unknown key `epoch`; did you mean `epochs`?",
        ),
        (
            "m: {matrix: {train.epochs: []}}",
            "m.yaml:14:30: `experiments.m.matrix.train.epochs`: expected at least one value",
        ),
        (
            "m: {matrix: {train.epochs: 5}}",
            "m.yaml:14:30: `experiments.m.matrix.train.epochs`: expected a list of values, got `5`",
        ),
        (
            "m: {matrix: {train.epochs: [1, 2, 1.0]}}",
            "m.yaml:14:37: `experiments.m.matrix.train.epochs`: 1 appears twice",
        ),
        (
            "m: {matrix: {train.epochs: [1], train: {epochs: [2]}}}",
            "m.yaml:14:43: `experiments.m.matrix`: `train.epochs` and `train.epochs` set the same key; expected one of them",
        ),
        (
            "m: {matrix: {train: [{}], train.epochs: [2]}}",
            "m.yaml:14:29: `experiments.m.matrix`: `train` and `train.epochs` set the same key; expected one of them",
        ),
        (
            "m: {matrix: {train.epochs: [1, 0]}}",
            "m.yaml:14:34: `experiments.m.train.epochs`: must be at least 1 and at most 1000000, got 0, in `m-2`",
        ),
        (
            "m-2: {}\n  m: {matrix: {train.epochs: [1, 2]}}",
            "m.yaml:15:7: `experiments.m.matrix`: makes an experiment `m-2`, but another has this name (m.yaml:14:3); rename it or `m`",
        ),
        (
            "m: {matrix: {train.epochs: [1, 2], exclude: 5}}",
            "m.yaml:14:47: `experiments.m.matrix.exclude`: expected a list of maps such as `{train.epochs: 5}`, got `5`",
        ),
        (
            "m: {matrix: {train.epochs: [1, 2], exclude: [{train.epochs: 3}]}}",
            "m.yaml:14:63: `experiments.m.matrix.exclude.0.train.epochs`: leaves out nothing: 3 is not among the values 1, 2",
        ),
        (
            "m: {matrix: {train.epochs: [1, 2], exclude: [{train.epoch: 1}]}}",
            "m.yaml:14:49: the matrix has no key `train.epoch`; did you mean `train.epochs`?",
        ),
        (
            "m: {matrix: {train.epochs: [1, 2], exclude: [{train.epochs: 1}, {train.epochs: 1}]}}",
            "m.yaml:14:67: `experiments.m.matrix.exclude.1`: leaves out nothing that the ones before it do not; remove it",
        ),
        (
            "m: {matrix: {train.epochs: [1], exclude: [{train.epochs: 1}]}}",
            "m.yaml:14:44: `experiments.m.matrix.exclude`: leaves out every combination",
        ),
        (
            "m: {matrix: {train.epochs: [1, 2]}}\nbaseline: m",
            "m.yaml:15:11: `baseline`: no experiment `m`; it is a matrix; name one of its experiments: `m-1`, `m-2`",
        ),
        (
            "m: {matrix: {sample.sql: [q.sql, no.sql]}}",
            "m.yaml:14:36: `experiments.m.sample.sql`: no file `no.sql`, in `m-2`",
        ),
    ];
    for (experiment, expected) in rows {
        let found = with(experiment).problems(&[]);
        assert!(found.contains(&expected.to_owned()), "{experiment}\n{found:#?}");
    }
}

/// The combination is the mistake, so each that has it is named.
#[test]
fn a_mistake_of_some_combinations_names_them() {
    let file = with(
        "m: {matrix: {train.soft_f1: [0, 1], train.output: [auto, sketch]}, train: {epoch: 1}}",
    );
    assert_eq!(
        file.problems(&[]),
        [
            "m.yaml:14:78: unknown key `epoch`; did you mean `epochs`?",
            "m.yaml:14:60: `train.output`: `sketch` needs `sparse_gradient` above 0 and no `soft_f1`, in `m-4`",
        ]
    );
}

#[test]
fn a_matrix_has_limits() {
    let list = |n: usize| (1..=n).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
    let matrix =
        format!("m: {{matrix: {{train.epochs: [{}], train.batch_size: [1, 2]}}}}", list(501));
    assert_eq!(
        with(&matrix).problems(&[]),
        ["m.yaml:14:7: `experiments.m.matrix`: found 1,002 combinations, at most 1,000"]
    );
    let matrix = matrix.replace(", 501]", "]");
    let manifest = with(&matrix).load(&[]).unwrap();
    assert_eq!(manifest.experiments().count(), 1001);
    assert_eq!(manifest.experiments().last().unwrap().name, "m-249502");
    let keys = (0..11).fold(String::new(), |mut keys, i| {
        let _ = write!(keys, "sample.params.k{i}: [1], ");
        keys
    });
    assert_eq!(
        with(&format!("m: {{matrix: {{{keys}}}}}")).problems(&[]),
        ["m.yaml:14:7: `experiments.m.matrix`: found 11 keys, at most 10 can be swept"]
    );
}

#[test]
fn a_set_in_the_matrix_is_set_in_each_of_its_experiments_and_swept_values_stay() {
    let file = with(GRID);
    let train = |manifest: &Manifest, name: &str| manifest.experiment(name).unwrap().train.clone();
    let manifest = file.load(&["experiments.grid.train.epochs=2"]).unwrap();
    assert_eq!((train(&manifest, "grid-1").epochs, train(&manifest, "grid-4").epochs), (2, 2));
    let manifest = file.load(&["experiments.grid-2.train.epochs=2"]).unwrap();
    assert_eq!((train(&manifest, "grid-1").epochs, train(&manifest, "grid-2").epochs), (60, 2));
    let manifest = file.load(&["train.hidden=[3]"]).unwrap();
    assert_eq!(train(&manifest, "a").hidden[0].0, 3);
    assert_eq!(train(&manifest, "grid-2").hidden[0].0, 16);
    let text = "`--set train.hidden=[3]` has no effect beside the matrix, which sweeps the key";
    let experiments = ["grid-1", "grid-2", "grid-3", "grid-4"].map(str::to_owned).to_vec();
    assert_eq!(manifest.notes, [Note { text: text.to_owned(), experiments }]);
    let manifest = file.load(&["experiments.grid.matrix.train.hidden=[[8], [16], [32]]"]).unwrap();
    assert_eq!(manifest.experiments().count(), 7);
    assert!(!manifest.matrix("grid").unwrap().has_base);
}

#[test]
fn a_sweep_varies_an_experiment_that_stays() {
    let file = changed(&[]);
    let sets = [
        sweep_as_set("a", "train.hidden=[256],[512, 8]").unwrap(),
        sweep_as_set("a", "train.loss={kind: bce},{kind: asl, clip: 0}").unwrap(),
        "experiments.a.train.epochs=3".to_owned(),
    ];
    let manifest = file.load(&sets.each_ref().map(|set| &**set)).unwrap();
    assert_eq!(names(&manifest), ["a", "a-1", "a-2", "a-3", "a-4", "b"]);
    assert_eq!(cells(&manifest)[3], "a-4: train.hidden=[512, 8] train.loss={kind: asl, clip: 0}");
    assert!(manifest.matrix("a").unwrap().has_base);
    let epochs = |name: &str| manifest.experiment(name).unwrap().train.epochs;
    assert_eq!(["a", "a-3", "b"].map(epochs), [3, 3, 60]);
}

#[test]
fn a_sweep_may_vary_an_experiment_of_a_matrix() {
    let file = with(GRID);
    let set = sweep_as_set("grid-4", "train.dropout=0,0.5").unwrap();
    let manifest = file.load(&[&set]).unwrap();
    assert_eq!(
        names(&manifest),
        ["a", "grid-1", "grid-2", "grid-3", "grid-4", "grid-4-1", "grid-4-2"]
    );
    let train = &manifest.experiment("grid-4-2").unwrap().train;
    assert_eq!((train.hidden[0].0, train.learning_rate, train.dropout), (16, 0.003, 0.5));
}

#[test]
fn mistakes_in_a_sweep_are_shown_with_it() {
    let file = changed(&[]);
    let problems = |sweep: &str| file.problems(&[&sweep_as_set("a", sweep).unwrap()]);
    for (sweep, expected) in [
        (
            "train.epochs=1,0",
            "`experiments.a.train.epochs`: must be at least 1 and at most 1000000, got 0, in `a-2`",
        ),
        ("train.epochs=1,1", "`experiments.a.matrix.train.epochs`: 1 appears twice"),
        ("train.epochs=", "`experiments.a.matrix.train.epochs`: expected at least one value"),
        ("train.epoch=1", "unknown key `epoch`; did you mean `epochs`?"),
        (
            "seeds=1",
            "unknown key `seeds`; a matrix has keys such as `train.epochs`; known: `sample`, `train`, `score`, `exclude`",
        ),
    ] {
        let values = sweep.split_once('=').unwrap();
        let place = format!("--set experiments.a.matrix.{}=[{}]", values.0, values.1);
        assert_eq!(problems(sweep), [format!("{place}: {expected}")]);
    }
    assert!(
        problems("train.hidden=[8],[9")[0]
            .starts_with("--set experiments.a.matrix.train.hidden=[[8],[9]: ")
    );
    assert_eq!(
        sweep_as_set("a", "train.epochs"),
        Err("expected `key.path=value,value`".to_owned())
    );
}
