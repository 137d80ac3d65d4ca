//! [`ContainedVec`]: a list of the user's values, whose `Drop` may panic.

use crate::panic::contain_drop;

/// A list that drops its values one by one, and catches the panic of each value's `Drop`.
///
/// If the `Drop` of a value in a `Vec` panics, the `Vec` drops the other values while it
/// unwinds, and a second panic then aborts the program.
pub(crate) struct ContainedVec<T>(Vec<T>);

impl<T> ContainedVec<T> {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    pub(crate) fn push(&mut self, value: T) {
        self.0.push(value);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends values. If the iterator panics, the list keeps the values that the iterator
    /// has yielded before.
    pub(super) fn extend(&mut self, values: impl Iterator<Item = T>) {
        self.0.extend(values);
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Returns the values as a `Vec`. The caller must move each value out of the `Vec`, and
    /// must not panic before all values are moved.
    pub(super) fn into_vec(mut self) -> Vec<T> {
        std::mem::take(&mut self.0)
    }
}

impl<T> Default for ContainedVec<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> FromIterator<T> for ContainedVec<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut list = Self::default();
        list.extend(values.into_iter());
        list
    }
}

impl<T> Drop for ContainedVec<T> {
    fn drop(&mut self) {
        self.0.drain(..).for_each(contain_drop);
    }
}
