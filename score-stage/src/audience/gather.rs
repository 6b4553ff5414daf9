//! Decisions by user -> the users of each brand, best first.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{Array, ArrayRef, Float32Array, RecordBatch, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use contract::columns::{column, f32_lists, u32_lists};
use contract::folder::Folder;
use contract::ipc::{self, Table};
use contract::tables::{AUDIENCE, PREDICTIONS};

use crate::predict::brands::Brands;
use crate::predict::files::{OutputFile, Place};

/// Pairs of a user and a brand in memory at a time: 8 bytes each, and as much again to sort.
const PAIRS_MAX: u64 = 16 << 20;

/// Rows of a written batch.
const ROWS: usize = 65_536;

/// The decisions of all users, mapped.
pub struct Decisions {
    parts: Vec<Table>,
    /// First row of each batch of all parts
    starts: Vec<u32>,
    n_brands: usize,
}

/// A user of a brand.
type Member = (f32, u32);

impl Decisions {
    /// # Errors
    ///
    /// If a part cannot be read.
    pub fn open(parts: &[PathBuf], n_brands: usize) -> Result<Self> {
        let parts = parts.iter().map(|path| ipc::read(path, &PREDICTIONS));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let mut n = 0;
        let mut starts = Vec::new();
        for batch in parts.iter().flat_map(|part| &part.batches) {
            starts.push(n);
            n += batch.num_rows() as u32;
        }
        Ok(Self { parts, starts, n_brands })
    }

    fn batches(&self) -> impl Iterator<Item = &RecordBatch> {
        self.parts.iter().flat_map(|part| &part.batches)
    }

    /// Users of each brand.
    pub fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.n_brands];
        for batch in self.batches() {
            for &brand in u32_lists(batch, "predicted").iter().flatten() {
                counts[brand as usize] += 1;
            }
        }
        counts
    }

    /// The users of some brands, best first, ties in the order of the users.
    fn members(&self, is_wanted: &[bool]) -> Vec<Vec<Member>> {
        let mut members = vec![Vec::new(); self.n_brands];
        for (batch, &start) in self.batches().zip(&self.starts) {
            let (brands, probs) =
                (u32_lists(batch, "predicted"), f32_lists(batch, "predicted_probs"));
            for (row, (brands, probs)) in (start..).zip(brands.iter().zip(probs.iter())) {
                for (&brand, &prob) in brands.iter().zip(probs) {
                    if is_wanted[brand as usize] {
                        members[brand as usize].push((prob, row));
                    }
                }
            }
        }
        for members in &mut members {
            members.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        }
        members
    }

    /// The ids of some users.
    fn ids(&self, members: &[Member]) -> Result<ArrayRef> {
        let columns: Vec<&dyn Array> =
            self.batches().map(|batch| column(batch, "user_id").as_ref()).collect();
        let place = |&(_, row): &Member| {
            let batch = self.starts.partition_point(|&start| start <= row) - 1;
            (batch, (row - self.starts[batch]) as usize)
        };
        Ok(interleave(&columns, &members.iter().map(place).collect::<Vec<_>>())?)
    }
}

/// The brands whose audiences are written.
pub struct Wanted<'a> {
    /// Their positions, in the order of the output
    pub brands: &'a [usize],
    /// `(n_brands,)`: most users of each
    pub at_most: Vec<u64>,
}

impl Wanted<'_> {
    /// Stretches of the brands whose users fit into memory together; at least one brand each.
    fn stretches(&self, counts: &[u64]) -> Vec<Range<usize>> {
        let mut stretches: Vec<Range<usize>> = Vec::new();
        let mut n = 0;
        for (i, &brand) in self.brands.iter().enumerate() {
            n += counts[brand];
            match stretches.last_mut() {
                Some(last) if n <= PAIRS_MAX => last.end = i + 1,
                _ => {
                    stretches.push(i..i + 1);
                    n = counts[brand];
                }
            }
        }
        stretches
    }
}

/// Writes the audiences: one table, or in a folder a file for each brand.
///
/// Calls `each` with the position of each brand and its users' probabilities, best first.
///
/// # Errors
///
/// As when the disk is full.
pub fn write(
    place: &Place,
    decisions: &Decisions,
    brands: &Brands,
    wanted: &Wanted,
    mut each: impl FnMut(usize, &[Member]),
) -> Result<()> {
    let ids = decisions.ids(&[])?.data_type().clone();
    let schema = schema(brands, &ids);
    let fields = || schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    let create = |path: &Path| OutputFile::create(path, place.format, &AUDIENCE, fields());
    let folder = if place.is_folder { Some(Folder::create(&place.path)?) } else { None };
    let mut single = if folder.is_none() { Some(create(&place.path)?) } else { None };
    for stretch in wanted.stretches(&decisions.counts()) {
        let mut is_wanted = vec![false; decisions.n_brands];
        wanted.brands[stretch.clone()].iter().for_each(|&brand| is_wanted[brand] = true);
        let mut members = decisions.members(&is_wanted);
        for &brand in &wanted.brands[stretch] {
            let mut members = std::mem::take(&mut members[brand]);
            members.truncate(usize::try_from(wanted.at_most[brand]).unwrap_or(usize::MAX));
            each(brand, &members);
            let mut own = match &folder {
                Some(folder) => Some(create(&folder.path().join(file_name(brands, brand, place)))?),
                None => None,
            };
            let file = own.as_mut().or(single.as_mut()).expect("one of both");
            for (i, chunk) in members.chunks(ROWS).enumerate() {
                file.write(&rows(&schema, decisions, brands, brand, (i * ROWS) as u32, chunk)?)?;
            }
            if let Some(own) = own {
                own.finish()?.commit()?;
            }
        }
    }
    if let Some(single) = single {
        single.finish()?.commit()?;
    }
    folder.map_or(Ok(()), |folder| Ok(folder.commit()?))
}

/// Start of the names of a folder's files.
pub const PREFIX: &str = "audience-";

/// A brand's file: its id, or where that cannot be a file name what is left of it and the brand's
/// position.
fn file_name(brands: &Brands, brand: usize, place: &Place) -> String {
    const LONGEST: usize = 100;
    let id = brands.id_text(brand);
    let is_plain = |c: char| c.is_alphanumeric() || ['-', '_', '.'].contains(&c);
    let plain: String =
        id.chars().take(LONGEST).map(|c| if is_plain(c) { c } else { '_' }).collect();
    let position = if plain == id { String::new() } else { format!("~{brand}") };
    format!("{PREFIX}{plain}{position}.{}", place.format.extension())
}

fn schema(brands: &Brands, ids: &DataType) -> SchemaRef {
    let mut fields = AUDIENCE.fields();
    fields[0] = Field::new("brand_id", brands.ids.data_type().clone(), false);
    fields[2] = Field::new("user_id", ids.clone(), false);
    Arc::new(Schema::new(fields))
}

/// * `first`: rank of the first of the members, from 0.
fn rows(
    schema: &SchemaRef,
    decisions: &Decisions,
    brands: &Brands,
    brand: usize,
    first: u32,
    members: &[Member],
) -> Result<RecordBatch> {
    let same = UInt32Array::from(vec![brand as u32; members.len()]);
    let ranks = (first + 1..).take(members.len());
    let columns: Vec<ArrayRef> = vec![
        take(&brands.ids, &same, None)?,
        take(&brands.names, &same, None)?,
        decisions.ids(members)?,
        Arc::new(Float32Array::from_iter_values(members.iter().map(|&(prob, _)| prob))),
        Arc::new(UInt32Array::from_iter_values(ranks)),
    ];
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}
