//! Panics as log lines with their place, and as a count: in a task that nobody waits for, such as
//! one connection's, one would else be a line on standard error in no log's format.

use std::panic::{PanicHookInfo, set_hook};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// From now on every panic of this process is logged and counted.
pub fn watch() {
    set_hook(Box::new(|panic| {
        COUNT.fetch_add(1, Ordering::Relaxed);
        let thread = std::thread::current();
        let place = panic.location().map(ToString::to_string);
        tracing::error!(
            place = place.as_deref().unwrap_or("unknown"),
            thread = thread.name().unwrap_or("unnamed"),
            "a task panicked: {}",
            text(panic)
        );
    }));
}

/// Panics of this process since it is watched.
#[must_use]
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

fn text<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    let payload = panic.payload();
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("without text")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The hook is the process's, so this is the one test of it.
    #[test]
    fn a_panic_is_counted_and_its_place_is_logged() {
        let before = std::panic::take_hook();
        watch();
        let written = Written::default();
        let log = tracing_subscriber::fmt().with_writer({
            let written = written.clone();
            move || written.clone()
        });
        tracing::subscriber::with_default(log.finish(), || {
            let _ = std::panic::catch_unwind(|| panic!("out of {}", "paper"));
        });
        set_hook(before);
        assert_eq!(count(), 1);
        let lines = String::from_utf8_lossy(&written.0.lock().unwrap()).into_owned();
        assert!(lines.contains("out of paper"), "{lines}");
        assert!(lines.contains("panics.rs:"), "{lines}");
    }
}
