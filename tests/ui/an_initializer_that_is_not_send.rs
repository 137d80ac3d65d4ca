//! Each worker runs the initializer, on its own thread.
// error: cannot be sent between threads safely
// error: required by a bound in `ThreadPoolExecutorBuilder::initializer`

use std::rc::Rc;

use concurrent_futures::ThreadPoolExecutor;

fn main() {
    let captured = Rc::new(1);
    let _ = ThreadPoolExecutor::builder().initializer(move |()| drop(captured.clone()), ());
}
