//! A list of lists in two arrays, as Arrow stores it.

/// A list of lists of ids (brand positions of users, mostly), borrowed.
///
/// List `i` is `values[offsets[i]..offsets[i + 1]]`, so `offsets` has one entry more than
/// there are lists and never decreases. Empty `offsets` mean no list, as `[0]` does.
#[derive(Clone, Copy, Debug)]
pub struct Lists<'a> {
    /// `(n_lists + 1,)`, positions in `values`.
    pub offsets: &'a [usize],
    /// The lists, one after the other.
    pub values: &'a [u32],
}

impl<'a> Lists<'a> {
    /// Number of lists.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is no list; a list that is itself empty counts as one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// List `i`.
    ///
    /// # Panics
    ///
    /// If `i >= self.len()`, or if `offsets` do not fit `values`.
    pub fn get(&self, i: usize) -> &'a [u32] {
        &self.values[self.offsets[i]..self.offsets[i + 1]]
    }

    /// All lists in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u32]> + use<'a> {
        let lists = *self;
        (0..lists.len()).map(move |i| lists.get(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_lies_between_two_offsets() {
        let lists = Lists { offsets: &[0, 2, 2, 5], values: &[7, 8, 1, 2, 3] };
        assert_eq!(lists.len(), 3);
        assert_eq!(lists.get(0), [7, 8]);
        assert!(lists.get(1).is_empty());
        assert_eq!(lists.iter().map(<[u32]>::len).collect::<Vec<_>>(), [2, 0, 3]);
    }

    #[test]
    fn no_offset_and_one_offset_both_mean_no_list() {
        assert!(Lists { offsets: &[], values: &[] }.is_empty());
        assert!(Lists { offsets: &[0], values: &[] }.is_empty());
        assert!(!Lists { offsets: &[0, 0], values: &[] }.is_empty());
    }
}
