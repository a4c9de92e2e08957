//! A size that has been met before costs no memory but the output's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use audiodiff_kernels::{Activation, Engine, Map, Norm, Parameter, Program};
use candle_core::{DType, Device, Result, Tensor};

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A block with attention, of the sizes of a small model.
fn describe(p: &mut Program) -> Result<Map> {
    let norm = |film| Norm {
        affine: Parameter(0),
        film,
        groups: 4,
        activation: Activation::Silu,
    };
    let (x, e) = (p.input(2, 64, 64), p.input(2, 1, 16));
    let film = p.conv(e, None, Parameter(2), None, None)?;
    let h = p.conv(x, Some(norm(None)), Parameter(1), None, None)?;
    let x = p.conv(h, Some(norm(Some(film))), Parameter(1), None, Some(x))?;
    let qkv = p.conv(x, Some(norm(None)), Parameter(3), None, None)?;
    let y = p.attention(qkv, 2)?;
    p.conv(y, None, Parameter(4), None, Some(x))
}

#[test]
fn a_second_run_allocates_its_output_and_little_else() -> Result<()> {
    let draw = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu)? * 0.1;
    let shapes: [&[usize]; 5] = [&[2, 64], &[192, 64], &[16, 128], &[64, 192], &[64, 64]];
    let mut engine = Engine::new(shapes.iter().map(|s| draw(s)).collect::<Result<_>>()?);
    engine.freeze();
    let inputs = [draw(&[2, 64, 64])?, draw(&[2, 1, 16])?];
    // On one thread, which therefore has met every task.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.expect("one thread").install(|| {
        let run = || engine.run((2, 64), describe, &inputs, &[]);
        let first = run()?;
        let before = ALLOCATED.load(Ordering::Relaxed);
        let second = run()?;
        let allocated = ALLOCATED.load(Ordering::Relaxed) - before;
        let output = 2 * 64 * 64 * size_of::<f32>();
        assert!(
            (output..output + 4096).contains(&allocated),
            "{allocated} bytes for an output of {output}"
        );
        let difference = (first - second)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert_eq!(difference, 0.0);
        Ok(())
    })
}
