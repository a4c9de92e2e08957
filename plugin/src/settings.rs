//! The user's preferences on this machine, in a file of their own: no project holds them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use audiodiff::Result;
use nice_plug::prelude::nice_warn;
use serde::{Deserialize, Serialize};

use crate::kits::Place;
use crate::window::Theme;

/// Models that the list of recent ones holds.
const RECENT: usize = 8;

/// The number of threads that make sounds, for all instances in this process; 0 before the file was first read.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The user's preferences on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Files of models, the last used first.
    pub recent: Vec<PathBuf>,
    /// The kits that the user likes best.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub favourites: Vec<Place>,
    /// How many threads make sounds; none for half of the cores.
    pub threads: Option<usize>,
    /// Width and height that the window had last, in logical points.
    pub window: Option<[f32; 2]>,
    /// Dark or light.
    pub theme: Theme,
    /// By how much everything in the window is larger than the system has it, one of [`SCALES`].
    pub scale: f32,
}

/// The sizes of what is in the window.
pub const SCALES: [f32; 6] = [0.75, 1.0, 1.25, 1.5, 1.75, 2.0];

impl Default for Settings {
    fn default() -> Self {
        Self {
            recent: Vec::new(),
            favourites: Vec::new(),
            threads: None,
            window: None,
            theme: Theme::default(),
            scale: 1.0,
        }
    }
}

impl Settings {
    /// Reads the user's preferences. A file that cannot be read counts as absent: no sound depends on it.
    ///
    /// [`threads_in_use`] follows.
    pub fn load() -> Self {
        let settings = Self::path().map_or_else(Self::default, |path| Self::load_from(&path));
        settings.are_in_use();
        settings
    }

    /// Writes them for every instance of this user. [`threads_in_use`] follows, whether they can be written or not.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self) -> Result<()> {
        self.are_in_use();
        match Self::path() {
            Some(path) => self.save_to(&path),
            None => Ok(()),
        }
    }

    /// Puts a model at the front of the recent ones.
    pub fn remember(&mut self, model: &Path) {
        self.recent.retain(|path| path != model);
        self.recent.insert(0, model.to_owned());
        self.recent.truncate(RECENT);
    }

    /// Makes a kit a favourite, or no longer one.
    pub fn set_favourite(&mut self, kit: &Place, is_one: bool) {
        self.favourites.retain(|it| it != kit);
        if is_one {
            self.favourites.push(kit.clone());
        }
    }

    /// A kit is elsewhere from now on; nowhere if it was deleted.
    pub fn moved_kit(&mut self, from: &Place, to: Option<&Place>) {
        let is_one = self.favourites.contains(from);
        self.set_favourite(from, false);
        if let Some(to) = to {
            self.set_favourite(to, is_one);
        }
    }

    /// How many threads make sounds: half of the cores, so that the host has the others, unless the user
    /// wants it otherwise.
    #[must_use]
    pub fn threads(&self) -> usize {
        let cores = cores();
        self.threads.unwrap_or(cores / 2).clamp(1, cores)
    }

    fn are_in_use(&self) {
        CHOSEN.store(self.threads.is_some(), Ordering::Relaxed);
        THREADS.store(self.threads(), Ordering::Relaxed);
    }

    fn path() -> Option<PathBuf> {
        Some(dirs::config_dir()?.join("audiodiff").join("plugin.json"))
    }

    fn load_from(path: &Path) -> Self {
        let Ok(text) = std::fs::read(path) else {
            return Self::default();
        };
        let mut settings: Self = serde_json::from_slice(&text).unwrap_or_else(|error| {
            nice_warn!("{}: {error}", path.display());
            Self::default()
        });
        if !SCALES.contains(&settings.scale) {
            settings.scale = 1.0;
        }
        settings
    }

    fn save_to(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            audiodiff::file::make_folder(folder)?;
        }
        let text = serde_json::to_vec_pretty(self).expect("paths and numbers can be written");
        audiodiff::file::write_whole(path, &text)
    }
}

/// The cores of this machine that this process may use; 1 where the system does not tell.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Instances that wait for a sound in an offline rendering.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// While this lives, sounds are made on all cores: somebody waits for one, and nobody plays.
#[derive(Debug)]
pub struct AllCores(());

impl AllCores {
    /// Real-time safe.
    #[must_use]
    pub fn begin() -> Self {
        WAITING.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for AllCores {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Files of models that this user has had open, the last used first.
#[must_use]
pub fn recent_models() -> Vec<PathBuf> {
    Settings::load().recent
}

/// Whether the user has said how many threads make sounds.
static CHOSEN: AtomicBool = AtomicBool::new(false);

/// Sounds that somebody looks forward to, to choose from.
static LOOKED_FORWARD_TO: AtomicUsize = AtomicUsize::new(0);

/// While this lives, sounds are made on two threads at least, unless the user has said otherwise: a person waits for
/// them. They run at low priority, and for a second at a time.
#[derive(Debug)]
pub struct Haste(());

impl Haste {
    /// From now on.
    #[must_use]
    pub fn begin() -> Self {
        LOOKED_FORWARD_TO.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Haste {
    fn drop(&mut self) {
        LOOKED_FORWARD_TO.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many threads make sounds from now on, as the preferences said when they were last read or written here; one for
/// each core while [`AllCores`] says so, and two at least while [`Haste`] does.
pub fn threads_in_use() -> usize {
    if WAITING.load(Ordering::Relaxed) > 0 {
        return cores();
    }
    let threads = match THREADS.load(Ordering::Relaxed) {
        0 => Settings::load().threads(),
        threads => threads,
    };
    let is_urgent = LOOKED_FORWARD_TO.load(Ordering::Relaxed) > 0;
    match is_urgent && !CHOSEN.load(Ordering::Relaxed) {
        true => threads.max(cores().min(2)),
        false => threads,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_kept_and_damage_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("plugin.json");
        assert_eq!(Settings::load_from(&path), Settings::default());
        let mut settings = Settings {
            threads: Some(1),
            ..Settings::default()
        };
        for i in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 5] {
            settings.remember(Path::new(&format!("/m/{i}")));
        }
        let names = |s: &Settings| {
            s.recent
                .iter()
                .map(|p| p.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(&settings),
            [5, 9, 8, 7, 6, 4, 3, 2].map(|i| format!("/m/{i}"))
        );
        settings.save_to(&path).unwrap();
        assert_eq!(Settings::load_from(&path), settings);
        std::fs::write(&path, "{\"recent\": 3").unwrap();
        assert_eq!(Settings::load_from(&path), Settings::default());
    }

    #[test]
    fn favourites_go_where_their_kits_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugin.json");
        let [deep, mine, other] = [
            Place::Factory("Deep".into()),
            Place::File("/k/mine".into()),
            Place::File("/k/other".into()),
        ];
        let mut settings = Settings::default();
        settings.set_favourite(&deep, true);
        settings.set_favourite(&mine, true);
        settings.set_favourite(&mine, true);
        settings.save_to(&path).unwrap();
        let mut settings = Settings::load_from(&path);
        assert_eq!(settings.favourites, [deep.clone(), mine.clone()]);
        settings.moved_kit(&mine, Some(&other));
        settings.moved_kit(&mine, Some(&mine));
        assert_eq!(settings.favourites, [deep.clone(), other.clone()]);
        settings.moved_kit(&other, None);
        settings.set_favourite(&deep, false);
        assert!(settings.favourites.is_empty());
    }

    #[test]
    fn who_waits_is_given_all_cores() {
        let cores = std::thread::available_parallelism().unwrap().get();
        {
            let (_one, _other) = (AllCores::begin(), AllCores::begin());
            assert_eq!(threads_in_use(), cores);
        }
        assert_eq!(WAITING.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_looks_forward_to_a_sound_is_given_two_threads() {
        let _haste = Haste::begin();
        let is_chosen = CHOSEN.load(Ordering::Relaxed);
        assert!(threads_in_use() >= cores().min(2) || is_chosen);
    }

    #[test]
    fn half_of_the_cores_unless_told_otherwise() {
        let cores = std::thread::available_parallelism().unwrap().get();
        assert_eq!(Settings::default().threads(), (cores / 2).max(1));
        for (wanted, used) in [(0, 1), (1, 1), (usize::MAX, cores)] {
            let settings = Settings {
                threads: Some(wanted),
                ..Settings::default()
            };
            assert_eq!(settings.threads(), used);
        }
    }
}
