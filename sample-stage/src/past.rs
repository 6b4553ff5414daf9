//! What is known of users at a date, as columns of features: the brands that each had, with numbers.

use std::ops::Range;
use std::pin::Pin;

use anyhow::Result;
use contract::columns::ListBuilder;
use contract::exit::DataError;
use contract::ids::{self, IdIndex};
use contract::source_features::BrandPositions;
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray, Float64Array, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::dataframe::DataFrame;
use futures::{Stream, StreamExt as _};

use crate::raw::RawTables;

/// Rows of [`Interactions::past`](crate::interactions::Interactions::past), user after user.
pub struct Past<'a> {
    rows: Pin<Box<dyn Stream<Item = Result<RecordBatch>> + 'a>>,
    users: &'a IdIndex,
    brands: &'a BrandPositions,
    n_weights: usize,
    batch: Decoded,
    next: usize,
}

/// Rows with positions for ids; those of unknown users and brands are left out.
#[derive(Default)]
struct Decoded {
    users: Vec<u32>,
    brands: Vec<u32>,
    /// By row, then by weight
    weights: Vec<f32>,
}

impl<'a> Past<'a> {
    /// Starts reading.
    ///
    /// * `n_weights`: columns of the rows beside ids and the least of `events`.
    /// * `brands`: positions of those that are wanted.
    ///
    /// # Errors
    ///
    /// If the rows cannot be planned.
    pub async fn open(
        raw: &'a RawTables,
        rows: DataFrame,
        n_weights: usize,
        users: &'a IdIndex,
        brands: &'a BrandPositions,
    ) -> Result<Self> {
        let rows = Box::pin(raw.stream(rows, "interactions").await?);
        Ok(Self { rows, users, brands, n_weights, batch: Decoded::default(), next: 0 })
    }

    /// The columns of the features of some users: for each weight the lists of brands, ascending, and
    /// those of the numbers. Users are asked for once each, in order.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or negative `events`.
    pub async fn of_users(&mut self, users: Range<usize>) -> Result<Vec<ArrayRef>> {
        let mut ids: Vec<_> = (0..self.n_weights).map(|_| ListBuilder::<u32>::default()).collect();
        let mut numbers: Vec<_> =
            (0..self.n_weights).map(|_| ListBuilder::<f32>::default()).collect();
        for user in users {
            let mut of_user: Vec<(u32, Vec<f32>)> = Vec::new();
            while let Some((brand, weights)) = self.next_of(user as u32).await? {
                of_user.push((brand, weights));
            }
            of_user.sort_by_key(|&(brand, _)| brand);
            let brands: Vec<u32> = of_user.iter().map(|&(brand, _)| brand).collect();
            for (i, (ids, numbers)) in ids.iter_mut().zip(&mut numbers).enumerate() {
                ids.push(&brands);
                numbers.push(&of_user.iter().map(|(_, weights)| weights[i]).collect::<Vec<_>>());
            }
        }
        let columns = ids.into_iter().zip(numbers);
        Ok(columns.flat_map(|(ids, numbers)| [ids.finish(), numbers.finish()]).collect())
    }

    /// The brands of a user, ascending. Users are asked for once each, in order; any may be left out.
    ///
    /// # Errors
    ///
    /// As [`Self::of_users`].
    pub async fn brands_of(&mut self, user: u32) -> Result<Vec<u32>> {
        while self.fill().await? && self.batch.users[self.next] < user {
            self.next += 1;
        }
        let mut brands = Vec::new();
        while let Some((brand, _)) = self.next_of(user).await? {
            brands.push(brand);
        }
        brands.sort_unstable();
        Ok(brands)
    }

    /// Reads the rest, to check it.
    ///
    /// # Errors
    ///
    /// As [`Self::of_users`].
    pub async fn finish(mut self) -> Result<()> {
        while self.fill().await? {
            self.next = self.batch.users.len();
        }
        Ok(())
    }

    /// The next row of a user, if there is one.
    async fn next_of(&mut self, user: u32) -> Result<Option<(u32, Vec<f32>)>> {
        if !self.fill().await? || self.batch.users[self.next] != user {
            return Ok(None);
        }
        let (row, n) = (self.next, self.n_weights);
        self.next += 1;
        Ok(Some((self.batch.brands[row], self.batch.weights[row * n..(row + 1) * n].to_vec())))
    }

    /// Reads on until there is a row; false at the end.
    async fn fill(&mut self) -> Result<bool> {
        while self.next == self.batch.users.len() {
            let Some(batch) = self.rows.next().await else { return Ok(false) };
            self.batch = self.decode(&batch?)?;
            self.next = 0;
        }
        Ok(true)
    }

    fn decode(&self, batch: &RecordBatch) -> Result<Decoded> {
        let users = self.users.stored_positions(batch.column(0));
        let brands = self.brands.positions(batch.column(1));
        let brands = brands.map_err(|err| err.at("interactions", "brand_id"))?;
        let number = |i: usize| cast(batch.column(2 + i), &DataType::Float64);
        let numbers: Vec<ArrayRef> = (0..=self.n_weights).map(number).collect::<Result<_, _>>()?;
        let numbers: Vec<&Float64Array> =
            numbers.iter().map(AsArray::as_primitive::<Float64Type>).collect();
        let mut decoded = Decoded::default();
        for (row, (user, brand)) in users.into_iter().zip(brands).enumerate() {
            let least = numbers[self.n_weights].value(row);
            let is_finite = numbers.iter().all(|n| n.is_valid(row) && n.value(row).is_finite());
            if !is_finite || least < 0.0 {
                return Err(DataError(format!(
                    "interactions: column `events`: user {}, brand {}: found a number below 0 or one \
                     that is not finite, expected at least 0; leave such rows out in a view",
                    ids::shown(batch.column(0), row),
                    ids::shown(batch.column(1), row)
                ))
                .into());
            }
            let (Some(user), Some(brand)) = (user, brand) else { continue };
            decoded.users.push(user);
            decoded.brands.push(brand);
            let of_row = numbers[..self.n_weights].iter().map(|n| n.value(row) as f32);
            decoded.weights.extend(of_row);
        }
        Ok(decoded)
    }
}
