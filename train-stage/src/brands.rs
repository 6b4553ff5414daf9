//! What training needs of `brands.arrow`.

use anyhow::{Result, anyhow};
use contract::ipc::Table;
use contract::{columns, ids, tables};
use model::prior_logits;
use ndarray::Array1;

pub struct Brands {
    /// In order of `brand_idx`, as `volumes`
    pub ids: Vec<String>,
    pub volumes: Vec<u64>,
    pub n_train_users: u64,
}

impl Brands {
    pub fn of(table: &Table) -> Result<Self> {
        let volumes = table.batches.iter().flat_map(|batch| columns::u64s(batch, "volume"));
        let n_train_users = table.metadata("n_train_users").and_then(|n| n.parse().ok());
        Ok(Self {
            ids: ids::id_texts(&*table.whole_column("brand_id")?),
            volumes: volumes.copied().collect(),
            n_train_users: n_train_users.ok_or_else(|| {
                let found = "its metadata does not have the number of training users";
                anyhow!(table.broken(&tables::BRANDS, found))
            })?,
        })
    }

    /// `(n_brands,)`: logit of each brand's prevalence.
    pub fn prior(&self) -> Array1<f32> {
        prior_logits(&self.volumes, self.n_train_users)
    }
}
