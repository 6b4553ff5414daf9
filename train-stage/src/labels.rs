//! The labels of a training example.

/// Labels of one example; both lists ascend.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// `brand_idx` of the brands that the user has
    pub brands: &'a [u32],
    /// Brands left out of the loss, even those that are also among `brands`
    pub ignored: &'a [u32],
    /// Factor on the example's loss
    pub weight: f32,
}

impl<'a> Labels<'a> {
    /// The labels of brands below `brand`.
    pub(crate) fn below(&self, brand: usize) -> Self {
        let part = |list: &'a [u32]| &list[..list.partition_point(|&b| (b as usize) < brand)];
        Self { brands: part(self.brands), ignored: part(self.ignored), weight: self.weight }
    }

    /// Brands that the loss counts as labels: those that are not ignored.
    pub(crate) fn counted(&self) -> impl Iterator<Item = usize> + use<'a> {
        let ignored = self.ignored;
        let is_counted = move |brand: &&u32| ignored.binary_search(brand).is_err();
        self.brands.iter().filter(is_counted).map(|&brand| brand as usize)
    }
}
