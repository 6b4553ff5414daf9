//! The backward pass: gradients of all parameters from the gradient of the logits.

use model::matmul::matmul;
use model::{Bags, Batch, Mlp, Workspace};
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, ArrayView2, Axis, Zip};

/// Gradients, shaped as the network's parameters; reused from batch to batch.
#[derive(Debug, Default, Clone)]
pub struct Gradients {
    /// As [`Mlp::bags`]
    pub bags: Vec<Array2<f32>>,
    /// As the weights of [`Mlp::layers`]
    pub weights: Vec<Array2<f32>>,
    /// As the biases of [`Mlp::layers`]
    pub biases: Vec<Array1<f32>>,
    /// Gradient of each hidden layer's output
    hidden: Vec<Array2<f32>>,
}

impl Gradients {
    /// Arrays for a network.
    pub fn of(mlp: &Mlp) -> Self {
        Self {
            bags: mlp.bags.iter().map(|bag| Array2::zeros(bag.dim())).collect(),
            weights: mlp.layers.iter().map(|layer| Array2::zeros(layer.weights.dim())).collect(),
            biases: mlp.layers.iter().map(|layer| Array1::zeros(layer.bias.len())).collect(),
            hidden: Vec::new(),
        }
    }

    /// Fills the gradients after [`Mlp::forward`] on the same batch and workspace.
    ///
    /// * `logits`: `(n_users, n_brands)`, gradient of the loss with respect to the logits.
    /// * `dropout`: the rate of the forward pass.
    pub fn compute(&mut self, mlp: &Mlp, batch: &Batch, workspace: &Workspace, logits: ArrayView2<f32>, dropout: f32) {
        let n_layers = mlp.layers.len();
        if self.hidden.iter().map(Array2::dim).ne(workspace.hidden.iter().map(Array2::dim)) {
            self.hidden = workspace.hidden.iter().map(|h| Array2::zeros(h.dim())).collect();
        }
        let scale = 1.0 / (1.0 - dropout);
        for i in (0..n_layers).rev() {
            let (before, after) = self.hidden.split_at_mut(i);
            let output = after.first().map_or(logits.view(), |gradient| gradient.view());
            let input = if i == 0 { workspace.dense.view() } else { workspace.hidden[i - 1].view() };
            column_sums(output, &mut self.biases[i]);
            if input.ncols() > 0 {
                matmul(input.t(), output, 0.0, self.weights[i].view_mut());
            }
            let Some(below) = before.last_mut() else {
                for (gradient, bags) in self.bags.iter_mut().zip(&batch.bags) {
                    bag_gradient(bags, output, gradient);
                }
                continue;
            };
            matmul(output, mlp.layers[i].weights.t(), 0.0, below.view_mut());
            // A unit at 0 was cut by the rectifier or by dropout; the others were scaled.
            Zip::from(below).and(&workspace.hidden[i - 1]).par_for_each(|gradient, &unit| {
                *gradient = if unit > 0.0 { *gradient * scale } else { 0.0 };
            });
        }
    }
}

/// Columns are summed in blocks, each by one thread and in order of the rows.
const COLUMNS: usize = 64;

fn column_sums(rows: ArrayView2<f32>, sums: &mut Array1<f32>) {
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

/// Each id's row sums the gradients of the users who have it.
fn bag_gradient(bags: &Bags, output: ArrayView2<f32>, gradient: &mut Array2<f32>) {
    gradient
        .axis_chunks_iter_mut(Axis(1), COLUMNS)
        .into_par_iter()
        .zip(output.axis_chunks_iter(Axis(1), COLUMNS).into_par_iter())
        .for_each(|(mut gradient, output)| {
            gradient.fill(0.0);
            let n_ids = gradient.nrows();
            for (i, row) in output.rows().into_iter().enumerate() {
                for (id, weight) in bags.of(i).filter(|&(id, _)| (id as usize) < n_ids) {
                    gradient.row_mut(id as usize).scaled_add(weight, &row);
                }
            }
        });
}
