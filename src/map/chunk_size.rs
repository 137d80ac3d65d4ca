//! The sizes of a map's chunks. The caller gives the size, or the sizes depend on the
//! number of items.

/// Returns a function that returns the size of the next chunk. The size is `given`. Without
/// `given`, the size depends on the number of items, or grows from chunk to chunk if that
/// number is unknown.
pub(super) fn chunk_sizes(
    given: Option<usize>,
    workers: usize,
    size_hint: (usize, Option<usize>),
) -> impl FnMut() -> usize {
    /// The number of chunks for each worker. More chunks for each worker balance the load
    /// better, and fewer chunks cost less.
    const CHUNKS: usize = 4;
    const LARGEST: usize = 1024;
    let known = || match size_hint {
        (least, Some(most)) if least == most => {
            // `workers` may be 0, because an executor of another crate may have no workers
            // at this moment.
            let chunks = workers.max(1).saturating_mul(CHUNKS);
            Some(least.div_ceil(chunks).max(1))
        }
        _ => None,
    };
    let fixed = given.or_else(known);
    let mut growing = 1;
    move || {
        fixed.unwrap_or_else(|| {
            let size = growing;
            growing = LARGEST.min(2 * size);
            size
        })
    }
}
