//! [`Chunk`]: values of the user's that travel together, and whose `Drop`s have
//! nothing to do with each other. It knows no task.

use crate::panic::contain_drop;

/// A list that drops its values one by one and contains the panic of each.
///
/// A `Vec` would go on with the others while it unwinds from the first: a second
/// panic then aborts the program.
pub(crate) struct Chunk<T>(Vec<T>);

impl<T> Chunk<T> {
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

impl<T> FromIterator<T> for Chunk<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut chunk = Self(Vec::new());
        // Into the chunk one by one: the iterator may be the user's, and panic.
        chunk.0.extend(values);
        chunk
    }
}

impl<T> Drop for Chunk<T> {
    fn drop(&mut self) {
        self.0.drain(..).for_each(contain_drop);
    }
}
