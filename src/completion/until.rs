//! [`Until`]: how far a task must be for a wait to end.

use super::Record;

/// The progress of a task at which a wait for it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Done,
    CallbacksDone,
}

impl Until {
    pub(super) fn reached<T>(self, record: &Record<T>) -> bool {
        match self {
            Self::Done => record.state.done(),
            Self::CallbacksDone => record.callbacks_done(),
        }
    }
}
