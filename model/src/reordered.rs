//! A model with its brands in another order.

use std::collections::HashMap;

use ndarray::{Array1, Array2, Axis, stack};

use crate::file::{Error, is_brands};
use crate::{Kind, Mlp, Model};

impl Model {
    /// The same model with its outputs, and its inputs that are brands, in the order of
    /// `brand_ids`.
    ///
    /// * `path`: file of the model, for the error.
    ///
    /// # Errors
    ///
    /// If the model does not predict one of `brand_ids`.
    pub fn reordered(&self, brand_ids: &[String], path: &str) -> Result<Self, Error> {
        if self.brand_ids == brand_ids {
            return Ok(self.clone());
        }
        let place: HashMap<&str, usize> =
            self.brand_ids.iter().enumerate().map(|(i, id)| (id.as_str(), i)).collect();
        let unknown: Vec<&String> =
            brand_ids.iter().filter(|id| !place.contains_key(id.as_str())).collect();
        if let Some(first) = unknown.first() {
            let what = format!(
                "the model predicts {} brands, the data has {}; the model does not know {} of \
                 them, the first is `{first}`",
                self.brand_ids.len(),
                brand_ids.len(),
                unknown.len()
            );
            return Err(Error { path: path.to_owned(), what });
        }
        let order: Vec<usize> = brand_ids.iter().map(|id| place[id.as_str()]).collect();
        let mut model = self.clone();
        model.brand_ids = brand_ids.to_vec();
        match &mut model.kind {
            Kind::Popularity(model) => model.prior = model.prior.select(Axis(0), &order),
            Kind::Persistence(model) => model.prior = model.prior.select(Axis(0), &order),
            Kind::Mlp(mlp) => reorder(mlp, &order),
        }
        Ok(model)
    }
}

/// * `order`: for each brand, where it was before.
fn reorder(mlp: &mut Mlp, order: &[usize]) {
    let output = mlp.layers.last_mut().expect("a network has a layer");
    output.weights = output.weights.select(Axis(1), order);
    output.bias = output.bias.select(Axis(0), order);
    let sparse = mlp.features.iter().filter(|feature| feature.is_sparse());
    for (bag, _) in mlp.bags.iter_mut().zip(sparse).filter(|(_, feature)| is_brands(feature)) {
        *bag = rows(bag, order);
    }
    for channel in &mut mlp.own_history {
        channel.own = channel.own.select(Axis(0), order);
    }
}

/// Rows of weights in another order. A brand that no training user had in this list may have no
/// row, which adds as much as one of zeros.
fn rows(bag: &Array2<f32>, order: &[usize]) -> Array2<f32> {
    let zeros = Array1::zeros(bag.ncols());
    let row = |&i: &usize| if i < bag.nrows() { bag.row(i) } else { zeros.view() };
    let rows: Vec<_> = order.iter().map(row).collect();
    stack(Axis(0), &rows).expect("rows of one width")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::tests::model;
    use ndarray::array;

    #[test]
    fn reordering_moves_outputs_and_brand_inputs_together() {
        let ids = ["c", "a", "b"].map(str::to_owned);
        let moved = model().reordered(&ids, "m").unwrap();
        let Kind::Mlp(mlp) = moved.kind else { panic!("an mlp stays one") };
        assert_eq!(mlp.layers[1].bias, array![9.0, 7.0, 8.0]);
        assert_eq!(mlp.layers[1].weights.row(0), array![3.0, 1.0, 2.0]);
        assert_eq!(mlp.bags[0], array![[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]]);
        let own = |channel: usize| mlp.own_history[channel].own.column(0).to_vec();
        assert_eq!((own(0), own(1)), (vec![20.0, 0.0, 10.0], vec![120.0, 100.0, 110.0]));
    }

    #[test]
    fn a_brand_that_the_model_does_not_know_is_an_error() {
        let ids = ["a", "x"].map(str::to_owned);
        let message = model().reordered(&ids, "m.arrow").unwrap_err().to_string();
        assert_eq!(
            message,
            "m.arrow: the model predicts 3 brands, the data has 2; the model does not know 1 of \
             them, the first is `x`"
        );
    }
}
