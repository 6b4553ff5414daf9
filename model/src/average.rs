//! The average of several networks as one network.

use ndarray::{Array, Array2, Axis, Dimension, RemoveAxis, concatenate, s};

use crate::mlp::{Layer, Mlp};
use crate::own_history::Channel;

impl Mlp {
    /// One network whose logits are the mean of those of `members`.
    ///
    /// It holds their hidden layers side by side: each is as wide as all of theirs together.
    ///
    /// # Panics
    ///
    /// If there is no member, or if the members differ in more than their weights.
    pub fn average(mut members: Vec<Self>) -> Self {
        assert!(!members.is_empty(), "an average needs a member");
        if members.len() == 1 {
            return members.swap_remove(0);
        }
        let first = &members[0];
        let is_alike = |m: &Self| {
            m.features == first.features
                && m.offsets == first.offsets
                && m.scales == first.scales
                && m.layers.len() == first.layers.len()
                && m.log_bags == first.log_bags
                && m.own_history.len() == first.own_history.len()
        };
        assert!(members.iter().all(is_alike), "members must read the same");
        let bag = |i: usize| {
            let bags: Vec<_> = members.iter().map(|m| &m.bags[i]).collect();
            // What feeds the logits directly is averaged, all else stands side by side.
            if first.layers.len() == 1 { mean(&bags) } else { side_by_side(&bags, Axis(1)) }
        };
        Self {
            features: first.features.clone(),
            offsets: first.offsets.clone(),
            scales: first.scales.clone(),
            bags: (0..first.bags.len()).map(bag).collect(),
            ids: first.ids.clone(),
            log_bags: first.log_bags.clone(),
            layers: (0..first.layers.len()).map(|i| layer(&members, i)).collect(),
            own_history: (0..first.own_history.len()).map(|i| channel(&members, i)).collect(),
        }
    }
}

fn layer(members: &[Mlp], i: usize) -> Layer {
    let weights: Vec<_> = members.iter().map(|m| &m.layers[i].weights).collect();
    let biases: Vec<_> = members.iter().map(|m| &m.layers[i].bias).collect();
    let is_output = i + 1 == members[0].layers.len();
    let weights = match (i, is_output) {
        (0, true) => mean(&weights),
        (_, true) => side_by_side(&weights, Axis(0)) * share(members.len()),
        (0, false) => side_by_side(&weights, Axis(1)),
        (_, false) => block_diagonal(&weights),
    };
    Layer { weights, bias: if is_output { mean(&biases) } else { side_by_side(&biases, Axis(0)) } }
}

fn channel(members: &[Mlp], i: usize) -> Channel {
    let of_members = || members.iter().map(|m| &m.own_history[i]);
    let own: Vec<_> = of_members().map(|channel| &channel.own).collect();
    let common: Vec<_> = of_members().map(|channel| &channel.common).collect();
    Channel { own: mean(&own), common: mean(&common), ..members[0].own_history[i].clone() }
}

fn share(n_members: usize) -> f32 {
    1.0 / n_members as f32
}

fn mean<D: Dimension>(arrays: &[&Array<f32, D>]) -> Array<f32, D> {
    let zero = Array::zeros(arrays[0].raw_dim());
    arrays.iter().fold(zero, |sum, &array| sum + array) * share(arrays.len())
}

fn side_by_side<D: RemoveAxis>(arrays: &[&Array<f32, D>], axis: Axis) -> Array<f32, D> {
    let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
    concatenate(axis, &views).expect("members have the same shapes")
}

/// The blocks along the diagonal, zeros elsewhere.
fn block_diagonal(blocks: &[&Array2<f32>]) -> Array2<f32> {
    let n_rows = blocks.iter().map(|block| block.nrows()).sum();
    let n_columns = blocks.iter().map(|block| block.ncols()).sum();
    let mut whole = Array2::zeros((n_rows, n_columns));
    let (mut row, mut column) = (0, 0);
    for block in blocks {
        let (end, right) = (row + block.nrows(), column + block.ncols());
        whole.slice_mut(s![row..end, column..right]).assign(block);
        (row, column) = (end, right);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::{Bags, Batch};
    use crate::mlp::Workspace;
    use contract::features::{Feature, FeatureKind};
    use contract::splitmix::mix;
    use ndarray::array;

    /// Three members of each depth, with dense and listed inputs: the logits of their average
    /// are the mean of theirs, and its last hidden layer holds theirs side by side.
    #[test]
    fn an_average_has_the_mean_logits_of_its_members() {
        let number = |seed: u64| (mix(seed) >> 40) as f32 / (1 << 23) as f32 - 1.0;
        let matrix = |rows: usize, columns: usize, seed: u64| {
            Array2::from_shape_fn((rows, columns), |(i, j)| {
                number(seed * 1000 + (i * columns + j) as u64)
            })
        };
        let batch = Batch {
            dense: matrix(5, 3, 1),
            bags: vec![Bags {
                offsets: vec![0, 2, 2, 3, 3, 4],
                ids: vec![0, 3, 1, 2],
                weights: vec![1.0, 2.0, 0.5, 1.0],
            }],
        };
        let own_channel = |seed: u64| Channel {
            bag: 0,
            knots: vec![0.3, 0.9],
            own: matrix(7, 2, seed),
            common: matrix(1, 4, seed + 1).row(0).to_owned(),
        };
        for hidden in [vec![], vec![4], vec![4, 6, 5]] {
            let widths = [vec![3], hidden.clone(), vec![7]].concat();
            let member = |seed: u64| Mlp {
                features: vec![Feature::new("x", FeatureKind::Dense { dim: 3 })],
                offsets: array![0.1, 0.2, 0.3],
                scales: array![1.0, 2.0, 0.5],
                ids: Vec::new(),
                log_bags: vec![0],
                bags: vec![matrix(4, widths[1], seed)],
                layers: (1..widths.len())
                    .map(|i| Layer {
                        weights: matrix(widths[i - 1], widths[i], seed + i as u64),
                        bias: matrix(1, widths[i], seed + 50 + i as u64).row(0).to_owned(),
                    })
                    .collect(),
                own_history: [90, 95].map(|channel| own_channel(seed + channel)).to_vec(),
            };
            let members: Vec<Mlp> = [100, 200, 300].map(member).to_vec();
            let logits = |mlp: &Mlp, workspace: &mut Workspace| {
                let mut logits = Array2::zeros((5, 7));
                mlp.forward(&batch, workspace, logits.view_mut(), None);
                logits
            };
            let mut workspaces = vec![Workspace::default(); 3];
            let mut sum = Array2::<f32>::zeros((5, 7));
            for (mlp, workspace) in members.iter().zip(&mut workspaces) {
                sum += &logits(mlp, workspace);
            }
            let average = Mlp::average(members);
            let mut workspace = Workspace::default();
            let gap = logits(&average, &mut workspace) - sum / 3.0;
            assert!(gap.iter().all(|gap: &f32| gap.abs() < 1e-5), "{hidden:?}: {gap}");
            if let Some(last) = workspace.hidden.last() {
                let theirs: Vec<_> =
                    workspaces.iter().map(|w| w.hidden[hidden.len() - 1].view()).collect();
                let theirs = concatenate(Axis(1), &theirs).unwrap();
                assert!((last - &theirs).iter().all(|gap| gap.abs() < 1e-5));
                assert_eq!(average.hidden_width(), Some(3 * hidden[hidden.len() - 1]));
            }
        }
    }
}
