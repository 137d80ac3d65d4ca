//! [`completions`]: futures as a channel, to stand beside other channels.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Wake, Waker};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::completion::WakerKey;
use crate::sync::Mutex;
use crate::waitable::Waitable;

/// A channel over which each future comes as it ends.
///
/// For [`crossbeam_channel::select!`], where futures then stand beside a
/// program's own channels. The channel is disconnected when all have come.
///
/// ```
/// use concurrent_futures::{ThreadPoolExecutor, completions};
/// use crossbeam_channel::{select, unbounded};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let (sender, commands) = unbounded::<&str>();
/// let ended = completions([("answer", executor.spawn(|| 42)?)]);
/// select! {
///     recv(ended) -> pair => {
///         let (name, future) = pair.expect("one is left");
///         assert_eq!((name, future.into_result()?), ("answer", 42));
///     }
///     recv(commands) -> command => unreachable!("nobody sends {command:?}"),
/// }
/// assert!(ended.recv().is_err()); // no more
/// # drop(sender);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
pub fn completions<F>(futures: impl IntoIterator<Item = F>) -> Completions<F>
where
    F: Waitable + Send + 'static,
{
    let (sender, receiver) = unbounded();
    // Made first, so that its `Drop` takes back what is registered if the
    // iterator panics.
    let all = Completions {
        receiver,
        places: Arc::new(Mutex::new(Vec::new())),
    };
    for item in futures {
        let waker = {
            let mut places = all.places.lock();
            let number = places.len();
            places.push(None);
            Waker::from(Arc::new(Arrival {
                places: Arc::clone(&all.places),
                sender: sender.clone(),
                number,
            }))
        };
        register(&all.places, item, &sender, &waker);
    }
    all
}

/// Puts `item` in the last place and its waker into the task; or sends it.
fn register<F: Waitable>(places: &Places<F>, item: F, sender: &Sender<F>, waker: &Waker) {
    // Held while the task is polled: the waker looks here, and may be woken
    // before this is through.
    let mut all = places.lock();
    let mut key = WakerKey::default();
    if item.target().poll(&mut key, waker) {
        drop(all);
        // Never refused: the receiver is not handed out yet.
        let _ = sender.send(item);
    } else if let Some(last) = all.last_mut() {
        *last = Some(Place { item, key });
    }
}

/// Those that have not come yet, by number.
type Places<F> = Arc<Mutex<Vec<Option<Place<F>>>>>;

struct Place<F> {
    item: F,
    key: WakerKey,
}

/// The waker of the task with this number.
struct Arrival<F> {
    places: Places<F>,
    sender: Sender<F>,
    number: usize,
}

impl<F: Send + 'static> Wake for Arrival<F> {
    fn wake(self: Arc<Self>) {
        let place = self.places.lock()[self.number].take();
        if let Some(place) = place {
            // Refused if the receiver is gone: then nobody wants it.
            let _ = self.sender.send(place.item);
        }
    }
}

/// The channel of [`completions`]: a [`Receiver`] of futures, by `Deref`.
///
/// **Dropping it** leaves nothing behind in the futures, and cancels none. That
/// is why it is not the bare receiver, which could not do that.
///
/// ```
/// use concurrent_futures::{ThreadPoolExecutor, completions};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let futures = [executor.spawn(|| 1)?, executor.spawn(|| 2)?];
/// let sum: Result<i32, _> = completions(futures).iter().map(|f| f.into_result()).sum();
/// assert_eq!(sum?, 3);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[must_use = "dropped at once, it receives nothing"]
pub struct Completions<F: Waitable + Send + 'static> {
    receiver: Receiver<F>,
    places: Places<F>,
}

impl<F: Waitable + Send + 'static> Deref for Completions<F> {
    type Target = Receiver<F>;

    fn deref(&self) -> &Receiver<F> {
        &self.receiver
    }
}

impl<F: Waitable + Send + 'static> Drop for Completions<F> {
    fn drop(&mut self) {
        let places: Vec<_> = self.places.lock().iter_mut().map(Option::take).collect();
        for mut place in places.into_iter().flatten() {
            place.item.target().forget(&mut place.key);
        }
    }
}

impl<F: Waitable + Send + 'static> fmt::Debug for Completions<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completions")
            .field("ready", &self.receiver.len())
            .finish_non_exhaustive()
    }
}
