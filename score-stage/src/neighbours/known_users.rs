//! Users whose brands are known, and what they are compared by.

use contract::columns;
use contract::exit::DataError;
use contract::ipc::{self, Table};
use contract::manifest::Memory as Params;
use contract::tables::EXAMPLES;
use model::{Batch, Inputs, Kind, Mlp, Model, Workspace, own_history};
use ndarray::Array2;

use crate::labels::Labels;
use crate::neighbours::space::Seen;
use crate::split::{BATCH, Split};

/// A group of users with their brands: training users, or after a refit the valid users.
pub struct KnownUsers<'a> {
    /// Their features
    pub inputs: &'a Inputs<'a>,
    /// Of each user the row of the inputs, and the brands
    pub rows: Vec<(u32, &'a [u32])>,
}

impl<'a> KnownUsers<'a> {
    /// The users of a sample: each once, as their first example that is no clone.
    ///
    /// # Errors
    ///
    /// A user or a brand that does not exist.
    pub fn of_examples(
        examples: &'a Table,
        inputs: &'a Inputs<'a>,
        n_brands: usize,
    ) -> Result<Self, ipc::Error> {
        let n_users = inputs.n_users();
        let labels = Labels::of(examples, &EXAMPLES, n_brands)?;
        let batches = || examples.batches.iter();
        let user_rows = batches().flat_map(|batch| columns::u32s(batch, "user_row"));
        let is_clone = batches().flat_map(|batch| columns::bools(batch, "is_clone").values());
        let mut rows = Vec::new();
        let mut is_known = vec![false; n_users];
        for (example, ((&row, is_clone), labels)) in
            user_rows.zip(is_clone).zip(labels.iter()).enumerate()
        {
            if is_clone {
                continue;
            }
            if row as usize >= n_users {
                let found = format!(
                    "row {example}: `user_row` is {row}, expected a row below the number of users \
                     in `features`, {n_users}"
                );
                return Err(examples.broken(&EXAMPLES, found));
            }
            if !std::mem::replace(&mut is_known[row as usize], true) {
                rows.push((row, labels));
            }
        }
        Ok(Self { inputs, rows })
    }

    /// All users of a split.
    pub fn of_split(split: &'a Split<'a>) -> Self {
        Self { inputs: &split.inputs, rows: (0..).zip(split.labels.iter()).collect() }
    }
}

/// What a model has to compare users by.
#[derive(Debug, Clone, Copy)]
pub enum Compared {
    /// The last hidden layer, of this width
    Hidden(usize),
    /// The sparse feature at this position
    History(usize),
}

/// The network of a model, and what of it users are compared by.
///
/// # Errors
///
/// If the model does not have it.
pub fn compared<'a>(model: &'a Model, params: &Params) -> Result<(&'a Mlp, Compared), DataError> {
    let fail = |what: String| Err(DataError(what));
    let Kind::Mlp(mlp) = &model.kind else {
        return fail("`score.memory` needs a network with a hidden layer".to_owned());
    };
    match &params.by {
        None => match mlp.hidden_width().filter(|&n_hidden| n_hidden > 0) {
            Some(n_hidden) => Ok((mlp, Compared::Hidden(n_hidden))),
            None => fail(
                "`score.memory` needs a network with a hidden layer; see `train.hidden`".to_owned(),
            ),
        },
        Some(name) => match own_history::position(&mlp.features, name) {
            Some(bag) => Ok((mlp, Compared::History(bag))),
            None => fail(format!("`score.memory.by`: the model reads no list of brands `{name}`")),
        },
    }
}

/// Calls `each` with every batch of users, in order, and their hidden layer if they are compared by it.
pub fn for_each_seen(
    mlp: &Mlp,
    users: &[KnownUsers],
    compared: Compared,
    mut each: impl FnMut(Seen),
) {
    let mut batch = Batch::default();
    let mut workspace = Workspace::default();
    for part in users {
        for rows in part.rows.chunks(BATCH) {
            part.inputs.gather(rows.iter().map(|&(row, _)| row as usize), &mut batch);
            if let Compared::Hidden(_) = compared {
                mlp.forward_hidden(&batch, &mut workspace, None);
            }
            each(Seen { batch: &batch, hidden: workspace.hidden.last().map(Array2::view) });
        }
    }
}
