//! Which kernels a program's time goes to: events between them, read once all is done.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use candle_core::cuda::cudarc::driver::{CudaEvent, CudaStream, sys};
use candle_core::{CudaDevice, Error, Result};

use crate::team::lock;

type Marks = Option<Vec<(String, CudaEvent)>>;

fn marks() -> MutexGuard<'static, Marks> {
    static MARKS: Mutex<Marks> = Mutex::new(None);
    lock(&MARKS)
}

/// Says that the stream's work from here to the next mark is called `name`; nothing while nobody asked.
pub(super) fn mark(stream: &CudaStream, name: impl FnOnce() -> String) -> Result<()> {
    if let Some(marks) = &mut *marks() {
        let timed = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let event = stream.record_event(timed).map_err(Error::wrap)?;
        marks.push((name(), event));
    }
    Ok(())
}

/// What [`mark`] calls the time between programs, other libraries' kernels and waiting.
pub(super) const ELSEWHERE: &str = "elsewhere";

/// Does `run`, and says of each kernel its name, how often it ran and its milliseconds, longest first. Events cost time
/// too: a few microseconds each.
///
/// # Errors
/// When `run` fails, or the driver does.
pub fn profile(
    device: &CudaDevice,
    run: impl FnOnce() -> Result<()>,
) -> Result<Vec<(String, usize, f64)>> {
    let stream = device.cuda_stream();
    *marks() = Some(Vec::new());
    let ran = mark(&stream, || ELSEWHERE.to_owned()).and_then(|()| run());
    let ended = mark(&stream, String::new);
    let marks = marks().take().unwrap_or_default();
    ran.and(ended)?;
    let mut sums = BTreeMap::<&str, (usize, f64)>::new();
    for pair in marks.windows(2) {
        let took = pair[0].1.elapsed_ms(&pair[1].1).map_err(Error::wrap)?;
        let (count, sum) = sums.entry(&pair[0].0).or_default();
        *count += 1;
        *sum += f64::from(took);
    }
    let mut sums: Vec<_> = sums
        .into_iter()
        .map(|(name, (count, sum))| (name.to_owned(), count, sum))
        .collect();
    sums.sort_by(|a, b| b.2.total_cmp(&a.2));
    Ok(sums)
}
