//! A task goes to another thread, with all that it captures.
// error: cannot be sent between threads safely
// error: required by a bound in `ThreadPoolExecutor::spawn`

use std::rc::Rc;

use concurrent_futures::ThreadPoolExecutor;

struct Local(Rc<i32>);

impl Local {
    fn value(&self) -> i32 {
        *self.0
    }
}

fn main() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let local = Local(Rc::new(1));
    drop(executor.spawn(move || local.value()));
}
