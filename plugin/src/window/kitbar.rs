//! The kit bar: which kit is on the pads, the one before and after it, and all of them in a list.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use audiodiff::{Error, Result};
use egui::{Button, Popup, PopupCloseBehavior, Rect, RichText, ScrollArea, TextEdit, Ui, Vec2};

use nice_plug_egui::RepaintNotifier;

use super::Window;
use super::files::{Picking, Purpose};
use super::icon::{Icon, below, icon_button};
use super::knob::Editing;
use super::look::{Look, NEAR, ROW, row};
use crate::kits::export::{Exported, Format, export};

use crate::kits::{Entry, KitInfo, Library, Place};
use crate::pad::PADS;

/// The width of the list of kits, and its height.
const LIST: Vec2 = Vec2::new(330.0, 320.0);

/// The kits that there are, and what is done with them.
#[derive(Debug)]
pub(super) struct Kits {
    library: Arc<Library>,
    /// What is looked for in the list, and whether among favourites alone.
    search: String,
    favourites: bool,
    /// The name of the kit that is to be saved.
    name: String,
    /// An export that is being written, on a thread of its own.
    exporting: Option<JoinHandle<Result<Exported>>>,
    /// The last search for kits, on a thread of its own.
    looking: Option<JoinHandle<()>>,
}

impl Kits {
    pub fn new() -> Self {
        Self {
            library: Library::new(),
            search: String::new(),
            favourites: false,
            name: String::new(),
            exporting: None,
            looking: None,
        }
    }

    /// Looks for kits, and has the window drawn where others are found.
    pub fn refresh(&mut self, repaint: RepaintNotifier) {
        let looking = self.library.refresh(move || repaint.request_repaint());
        let before = looking.and_then(|it| self.looking.replace(it));
        if let Some(before) = before {
            // It has looked; at most it still tells.
            let _ = before.join();
        }
    }

    /// What came of an export, once it is written.
    fn exported(&mut self) -> Option<Result<Exported>> {
        let export = self.exporting.take_if(|export| export.is_finished())?;
        let failed = |_| Err(Error::setting("the export failed"));
        Some(export.join().unwrap_or_else(failed))
    }
}

impl Drop for Kits {
    /// A host may unload the plugin and its code right after.
    fn drop(&mut self) {
        if let Some(export) = self.exporting.take() {
            // What it says, nobody reads any more.
            let _ = export.join();
        }
        if let Some(looking) = self.looking.take() {
            let _ = looking.join();
        }
    }
}

impl Window {
    /// The kit on the pads, and its neighbours.
    pub(super) fn kit_bar(&mut self, ui: &mut Ui, rect: Rect, edit: &Editing<'_>) {
        if let Some(exported) = self.kits.exported() {
            self.tell_exported(exported);
        }
        let project = self.project.clone();
        let kit = project.kit.as_ref();
        let place = kit.and_then(|kit| kit.place.clone());
        let changed = self.store.is_kit_changed(edit.params);
        row(ui, rect, "kit", |ui| {
            for (icon, by, tip) in [
                (Icon::Before, -1, "The kit before"),
                (Icon::After, 1, "The next kit"),
            ] {
                if icon_button(ui, icon, true, false, tip).clicked() {
                    let is_shown = |entry: &Entry| {
                        !self.kits.favourites || self.settings.favourites.contains(&entry.place)
                    };
                    let next = self.kits.library.neighbour(place.as_ref(), by, is_shown);
                    if let Some(entry) = next {
                        let opened = self.open_kit(&entry.place, edit);
                        self.say(opened);
                    }
                }
            }
            let name = kit.map_or("No kit", |kit| kit.name.as_str());
            let star = if changed { " *" } else { "" };
            let width = ui.available_width() - 2.0 * (ROW + NEAR);
            let text = RichText::new(format!("{name}{star}      ")).size(13.5);
            let button = Button::new(text).truncate().min_size(Vec2::new(width, ROW));
            let button = ui.add_sized(Vec2::new(width, ROW), button);
            below(ui, &button);
            if button.clicked() {
                self.kits.refresh(self.display.repaint().clone());
                self.kits.name = kit.map_or_else(String::new, |kit| kit.name.clone());
            }
            Popup::menu(&button)
                .close_behavior(PopupCloseBehavior::CloseOnClickOutside)
                .show(|ui| self.kit_list(ui, edit, place.as_ref()));
            let is_favourite = place
                .as_ref()
                .is_some_and(|it| self.settings.favourites.contains(it));
            let tip = if is_favourite {
                "No longer a favourite"
            } else {
                "A favourite"
            };
            if icon_button(ui, Icon::Star, place.is_some(), is_favourite, tip).clicked()
                && let Some(place) = &place
            {
                self.prefer(|settings| settings.set_favourite(place, !is_favourite));
            }
            let own = match &place {
                Some(Place::File(path)) => Some(path.clone()),
                _ => None,
            };
            let tip = match &own {
                Some(_) => "Saves this kit",
                None => "Saves these pads as a kit of yours",
            };
            if icon_button(ui, Icon::Save, true, false, tip).clicked() {
                let info = kit.cloned().unwrap_or_default();
                let name = if info.name.is_empty() {
                    "My kit".to_owned()
                } else {
                    info.name.clone()
                };
                self.save_kit(own.as_deref(), &name, edit);
            }
        });
    }

    fn kit_list(&mut self, ui: &mut Ui, edit: &Editing<'_>, place: Option<&Place>) {
        let look = Look::here(ui);
        ui.set_width(LIST.x);
        ui.horizontal(|ui| {
            let search = TextEdit::singleline(&mut self.kits.search)
                .hint_text("Search")
                .desired_width(190.0);
            ui.add(search);
            let favourites = ui.selectable_label(self.kits.favourites, "Favourites");
            if favourites.clicked() {
                self.kits.favourites = !self.kits.favourites;
            }
        });
        let entries = self.kits.library.entries();
        let mut chosen = None;
        ScrollArea::vertical()
            .max_height(LIST.y)
            .min_scrolled_height(LIST.y)
            .show(ui, |ui| {
                ui.set_width(LIST.x - 12.0);
                for entry in entries.iter() {
                    let is_favourite = self.settings.favourites.contains(&entry.place);
                    if !entry.matches(&self.kits.search) || self.kits.favourites && !is_favourite {
                        continue;
                    }
                    ui.horizontal(|ui| {
                        let is_chosen = place == Some(&entry.place);
                        if ui.selectable_label(is_chosen, &entry.name).clicked() {
                            chosen = Some(entry.place.clone());
                        }
                        let own = if entry.is_factory() { "" } else { "yours  " };
                        let tags = format!("{own}{}", entry.tags.join(", "));
                        ui.add(
                            egui::Label::new(RichText::new(tags).color(look.faint).size(10.5))
                                .truncate(),
                        );
                    });
                }
            });
        if let Some(place) = chosen {
            let opened = self.open_kit(&place, edit);
            self.say(opened);
        }
        ui.separator();
        ui.horizontal(|ui| {
            ui.add(
                TextEdit::singleline(&mut self.kits.name)
                    .hint_text("Name")
                    .desired_width(150.0),
            );
            let named = !self.kits.name.trim().is_empty();
            if ui.add_enabled(named, Button::new("Save as new")).clicked() {
                let name = self.kits.name.trim().to_owned();
                self.save_kit(None, &name, edit);
                ui.close();
            }
        });
        if let Some(own @ Place::File(_)) = place {
            ui.horizontal(|ui| {
                let named = !self.kits.name.trim().is_empty();
                if ui.add_enabled(named, Button::new("Rename")).clicked() {
                    let name = self.kits.name.trim().to_owned();
                    let renamed = self.kits.library.rename(own, &name).map(|to| {
                        self.store.renamed_kit(own, &to, &name);
                        self.prefer(|settings| settings.moved_kit(own, Some(&to)));
                    });
                    self.tell(renamed);
                }
                let delete = ui.button("Delete");
                if delete
                    .on_hover_text("Deletes the file; the sounds stay on the pads")
                    .clicked()
                {
                    let deleted = self.kits.library.delete(own);
                    self.tell(deleted);
                }
            });
        }
        ui.horizontal(|ui| {
            let idle = self.picking.is_none();
            if ui.add_enabled(idle, Button::new("Open a file…")).clicked() {
                self.picking = Some(Picking::begin(Purpose::Kit, ""));
                ui.close();
            }
            let free = idle && self.kits.exporting.is_none();
            ui.add_enabled_ui(free, |ui| {
                ui.menu_button("Export as", |ui| {
                    for format in Format::ALL {
                        if ui.button(format.name()).clicked() {
                            self.picking = Some(Picking::begin(Purpose::Kits(format), ""));
                            ui.close();
                        }
                    }
                });
            });
        });
    }

    /// Brings a kit onto the pads.
    pub(super) fn open_kit(&mut self, place: &Place, edit: &Editing<'_>) -> Result<String> {
        let kit = self.kits.library.open(place)?;
        let damaged = kit.damaged;
        let name = kit
            .kit
            .as_ref()
            .map_or_else(String::new, |kit| kit.name.clone());
        self.store
            .load_kit(kit, edit.params, |value| edit.set_value(value));
        self.status.open_model();
        match damaged {
            0 => Ok(format!("{name} is on the pads")),
            n => Err(Error::setting(format!(
                "{name}: {n} parts of the file are damaged and left out"
            ))),
        }
    }

    /// Saves the pads as a kit: into this file, or a new one of the user's.
    fn save_kit(&mut self, path: Option<&Path>, name: &str, edit: &Editing<'_>) {
        let path = path
            .map(Path::to_owned)
            .or_else(|| self.kits.library.place_for(name));
        let Some(path) = path else {
            let text = "this system has no folder for kits";
            self.news = Some((text.to_owned(), true));
            return;
        };
        let old = self.store.kit().unwrap_or_default();
        let info = KitInfo {
            name: name.to_owned(),
            author: old.author,
            tags: old.tags,
            ..KitInfo::default()
        };
        let saved = self.store.save_kit(&path, info, edit.params);
        self.say(saved.map(|()| format!("saved as {}", path.display())));
        self.kits.refresh(self.display.repaint().clone());
    }

    /// Writes the pads for another instrument, on a thread of its own.
    pub(super) fn export_kit(&mut self, format: Format, folder: PathBuf) -> Result<String> {
        let (project, params) = (self.store.project(), self.params.clone());
        let keys: [Option<u8>; PADS] = std::array::from_fn(|pad| Some(project.keymap.key(pad)));
        let (tempo, repaint) = (self.display.tempo(), self.display.repaint().clone());
        let write = move || {
            let exported = export(format, &project, &params, &keys, tempo, &folder);
            repaint.request_repaint();
            exported
        };
        let thread = std::thread::Builder::new().name("audiodiff-export".into());
        let thread = thread.spawn(write);
        let thread =
            thread.map_err(|error| Error::setting(format!("no thread to export on: {error}")))?;
        self.kits.exporting = Some(thread);
        Ok("writing the export".to_owned())
    }

    fn tell_exported(&mut self, exported: Result<Exported>) {
        let told = exported.map(|exported| {
            let mut news = format!("exported to {}", exported.path.display());
            for remark in &exported.remarks {
                news += &format!("; {remark}");
            }
            self.exported = exported.path.parent().map(Path::to_owned);
            news
        });
        self.say(told);
    }
}
