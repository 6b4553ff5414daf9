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

impl Labels<'_> {
    /// The labels of brands below `brand`, and those of the rest.
    pub(crate) fn split_at(&self, brand: usize) -> (Self, Self) {
        let split = |list| <[u32]>::split_at(list, list.partition_point(|&b| (b as usize) < brand));
        let (brands, ignored) = (split(self.brands), split(self.ignored));
        let part = |brands, ignored| Self { brands, ignored, ..*self };
        (part(brands.0, ignored.0), part(brands.1, ignored.1))
    }

    /// Brands that the loss counts as labels: those that are not ignored.
    pub(crate) fn counted(&self) -> impl Iterator<Item = usize> {
        let is_counted = |brand: &&u32| self.ignored.binary_search(brand).is_err();
        self.brands.iter().filter(is_counted).map(|&brand| brand as usize)
    }
}
