//! [`ContainedVec`]: a list of the user's values, each of which may panic when it is
//! dropped.

use crate::panic::contain_drop;

/// A list that drops its values one by one and contains the panic of each.
///
/// A `Vec` would go on with the others while it unwinds from the first: a second
/// panic then aborts the program.
pub(crate) struct ContainedVec<T>(Vec<T>);

impl<T> ContainedVec<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// The values, to go on with where nothing can panic.
    pub(super) fn into_vec(mut self) -> Vec<T> {
        std::mem::take(&mut self.0)
    }
}

impl<T> FromIterator<T> for ContainedVec<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut list = Self(Vec::new());
        // Into the list one by one: the iterator may be the user's, and panic.
        list.0.extend(values);
        list
    }
}

impl<T> Drop for ContainedVec<T> {
    fn drop(&mut self) {
        self.0.drain(..).for_each(contain_drop);
    }
}
