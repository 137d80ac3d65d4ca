//! The sizes of a map's chunks: as given, or chosen by what is known of the items.

/// Returns the sizes of the chunks: as given, or chosen by what is known of the
/// items.
pub(super) fn chunk_sizes(
    given: Option<usize>,
    workers: usize,
    size_hint: (usize, Option<usize>),
) -> impl FnMut() -> usize {
    /// Chunks for each worker: more even the load, fewer cost less.
    const CHUNKS: usize = 4;
    const LARGEST: usize = 1024;
    let known = || match size_hint {
        (least, Some(most)) if least == most => {
            // An executor may have no workers just now.
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
