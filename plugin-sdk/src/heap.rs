//! The guest's heap.
//!
//! The standard library's allocator takes its memory from `memory.grow` alone. The host must then change the protection of
//! pages when an instance grows, and once more when its slot is used again: two system calls, each of which interrupts every
//! other core. So this one hands out memory that the instance begins with, and grows only when that is used up. An
//! instance that stays within [`ARENA`] is reset without either.
//!
//! # Safety
//! The allocator is the crate `dlmalloc`, that of the standard library; what is unsafe here is only to share it. A guest
//! of this contract has one thread, so no two calls are ever under way at one time.
#![expect(
    unsafe_code,
    reason = "a global allocator is unsafe to implement; see the module's documentation"
)]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};

use dlmalloc::{Allocator, Dlmalloc};

/// What an instance begins with, in bytes. It costs nothing until it is touched: it is zero, and no part of the component.
const ARENA: usize = 1 << 20;

/// The unit in which memory grows.
const PAGE: usize = 64 << 10;

#[global_allocator]
static HEAP: Heap = Heap(UnsafeCell::new(Dlmalloc::new_with_allocator(Memory {
    handed_out: Cell::new(false),
})));

static ARENA_BYTES: Arena = Arena(UnsafeCell::new([0; ARENA]));

struct Heap(UnsafeCell<Dlmalloc<Memory>>);

#[repr(align(65536))]
struct Arena(UnsafeCell<[u8; ARENA]>);

// SAFETY: a guest has one thread.
unsafe impl Sync for Heap {}
// SAFETY: its address is handed out once, by the allocator, which is its only user.
unsafe impl Sync for Arena {}

// SAFETY: every method goes to dlmalloc, which keeps the contract of each, and no two run at one time.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).malloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).calloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { (*self.0.get()).free(pointer, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe { (*self.0.get()).realloc(pointer, layout.size(), layout.align(), size) }
    }
}

/// Where dlmalloc takes its memory from: first the arena, then what the instance grows by.
struct Memory {
    handed_out: Cell<bool>,
}

// SAFETY: what is given is given once, is never taken back, and is zero.
unsafe impl Allocator for Memory {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        if size <= ARENA && !self.handed_out.replace(true) {
            return (ARENA_BYTES.0.get().cast(), ARENA, 0);
        }
        let pages = size.div_ceil(PAGE);
        match core::arch::wasm32::memory_grow(0, pages) {
            usize::MAX => (core::ptr::null_mut(), 0, 0),
            before => (
                core::ptr::without_provenance_mut(before * PAGE),
                pages * PAGE,
                0,
            ),
        }
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        core::ptr::null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }

    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        PAGE
    }
}
