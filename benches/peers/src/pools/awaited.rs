//! Handles that are futures of the language: how a plain thread waits for them.

use std::future::Future;

use futures::executor::block_on;
use futures::stream::{FuturesUnordered, StreamExt};

/// Waits for all, in their order, and adds up the results.
pub(super) fn sum<F: Future<Output = u64>>(futures: impl IntoIterator<Item = F>) -> u64 {
    // One `block_on` for all is less than one for each.
    block_on(async {
        let mut sum = 0;
        for future in futures {
            sum += future.await;
        }
        sum
    })
}

/// Waits for all, whichever ends next, and adds up the results.
pub(super) fn sum_as_completed<F: Future<Output = u64>>(
    futures: impl IntoIterator<Item = F>,
) -> u64 {
    let mut unordered: FuturesUnordered<F> = futures.into_iter().collect();
    block_on(async {
        let mut sum = 0;
        while let Some(value) = unordered.next().await {
            sum += value;
        }
        sum
    })
}
