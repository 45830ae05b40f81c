//! xrpc
