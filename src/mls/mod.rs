//! mls
