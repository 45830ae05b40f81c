//! What a panic says: where, never what.

use std::panic::PanicHookInfo;
use std::time::Duration;

use super::outlet::Outlet;

/// Replaces the default hook, which prints the panic's message. A message can hold
/// input (slicing a string prints the string), so ours gives the place only.
pub(super) fn install(outlet: Outlet) {
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        // It may be one that ends the process at once.
        outlet.flush(PATIENCE);
    }));
}

fn report(panic: &PanicHookInfo<'_>) {
    metrics::counter!("relay_process_panics_total").increment(1);
    let (file, line) = panic
        .location()
        .map_or(("unknown", 0), |place| (place.file(), place.line()));
    let thread = std::thread::current();
    tracing::error!(file, line, thread = thread.name(), "a task panicked");
}

/// For as long as that a worker may be held up by a log that nobody reads.
const PATIENCE: Duration = Duration::from_millis(100);
