//! What other programs fetch of us: the files that are dragged, and those on the clipboard (ICCCM, section 2).

use std::path::PathBuf;

use x11rb::connection::Connection;
use x11rb::errors::ConnectionError;
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ConnectionExt, EventMask, PropMode, SELECTION_NOTIFY_EVENT,
    SelectionNotifyEvent, SelectionRequestEvent, Timestamp, Window,
};
use x11rb::wrapper::ConnectionExt as _;

use super::{Link, answered, uris};

/// Conversions that one request may ask for.
const MOST_CONVERSIONS: u32 = 32;

/// One thing in several forms.
struct Offer {
    since: Timestamp,
    forms: Vec<(Atom, Vec<u8>)>,
}

/// At most one for drags and one for the clipboard. That of a drag stays until the next: some programs fetch it again
/// long after the drop.
#[derive(Default)]
pub(super) struct Offers {
    dragged: Option<Offer>,
    copied: Option<Offer>,
}

impl Offers {
    /// Offers this list to the programs that it is dragged over.
    pub fn drag(
        &mut self,
        link: &Link,
        list: Vec<u8>,
        now: Timestamp,
    ) -> Result<(), ConnectionError> {
        let forms = vec![(link.atoms.UriList, list)];
        self.dragged = Some(Offer { since: now, forms });
        own(link, link.atoms.XdndSelection, now)
    }

    /// Puts these files on the clipboard.
    pub fn copy(
        &mut self,
        link: &Link,
        paths: &[PathBuf],
        now: Timestamp,
    ) -> Result<(), ConnectionError> {
        // Its length was looked at when it was ordered.
        let Ok(list) = uris::list(paths) else {
            return Ok(());
        };
        let text = uris::as_text(paths);
        let forms = vec![
            (link.atoms.UriList, list),
            (link.atoms.CopiedFiles, uris::copied_files(paths)),
            (link.atoms.PlainText, text.clone()),
            (link.atoms.UTF8_STRING, text),
        ];
        self.copied = Some(Offer { since: now, forms });
        own(link, link.atoms.CLIPBOARD, now)
    }

    /// Another program has this selection now.
    pub fn lost(&mut self, link: &Link, selection: Atom) {
        if selection == link.atoms.CLIPBOARD {
            self.copied = None;
        } else if selection == link.atoms.XdndSelection {
            self.dragged = None;
        }
    }

    /// Answers a program that asks for an offer in some form.
    pub fn serve(
        &self,
        link: &Link,
        request: &SelectionRequestEvent,
    ) -> Result<(), ConnectionError> {
        let selection = request.selection;
        let offer = if selection == link.atoms.XdndSelection {
            &self.dragged
        } else if selection == link.atoms.CLIPBOARD {
            &self.copied
        } else {
            &None
        };
        // Clients from before there was a property leave it out.
        let property = match request.property {
            x11rb::NONE => request.target,
            property => property,
        };
        let is_served = match offer {
            None => false,
            Some(offer) if request.target == link.atoms.MULTIPLE => {
                offer.convert_all(link, request.requestor, property)?
            }
            Some(offer) => offer.convert(link, request.requestor, request.target, property)?,
        };
        let answer = SelectionNotifyEvent {
            response_type: SELECTION_NOTIFY_EVENT,
            sequence: 0,
            time: request.time,
            requestor: request.requestor,
            selection,
            target: request.target,
            property: if is_served { property } else { x11rb::NONE },
        };
        link.server
            .send_event(false, request.requestor, EventMask::NO_EVENT, answer)?;
        link.server.flush()
    }
}

fn own(link: &Link, selection: Atom, now: Timestamp) -> Result<(), ConnectionError> {
    link.server
        .set_selection_owner(link.proxy, selection, now)?;
    link.server.flush()
}

impl Offer {
    /// Writes one form to a property of `to`; whether there is that form.
    fn convert(
        &self,
        link: &Link,
        to: Window,
        form: Atom,
        property: Atom,
    ) -> Result<bool, ConnectionError> {
        let atoms = &link.atoms;
        let server = &link.server;
        if form == atoms.TARGETS {
            let forms = self.forms.iter().map(|(form, _)| *form);
            let own = [atoms.TARGETS, atoms.TIMESTAMP, atoms.MULTIPLE];
            let all: Vec<Atom> = forms.chain(own).collect();
            server.change_property32(PropMode::REPLACE, to, property, AtomEnum::ATOM, &all)?;
        } else if form == atoms.TIMESTAMP {
            let since = [self.since];
            server.change_property32(PropMode::REPLACE, to, property, AtomEnum::INTEGER, &since)?;
        } else if let Some((_, bytes)) = self.forms.iter().find(|(known, _)| *known == form) {
            server.change_property8(PropMode::REPLACE, to, property, form, bytes)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Does so for each pair of a form and a property that `property` lists; those that are not there are marked.
    fn convert_all(
        &self,
        link: &Link,
        to: Window,
        property: Atom,
    ) -> Result<bool, ConnectionError> {
        let kind = link.atoms.ATOM_PAIR;
        let most = 2 * MOST_CONVERSIONS;
        let Some(mut pairs) = link.numbers(to, property, kind, most)? else {
            return Ok(false);
        };
        let (pairs_of, _) = pairs.as_chunks_mut::<2>();
        for [form, place] in pairs_of {
            // No request for several within one for several.
            if *place == x11rb::NONE || !self.convert(link, to, *form, *place)? {
                *place = x11rb::NONE;
            }
        }
        let written =
            link.server
                .change_property32(PropMode::REPLACE, to, property, kind, &pairs)?;
        Ok(answered(written.check())?.is_some())
    }
}
