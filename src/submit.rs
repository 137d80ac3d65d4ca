//! The macro [`submit!`](crate::submit), which submits a call with several arguments.

/// Submits a call with up to eight arguments.
///
/// The macro passes several arguments as a tuple. For example, `submit!(executor, f, a, b)`
/// expands to `executor.submit(move |(a, b)| f(a, b), (a, b))`. `f` is the name of a
/// function, or a closure. A closure that captures variables works only with a thread pool,
/// a scope or an inline executor. A variable that holds a function also works only there,
/// unless the call has exactly one argument.
///
/// ```
/// use concurrent_futures::{ThreadPoolExecutor, submit};
///
/// fn volume(length: u32, width: u32, height: u32) -> u32 {
///     length * width * height
/// }
///
/// let executor = ThreadPoolExecutor::new()?;
/// assert_eq!(submit!(executor, volume, 2, 3, 7)?.into_result()?, 42);
/// assert_eq!(submit!(executor, || 42)?.into_result()?, 42);
/// let factor = 2;
/// assert_eq!(submit!(executor, move |a: i32, b: i32| factor * a * b, 3, 7)?.into_result()?, 42);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[macro_export]
macro_rules! submit {
    ($executor:expr, $f:expr $(,)?) => {
        $executor.submit(move |()| ($f)(), ())
    };
    ($executor:expr, $f:expr, $argument:expr $(,)?) => {
        $executor.submit($f, $argument)
    };
    ($executor:expr, $f:expr, $($argument:expr),+ $(,)?) => {
        $crate::submit!(@name $executor, $f, [$($argument,)+] [a b c d e f g h] [])
    };
    // This rule gives the first unnamed argument a name, and calls the macro again until
    // all arguments have names.
    (@name $executor:expr, $f:expr, [$first:expr, $($rest:expr,)*] [$name:ident $($names:ident)*]
        [$($named:ident: $argument:expr,)*]) => {
        $crate::submit!(@name $executor, $f, [$($rest,)*] [$($names)*]
            [$($named: $argument,)* $name: $first,])
    };
    (@name $executor:expr, $f:expr, [] [$($names:ident)*] [$($named:ident: $argument:expr,)*]) => {
        $executor.submit(move |($($named,)*)| ($f)($($named),*), ($($argument,)*))
    };
}
