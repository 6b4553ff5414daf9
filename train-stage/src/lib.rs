//! Training examples -> a model.
//!
//! As a library, [`MlpParams`] follows linfa's conventions: checked parameters, `Fit` on a
//! `linfa::Dataset` of features and a 0/1 target matrix, `Predict` to probabilities.

pub mod adam;
pub mod backward;
pub mod estimator;
pub mod examples;
pub mod loss;
pub mod params;
pub mod trainer;
pub mod validation;

pub use estimator::FittedMlp;
pub use params::{Error, MlpParams, MlpValidParams};
