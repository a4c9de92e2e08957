//! The instrument as a program of its own: it remembers its project, and the devices that it plays on.
//!
//! nice-plug has a wrapper that opens one audio device, one MIDI input and the window, once. `run` decides which
//! devices, begins it, and begins it again where others are chosen: the window closes and opens with its project. What
//! the window needs of all that is a [`Standalone`].

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use audiodiff::{Error, Result};
use nice_plug::context::gui::GuiContext;
use nice_plug::prelude::PluginApi;
use nice_plug_egui::Frame;

use crate::display::Display;

mod devices;
mod keeper;
#[cfg(feature = "standalone")]
mod program;
mod project_file;

pub use devices::{Available, Backend, Choice, Midi, Output, Plan, plans};
#[cfg(feature = "standalone")]
pub use program::run;
pub use project_file::{Opened, ProjectFile};

use keeper::Keeper;

/// What this process runs, if it is a program of its own.
static PROCESS: Mutex<Option<Process>> = Mutex::new(None);

#[derive(Debug)]
struct Process {
    project: Arc<ProjectFile>,
    available: Available,
    plan: Plan,
    /// Sentences for the user that nobody has shown yet.
    news: Vec<String>,
    /// Whether the window has opened.
    opened: bool,
    /// Whether it is to close.
    closes: bool,
    /// Present while there is a window.
    keeper: Option<Keeper>,
    /// Whether to begin anew once it has closed.
    again: bool,
}

fn process() -> MutexGuard<'static, Option<Process>> {
    // Every field is replaced whole.
    PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The instrument is deactivated, as at the end of the program: saves the project. Nothing in a host.
pub(crate) fn end() {
    let keeper = process().as_mut().and_then(|it| it.keeper.take());
    drop(keeper);
}

/// A window could not be opened, for this reason: ends the program. The framework would wait unseen.
pub(crate) fn end_without_window(cause: &dyn std::error::Error) -> ! {
    eprintln!("{}", without_window(&cause.to_string()));
    // Nothing is lost: it is the window that opens the project.
    std::process::exit(1);
}

fn without_window(cause: &str) -> String {
    let mut sentence = format!("the window cannot be opened: {cause}");
    if cfg!(target_os = "linux") {
        let screen = match std::env::var("DISPLAY") {
            Ok(name) if !name.is_empty() => format!("DISPLAY is {name}"),
            _ => "DISPLAY is not set".to_owned(),
        };
        sentence += &format!(
            "; expected an X11 screen, where {screen}, and the libraries libX11, libX11-xcb and libEGL or libGL"
        );
    }
    sentence
}

/// The program around a window, where that is not in a host.
#[derive(Debug)]
pub struct Standalone {
    project: Arc<ProjectFile>,
    plan: Plan,
    news: Vec<String>,
    closes: bool,
}

impl Standalone {
    /// At the opening of a window; none in a host. Opens the project that was there last, or that the user has named.
    pub fn begin(host: &GuiContext, display: &Arc<Display>) -> Option<Self> {
        if host.plugin_api() != PluginApi::Standalone {
            return None;
        }
        let mut process = process();
        let process = process.as_mut()?;
        process.opened = true;
        let (get, set) = (host.clone(), host.clone());
        let keeper = Keeper::start(
            process.project.clone(),
            display.clone(),
            Box::new(move || get.get_state()),
            Box::new(move |state| set.set_state(state)),
        );
        let mut news = std::mem::take(&mut process.news);
        process.keeper = keeper.map_err(|error| news.push(error.to_string())).ok();
        Some(Self {
            project: process.project.clone(),
            plan: process.plan.clone(),
            news,
            closes: false,
        })
    }

    /// To be called at each frame.
    pub fn poll(&mut self, frame: &Frame) {
        let is_told_to_end = match process().as_ref().and_then(|it| it.keeper.as_ref()) {
            Some(keeper) => {
                self.news.extend(keeper.take_news());
                keeper.is_told_to_end()
            }
            None => false,
        };
        if is_told_to_end {
            self.close(frame);
        }
    }

    fn close(&mut self, frame: &Frame) {
        if !std::mem::replace(&mut self.closes, true) {
            frame.baseview_window().request_close();
            if let Some(process) = process().as_mut() {
                process.closes = true;
            }
            #[cfg(feature = "standalone")]
            program::expect_end();
        }
    }

    /// What the user has not been shown: a device that is gone, another project than the last one, a project that
    /// cannot be opened or saved. All of it in one sentence, since there is one line for it.
    pub fn take_news(&mut self) -> Option<String> {
        let news = std::mem::take(&mut self.news);
        (!news.is_empty()).then(|| news.join("; "))
    }

    /// The file of the project.
    #[must_use]
    pub fn project(&self) -> &Path {
        self.project.path()
    }

    /// Saves the project now. It is saved every few seconds and at the end in any case, where it has changed.
    ///
    /// # Errors
    /// When it cannot be written, or was never opened.
    pub fn save(&self) -> Result<()> {
        match process().as_ref().and_then(|it| it.keeper.as_ref()) {
            Some(keeper) => keeper.save(),
            None => Err(Error::setting("there is no thread to save the project")),
        }
    }

    /// What is played on now.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What there is to choose from. Takes up to a second: the system asks every device.
    #[must_use]
    pub fn available(&self) -> Available {
        let now = Available::now();
        let mut process = process();
        match process.as_mut() {
            Some(process) => {
                process.available = now.with_busy(&process.available);
                process.available.clone()
            }
            None => now,
        }
    }

    /// What the user has chosen.
    #[must_use]
    pub fn choice(&self) -> Choice {
        Choice::load()
    }

    /// Plays on other devices: keeps the choice, saves the project, closes the window and opens it again. Until then
    /// nothing is heard.
    ///
    /// # Errors
    /// When the choice or the project cannot be saved; then everything stays as it is.
    pub fn choose(&mut self, choice: &Choice, frame: &Frame) -> Result<()> {
        self.save()?;
        choice.save()?;
        if let Some(process) = process().as_mut() {
            process.again = true;
        }
        self.close(frame);
        Ok(())
    }
}

/// The file that the project is in unless the user names another; none where the system has no folder for it.
#[must_use]
pub fn default_project() -> Option<PathBuf> {
    Some(dirs::data_dir()?.join("audiodiff").join("standalone.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_and_the_choice_of_devices_are_two_files_in_one_folder_too() {
        let (Some(project), Some(choice)) = (default_project(), Choice::path()) else {
            return;
        };
        assert_ne!(project.file_name(), choice.file_name());
    }

    #[test]
    fn all_news_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let project = ProjectFile::take(&folder.path().join("my.json")).unwrap();
        let mut standalone = Standalone {
            project: Arc::new(project),
            plan: Plan::by_hand(),
            news: vec!["one thing".into(), "another".into()],
            closes: false,
        };
        assert_eq!(
            standalone.take_news().as_deref(),
            Some("one thing; another")
        );
        assert_eq!(standalone.take_news(), None);
    }
}
