//! A promise takes values of its own type alone: its future would call the function that it gets
//! with text that lives shorter.
// error: mismatched types
// error: one type is more general than the other

use concurrent_futures::Promise;

type OfAnyText = for<'a> fn(&'a str) -> &'static str;

fn narrowed(promise: Promise<OfAnyText>) -> Promise<fn(&'static str) -> &'static str> {
    promise
}

fn main() {
    let (promise, _future) = concurrent_futures::promise::<OfAnyText>();
    narrowed(promise).set_result(|text| text).unwrap();
}
