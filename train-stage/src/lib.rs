//! Trains a network on examples of users and their brands.
//!
//! The program `train-stage` calls [`trainer::train`], which reads lists of brands. For use as a
//! library, [`MlpParams`] follows linfa's conventions: checked parameters, `Fit` on a
//! `linfa::Dataset` of features and a 0/1 target matrix, `Predict` to probabilities.
//!
//! ```
//! use contract::manifest::{HiddenWidth, TrainParams};
//! use linfa::prelude::*;
//! use ndarray::array;
//! use train_stage::MlpParams;
//!
//! // Four users with two features: a user has the first brand if the first feature is 1, the
//! // second brand if the second is.
//! let features = array![[0.0_f32, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]];
//! let y_true = features.clone();
//! let dataset = Dataset::new(features, y_true);
//!
//! let params = TrainParams {
//!     hidden: vec![HiddenWidth(16)],
//!     epochs: 200,
//!     batch_size: 4,
//!     learning_rate: 0.02,
//!     ..TrainParams::default()
//! };
//! let model = MlpParams::new(params).fit(&dataset)?;
//! let probs = model.predict(&array![[1.0, 0.0]]);
//! assert!(probs[[0, 0]] > 0.5 && probs[[0, 1]] < 0.5);
//! # Ok::<(), train_stage::Error>(())
//! ```

pub mod adam;
pub mod backward;
pub mod batches;
pub mod checkpoint;
mod diagnosis;
pub mod error;
pub mod estimator;
pub mod examples;
pub mod labels;
pub mod loss;
mod output;
pub mod params;
mod soft_f1;
mod start;
pub mod state;
pub mod task;
pub mod trainer;
pub mod update;
pub mod validation;

pub use error::Error;
pub use estimator::FittedMlp;
pub use params::{MlpParams, MlpValidParams};
