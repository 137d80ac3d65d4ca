//! [`Until`]: the two points at which a wait for a task can end.

use super::word::Word;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Done,
    CallbacksDone,
}

impl Until {
    pub(super) fn reached(self, word: Word) -> bool {
        match self {
            Self::Done => word.is_done(),
            Self::CallbacksDone => word.callbacks_done(),
        }
    }
}
