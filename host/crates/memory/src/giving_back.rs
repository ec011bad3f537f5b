//! A thread that sees to it that freed memory goes back to the system.

use std::io;
use std::thread;
use std::time::Duration;

/// How often the thread looks for memory that is due.
const ROUND: Duration = Duration::from_millis(100);

/// Starts the thread, which ends with the program.
///
/// mimalloc gives a page back a second after it was freed, on whichever thread frees something next. After a model or a compiler
/// went, that may be hundreds of MB: an idle server would keep them, and the first request then wait for some ten milliseconds.
///
/// # Errors
/// Where the thread cannot be started.
pub fn start_giving_back() -> io::Result<()> {
    thread::Builder::new()
        .name("wharf-memory".to_owned())
        .spawn(|| {
            begin();
            loop {
                thread::park_timeout(ROUND);
                give_back();
            }
        })
        .map(drop)
}

/// Makes the thread known to mimalloc, which does nothing on one that never allocated.
#[expect(unsafe_code, reason = "mimalloc's own interface is one of C")]
fn begin() {
    // SAFETY: it may be called at any time, on any thread.
    unsafe { libmimalloc_sys::mi_thread_init() };
}

/// Gives back what is due.
#[expect(unsafe_code, reason = "mimalloc's own interface is one of C")]
fn give_back() {
    // SAFETY: it may be called at any time, on any thread.
    unsafe { libmimalloc_sys::mi_collect(false) };
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::Instant;

    use wharf_testkit::resident_mb;

    use super::*;

    #[global_allocator]
    static ALLOCATOR: crate::Allocator = crate::Allocator;

    #[test]
    fn freed_memory_goes_back_though_nothing_is_done() {
        start_giving_back().unwrap();
        let before = resident_mb();
        let pieces: Vec<Vec<u8>> = (0..256).map(|_| black_box(vec![1; 1 << 20])).collect();
        assert!(resident_mb() >= before + 200.0);
        drop(pieces);
        let latest = Instant::now() + Duration::from_secs(60);
        while resident_mb() >= before + 100.0 {
            assert!(Instant::now() < latest, "it is still resident");
            thread::park_timeout(ROUND);
        }
    }
}
