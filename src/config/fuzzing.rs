//! The way in for `fuzz/`: a file of variables.

use std::path::Path;

use super::env_file;

/// Every variable of the text; `None` if any line of it is refused.
pub fn variables(text: &str) -> Option<Vec<(String, String)>> {
    let (variables, faults) = env_file::variables(Path::new("relay.env"), text);
    faults.is_empty().then_some(variables)
}
