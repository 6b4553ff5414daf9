//! The features, ids and size of the network to train.

use anyhow::{Result, ensure};
use contract::columns::{self, ListSlices};
use contract::exit::DataError;
use contract::features::{self, Feature, FeatureKind};
use contract::ipc::Table;
use contract::machine::memory_bytes;
use contract::manifest::{HiddenWidth, Histories, IdSpace, TrainParams};
use train_stage::task::{Architecture, Ids};

use crate::brands::Brands;

/// Up to this many rows of weights are allocated whether their ids occur or not.
const FEW_ROWS: usize = 4096;

/// * `table`: `features.arrow`.
pub fn architecture(table: &Table, params: &TrainParams, brands: &Brands) -> Result<Architecture> {
    let features = chosen_features(table, params)?;
    let channels = params.own_history.as_ref().map_or(&[][..], Histories::names);
    let is_direct = |feature: &Feature| channels.iter().skip(1).any(|name| *name == feature.name);
    let ids = |feature: &Feature| {
        // The channels of a history hold the same brands: the layers read the first alone, as
        // further ones would give them as many weights again to learn the same from.
        if is_direct(feature) { Some(Ids::Numbers(0)) } else { ids_of(table, feature, brands) }
    };
    let ids = features.iter().filter_map(ids).collect();
    let (volumes, n_users) = (brands.volumes.clone(), brands.n_train_users);
    Ok(Architecture { features, ids, volumes, n_users })
}

/// The features that the experiment's model reads, in the table's order.
fn chosen_features(table: &Table, params: &TrainParams) -> Result<Vec<Feature>> {
    let all = features::of_schema(&table.schema);
    let Some(names) = &params.features else { return Ok(all) };
    let chosen: Vec<Feature> =
        all.into_iter().filter(|feature| names.contains(&feature.name)).collect();
    ensure!(
        chosen.len() == names.len(),
        DataError(format!(
            "{}: `train.features` names {names:?}, the table does not have them all",
            table.path.display()
        ))
    );
    Ok(chosen)
}

/// The ids of a sparse feature that get a row of weights; `None` if it is dense.
fn ids_of(table: &Table, feature: &Feature, brands: &Brands) -> Option<Ids> {
    match feature.kind {
        FeatureKind::Dense { .. } => None,
        FeatureKind::Sparse { ids: IdSpace::Brands, .. } => Some(Ids::Numbers(brands.ids.len())),
        // Ids are positions in the vocabulary.
        _ if feature.is_categories() => Some(Ids::Numbers(feature.vocabulary.len())),
        FeatureKind::Sparse { ids: IdSpace::Own, .. } => {
            let lists = table.batches.iter().map(|batch| columns::u32_lists(batch, &feature.name));
            Some(own_ids(lists.flat_map(ListSlices::iter).flatten().copied()))
        }
    }
}

/// Ids number their rows of weights, unless most of those rows would then belong to no user.
fn own_ids(ids: impl Iterator<Item = u32>) -> Ids {
    let mut is_used: Vec<bool> = Vec::new();
    for id in ids {
        if is_used.len() <= id as usize {
            is_used.resize(id as usize + 1, false);
        }
        is_used[id as usize] = true;
    }
    let used: Vec<u32> =
        (0..).zip(&is_used).filter(|(_, is_used)| **is_used).map(|(id, _)| id).collect();
    if is_used.len() <= FEW_ROWS.max(2 * used.len()) {
        return Ids::Numbers(is_used.len());
    }
    Ids::Listed(used)
}

/// Refuses a network that does not fit into memory: the kernel would kill the stage without a word.
pub fn check_size(architecture: &Architecture, hidden: &[HiddenWidth]) -> Result<()> {
    /// A weight, its two moments, and the best epoch's weight.
    const BYTES_PER_WEIGHT: u128 = 4 * 4;
    const GIB: f64 = (1_u64 << 30) as f64;

    let n_in: usize = architecture.features.iter().map(Feature::n_dense).sum();
    let n_in = n_in + architecture.ids.iter().map(Ids::n_rows).sum::<usize>();
    let widths = hidden.iter().map(|width| width.0).chain([architecture.volumes.len()]);
    let (n_weights, _) = widths
        .fold((0_u128, n_in), |(n, before), width| (n + before as u128 * width as u128, width));
    let needed = n_weights * BYTES_PER_WEIGHT;
    let available = memory_bytes().unwrap_or(u64::MAX);
    ensure!(
        needed < u128::from(available),
        DataError(format!(
            "the network has {n_weights} weights, for which training needs {:.1} GiB; this machine \
             has {:.1} GiB\nhint: make the layers of `train.hidden` narrower",
            needed as f64 / GIB,
            available as f64 / GIB
        ))
    );
    Ok(())
}
