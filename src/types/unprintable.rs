//! Pure. What no log may show.

/// `Debug` of a type that says its name and nothing of its value. These have no `Display`, so that
/// no format string, span or error can put an identity or a secret in a log.
macro_rules! unprintable {
    ($name:ident $(<$lifetime:lifetime>)?) => {
        impl std::fmt::Debug for $name $(<$lifetime>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(~)"))
            }
        }
    };
}

pub(crate) use unprintable;
