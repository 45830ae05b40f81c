//! Pure. The one place where an internal error becomes what the other end is
//! told: `From<…Error> for XrpcError` for every area, and nothing elsewhere.
