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

/// A list of lists that is built list by list and reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedLists {
    offsets: Vec<usize>,
    values: Vec<u32>,
}

impl Default for OwnedLists {
    fn default() -> Self {
        Self { offsets: vec![0], values: Vec::new() }
    }
}

impl OwnedLists {
    /// So many lists that are empty.
    pub fn empty(n_lists: usize) -> Self {
        Self { offsets: vec![0; n_lists + 1], values: Vec::new() }
    }

    /// Number of lists.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no list.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// List `i`.
    ///
    /// # Panics
    ///
    /// If `i >= self.len()`.
    pub fn get(&self, i: usize) -> &[u32] {
        self.as_lists().get(i)
    }

    /// Adds a list.
    pub fn push(&mut self, list: &[u32]) {
        self.values.extend_from_slice(list);
        self.offsets.push(self.values.len());
    }

    /// Removes all lists, but keeps the memory.
    pub fn clear(&mut self) {
        self.offsets.truncate(1);
        self.values.clear();
    }

    /// The lists as the metrics read them.
    pub fn as_lists(&self) -> Lists<'_> {
        Lists { offsets: &self.offsets, values: &self.values }
    }
}

impl<'a> FromIterator<&'a [u32]> for OwnedLists {
    fn from_iter<I: IntoIterator<Item = &'a [u32]>>(lists: I) -> Self {
        let mut owned = Self::default();
        lists.into_iter().for_each(|list| owned.push(list));
        owned
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
    fn empty_lists_are_lists() {
        let three: OwnedLists = [&[][..]; 3].into_iter().collect();
        assert_eq!(OwnedLists::empty(3), three);
        assert!(OwnedLists::empty(0).is_empty());
    }

    #[test]
    fn lists_are_built_one_by_one_and_built_again() {
        let mut lists: OwnedLists = [&[7, 8][..], &[], &[1]].into_iter().collect();
        assert_eq!(lists.as_lists().iter().collect::<Vec<_>>(), [&[7, 8][..], &[], &[1]]);
        lists.clear();
        assert!(lists.is_empty());
        lists.push(&[5]);
        assert_eq!((lists.len(), lists.get(0)), (1, &[5][..]));
    }

    #[test]
    fn no_offset_and_one_offset_both_mean_no_list() {
        assert!(Lists { offsets: &[], values: &[] }.is_empty());
        assert!(Lists { offsets: &[0], values: &[] }.is_empty());
        assert!(!Lists { offsets: &[0, 0], values: &[] }.is_empty());
    }
}
