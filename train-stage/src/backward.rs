//! The backward pass: gradients of all parameters from the gradient of the logits.

use model::matmul::matmul;
use model::mlp::{Layer, flat};
use model::{Bags, Batch, Mlp, Workspace};
use multiversion::multiversion;
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut1, Axis, ShapeBuilder as _};

/// Gradients, shaped as the network's parameters; reused from batch to batch.
#[derive(Debug, Default, Clone)]
pub struct Gradients {
    /// As [`Mlp::bags`]
    pub bags: Vec<Array2<f32>>,
    /// As the weights of [`Mlp::layers`]
    pub weights: Vec<Array2<f32>>,
    /// As the biases of [`Mlp::layers`]
    pub biases: Vec<Array1<f32>>,
    /// As the weights of [`Mlp::own_history`], of each channel the brands' own and the common ones
    pub own_history: Vec<(Array2<f32>, Array1<f32>)>,
    /// Gradient of each hidden layer's output
    pub(crate) hidden: Vec<Array2<f32>>,
}

impl Gradients {
    /// Gradients of zero, with the shapes of a network's parameters.
    pub fn of(mlp: &Mlp) -> Self {
        let weights =
            |layer: &Layer| Array2::zeros(layer.weights.raw_dim().set_f(layer.is_by_unit()));
        Self {
            bags: mlp.bags.iter().map(|bag| Array2::zeros(bag.dim())).collect(),
            weights: mlp.layers.iter().map(weights).collect(),
            biases: mlp.layers.iter().map(|layer| Array1::zeros(layer.bias.len())).collect(),
            own_history: mlp
                .own_history
                .iter()
                .map(|channel| {
                    (Array2::zeros(channel.own.dim()), Array1::zeros(channel.common.len()))
                })
                .collect(),
            hidden: Vec::new(),
        }
    }

    /// Every array, in the order of [`Mlp::parameters`].
    pub fn flat(&self) -> impl Iterator<Item = &[f32]> {
        let layers = self.weights.iter().zip(&self.biases).flat_map(|(weights, bias)| {
            [flat(weights), bias.as_slice().expect("gradients are contiguous")]
        });
        let own = self.own_history.iter().flat_map(|(own, common)| {
            [flat(own), common.as_slice().expect("gradients are contiguous")]
        });
        self.bags.iter().map(flat).chain(layers).chain(own)
    }

    /// Resizes the gradients of the hidden layers to those of a forward pass.
    pub(crate) fn resize(&mut self, workspace: &Workspace) {
        if self.hidden.iter().map(Array2::dim).ne(workspace.hidden.iter().map(Array2::dim)) {
            self.hidden = workspace.hidden.iter().map(|h| Array2::zeros(h.dim())).collect();
        }
    }

    /// Fills the gradients of the output layer and of its input after [`Mlp::forward`] on the same
    /// batch and workspace.
    ///
    /// * `logits`: `(n_users, n_brands)`, gradient of the loss with respect to the logits.
    pub fn compute_output(
        &mut self,
        mlp: &Mlp,
        batch: &Batch,
        workspace: &Workspace,
        logits: ArrayView2<f32>,
    ) {
        let mut hidden = std::mem::take(&mut self.hidden);
        self.layer(mlp, batch, workspace, mlp.layers.len() - 1, logits, hidden.last_mut());
        self.hidden = hidden;
    }

    /// Fills the gradients of all layers but the last, given those of the outputs of the last
    /// hidden layer.
    pub(crate) fn compute_below(
        &mut self,
        mlp: &Mlp,
        batch: &Batch,
        workspace: &Workspace,
        dropout: f32,
    ) {
        let scale = 1.0 / (1.0 - dropout);
        let mut hidden = std::mem::take(&mut self.hidden);
        for i in (0..mlp.layers.len() - 1).rev() {
            let (before, after) = hidden.split_at_mut(i);
            let output = &mut after[0];
            output
                .axis_chunks_iter_mut(Axis(0), ROWS)
                .into_par_iter()
                .zip(workspace.hidden[i].axis_chunks_iter(Axis(0), ROWS).into_par_iter())
                .for_each(|(gradient, units)| {
                    let gradient = gradient.into_slice().expect("whole rows");
                    cut(gradient, units.as_slice().expect("whole rows"), scale);
                });
            self.layer(mlp, batch, workspace, i, output.view(), before.last_mut());
        }
        self.hidden = hidden;
    }

    /// Gradients of layer `i` and of its input, given the gradient of its output. The input is the
    /// hidden layer `below`, or the bags.
    fn layer(
        &mut self,
        mlp: &Mlp,
        batch: &Batch,
        workspace: &Workspace,
        i: usize,
        output: ArrayView2<f32>,
        below: Option<&mut Array2<f32>>,
    ) {
        let input = if i == 0 { &workspace.dense } else { &workspace.hidden[i - 1] };
        column_sums(output, self.biases[i].view_mut());
        if input.ncols() > 0 {
            matmul(input.t(), output, false, self.weights[i].view_mut());
        }
        if let Some(below) = below {
            matmul(output, mlp.layers[i].weights.t(), false, below.view_mut());
            return;
        }
        for (i, (gradient, bags)) in self.bags.iter_mut().zip(&batch.bags).enumerate() {
            bag_gradient(bags, &mlp.bag_weights(i, bags), output, gradient);
        }
    }
}

/// Rows that a thread takes at a time.
const ROWS: usize = 64;

/// A unit at 0 was cut by the rectifier or by dropout; the others were scaled.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn cut(gradient: &mut [f32], units: &[f32], scale: f32) {
    for (gradient, &unit) in gradient.iter_mut().zip(units) {
        *gradient = if unit > 0.0 { *gradient * scale } else { 0.0 };
    }
}

/// Columns that one thread sums, in order of the rows, so that threads do not change the result.
const COLUMNS: usize = 64;

pub(crate) fn column_sums(rows: ArrayView2<f32>, mut sums: ArrayViewMut1<f32>) {
    sums.axis_chunks_iter_mut(Axis(0), COLUMNS)
        .into_par_iter()
        .zip(rows.axis_chunks_iter(Axis(1), COLUMNS).into_par_iter())
        .for_each(|(mut sums, rows)| {
            sums.fill(0.0);
            for row in rows.rows() {
                sums += &row;
            }
        });
}

/// The gradient of an id's row: the sum of the output gradients of the users who have the id.
///
/// * `factors`: one for each id of the batch.
fn bag_gradient(bags: &Bags, factors: &[f32], output: ArrayView2<f32>, gradient: &mut Array2<f32>) {
    gradient
        .axis_chunks_iter_mut(Axis(1), COLUMNS)
        .into_par_iter()
        .zip(output.axis_chunks_iter(Axis(1), COLUMNS).into_par_iter())
        .for_each(|(mut gradient, output)| {
            gradient.fill(0.0);
            let n_ids = gradient.nrows();
            for (i, row) in output.rows().into_iter().enumerate() {
                for (id, factor) in bags.with(factors, i).filter(|&(id, _)| (id as usize) < n_ids) {
                    gradient.row_mut(id as usize).scaled_add(factor, &row);
                }
            }
        });
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use contract::features::{Feature, FeatureKind};
    use contract::manifest::{IdSpace, TrainParams};
    use model::mlp::Dropout;
    use ndarray::array;

    use crate::labels::Labels;
    use crate::loss::Objective;

    /// Numbers without a pattern in [-1, 1]: the fractional parts of multiples of the golden ratio.
    pub(crate) fn spread(rows: usize, columns: usize, from: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, columns), |(i, j)| {
            let fraction = ((from + i * columns + j + 1) as f64 * 0.618_033_988_749_895).fract();
            (2.0 * fraction - 1.0) as f32
        })
    }

    /// Three standardised inputs, an id list, hidden layers of 5 and 4, three brands.
    fn network() -> Mlp {
        let layer = |n_in: usize, n_out: usize, from: usize| Layer {
            weights: spread(n_in, n_out, from),
            bias: spread(1, n_out, from + 1000).row(0).to_owned(),
        };
        let ids = FeatureKind::Sparse { is_weighted: true, ids: IdSpace::Own };
        Mlp {
            features: vec![
                Feature::new("dense", FeatureKind::Dense { dim: 3 }),
                Feature::new("ids", ids),
            ],
            offsets: array![0.5, -0.25, 0.0],
            scales: array![2.0, 0.5, 1.0],
            ids: Vec::new(),
            log_bags: vec![0],
            bags: vec![spread(4, 5, 100)],
            layers: vec![layer(3, 5, 200), layer(5, 4, 300), layer(4, 3, 400)],
            own_history: Vec::new(),
        }
    }

    /// Four users; user 1 has no id, user 2 has one without a row of weights.
    fn batch() -> Batch {
        let bags = Bags {
            offsets: vec![0, 2, 2, 4, 7],
            ids: vec![0, 2, 1, 9, 3, 0, 2],
            weights: vec![1.0, 0.5, 2.0, 1.0, -0.5, 1.5, 0.25],
        };
        Batch { dense: spread(4, 3, 500), bags: vec![bags] }
    }

    /// The loss of the four users; `logits` then hold its gradient.
    fn forward(
        mlp: &Mlp,
        workspace: &mut Workspace,
        logits: &mut Array2<f32>,
        dropout: Option<Dropout>,
    ) -> f64 {
        let labels = [
            Labels { brands: &[0, 2], ignored: &[], weight: 1.0 },
            Labels { brands: &[], ignored: &[], weight: 0.5 },
            Labels { brands: &[1], ignored: &[2], weight: 2.0 },
            Labels { brands: &[0, 1], ignored: &[0], weight: 1.5 },
        ];
        mlp.forward(&batch(), workspace, logits.view_mut(), dropout);
        let objective = Objective::new(&TrainParams::default(), &[1, 1, 1], 2);
        objective.loss_and_gradient(logits.view_mut(), &labels)
    }

    /// The whole backward pass.
    fn compute(
        gradients: &mut Gradients,
        mlp: &Mlp,
        batch: &Batch,
        workspace: &Workspace,
        logits: &Array2<f32>,
        dropout: f32,
    ) {
        gradients.resize(workspace);
        gradients.compute_output(mlp, batch, workspace, logits.view());
        gradients.compute_below(mlp, batch, workspace, dropout);
    }

    /// Every parameter, in the order of [`gradients_of`].
    fn parameters(mlp: &mut Mlp) -> Vec<&mut f32> {
        let layers =
            mlp.layers.iter_mut().flat_map(|layer| layer.weights.iter_mut().chain(&mut layer.bias));
        mlp.bags.iter_mut().flatten().chain(layers).collect()
    }

    fn gradients_of(gradients: &Gradients) -> Vec<f32> {
        let layers = gradients.weights.iter().zip(&gradients.biases);
        let layers = layers.flat_map(|(weights, biases)| weights.iter().chain(biases));
        gradients.bags.iter().flatten().chain(layers).copied().collect()
    }

    /// Compares every gradient with a central difference. Two of them, the second with half the
    /// shift and so a quarter of the error, are combined so that the error of order h² cancels:
    /// (4·D(h/2) - D(h))/3. At h = 1/64, the forward pass rounds the loss by about 1e-6, which
    /// leaves up to 1e-6·128·4/3 = 2e-4. A unit that the rectifier cuts must be cut on both
    /// sides, as there is no slope in a kink.
    fn assert_gradients_are_slopes(dropout: Option<Dropout>) {
        const H: f32 = 1.0 / 64.0;
        let mut mlp = network();
        let mut logits = Array2::zeros((4, 3));
        let mut workspace = Workspace::default();
        let mut gradients = Gradients::of(&mlp);
        forward(&mlp, &mut workspace, &mut logits, dropout);
        let rate = dropout.map_or(0.0, |dropout| dropout.rate);
        compute(&mut gradients, &mlp, &batch(), &workspace, &logits, rate);
        let gradients = gradients_of(&gradients);
        let cut = |workspace: &Workspace| {
            workspace.hidden.iter().flatten().map(|&h| h > 0.0).collect::<Vec<_>>()
        };
        let cut_before = cut(&workspace);
        assert!(cut_before.contains(&true) && cut_before.contains(&false), "units of both kinds");

        // 4·5 + (3·5 + 5) + (5·4 + 4) + (4·3 + 3) = 79 parameters.
        assert_eq!([gradients.len(), parameters(&mut mlp).len()], [79, 79]);
        for (i, &gradient) in gradients.iter().enumerate() {
            let mut at = |shift: f32| {
                let before = *parameters(&mut mlp)[i];
                *parameters(&mut mlp)[i] = before + shift;
                let loss = forward(&mlp, &mut workspace, &mut logits, dropout);
                assert_eq!(cut(&workspace), cut_before, "parameter {i} crosses a kink");
                *parameters(&mut mlp)[i] = before;
                loss
            };
            let mut central = |h: f32| (at(h) - at(-h)) / f64::from(2.0 * h);
            let slope = (4.0 * central(H / 2.0) - central(H)) / 3.0;
            assert!(
                (f64::from(gradient) - slope).abs() < 3e-4,
                "parameter {i}: {gradient} for {slope}"
            );
        }
    }

    #[test]
    fn gradients_of_every_parameter_are_slopes_of_the_loss() {
        assert_gradients_are_slopes(None);
    }

    #[test]
    fn with_dropout_gradients_are_slopes_under_the_same_mask() {
        for seed in [1, 2, 3] {
            assert_gradients_are_slopes(Some(Dropout { rate: 0.4, seed }));
        }
    }

    /// A second batch overwrites what the first left, also one of another size.
    #[test]
    fn gradients_do_not_add_up_over_batches() {
        let mlp = network();
        let mut logits = Array2::zeros((4, 3));
        let mut workspace = Workspace::default();
        forward(&mlp, &mut workspace, &mut logits, None);
        let mut fresh = Gradients::of(&mlp);
        compute(&mut fresh, &mlp, &batch(), &workspace, &logits, 0.0);

        let mut reused = Gradients::of(&mlp);
        let one = Batch {
            dense: spread(1, 3, 7),
            bags: vec![Bags { offsets: vec![0, 1], ids: vec![3], weights: vec![1.0] }],
        };
        let mut other = Workspace::default();
        mlp.forward(&one, &mut other, Array2::zeros((1, 3)).view_mut(), None);
        compute(&mut reused, &mlp, &one, &other, &Array2::ones((1, 3)), 0.0);
        compute(&mut reused, &mlp, &batch(), &workspace, &logits, 0.0);
        assert_eq!(gradients_of(&reused), gradients_of(&fresh));
    }

    /// 130 columns are two blocks and two more. Column j holds j and 2j: the sum is 3j. Id 1 has
    /// weight 0.5 for the first user and 2 for the second: 0.5·j + 2·2j = 4.5·j.
    #[test]
    fn blocks_of_columns_cover_every_column() {
        let output = Array2::from_shape_fn((2, 130), |(i, j)| ((i + 1) * j) as f32);
        let column = |factor: f32| Array1::from_shape_fn(130, |j| factor * j as f32);

        let mut sums = Array1::ones(130);
        column_sums(output.view(), sums.view_mut());
        assert_eq!(sums, column(3.0));

        let bags =
            Bags { offsets: vec![0, 1, 3], ids: vec![1, 1, 7], weights: vec![0.5, 2.0, 1.0] };
        let mut gradient = Array2::ones((2, 130));
        bag_gradient(&bags, &bags.weights, output.view(), &mut gradient);
        assert_eq!(gradient.row(0), column(0.0));
        assert_eq!(gradient.row(1), column(4.5));
    }
}
