//! The allocator, and a thread that sees to it that freed memory goes back to the system.

use std::io;
use std::thread;
use std::time::Duration;

/// The host allocates and frees large buffers for every request; mimalloc keeps their pages, where the system's
/// allocator returns them and faults them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often the thread looks for memory that is due.
const ROUND: Duration = Duration::from_millis(100);

/// Starts the thread, which ends with the program.
///
/// mimalloc gives a page back a second after it was freed, on whichever thread frees something next. After a model or a compiler
/// went, that may be hundreds of MB: an idle server would keep them, and the first request then wait for some ten milliseconds.
///
/// # Errors
/// Where the thread cannot be started.
pub(crate) fn start_giving_back() -> io::Result<()> {
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

    use super::*;

    fn resident_mb() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages >> 8
    }

    #[test]
    fn freed_memory_goes_back_though_nothing_is_done() {
        start_giving_back().unwrap();
        let before = resident_mb();
        let pieces: Vec<Vec<u8>> = (0..256).map(|_| black_box(vec![1; 1 << 20])).collect();
        assert!(resident_mb() >= before + 200);
        drop(pieces);
        let latest = Instant::now() + Duration::from_secs(60);
        while resident_mb() >= before + 100 {
            assert!(Instant::now() < latest, "it is still resident");
            thread::park_timeout(ROUND);
        }
    }
}
