//! [`ContainedVec`]: a list of the user's values, of which each may panic when dropped.

use crate::panic::contain_drop;

/// A list that drops its values one by one and contains the panic of each.
///
/// A `Vec` drops the other values while it unwinds from the first panic. A second panic
/// would then abort the program.
pub(crate) struct ContainedVec<T>(Vec<T>);

impl<T> ContainedVec<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Returns the values as a `Vec`. The caller must move each value out of the `Vec`
    /// and must not panic meanwhile.
    pub(super) fn into_vec(mut self) -> Vec<T> {
        std::mem::take(&mut self.0)
    }
}

impl<T> FromIterator<T> for ContainedVec<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut list = Self(Vec::new());
        // The values go directly into the `ContainedVec`, because the user's iterator
        // may panic, and the values must then be dropped one by one.
        list.0.extend(values);
        list
    }
}

impl<T> Drop for ContainedVec<T> {
    fn drop(&mut self) {
        self.0.drain(..).for_each(contain_drop);
    }
}
