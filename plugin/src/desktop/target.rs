//! Drops in: our side of XDND where other programs drag.
//!
//! Messages for the window come to its proxy, and so do those for the host's window around it. What happens there
//! beside our window is passed on: the host sees our proxy as the source, its answers go to the true one.

use std::time::{Duration, Instant};

use x11rb::connection::Connection;
use x11rb::errors::ConnectionError;
use x11rb::protocol::xproto::{
    AtomEnum, ChangeWindowAttributesAux, ClientMessageEvent, ConnectionExt, EventMask, PropMode,
    SelectionNotifyEvent, Window,
};
use x11rb::wrapper::ConnectionExt as _;

use super::{Event, Link, VERSION, answered, outermost, uris};

/// How long a source may take to hand over what was dropped.
const PATIENCE: Duration = Duration::from_secs(5);

/// Forms in which a source offers what it drags, at most.
const MOST_FORMS: u32 = 256;

/// Bytes of a list of files; a longer one is refused.
const MOST_BYTES: u32 = 1 << 20;

/// The host's window around ours.
struct Host {
    window: Window,
    /// The proxy that it had before.
    before: Option<Window>,
}

/// A drag over one of our windows.
struct Visit {
    source: Window,
    /// The window that the source speaks to. Some name the proxy instead.
    addressed: Window,
    /// Whether it may be files.
    fits: bool,
    /// The message that it began with, for the host.
    enter: [u32; 5],
    /// The last place over our own window, pixels; none beside it.
    at: Option<[f32; 2]>,
    /// Where the host's messages go, while it is over the host.
    relay: Option<Window>,
    /// Until when the source may answer, once something was dropped on us.
    dropped: Option<Instant>,
    /// Whether it was dropped on the host, which is to say that it has finished.
    finishes: bool,
}

/// What is dragged over our windows.
#[derive(Default)]
pub(super) struct Target {
    host: Option<Host>,
    visit: Option<Visit>,
}

impl Target {
    /// Makes the window and its host's known as targets.
    pub fn new(link: &Link) -> Result<Self, Box<dyn std::error::Error>> {
        let (server, atoms) = (&link.server, &link.atoms);
        let proxy = [link.proxy];
        let kind = AtomEnum::WINDOW;
        server.change_property32(
            PropMode::REPLACE,
            link.proxy,
            atoms.XdndAware,
            AtomEnum::ATOM,
            &[VERSION],
        )?;
        server.change_property32(PropMode::REPLACE, link.proxy, atoms.XdndProxy, kind, &proxy)?;
        server
            .change_property32(PropMode::REPLACE, link.own, atoms.XdndProxy, kind, &proxy)?
            .check()?;
        let mut target = Self::default();
        target.settle(link)?;
        Ok(target)
    }

    /// Finds the host's window again, which may be another once our window was moved into it or shown.
    pub fn settle(&mut self, link: &Link) -> Result<(), ConnectionError> {
        let Some(window) = answered(outermost(&link.server, link.own, |window| {
            let mask = EventMask::STRUCTURE_NOTIFY;
            let aux = ChangeWindowAttributesAux::new().event_mask(mask);
            link.server.change_window_attributes(window, &aux)?;
            Ok(())
        }))?
        else {
            return Ok(());
        };
        if self.host.as_ref().map(|host| host.window) == Some(window) {
            return Ok(());
        }
        self.close(link)?;
        if window != link.own {
            let before = link.proxy_of(window)?;
            let name = link.atoms.XdndProxy;
            let kind = AtomEnum::WINDOW;
            let reply = link.server.change_property32(
                PropMode::REPLACE,
                window,
                name,
                kind,
                &[link.proxy],
            )?;
            answered(reply.check())?;
            self.host = Some(Host { window, before });
        }
        Ok(())
    }

    /// Leaves the host's window as it was.
    pub fn close(&mut self, link: &Link) -> Result<(), ConnectionError> {
        let Some(host) = self.host.take() else {
            return Ok(());
        };
        let name = link.atoms.XdndProxy;
        let kind = AtomEnum::WINDOW;
        // Another of our windows may have come after this one; then it stays.
        if link.number(host.window, name, kind)? == Some(link.proxy) {
            let reply = match host.before {
                Some(before) => link.server.change_property32(
                    PropMode::REPLACE,
                    host.window,
                    name,
                    kind,
                    &[before],
                )?,
                None => link.server.delete_property(host.window, name)?,
            };
            answered(reply.check())?;
        }
        Ok(())
    }

    /// The window that answers for the host's, if this is the host's; it may be that one itself.
    pub fn behind(&self, link: &Link, window: Window) -> Result<Option<Window>, ConnectionError> {
        let Some(host) = self.host.as_ref().filter(|host| host.window == window) else {
            return Ok(None);
        };
        let before = match host.before {
            // It may have gone meanwhile.
            Some(before)
                if link.number(before, link.atoms.XdndProxy, AtomEnum::WINDOW)? == Some(before) =>
            {
                before
            }
            _ => window,
        };
        Ok(link.version_of(before)?.is_some().then_some(before))
    }

    /// Whether an answer is due.
    pub fn is_busy(&self) -> bool {
        self.visit
            .as_ref()
            .is_some_and(|visit| visit.dropped.is_some())
    }

    /// Gives a source up that does not answer.
    pub fn tick(&mut self, link: &Link) -> Result<(), ConnectionError> {
        let is_late = |visit: &Visit| visit.dropped.is_some_and(|until| until < Instant::now());
        match self.visit.take_if(|visit| is_late(visit)) {
            Some(visit) => {
                let seconds = PATIENCE.as_secs();
                visit.refuse(
                    link,
                    format!("what was dropped did not come within {seconds} s"),
                )
            }
            None => Ok(()),
        }
    }

    /// Takes a message that came to the proxy.
    pub fn message(
        &mut self,
        link: &Link,
        message: &ClientMessageEvent,
    ) -> Result<(), ConnectionError> {
        let data = message.data.as_data32();
        let atoms = &link.atoms;
        let kind = message.type_;
        if kind == atoms.XdndEnter {
            self.enter(link, message.window, data)
        } else if kind == atoms.XdndPosition {
            self.position(link, message.window, data)
        } else if kind == atoms.XdndLeave {
            match self.visit.take_if(|visit| visit.source == data[0]) {
                Some(mut visit) => {
                    self.forget_host(link, &mut visit)?;
                    visit.leave(link);
                    Ok(())
                }
                None => Ok(()),
            }
        } else if kind == atoms.XdndDrop {
            self.dropped(link, message.window, data)
        } else if kind == atoms.XdndStatus || kind == atoms.XdndFinished {
            self.host_answers(link, kind, data)
        } else {
            Ok(())
        }
    }

    fn enter(
        &mut self,
        link: &Link,
        addressed: Window,
        data: [u32; 5],
    ) -> Result<(), ConnectionError> {
        if let Some(mut before) = self.visit.take() {
            self.forget_host(link, &mut before)?;
            before.leave(link);
        }
        let source = data[0];
        let has_list = data[1] & 1 != 0;
        let kind = AtomEnum::ATOM;
        let list = match has_list {
            true => link.numbers(source, link.atoms.XdndTypeList, kind, MOST_FORMS)?,
            false => None,
        };
        let forms = list.unwrap_or_else(|| data[2..].to_vec());
        if has_list {
            // The host looks for it at the window that it takes for the source.
            let name = link.atoms.XdndTypeList;
            link.server
                .change_property32(PropMode::REPLACE, link.proxy, name, kind, &forms)?;
        }
        self.visit = Some(Visit {
            source,
            addressed,
            fits: source != link.proxy && forms.contains(&link.atoms.UriList),
            enter: data,
            at: None,
            relay: None,
            dropped: None,
            finishes: false,
        });
        Ok(())
    }

    fn position(
        &mut self,
        link: &Link,
        addressed: Window,
        data: [u32; 5],
    ) -> Result<(), ConnectionError> {
        let host = self.host.as_ref().map(|host| host.window);
        let Some(visit) = self.visit.as_mut().filter(|visit| visit.source == data[0]) else {
            return status(link, data[0], addressed, false);
        };
        if visit.dropped.is_some() || visit.finishes {
            return Ok(());
        }
        visit.addressed = addressed;
        let (x, y) = ((data[2] >> 16) as i16, data[2] as i16);
        let translated = link
            .server
            .translate_coordinates(link.root, link.own, x, y)?;
        let size = link.server.get_geometry(link.own)?;
        let (Some(at), Some(size)) = (answered(translated.reply())?, answered(size.reply())?)
        else {
            return status(link, visit.source, addressed, false);
        };
        let is_inside = at.dst_x >= 0
            && at.dst_y >= 0
            && (at.dst_x as u16) < size.width
            && (at.dst_y as u16) < size.height;
        if is_inside || host.is_none() {
            let fits = visit.fits;
            if fits {
                let place = [f32::from(at.dst_x), f32::from(at.dst_y)];
                if visit.at.replace(place) != Some(place) {
                    link.tell(Event::Over(place));
                }
            }
            status(link, visit.source, addressed, fits)?;
            let mut visit = self.visit.take().expect("it was there");
            self.forget_host(link, &mut visit)?;
            self.visit = Some(visit);
            return Ok(());
        }
        visit.leave(link);
        let host = host.expect("or it would be inside");
        match (visit.relay, self.behind(link, host)?) {
            (_, None) => status(link, data[0], addressed, false),
            (before, Some(relay)) => {
                let visit = self.visit.as_mut().expect("it was there");
                if before != Some(relay) {
                    visit.relay = Some(relay);
                    let enter = passed(link, visit.enter);
                    link.message(relay, host, link.atoms.XdndEnter, enter)?;
                }
                link.message(relay, host, link.atoms.XdndPosition, passed(link, data))
            }
        }
    }

    fn dropped(
        &mut self,
        link: &Link,
        addressed: Window,
        data: [u32; 5],
    ) -> Result<(), ConnectionError> {
        let host = self.host.as_ref().map(|host| host.window);
        let Some(visit) = self.visit.as_mut().filter(|visit| visit.source == data[0]) else {
            return finished(link, data[0], addressed, false);
        };
        if visit.dropped.is_some() || visit.finishes {
            return Ok(());
        }
        if let (Some(relay), Some(host)) = (visit.relay, host) {
            visit.finishes = true;
            return link.message(relay, host, link.atoms.XdndDrop, passed(link, data));
        }
        if !visit.fits || visit.at.is_none() {
            let mut visit = self.visit.take().expect("it was there");
            visit.leave(link);
            return finished(link, visit.source, visit.addressed, false);
        }
        visit.dropped = Some(Instant::now() + PATIENCE);
        let atoms = &link.atoms;
        link.server.convert_selection(
            link.proxy,
            atoms.XdndSelection,
            atoms.UriList,
            atoms.Dropped,
            data[2],
        )?;
        link.server.flush()
    }

    /// The source has handed over what was dropped, or has not.
    pub fn fetched(
        &mut self,
        link: &Link,
        event: &SelectionNotifyEvent,
    ) -> Result<(), ConnectionError> {
        let is_it = event.requestor == link.proxy && event.selection == link.atoms.XdndSelection;
        let Some(mut visit) = self.visit.take_if(|visit| is_it && visit.dropped.is_some()) else {
            return Ok(());
        };
        if event.property == x11rb::NONE {
            return visit.refuse(
                link,
                "the program does not hand over what was dropped".to_owned(),
            );
        }
        let reply = link.server.get_property(
            true,
            link.proxy,
            event.property,
            AtomEnum::ANY,
            0,
            MOST_BYTES / 4,
        )?;
        let Some(list) = answered(reply.reply())? else {
            return visit.refuse(link, "what was dropped has gone".to_owned());
        };
        if list.type_ == link.atoms.INCR || list.bytes_after > 0 {
            let sentence = format!("more files were dropped than {MOST_BYTES} bytes can name");
            return visit.refuse(link, sentence);
        }
        let paths = uris::files(&list.value, &uris::machine());
        if list.format != 8 || paths.is_empty() {
            let sentence = "what was dropped is no file on this machine";
            return visit.refuse(link, sentence.to_owned());
        }
        if let Some(at) = visit.at.take() {
            link.tell(Event::Dropped { paths, at });
        }
        finished(link, visit.source, visit.addressed, true)
    }

    /// The host answers what was passed on to it.
    fn host_answers(
        &mut self,
        link: &Link,
        kind: u32,
        mut data: [u32; 5],
    ) -> Result<(), ConnectionError> {
        let Some(visit) = &self.visit else {
            return Ok(());
        };
        let is_finished = kind == link.atoms.XdndFinished;
        if visit.relay.is_none() || is_finished != visit.finishes {
            return Ok(());
        }
        data[0] = visit.addressed;
        link.message(visit.source, visit.source, kind, data)?;
        if is_finished {
            self.visit = None;
        }
        Ok(())
    }

    /// Tells the host that a drag is not over it any more.
    fn forget_host(&self, link: &Link, visit: &mut Visit) -> Result<(), ConnectionError> {
        if let (Some(relay), Some(host)) = (visit.relay.take(), &self.host) {
            let data = [link.proxy, 0, 0, 0, 0];
            link.message(relay, host.window, link.atoms.XdndLeave, data)?;
        }
        Ok(())
    }
}

impl Visit {
    fn leave(&mut self, link: &Link) {
        if self.at.take().is_some() {
            link.tell(Event::Left);
        }
    }

    fn refuse(mut self, link: &Link, sentence: String) -> Result<(), ConnectionError> {
        self.leave(link);
        link.tell(Event::Refused(sentence));
        finished(link, self.source, self.addressed, false)
    }
}

/// A message of the source's as the host gets it.
fn passed(link: &Link, mut data: [u32; 5]) -> [u32; 5] {
    data[0] = link.proxy;
    data
}

/// Tells a source whether it may drop, and to go on telling where the pointer is.
fn status(
    link: &Link,
    source: Window,
    addressed: Window,
    fits: bool,
) -> Result<(), ConnectionError> {
    let action = if fits {
        link.atoms.XdndActionCopy
    } else {
        x11rb::NONE
    };
    let data = [addressed, 2 | u32::from(fits), 0, 0, action];
    link.message(source, source, link.atoms.XdndStatus, data)
}

/// Tells a source that its drop was taken, or not.
fn finished(
    link: &Link,
    source: Window,
    addressed: Window,
    taken: bool,
) -> Result<(), ConnectionError> {
    let action = if taken {
        link.atoms.XdndActionCopy
    } else {
        x11rb::NONE
    };
    let data = [addressed, u32::from(taken), action, 0, 0];
    link.message(source, source, link.atoms.XdndFinished, data)
}
