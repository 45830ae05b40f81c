//! Pure. An error in one line.

use std::error::Error;

/// The error with everything that caused it.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    let chain: Vec<_> = chain.map(ToString::to_string).collect();
    chain.join(": ")
}
