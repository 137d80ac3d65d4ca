//! A task goes to another thread, with all that it gets.
// error: cannot be sent between threads safely
// error: required by a bound in `ThreadPoolExecutor::submit`

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
    drop(executor.submit(|local: Local| local.value(), Local(Rc::new(1))));
}
