//! The allocator.
#![expect(
    unsafe_code,
    reason = "an allocator is unsafe to implement, and mimalloc's own interface is one of C"
)]

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys as mimalloc;

/// What mimalloc aligns every block to that is as large: `MI_MAX_ALIGN_SIZE`, the alignment of C's `max_align_t`. Smaller ones are
/// aligned to 8, which is all that a type of their size can ask for.
const NATURAL_ALIGNMENT: usize = 16;

/// mimalloc, for `#[global_allocator]`.
///
/// The host allocates and frees large buffers for every request; mimalloc keeps their pages, where the system's allocator
/// returns them and faults them in again.
///
/// It is asked for an alignment only where a type has an unusual one. Asked for any, mimalloc 3 looks whether the next free block
/// has it, and makes an aligned one out of a larger one where there is none and the blocks' size is no power of two up to 4 KiB;
/// it then looks for the larger one's begin when that is freed.
pub struct Allocator;

/// Whether a block of this layout is aligned although nobody asks for it.
#[inline]
fn is_natural(layout: Layout) -> bool {
    layout.align() <= NATURAL_ALIGNMENT && layout.align() <= layout.size()
}

// SAFETY: blocks come from mimalloc, whose functions may be called at any time on any thread, and do not unwind. They are of the
// size asked for, and aligned: mimalloc sees to it where it is asked to, and else by `is_natural`.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see above.
        unsafe {
            if is_natural(layout) {
                mimalloc::mi_malloc(layout.size()).cast()
            } else {
                mimalloc::mi_malloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see above.
        unsafe {
            if is_natural(layout) {
                mimalloc::mi_zalloc(layout.size()).cast()
            } else {
                mimalloc::mi_zalloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller promises that the block is from here.
        unsafe { mimalloc::mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let align = layout.align();
        // SAFETY: the caller promises that the block is from here, and that the new layout is valid.
        unsafe {
            if is_natural(Layout::from_size_align_unchecked(size, align)) {
                mimalloc::mi_realloc(block.cast(), size).cast()
            } else {
                mimalloc::mi_realloc_aligned(block.cast(), size, align).cast()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layout() -> impl Strategy<Value = Layout> {
        let size = prop_oneof![1..64_usize, 1..5000_usize, 1..300_000_usize];
        (size, 0..13_u32)
            .prop_map(|(size, align)| Layout::from_size_align(size, 1 << align).unwrap())
    }

    proptest! {
        #[test]
        fn blocks_are_aligned_and_keep_what_is_in_them(
            layouts in prop::collection::vec((layout(), 1..300_000_usize, any::<bool>()), 1..20)
        ) {
            let allocator = Allocator;
            let mut blocks = Vec::new();
            for (nth, (layout, size, zeroed)) in layouts.into_iter().enumerate() {
                // SAFETY: the layout has a size, and what is written and read lies within it.
                let block = unsafe {
                    let block = if zeroed { allocator.alloc_zeroed(layout) } else { allocator.alloc(layout) };
                    prop_assert!(!block.is_null());
                    let bytes = std::slice::from_raw_parts_mut(block, layout.size());
                    prop_assert!(!zeroed || bytes.iter().all(|byte| *byte == 0));
                    bytes.fill(nth as u8 + 1);
                    block
                };
                prop_assert_eq!(block.addr() % layout.align(), 0);
                blocks.push((block, layout, size));
            }
            for (nth, (block, layout, size)) in blocks.into_iter().enumerate() {
                let new = Layout::from_size_align(size, layout.align()).unwrap();
                // SAFETY: the block has this layout, the new size is not 0, and what is read lies within both.
                unsafe {
                    let block = allocator.realloc(block, layout, size);
                    prop_assert_eq!(block.addr() % layout.align(), 0);
                    let kept = std::slice::from_raw_parts(block, size.min(layout.size()));
                    prop_assert!(kept.iter().all(|byte| *byte == nth as u8 + 1));
                    allocator.dealloc(block, new);
                }
            }
        }
    }
}
