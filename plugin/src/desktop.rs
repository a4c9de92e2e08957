//! Files to and from the other programs of the desktop, on X11: dropped on the window, dragged out of it, and copied.
//!
//! The framework receives drops there and discards them, and begins no drags. So a thread of the window's own, with a
//! connection of its own, takes part in XDND (version 5) and serves the clipboard, beside the framework: a window that
//! is never shown stands for ours by `XdndProxy`. The thread sleeps until the server has something for it, and ends with
//! the [`Desktop`], or with the window before.
//!
//! Programs that look for the window to drop on go down from the root and stop at the first that knows XDND (Qt), or at
//! the one that the window manager cares for (GTK), which is the host's if there is one. So the host's window has the
//! proxy too while ours is open, and what is dragged elsewhere over it is passed on to the host.
//!
//! | Short name | Reference |
//! |---|---|
//! | XDND | Drag-and-Drop Protocol for the X Window System, freedesktop.org, version 5 |
//! | ICCCM | Inter-Client Communication Conventions Manual 2.0, X Consortium |

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TryRecvError, TrySendError};
use nice_plug::prelude::nice_warn;
use nice_plug_egui::RepaintNotifier;
use raw_window_handle::RawWindowHandle;
use x11rb::connection::Connection;
use x11rb::errors::{ConnectionError, ReplyError};
use x11rb::protocol::Event as ServerEvent;
use x11rb::protocol::xproto::{
    AtomEnum, ClientMessageEvent, ConnectionExt, CreateWindowAux, EventMask, PropMode, Window,
    WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

mod offer;
mod source;
mod target;
mod uris;

use offer::Offers;
use source::Source;
use target::Target;

/// The version of XDND that is spoken.
const VERSION: u32 = 5;

/// The time between two looks at the pointer while something is dragged, and at the clock while an answer is due.
const TICK: Duration = Duration::from_millis(10);

/// News that may wait for the window; it takes all at each frame.
const MOST_NEWS: usize = 256;

x11rb::atom_manager! {
    /// The names that the protocols speak of.
    Atoms:
    AtomsCookie {
        XdndAware,
        XdndProxy,
        XdndEnter,
        XdndPosition,
        XdndStatus,
        XdndLeave,
        XdndDrop,
        XdndFinished,
        XdndTypeList,
        XdndSelection,
        XdndActionCopy,
        UriList: b"text/uri-list",
        CopiedFiles: b"x-special/gnome-copied-files",
        PlainText: b"text/plain;charset=utf-8",
        UTF8_STRING,
        CLIPBOARD,
        TARGETS,
        TIMESTAMP,
        MULTIPLE,
        ATOM_PAIR,
        INCR,
        WM_STATE,
        Wake: b"AUDIODIFF_WAKE",
        Time: b"AUDIODIFF_TIME",
        Dropped: b"AUDIODIFF_DROPPED",
    }
}

/// What other programs do with files and the window. Places are in logical points from the window's upper left corner.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Something that may be files is dragged over this place, and can be dropped here.
    Over([f32; 2]),
    /// It is over the window no longer.
    Left,
    /// Files of this machine were dropped here.
    Dropped {
        /// At least one, each absolute. Whether they exist is not known.
        paths: Vec<PathBuf>,
        /// Where.
        at: [f32; 2],
    },
    /// What was dropped cannot be had; the sentence says why.
    Refused(String),
    /// The files that are [dragged](Desktop::drag) are over a place that takes them, or over none.
    Dragging {
        /// Whether it takes them.
        taken: bool,
    },
    /// They were dropped, and taken or not; or the drag was given up.
    Dragged {
        /// Whether they were taken.
        taken: bool,
    },
}

enum Command {
    Drag(Vec<u8>),
    CancelDrag,
    Copy(Vec<PathBuf>),
}

/// A window's traffic of files with the rest of the desktop.
pub struct Desktop {
    server: Arc<RustConnection>,
    wake: ClientMessageEvent,
    /// None once it is to end.
    commands: Option<Sender<Command>>,
    events: Receiver<Event>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Desktop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desktop").finish_non_exhaustive()
    }
}

impl Desktop {
    /// Opens it for a window that exists; `repaint` is notified at each [`Event`]. None where the window is not X11's.
    ///
    /// # Errors
    /// A sentence, when there is no connection to the X server, no such window, or no thread.
    pub fn open(
        handle: RawWindowHandle,
        repaint: &RepaintNotifier,
    ) -> Result<Option<Self>, String> {
        let window = match handle {
            RawWindowHandle::Xlib(handle) => handle.window as Window,
            RawWindowHandle::Xcb(handle) => handle.window.get(),
            _ => return Ok(None),
        };
        Self::on(None, window, repaint.clone())
            .map(Some)
            .map_err(|error| format!("files cannot be dropped or dragged: {error}"))
    }

    /// Of a window of the X server `display`; none for the one that the environment names.
    fn on(
        display: Option<&str>,
        window: Window,
        repaint: RepaintNotifier,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let (server, screen) = x11rb::connect(display)?;
        let server = Arc::new(server);
        let root = server.setup().roots[screen].root;
        let atoms = Atoms::new(&*server)?.reply()?;
        let proxy = server.generate_id()?;
        let aux = CreateWindowAux::new().event_mask(EventMask::PROPERTY_CHANGE);
        let kind = WindowClass::INPUT_ONLY;
        server.create_window(
            0,
            proxy,
            root,
            -1,
            -1,
            1,
            1,
            0,
            kind,
            x11rb::COPY_FROM_PARENT,
            &aux,
        )?;
        let wake = ClientMessageEvent::new(32, proxy, atoms.Wake, [0; 5]);
        let (commands, orders) = crossbeam::channel::unbounded();
        let (news, events) = crossbeam::channel::bounded(MOST_NEWS);
        let link = Link {
            server: server.clone(),
            root,
            atoms,
            own: window,
            proxy,
            news,
            repaint,
        };
        let target = Target::new(&link)?;
        let traffic = Traffic {
            link,
            orders,
            target,
            source: Source::default(),
            offers: Offers::default(),
            copied: None,
        };
        let thread = std::thread::Builder::new()
            .name("audiodiff desktop".into())
            .spawn(move || traffic.run())?;
        Ok(Self {
            server,
            wake,
            commands: Some(commands),
            events,
            thread: Some(thread),
        })
    }

    /// The next event, if there is one; of a window that shows so many pixels for each logical point.
    pub fn poll(&mut self, pixels_per_point: f32) -> Option<Event> {
        let scaled = |at: [f32; 2]| at.map(|x| x / pixels_per_point);
        self.events.try_recv().ok().map(|event| match event {
            Event::Over(at) => Event::Over(scaled(at)),
            Event::Dropped { paths, at } => Event::Dropped {
                paths,
                at: scaled(at),
            },
            other => other,
        })
    }

    /// Drags these files out of the window for as long as the left mouse button is held down, which it is. Wherever it
    /// is let go, they are dropped, unless over this window. The files must stay where they are: programs read them
    /// later, or refer to them for good.
    ///
    /// # Errors
    /// A sentence, when a path is not absolute, or they are too many for one message.
    pub fn drag(&mut self, paths: &[PathBuf]) -> Result<(), String> {
        self.send(Command::Drag(uris::list(paths)?));
        Ok(())
    }

    /// Gives up the drag, as with Escape.
    pub fn cancel_drag(&mut self) {
        self.send(Command::CancelDrag);
    }

    /// Puts these files on the clipboard, for file managers and whatever else takes files; as text, their paths. They
    /// are there until something else is, or the window closes.
    ///
    /// # Errors
    /// As of [`drag`](Self::drag).
    pub fn copy(&mut self, paths: &[PathBuf]) -> Result<(), String> {
        uris::list(paths)?;
        self.send(Command::Copy(paths.to_owned()));
        Ok(())
    }

    fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // It has ended only with the server.
            let _ = commands.send(command);
            self.wake();
        }
    }

    fn wake(&self) {
        let proxy = self.wake.window;
        let server = &self.server;
        let woken = server
            .send_event(false, proxy, EventMask::NO_EVENT, self.wake)
            .and_then(|_| server.flush());
        // A connection that is broken has woken it too.
        let _ = woken;
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        self.commands = None;
        self.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            nice_warn!("the thread for drag and drop has panicked");
        }
    }
}

/// What all parts of the thread need.
struct Link {
    server: Arc<RustConnection>,
    root: Window,
    atoms: Atoms,
    /// The window that the user sees.
    own: Window,
    /// The one that stands for it.
    proxy: Window,
    news: Sender<Event>,
    repaint: RepaintNotifier,
}

impl Link {
    fn tell(&self, event: Event) {
        if let Err(TrySendError::Full(event)) = self.news.try_send(event) {
            nice_warn!("the window does not listen: {event:?}");
        }
        self.repaint.request_repaint();
    }

    /// Sends `to` a message that concerns `window`.
    fn message(
        &self,
        to: Window,
        window: Window,
        kind: u32,
        data: [u32; 5],
    ) -> Result<(), ConnectionError> {
        let message = ClientMessageEvent::new(32, window, kind, data);
        self.server
            .send_event(false, to, EventMask::NO_EVENT, message)?;
        self.server.flush()
    }

    /// The numbers that a property holds, at most `most`; none where it is absent, of another type, or its window is
    /// gone.
    fn numbers(
        &self,
        window: Window,
        property: u32,
        kind: impl Into<u32>,
        most: u32,
    ) -> Result<Option<Vec<u32>>, ConnectionError> {
        let reply = self
            .server
            .get_property(false, window, property, kind, 0, most)?;
        Ok(answered(reply.reply())?.and_then(|reply| reply.value32().map(Iterator::collect)))
    }

    fn number(
        &self,
        window: Window,
        property: u32,
        kind: impl Into<u32>,
    ) -> Result<Option<u32>, ConnectionError> {
        let numbers = self.numbers(window, property, kind, 1)?;
        Ok(numbers.and_then(|numbers| numbers.first().copied()))
    }

    /// The window that stands for `window`. One that does not say so of itself is left over from a program that crashed
    /// (XDND).
    fn proxy_of(&self, window: Window) -> Result<Option<Window>, ConnectionError> {
        let name = self.atoms.XdndProxy;
        let Some(proxy) = self.number(window, name, AtomEnum::WINDOW)? else {
            return Ok(None);
        };
        let own = self.number(proxy, name, AtomEnum::WINDOW)?;
        Ok((own == Some(proxy)).then_some(proxy))
    }

    /// The version of XDND that a window speaks, if it does.
    fn version_of(&self, window: Window) -> Result<Option<u32>, ConnectionError> {
        self.number(window, self.atoms.XdndAware, AtomEnum::ATOM)
    }

    /// Asks for the server's time, which comes as an event.
    fn ask_time(&self) -> Result<(), ConnectionError> {
        let name = self.atoms.Time;
        self.server
            .change_property8(PropMode::APPEND, self.proxy, name, AtomEnum::STRING, &[])?;
        self.server.flush()
    }
}

/// A reply; none where the server refuses, mostly because a window is gone meanwhile.
fn answered<T>(reply: Result<T, ReplyError>) -> Result<Option<T>, ConnectionError> {
    match reply {
        Ok(reply) => Ok(Some(reply)),
        Err(ReplyError::X11Error(_)) => Ok(None),
        Err(ReplyError::ConnectionError(error)) => Err(error),
    }
}

/// The window around `window` that the window manager cares for. Calls `pass` with each window on the way.
pub(crate) fn outermost(
    server: &RustConnection,
    window: u32,
    pass: impl Fn(u32) -> Result<(), ReplyError>,
) -> Result<u32, ReplyError> {
    let managed = server.intern_atom(false, b"WM_STATE")?.reply()?.atom;
    let mut window = window;
    loop {
        pass(window)?;
        let state = server.get_property(false, window, managed, AtomEnum::ANY, 0, 0)?;
        let tree = server.query_tree(window)?;
        let (state, tree) = (state.reply()?, tree.reply()?);
        if state.type_ != x11rb::NONE || tree.parent == tree.root {
            return Ok(window);
        }
        window = tree.parent;
    }
}

/// The thread's own.
struct Traffic {
    link: Link,
    orders: Receiver<Command>,
    target: Target,
    source: Source,
    offers: Offers,
    /// Files that are to be on the clipboard as soon as the server has told the time.
    copied: Option<Vec<PathBuf>>,
}

impl Traffic {
    fn run(mut self) {
        if let Err(error) = self.serve() {
            nice_warn!("no more drag and drop: {error}");
            return;
        }
        // The server takes back the rest with the connection.
        if let Err(error) = self.target.close(&self.link) {
            nice_warn!("drag and drop: {error}");
        }
    }

    /// Until the window's end.
    fn serve(&mut self) -> Result<(), ConnectionError> {
        loop {
            match self.orders.try_recv() {
                Ok(order) => {
                    self.obey(order)?;
                    continue;
                }
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
            if !self.source.is_busy() && !self.target.is_busy() {
                let event = self.link.server.wait_for_event()?;
                if self.is_end(&event) {
                    return Ok(());
                }
                self.handle(event)?;
                continue;
            }
            match self.link.server.poll_for_event()? {
                Some(event) if self.is_end(&event) => return Ok(()),
                Some(event) => self.handle(event)?,
                None => {
                    self.target.tick(&self.link)?;
                    self.source.tick(&self.link, &self.target)?;
                    std::thread::sleep(TICK);
                }
            }
        }
    }

    /// Whether the window is gone. Nobody else may say so.
    fn is_end(&self, event: &ServerEvent) -> bool {
        matches!(event, ServerEvent::DestroyNotify(it) if it.window == self.link.own)
    }

    fn obey(&mut self, order: Command) -> Result<(), ConnectionError> {
        match order {
            Command::Drag(list) => self.source.begin(&self.link, list),
            Command::CancelDrag => self.source.cancel(&self.link),
            Command::Copy(paths) => {
                self.copied = Some(paths);
                self.link.ask_time()
            }
        }
    }

    fn handle(&mut self, event: ServerEvent) -> Result<(), ConnectionError> {
        let Self {
            link,
            target,
            source,
            offers,
            ..
        } = self;
        match event {
            ServerEvent::ClientMessage(message) if message.format == 32 => {
                let data = message.data.as_data32();
                let is_mine = source.answered(link, message.type_, data)?;
                if !is_mine {
                    target.message(link, &message)?;
                }
            }
            ServerEvent::SelectionNotify(event) => target.fetched(link, &event)?,
            ServerEvent::SelectionRequest(request) => offers.serve(link, &request)?,
            ServerEvent::SelectionClear(event) => offers.lost(link, event.selection),
            ServerEvent::PropertyNotify(event)
                if event.window == link.proxy && event.atom == link.atoms.Time =>
            {
                if let Some(list) = source.timed(event.time) {
                    offers.drag(link, list, event.time)?;
                }
                if let Some(paths) = self.copied.take() {
                    offers.copy(link, &paths, event.time)?;
                }
            }
            ServerEvent::ReparentNotify(_) | ServerEvent::MapNotify(_) => target.settle(link)?,
            // Errors among them: a window that a message went to is gone.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
