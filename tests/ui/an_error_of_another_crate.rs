//! The errors of other crates mostly cannot travel; their words can.
// error: `Result<i32, ParseIntError>` cannot travel to another process
// error: a `Report` in place of an error of another crate

use concurrent_futures::ProcessPoolExecutor;

fn parse(text: String) -> Result<i32, std::num::ParseIntError> {
    text.parse()
}

fn main() {
    let executor = ProcessPoolExecutor::new().unwrap();
    let _ = executor.submit(parse, "1".to_string());
}
