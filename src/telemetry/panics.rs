//! What a panic says: where, never what.

use std::panic::PanicHookInfo;

/// Replaces the default hook, which prints the panic's message. A message can hold
/// input (slicing a string prints the string), so ours gives the place only.
pub(super) fn install() {
    std::panic::set_hook(Box::new(report));
}

fn report(panic: &PanicHookInfo<'_>) {
    metrics::counter!("relay_process_panics_total").increment(1);
    let (file, line) = panic
        .location()
        .map_or(("unknown", 0), |place| (place.file(), place.line()));
    let thread = std::thread::current();
    tracing::error!(file, line, thread = thread.name(), "a task panicked");
}
