//! The last bound on memory: a counting allocator that ends the program with a message.
//!
//! DataFusion's pool counts most of what its operators hold. Any other memory of a query would end
//! in the kernel's out-of-memory killer or a failed allocation, without a hint. Mapped files and
//! stacks do not count.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicPtr, Ordering};

use contract::exit::EXIT_DATA;

/// Bytes that a thread allocates or frees before it updates the shared count.
const STEP: i64 = 1 << 20;

static HELD: AtomicI64 = AtomicI64::new(0);
static LIMIT: AtomicI64 = AtomicI64::new(i64::MAX);
static MESSAGE: AtomicPtr<String> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    static UNTOLD: Cell<i64> = const { Cell::new(0) };
}

/// Bounds what the program allocates from now on, until [`free`]. Past the bound it prints the
/// message and exits with [`EXIT_DATA`].
///
/// * `bytes`: more than is held now.
pub fn bound(bytes: u64, message: &str) {
    // Never freed: a thread may be about to print it. A run sets a handful.
    let message = Box::into_raw(Box::new(format!("sample-stage: {message}\n")));
    MESSAGE.store(message, Ordering::Release);
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let held = HELD.load(Ordering::Relaxed).max(0);
    LIMIT.store(held.saturating_add(bytes), Ordering::Release);
}

/// Ends the bound.
pub fn free() {
    LIMIT.store(i64::MAX, Ordering::Release);
}

/// The system's allocator, counted.
pub struct Heap;

// SAFETY: every call is handed to the system's allocator as it is; counting does not allocate.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as the caller promises.
        or_stop(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as the caller promises.
        or_stop(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: as the caller promises.
        or_stop(unsafe { System.realloc(block, layout, size) })
    }
}

fn count(bytes: i64) {
    // A thread that is ending may have dropped its cell; it frees little by then.
    let _ = UNTOLD.try_with(|untold| {
        let now = untold.get() + bytes;
        if now.abs() < STEP {
            untold.set(now);
            return;
        }
        untold.set(0);
        let held = HELD.fetch_add(now, Ordering::Relaxed) + now;
        if now > 0 && held > LIMIT.load(Ordering::Acquire) {
            stop();
        }
    });
}

/// While there is a bound, an allocation that the system refuses counts as past it.
fn or_stop(block: *mut u8) -> *mut u8 {
    if block.is_null() && LIMIT.load(Ordering::Acquire) != i64::MAX {
        stop();
    }
    block
}

fn stop() -> ! {
    let message = MESSAGE.load(Ordering::Acquire);
    // SAFETY: `bound` has set the message and nothing frees it. Nothing here allocates.
    unsafe {
        let text = (*message).as_bytes();
        nix::libc::write(2, text.as_ptr().cast(), text.len());
        nix::libc::_exit(i32::from(EXIT_DATA))
    }
}
