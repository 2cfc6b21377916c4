//! The operating system's random numbers.

use uuid::Uuid;

/// A random id as 32 hexadecimal digits. Not counted up, so that a ledger that was reset gives no
/// id a second time: receivers recognise repeated events by it.
pub(crate) fn id(prefix: &str) -> String {
    let mut bytes = [0; 16];
    #[expect(clippy::expect_used, reason = "an id that repeats would make one event of two")]
    getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
    format!("{prefix}{}", Uuid::from_bytes(bytes).simple())
}
