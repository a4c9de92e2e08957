//! The keyboard focus.
//!
//! The framework takes the keyboard at every click, and hands on to the host the keys that nobody here wants, but not
//! on X11, where the window that has the keyboard gets all keys. There it is given back to the host's window around
//! ours, unless a number is being typed.

use nice_plug_egui::Frame;
use raw_window_handle::{HasWindowHandle, RawWindowHandle};
use x11rb::protocol::xproto::{ConnectionExt, InputFocus};
use x11rb::rust_connection::{ReplyError, RustConnection};

use crate::desktop::outermost;

/// The focus of one window, while it is open.
#[derive(Default)]
pub(super) struct Keyboard {
    /// None before it is first needed, and where there is no X server.
    server: Option<RustConnection>,
    wanted: bool,
}

impl Keyboard {
    /// After each frame: whether keys are `wanted` here, and whether a click has just ended.
    pub fn settle(&mut self, wanted: bool, clicked: bool, frame: &Frame) {
        let window = frame.baseview_window();
        let was = std::mem::replace(&mut self.wanted, wanted);
        let result = match (was, wanted) {
            (false, true) => window.focus().map_err(|error| error.to_string()),
            (_, false) if was || clicked => {
                let handle = window.window_handle().map(|handle| handle.as_raw());
                match handle {
                    Ok(RawWindowHandle::Xlib(handle)) => self.give_back(handle.window as u32),
                    Ok(RawWindowHandle::Xcb(handle)) => self.give_back(handle.window.get()),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        };
        if let Err(error) = result {
            nice_plug::nice_warn!("the keyboard: {error}");
        }
    }

    /// Gives the keyboard to the host's window around `window`. A window that stands by itself keeps it.
    fn give_back(&mut self, window: u32) -> Result<(), String> {
        if self.server.is_none() {
            let (server, _) = x11rb::connect(None).map_err(|error| error.to_string())?;
            self.server = Some(server);
        }
        let server = self.server.as_ref().expect("there is one by now");
        let give = || -> Result<(), ReplyError> {
            let host = outermost(server, window, |_| Ok(()))?;
            if host != window {
                let now = x11rb::CURRENT_TIME;
                server
                    .set_input_focus(InputFocus::PARENT, host, now)?
                    .check()?;
            }
            Ok(())
        };
        give().map_err(|error| error.to_string())
    }
}
