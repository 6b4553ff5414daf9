//! `history.arrow`: one row per epoch.
//!
//! Beyond the columns of its contract it has the mean average precision on the valid users, the
//! updates done by the end of the epoch, and the member that the epoch belongs to, from 0.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, UInt32Array, UInt64Array};
use train_stage::state::Epoch;
use train_stage::validation::Figures;

/// * `members`: the epochs of each member.
pub fn columns(members: &[Vec<Epoch>]) -> Vec<ArrayRef> {
    let epochs: Vec<&Epoch> = members.iter().flatten().collect();
    let member = members.iter().enumerate().flat_map(|(i, epochs)| epochs.iter().map(move |_| i));
    let f64s = |value: &dyn Fn(&Epoch) -> f64| -> ArrayRef {
        Arc::new(epochs.iter().map(|epoch| Some(value(epoch))).collect::<Float64Array>())
    };
    let figures = |value: &dyn Fn(&Figures) -> Option<f64>| -> ArrayRef {
        let of_epoch = |epoch: &&Epoch| epoch.valid.as_ref().and_then(value);
        Arc::new(epochs.iter().map(of_epoch).collect::<Float64Array>())
    };
    vec![
        Arc::new(epochs.iter().map(|epoch| epoch.epoch).collect::<UInt32Array>()),
        f64s(&|epoch| epoch.train_loss),
        f64s(&|epoch| epoch.valid.map_or(f64::NAN, |valid| valid.loss)),
        figures(&|valid| valid.macro_f1),
        figures(&|valid| valid.user_f1),
        f64s(&|epoch| epoch.rows_per_s),
        f64s(&|epoch| epoch.secs),
        figures(&|valid| valid.mean_average_precision),
        Arc::new(epochs.iter().map(|epoch| epoch.updates).collect::<UInt64Array>()),
        Arc::new(member.map(|i| i as u32).collect::<UInt32Array>()),
    ]
}
