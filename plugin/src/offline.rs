//! Whether a host renders offline, where `process` may wait for a sound.

use std::time::{Duration, Instant};

use nice_plug::prelude::{PluginApi, ProcessMode};

/// A host that is so far ahead of the clock plays for nobody. Hosts that play ahead for somebody stay far below.
const AHEAD: Duration = Duration::from_secs(2);

/// What an instance knows of its host's mode, from one activation to the next.
///
/// CLAP hosts tell it. nice-plug 0.4.2 tells a VST3's mode one activation late (`setupProcessing` in
/// `wrapper/vst3/wrapper.rs` stores it after the configuration), so that of those two more signs count: the thread that
/// activates is the user interface's by the standard, and no host plays in real time on it; and none gets far ahead of
/// the clock.
#[derive(Debug)]
pub(crate) struct Offline {
    told: bool,
    api: PluginApi,
    activator: usize,
    ahead: f64,
    last: Option<Instant>,
}

impl Offline {
    /// Of an instance that is activated on this thread.
    pub fn activated(mode: ProcessMode, api: PluginApi) -> Self {
        Self {
            told: mode == ProcessMode::Offline,
            api,
            activator: this_thread(),
            ahead: 0.0,
            last: None,
        }
    }

    /// Whether the block of `seconds` that begins at `now` may be waited in. Real-time safe; but in a VST3 whose host
    /// has not told the mode, with a sound to wait for, the first call of a thread sets up its storage.
    pub fn may_wait(&mut self, seconds: f64, now: Instant, is_wanted: bool) -> bool {
        if let Some(last) = self.last.replace(now) {
            self.ahead = (self.ahead - (now - last).as_secs_f64()).max(0.0);
        }
        self.ahead += seconds;
        if !is_wanted || self.told {
            return is_wanted;
        }
        self.api == PluginApi::Vst3
            && (self.ahead > AHEAD.as_secs_f64() || this_thread() == self.activator)
    }

    /// After a wait, which took no time of the host's.
    pub fn waited(&mut self, now: Instant) {
        self.last = Some(now);
    }
}

impl Default for Offline {
    fn default() -> Self {
        Self::activated(ProcessMode::Realtime, PluginApi::Standalone)
    }
}

/// A number that no other living thread has.
fn this_thread() -> usize {
    thread_local! {
        static HERE: u8 = const { 0 };
    }
    HERE.with(|here| std::ptr::from_ref(here) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_tells_its_mode_is_believed() {
        let mut now = Instant::now();
        for (mode, may) in [
            (ProcessMode::Offline, true),
            (ProcessMode::Realtime, false),
            (ProcessMode::Buffered, false),
        ] {
            let mut offline = Offline::activated(mode, PluginApi::Clap);
            for _ in 0..1000 {
                // However fast it runs, and on whichever thread.
                now += Duration::from_millis(1);
                assert_eq!(offline.may_wait(0.1, now, true), may, "{mode:?}");
                assert!(!offline.may_wait(0.1, now, false), "nothing to wait for");
            }
        }
    }

    #[test]
    fn a_vst3_is_offline_on_the_thread_that_activates_or_far_ahead_of_the_clock() {
        let activated = || Offline::activated(ProcessMode::Realtime, PluginApi::Vst3);
        let now = Instant::now();
        assert!(activated().may_wait(0.01, now, true));
        let mut offline = activated();
        std::thread::scope(|scope| {
            let elsewhere = scope.spawn(|| {
                let mut now = Instant::now();
                // In real time, with bursts of half a second.
                for _ in 0..20 {
                    for _ in 0..50 {
                        assert!(!offline.may_wait(0.01, now, true));
                    }
                    now += Duration::from_millis(500);
                }
                // Ten times as fast; a wait in between changes nothing.
                let mut blocks = 0;
                while !offline.may_wait(0.01, now, true) {
                    now += Duration::from_millis(1);
                    blocks += 1;
                }
                assert!((150..250).contains(&blocks), "{blocks}");
                now += Duration::from_secs(60);
                offline.waited(now);
                assert!(offline.may_wait(0.01, now, true));
                // Asleep, and then in real time again.
                now += Duration::from_secs(60);
                assert!(!offline.may_wait(0.01, now, true));
            });
            elsewhere.join().unwrap();
        });
    }
}
