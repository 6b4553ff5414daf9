//! The multi-layer perceptron: linear layers with rectifiers between them.

use std::borrow::Cow;
use std::f32::consts::LOG2_E;

use contract::features::Feature;
use contract::splitmix::{GOLDEN, mix};
use multiversion::multiversion;
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis, Zip, s};

use crate::inputs::{Bags, Batch};
use crate::matmul::matmul;
use crate::own_history::Channel;
use crate::sigmoid::ln;

/// A network: its inputs and its parameters.
#[derive(Debug, Clone)]
pub struct Mlp {
    /// The features that it reads, in order
    pub features: Vec<Feature>,
    /// `(n_dense,)`: subtracted from the dense inputs
    pub offsets: Array1<f32>,
    /// `(n_dense,)`: factors on the dense inputs after `offsets`
    pub scales: Array1<f32>,
    /// For each sparse feature the first layer's weights, `(n_ids, width of the first layer)`
    pub bags: Vec<Array2<f32>>,
    /// For each sparse feature the ids of the rows in `bags`, ascending; empty or missing where an id
    /// is the number of its row
    pub ids: Vec<Vec<u32>>,
    /// Sparse features, by their position among the sparse ones, whose weights the first layer reads
    /// as logarithms; see [`Self::bag_weights`]
    pub log_bags: Vec<usize>,
    /// The first reads the dense inputs, the last gives the logits
    pub layers: Vec<Layer>,
    /// Channels of the user's own history, each of which adds to the logits of the brands in it
    pub own_history: Vec<Channel>,
}

/// A linear layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// `(n_in, n_out)`; see [`Self::lay_out`] for the order in memory
    pub weights: Array2<f32>,
    /// `(n_out,)`
    pub bias: Array1<f32>,
}

/// Leaves out hidden units at random; which ones depends on the seed and the unit's place alone.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// Probability that a unit is left out, below 1
    pub rate: f32,
    /// Should differ between updates
    pub seed: u64,
}

/// Results of a forward pass that the backward pass needs; reused from batch to batch.
#[derive(Debug, Default, Clone)]
pub struct Workspace {
    /// `(n_users, n_dense)`: dense inputs after standardisation
    pub dense: Array2<f32>,
    /// Outputs of the hidden layers after rectifier and dropout
    pub hidden: Vec<Array2<f32>>,
}

impl Mlp {
    /// Number of brands.
    pub fn n_brands(&self) -> usize {
        self.layers[self.layers.len() - 1].bias.len()
    }

    /// Width of the last hidden layer; `None` without one.
    pub fn hidden_width(&self) -> Option<usize> {
        self.layers.len().checked_sub(2).map(|last| self.layers[last].bias.len())
    }

    /// Computes the logits of a batch.
    ///
    /// * `workspace`: receives the outputs of the hidden layers.
    /// * `logits`: `(n_users, n_brands)`, overwritten.
    /// * `dropout`: in training only.
    pub fn forward(
        &self,
        batch: &Batch,
        workspace: &mut Workspace,
        logits: ArrayViewMut2<f32>,
        dropout: Option<Dropout>,
    ) {
        self.forward_hidden(batch, workspace, dropout);
        self.logits(batch, workspace, logits);
    }

    /// The rest of [`Self::forward`] after [`Self::forward_hidden`].
    pub fn logits(&self, batch: &Batch, workspace: &Workspace, mut logits: ArrayViewMut2<f32>) {
        let last = self.layers.len() - 1;
        let input = workspace.hidden.last().unwrap_or(&workspace.dense);
        self.linear(last, batch, input.view(), logits.view_mut());
        for channel in &self.own_history {
            channel.add(&batch.bags[channel.bag], logits.view_mut());
        }
    }

    /// Computes the logits of the first `n` brands, without what a user's own history adds.
    ///
    /// * `hidden`: outputs of the last hidden layer.
    /// * `logits`: `(n_users, n)`, overwritten.
    pub fn first_logits(&self, hidden: ArrayView2<f32>, mut logits: ArrayViewMut2<f32>) {
        let layer = &self.layers[self.layers.len() - 1];
        let bias = layer.bias.slice(s![..logits.ncols()]);
        logits.axis_iter_mut(Axis(0)).into_par_iter().for_each(|mut row| row.assign(&bias));
        matmul(hidden, layer.weights.slice(s![.., ..logits.ncols()]), true, logits);
    }

    /// As [`Self::forward`], without the logits.
    pub fn forward_hidden(
        &self,
        batch: &Batch,
        workspace: &mut Workspace,
        dropout: Option<Dropout>,
    ) {
        workspace.resize(self, batch.n_users());
        Zip::from(&mut workspace.dense)
            .and(&batch.dense)
            .and_broadcast(&self.offsets)
            .and_broadcast(&self.scales)
            .for_each(|x, &raw, &offset, &scale| *x = (raw - offset) * scale);
        for i in 0..self.layers.len() - 1 {
            let (before, after) = workspace.hidden.split_at_mut(i);
            let input = before.last().unwrap_or(&workspace.dense).view();
            let output = &mut after[0];
            self.linear(i, batch, input, output.view_mut());
            let of_layer =
                |d: Dropout| Dropout { seed: d.seed.wrapping_add((i as u64) << 48), ..d };
            rectify(output.view_mut(), dropout.map(of_layer));
        }
    }

    /// Layer `i` without its rectifier.
    fn linear(
        &self,
        i: usize,
        batch: &Batch,
        input: ArrayView2<f32>,
        mut output: ArrayViewMut2<f32>,
    ) {
        let layer = &self.layers[i];
        output.axis_iter_mut(Axis(0)).into_par_iter().for_each(|mut row| row.assign(&layer.bias));
        if i == 0 {
            for (i, (weights, bags)) in self.bags.iter().zip(&batch.bags).enumerate() {
                add_bags(weights, bags, &self.bag_weights(i, bags), output.view_mut());
            }
        }
        if input.ncols() > 0 {
            matmul(input, layer.weights.view(), true, output);
        }
    }

    /// The factors on the rows of weights of sparse feature `i`, one for each id of a batch.
    ///
    /// In [`Self::log_bags`] that is `log2(1 + w)` of a weight `w` in the list, and `-log2(1 - w)`
    /// below 0: a brand bought once counts 1, and one bought a hundred times not a hundred.
    pub fn bag_weights<'a>(&self, i: usize, bags: &'a Bags) -> Cow<'a, [f32]> {
        if self.log_bags.contains(&i) {
            bags.weights.iter().map(|w| (LOG2_E * ln(1.0 + w.abs())).copysign(*w)).collect()
        } else {
            Cow::Borrowed(&bags.weights)
        }
    }

    /// The values of every trained array: bags, then weights and bias of each layer, then the own
    /// history. Each in the order of its memory.
    pub fn parameters(&self) -> impl Iterator<Item = &[f32]> {
        let layers = self.layers.iter().flat_map(|layer| {
            [flat(&layer.weights), layer.bias.as_slice().expect("parameters are contiguous")]
        });
        let own = self.own_history.iter().flat_map(|channel| {
            [flat(&channel.own), channel.common.as_slice().expect("parameters are contiguous")]
        });
        self.bags.iter().map(flat).chain(layers).chain(own)
    }

    /// As [`Self::parameters`], mutable.
    pub fn parameters_mut(&mut self) -> impl Iterator<Item = Parameter<'_>> {
        let matrix = |values| Parameter { values: flat_mut(values), decays: true };
        let layers = self.layers.iter_mut().flat_map(move |layer| {
            let bias = layer.bias.as_slice_mut().expect("parameters are contiguous");
            [matrix(&mut layer.weights), Parameter { values: bias, decays: false }]
        });
        let own = self.own_history.iter_mut().flat_map(move |channel| {
            let common = channel.common.as_slice_mut().expect("parameters are contiguous");
            [matrix(&mut channel.own), Parameter { values: common, decays: false }]
        });
        self.bags.iter_mut().map(matrix).chain(layers).chain(own)
    }
}

/// A trained array.
pub struct Parameter<'a> {
    /// In the order of memory
    pub values: &'a mut [f32],
    /// Whether weight decay applies
    pub decays: bool,
}

/// The values of a parameter or gradient in the order of memory.
///
/// # Panics
///
/// If the array is not contiguous.
pub fn flat(values: &Array2<f32>) -> &[f32] {
    values.as_slice_memory_order().expect("parameters are contiguous")
}

fn flat_mut(values: &mut Array2<f32>) -> &mut [f32] {
    values.as_slice_memory_order_mut().expect("parameters are contiguous")
}

impl Layer {
    /// Whether the weights of each unit are contiguous in memory.
    pub fn is_by_unit(&self) -> bool {
        self.weights.t().is_standard_layout()
    }

    /// Makes the weights of each unit contiguous in memory, or else those of each input.
    pub fn lay_out(&mut self, by_unit: bool) {
        self.weights = if by_unit {
            self.weights.t().as_standard_layout().into_owned().reversed_axes()
        } else {
            self.weights.as_standard_layout().into_owned()
        };
    }
}

impl Workspace {
    fn resize(&mut self, mlp: &Mlp, n_users: usize) {
        if self.dense.dim() != (n_users, mlp.offsets.len()) {
            self.dense = Array2::zeros((n_users, mlp.offsets.len()));
        }
        let widths: Vec<usize> =
            mlp.layers[..mlp.layers.len() - 1].iter().map(|l| l.bias.len()).collect();
        if self.hidden.iter().map(Array2::dim).ne(widths.iter().map(|&width| (n_users, width))) {
            self.hidden = widths.iter().map(|&width| Array2::zeros((n_users, width))).collect();
        }
    }
}

/// Adds to each user's row the weight rows of their ids. Ids without a row add nothing.
///
/// * `factors`: one for each id.
fn add_bags(weights: &Array2<f32>, bags: &Bags, factors: &[f32], mut output: ArrayViewMut2<f32>) {
    output.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(i, mut row)| {
        for (id, factor) in bags.with(factors, i).filter(|&(id, _)| (id as usize) < weights.nrows())
        {
            row.scaled_add(factor, &weights.row(id as usize));
        }
    });
}

/// Users that a thread takes at a time.
const ROWS: usize = 16;

/// Sets negative units to 0; with dropout some others too, and scales up the rest in proportion.
fn rectify(mut output: ArrayViewMut2<f32>, dropout: Option<Dropout>) {
    let dropout = dropout.filter(|d| d.rate > 0.0);
    output.axis_chunks_iter_mut(Axis(0), ROWS).into_par_iter().enumerate().for_each(
        |(chunk, mut rows)| {
            for (i, row) in rows.rows_mut().into_iter().enumerate() {
                let row = row.into_slice().expect("rows of a fresh array are contiguous");
                rectify_row(row);
                if let Some(dropout) = dropout {
                    drop_out((chunk * ROWS + i) as u64, row, dropout);
                }
            }
        },
    );
}

/// Not by `max`, which would turn NaN into 0 and so hide it from the loss.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn rectify_row(row: &mut [f32]) {
    for z in row {
        *z = if *z < 0.0 { 0.0 } else { *z };
    }
}

fn drop_out(i: u64, row: &mut [f32], Dropout { rate, seed }: Dropout) {
    let scale = 1.0 / (1.0 - rate);
    let limit = (f64::from(rate) * (u64::MAX as f64)) as u64;
    // splitmix64, restarted in each row: the same for any number of threads. The start is mixed
    // too, or with a small seed many rows would be shifted copies of others.
    let mut state = mix(seed.wrapping_add(i.wrapping_mul(GOLDEN)));
    for z in row {
        state = state.wrapping_add(GOLDEN);
        *z *= if mix(state) >= limit { scale } else { 0.0 };
    }
}

/// Replaces every logit by that of the probability `(1 - weight)·p + weight·other`.
///
/// * `others`, `weights`: as long as `logits`. Where the weight is 0 the logit is unchanged.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub fn mix_probabilities(logits: &mut [f32], others: &[f32], weights: &[f32]) {
    use crate::sigmoid::{ln, parts};
    for ((z, &other), &weight) in logits.iter_mut().zip(others).zip(weights) {
        let (p, q) = parts(*z).mixed(other, weight);
        let mixed = ln(p.max(f32::MIN_POSITIVE)) - ln(q.max(f32::MIN_POSITIVE));
        *z = if weight > 0.0 { mixed } else { *z };
    }
}

/// Replaces every `z` by `1 / (1 + e^-z)`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub fn sigmoid_in_place(values: &mut [f32]) {
    for z in values {
        *z = crate::sigmoid::parts(*z).p;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::features::FeatureKind;
    use contract::manifest::IdSpace;
    use ndarray::array;

    /// One dense input (standardised from 5 to (5 - 1)·0.5 = 2), a bag with ids 1 and 9
    /// (9 is unknown), one hidden layer of two, one brand.
    /// Hidden: [2·1 + 0.5 + 10·3, 2·-1 + 0.5] = [32.5, -1.5] -> [32.5, 0].
    /// Logit: 32.5·2 + 0.25 = 65.25.
    #[test]
    fn a_forward_pass_applies_the_layers_in_order() {
        let mlp = Mlp {
            features: vec![
                Feature::new("x", FeatureKind::Dense { dim: 1 }),
                Feature::new("ids", FeatureKind::Sparse { is_weighted: true, ids: IdSpace::Own }),
            ],
            offsets: array![1.0],
            scales: array![0.5],
            ids: Vec::new(),
            log_bags: Vec::new(),
            bags: vec![array![[7.0, 7.0], [10.0, 0.0]]],
            layers: vec![
                Layer { weights: array![[1.0, -1.0]], bias: array![0.5, 0.5] },
                Layer { weights: array![[2.0], [4.0]], bias: array![0.25] },
            ],
            own_history: Vec::new(),
        };
        let batch = Batch {
            dense: array![[5.0]],
            bags: vec![Bags { offsets: vec![0, 2], ids: vec![1, 9], weights: vec![3.0, 1.0] }],
        };
        let mut logits = Array2::zeros((1, 1));
        mlp.forward(&batch, &mut Workspace::default(), logits.view_mut(), None);
        assert_eq!(logits, array![[65.25]]);
    }

    /// Weights 3, 0 and -1 are read as log2 4 = 2, 0 and -log2 2 = -1.
    #[test]
    fn weights_of_a_log_bag_are_read_as_logarithms() {
        let mut mlp = Mlp {
            features: Vec::new(),
            offsets: array![],
            scales: array![],
            ids: Vec::new(),
            log_bags: Vec::new(),
            bags: Vec::new(),
            layers: Vec::new(),
            own_history: Vec::new(),
        };
        let bags = Bags { offsets: vec![0, 3], ids: vec![0, 1, 2], weights: vec![3.0, 0.0, -1.0] };
        assert_eq!(*mlp.bag_weights(1, &bags), [3.0, 0.0, -1.0]);
        mlp.log_bags = vec![1];
        let logs = mlp.bag_weights(1, &bags);
        assert!(logs.iter().zip([2.0, 0.0, -1.0]).all(|(a, b)| (a - b).abs() < 1e-6), "{logs:?}");
        assert_eq!(*mlp.bag_weights(0, &bags), [3.0, 0.0, -1.0]);
    }

    /// 200,000 units at rate 0.3: the kept share has standard deviation 0.001.
    #[test]
    fn dropout_keeps_its_share_and_the_mean() {
        let mut units = Array2::from_elem((200, 1000), 1.0_f32);
        rectify(units.view_mut(), Some(Dropout { rate: 0.3, seed: 7 }));
        let kept = units.iter().filter(|&&z| z > 0.0).count() as f64 / 200_000.0;
        assert!((kept - 0.7).abs() < 0.005, "{kept}");
        let mean = units.iter().map(|&z| f64::from(z)).sum::<f64>() / 200_000.0;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }

    /// Two independent masks agree in 0.7² + 0.3² = 0.58 of their units; over 199 pairs of rows
    /// of 999 units, with a standard deviation of 0.001.
    #[test]
    fn the_dropout_masks_of_two_users_are_independent() {
        let mut units = Array2::from_elem((200, 1000), 1.0_f32);
        rectify(units.view_mut(), Some(Dropout { rate: 0.3, seed: 7 }));
        for (from, to) in [(0, 0), (1, 0), (0, 1)] {
            let before = units.slice(ndarray::s![..-1, from..999 + from]);
            let after = units.slice(ndarray::s![1.., to..999 + to]);
            let n_same =
                before.iter().zip(after).filter(|&(&a, &b)| (a > 0.0) == (b > 0.0)).count();
            let share = n_same as f64 / (199.0 * 999.0);
            assert!((share - 0.58).abs() < 0.006, "{from} {to}: {share}");
        }
    }

    #[test]
    fn a_unit_that_is_nan_stays_nan() {
        for dropout in [None, Some(Dropout { rate: 0.01, seed: 7 })] {
            let mut units = array![[f32::NAN, -1.0, 2.0]];
            rectify(units.view_mut(), dropout);
            assert!(
                units[[0, 0]].is_nan() && units[[0, 1]] == 0.0 && units[[0, 2]] >= 2.0,
                "{units}"
            );
        }
    }
}
