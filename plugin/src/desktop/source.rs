//! Drags out: our side of XDND where we drag.
//!
//! The pointer belongs to the window in which the button went down, so nobody else hears of its motion; the server is
//! asked for it instead.

use std::time::{Duration, Instant};

use x11rb::errors::ConnectionError;
use x11rb::protocol::xproto::{ConnectionExt, KeyButMask, Timestamp, Window};

use super::target::Target;
use super::{Event, Link, VERSION, answered};

/// How long a window may take to say whether it takes what was let go over it.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);
/// How long it may take to fetch it.
const FINISH_PATIENCE: Duration = Duration::from_secs(20);
/// How deep windows are nested, at most.
const DEEPEST: usize = 64;

/// The window that the files are over.
#[derive(PartialEq, Clone, Copy)]
struct Aim {
    window: Window,
    /// Where its messages go.
    to: Window,
    version: u32,
}

struct Over {
    aim: Aim,
    taken: bool,
    /// Whether it has yet to answer the last position.
    waits: bool,
    told: (i16, i16),
}

enum Stage {
    /// The server is yet to tell the time.
    Waiting(Vec<u8>),
    Held,
    /// Let go, over something that is yet to answer.
    Released(Instant),
    /// Dropped on this window.
    Dropped(Aim, Instant),
}

struct Drag {
    stage: Stage,
    /// The server's, when it was last told.
    now: Timestamp,
    pointer: Option<(i16, i16)>,
    over: Option<Over>,
}

/// What is dragged out of our window.
#[derive(Default)]
pub(super) struct Source(Option<Drag>);

impl Source {
    /// Begins to drag a list of files. A drag before is given up.
    pub fn begin(&mut self, link: &Link, list: Vec<u8>) -> Result<(), ConnectionError> {
        self.cancel(link)?;
        self.0 = Some(Drag {
            stage: Stage::Waiting(list),
            now: x11rb::CURRENT_TIME,
            pointer: None,
            over: None,
        });
        link.ask_time()
    }

    /// Gives the drag up.
    pub fn cancel(&mut self, link: &Link) -> Result<(), ConnectionError> {
        match self.0.take() {
            Some(mut drag) => {
                drag.leave(link)?;
                link.tell(Event::Dragged { taken: false });
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether there is a drag, whose [`tick`](Self::tick) is due.
    pub fn is_busy(&self) -> bool {
        self.0.is_some()
    }

    /// The server tells the time; returns the list that is to be offered from now on.
    pub fn timed(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        let drag = self.0.as_mut()?;
        drag.now = now;
        match std::mem::replace(&mut drag.stage, Stage::Held) {
            Stage::Waiting(list) => Some(list),
            stage => {
                drag.stage = stage;
                None
            }
        }
    }

    /// Looks where the pointer is and whether the button is down.
    pub fn tick(&mut self, link: &Link, target: &Target) -> Result<(), ConnectionError> {
        let Some(drag) = &mut self.0 else {
            return Ok(());
        };
        let taken = match drag.stage {
            Stage::Waiting(_) => None,
            Stage::Held => drag.follow(link, target)?,
            Stage::Released(since) => drag.let_go(link, since)?,
            Stage::Dropped(_, since) => (since.elapsed() > FINISH_PATIENCE).then_some(false),
        };
        self.end(link, taken);
        Ok(())
    }

    /// Takes an answer, if this is one to us.
    pub fn answered(
        &mut self,
        link: &Link,
        kind: u32,
        data: [u32; 5],
    ) -> Result<bool, ConnectionError> {
        let Some(drag) = &mut self.0 else {
            return Ok(false);
        };
        if kind == link.atoms.XdndStatus {
            let over = drag.over.as_mut();
            let Some(over) = over.filter(|over| over.aim.window == data[0]) else {
                return Ok(false);
            };
            over.waits = false;
            let taken = data[1] & 1 != 0;
            if taken != over.taken {
                over.taken = taken;
                link.tell(Event::Dragging { taken });
            }
            return Ok(true);
        }
        if kind == link.atoms.XdndFinished
            && let Stage::Dropped(aim, _) = drag.stage
            && aim.window == data[0]
        {
            // Before version 5 it does not say.
            let taken = aim.version < 5 || data[1] & 1 != 0;
            self.end(link, Some(taken));
            return Ok(true);
        }
        Ok(false)
    }

    fn end(&mut self, link: &Link, taken: Option<bool>) {
        if let Some(taken) = taken {
            self.0 = None;
            link.tell(Event::Dragged { taken });
        }
    }
}

impl Drag {
    fn follow(&mut self, link: &Link, target: &Target) -> Result<Option<bool>, ConnectionError> {
        let reply = link.server.query_pointer(link.root)?;
        let Some(pointer) = answered(reply.reply())? else {
            return Ok(None);
        };
        // Of another screen.
        if !pointer.same_screen {
            self.leave(link)?;
            return Ok(None);
        }
        let place = (pointer.root_x, pointer.root_y);
        let is_held = pointer.mask.contains(KeyButMask::BUTTON1);
        if self.pointer.is_none() && !is_held {
            // Nobody has seen where it was let go.
            return Ok(Some(false));
        }
        if self.pointer != Some(place) {
            self.pointer = Some(place);
            link.ask_time()?;
            let aim = aim(link, target, place)?;
            if self.over.as_ref().map(|over| over.aim) != aim {
                self.leave(link)?;
                if let Some(aim) = aim {
                    self.enter(link, aim)?;
                }
            }
        }
        self.tell_place(link)?;
        if is_held {
            return Ok(None);
        }
        self.stage = Stage::Released(Instant::now());
        Ok(self.over.is_none().then_some(false))
    }

    /// Tells the window under the pointer where that is, unless it knows, or has yet to answer.
    fn tell_place(&mut self, link: &Link) -> Result<(), ConnectionError> {
        let (Some(over), Some((x, y))) = (&mut self.over, self.pointer) else {
            return Ok(());
        };
        if over.waits || over.told == (x, y) {
            return Ok(());
        }
        over.waits = true;
        over.told = (x, y);
        let place = u32::from(x as u16) << 16 | u32::from(y as u16);
        let data = [link.proxy, 0, place, self.now, link.atoms.XdndActionCopy];
        link.message(over.aim.to, over.aim.window, link.atoms.XdndPosition, data)
    }

    /// Drops once the window has said that it takes it there.
    fn let_go(&mut self, link: &Link, since: Instant) -> Result<Option<bool>, ConnectionError> {
        self.tell_place(link)?;
        let Some(over) = &self.over else {
            return Ok(Some(false));
        };
        if over.waits && since.elapsed() < STATUS_PATIENCE {
            return Ok(None);
        }
        let aim = over.aim;
        if over.waits || !over.taken {
            self.leave(link)?;
            return Ok(Some(false));
        }
        self.over = None;
        self.stage = Stage::Dropped(aim, Instant::now());
        let data = [link.proxy, 0, self.now, 0, 0];
        link.message(aim.to, aim.window, link.atoms.XdndDrop, data)?;
        Ok(None)
    }

    fn enter(&mut self, link: &Link, aim: Aim) -> Result<(), ConnectionError> {
        let form = link.atoms.UriList;
        let data = [
            link.proxy,
            aim.version << 24,
            form,
            x11rb::NONE,
            x11rb::NONE,
        ];
        link.message(aim.to, aim.window, link.atoms.XdndEnter, data)?;
        self.over = Some(Over {
            aim,
            taken: false,
            waits: false,
            told: (i16::MIN, i16::MIN),
        });
        Ok(())
    }

    fn leave(&mut self, link: &Link) -> Result<(), ConnectionError> {
        let Some(over) = self.over.take() else {
            return Ok(());
        };
        if over.taken {
            link.tell(Event::Dragging { taken: false });
        }
        let data = [link.proxy, 0, 0, 0, 0];
        link.message(over.aim.to, over.aim.window, link.atoms.XdndLeave, data)
    }
}

/// The window under the pointer that knows XDND: the first from the root down; none over our own, which takes its own
/// drags by itself.
fn aim(link: &Link, target: &Target, (x, y): (i16, i16)) -> Result<Option<Aim>, ConnectionError> {
    let mut found = None;
    let mut window = link.root;
    for _ in 0..DEEPEST {
        let reply = link.server.translate_coordinates(link.root, window, x, y)?;
        let Some(reply) = answered(reply.reply())? else {
            return Ok(None);
        };
        window = reply.child;
        if window == link.own {
            return Ok(None);
        }
        if window == x11rb::NONE {
            break;
        }
        if found.is_none() {
            found = known(link, target, window)?;
        }
    }
    match found {
        Some(found) => Ok(Some(found)),
        // File managers that draw on the root have a proxy there.
        None => match link.proxy_of(link.root)? {
            Some(to) => known_by(link, link.root, to),
            None => Ok(None),
        },
    }
}

fn known(link: &Link, target: &Target, window: Window) -> Result<Option<Aim>, ConnectionError> {
    let to = match link.proxy_of(window)? {
        // The host's window, for which we stand.
        Some(proxy) if proxy == link.proxy => target.behind(link, window)?,
        Some(proxy) => Some(proxy),
        None => Some(window),
    };
    match to {
        Some(to) => known_by(link, window, to),
        None => Ok(None),
    }
}

fn known_by(link: &Link, window: Window, to: Window) -> Result<Option<Aim>, ConnectionError> {
    let version = link.version_of(to)?;
    // Earlier ones had another form.
    Ok(version.filter(|&version| version >= 3).map(|version| Aim {
        window,
        to,
        version: version.min(VERSION),
    }))
}
