//! A lent value lives as long as its future.
// error: `future` does not live long enough

use concurrent_futures::ThreadPoolExecutor;

fn main() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let text;
    {
        let future = executor.spawn(|| String::from("one")).unwrap();
        text = future.result().unwrap();
    }
    println!("{text}");
}
