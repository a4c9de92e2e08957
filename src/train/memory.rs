//! How much memory a training may take.

use std::num::NonZeroUsize;

use candle_core::Device;

use super::TrainConfig;
use crate::error::{Error, Result};
use crate::group::Group;

/// Bytes of memory that this process can still get without any program being moved to the disk.
#[must_use]
pub fn free_memory() -> u64 {
    Room::now().free
}

/// Bytes that this process can still get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Without any program being moved to the disk.
    pub free: u64,
    /// With all that can be.
    pub most: u64,
    /// What ends it.
    bound: &'static str,
}

impl Room {
    /// What the system, the group of processes and the limits of this one leave now.
    pub fn now() -> Self {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        let (all, free) = (system.total_memory(), system.available_memory());
        let mut room = Self {
            free,
            most: match all {
                // Nobody knows.
                0 => u64::MAX,
                _ => free.saturating_add(system.free_swap()),
            },
            bound: "of memory are free",
        };
        let group = (all > 0).then(|| system.cgroup_limits()).flatten();
        // What the group has of files is given back where it is wanted.
        if let Some(group) = group.filter(|group| group.total_memory < all) {
            let left = group.total_memory.saturating_sub(group.rss);
            room.limit(left, "are left of the memory of its control group");
        }
        if let Some(left) = address_space_left() {
            // The allocator takes it in large parts, of which the last are never filled.
            let left = left / 3 * 2;
            room.limit(
                left,
                "can be had of the process's address space (ulimit -v)",
            );
        }
        room
    }

    fn limit(&mut self, left: u64, bound: &'static str) {
        if left < self.most {
            self.bound = bound;
        }
        (self.free, self.most) = (self.free.min(left), self.most.min(left));
    }

    /// Refuses a batch that cannot be held, before any of it is asked for.
    ///
    /// # Errors
    /// With what it takes, what there is, and how many clips that is enough for.
    pub fn check(
        self,
        config: &TrainConfig,
        batch: NonZeroUsize,
        group: &Group,
        device: &Device,
    ) -> Result<()> {
        // Measured: a batch of 128 clips takes a fifth more than it is reckoned to where batches are chosen.
        let clip = config.clip_bytes() / 4 * 5;
        let (ranks, here) = (group.size() as u64, group.on_machine() as u64);
        let held = (batch.get() as u64).div_ceil(ranks) * here;
        let needed = clip.saturating_mul(held);
        if !device.is_cpu() || needed <= self.most {
            return Ok(());
        }
        let way = match self.most / clip.max(1) / here * ranks {
            0 => "give shorter --seconds or a smaller --preset".to_owned(),
            1 => "give --batch 1".to_owned(),
            fitting => format!("give --batch {fitting} or less, or none"),
        };
        Err(Error::setting(format!(
            "batch: {batch} clips a step take about {}, found that {} {}; {way}",
            in_words(needed),
            in_words(self.most),
            self.bound
        )))
    }
}

/// An error of a step with a batch, in which a GPU's want of memory is told as that of the whole step.
pub(super) fn told(error: Error, batch: usize) -> Error {
    // As the driver spells it; what a network alone wants is told in numbers by the engine.
    if !error.to_string().contains("CUDA_ERROR_OUT_OF_MEMORY") {
        return error;
    }
    let way = match batch {
        1 => "give shorter --seconds or a smaller --preset".to_owned(),
        _ => format!("give --batch {} or less", batch / 2),
    };
    Error::setting(format!(
        "batch: {batch} clips a step take more memory than the GPU has left; {way}"
    ))
}

/// A number of bytes for people.
fn in_words(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// What `ulimit -v` leaves, where the system tells.
fn address_space_left() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    left_of(&limits, &status)
}

/// The same by the texts that Linux has of a process.
fn left_of(limits: &str, status: &str) -> Option<u64> {
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max address space"))?;
    // `unlimited` is no number.
    let limit: u64 = limit.split_whitespace().next()?.parse().ok()?;
    let size = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:"))?;
    let size: u64 = size.split_whitespace().next()?.parse().ok()?;
    Some(limit.saturating_sub(1024 * size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::Target;
    use crate::network::{NetworkConfig, UNetConfig};
    use crate::representation::RepresentationConfig;

    #[test]
    fn a_limit_of_address_space_is_read_as_linux_writes_it() {
        let limits = |most: &str| {
            format!(
                "Limit   Soft Limit   Hard Limit   Units\nMax address space         {most}   unlimited   bytes\n"
            )
        };
        let status = "Name:\taudiodiff\nVmPeak:\t  900000 kB\nVmSize:\t  500000 kB\n";
        assert_eq!(left_of(&limits("3072000000"), status), Some(2_560_000_000));
        assert_eq!(left_of(&limits("1024"), status), Some(0));
        assert_eq!(left_of(&limits("unlimited"), status), None);
        assert_eq!(left_of("", status), None);
    }

    #[test]
    fn a_gpu_without_room_is_told_of_with_a_smaller_batch() {
        let driver = || {
            let said = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
            Error::from(candle_core::Error::Msg(said.to_owned()))
        };
        let said = told(driver(), 48).to_string();
        assert!(
            said.contains("48 clips") && said.contains("--batch 24"),
            "{said}"
        );
        assert!(told(driver(), 1).to_string().contains("--seconds"));
        let other = Error::setting("something else");
        assert_eq!(told(other, 48).to_string(), "something else");
    }

    #[test]
    fn a_batch_beyond_all_memory_is_refused_with_numbers() {
        let network = NetworkConfig::UNet(UNetConfig::preset("nano").expect("a preset"));
        let config = TrainConfig::from_scratch(RepresentationConfig::mel(), Target::X, network);
        let clip = config.clip_bytes();
        let mut room = Room {
            free: 4 * clip,
            most: 10 * clip,
            bound: "of memory are free",
        };
        let cpu = Device::Cpu;
        let check = |room: Room, batch| {
            let batch = NonZeroUsize::new(batch).expect("some");
            room.check(&config, batch, &Group::alone(), &cpu)
        };
        assert!(check(room, 8).is_ok());
        let refused = check(room, 9).expect_err("too many").to_string();
        assert!(refused.contains("9 clips a step take about"), "{refused}");
        assert!(refused.contains("--batch 8 or less"), "{refused}");
        room.limit(clip / 2, "are left");
        assert_eq!((room.free, room.most), (clip / 2, clip / 2));
        let refused = check(room, 1).expect_err("too long").to_string();
        assert!(
            refused.contains("shorter --seconds") && refused.contains("are left"),
            "{refused}"
        );
    }
}
