//! Under an X server of each test's own, which `setup.sh` installs.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command as Program, Stdio};
use std::time::Instant;

use x11rb::protocol::xproto::{
    BUTTON_PRESS_EVENT, BUTTON_RELEASE_EVENT, MOTION_NOTIFY_EVENT, Rectangle,
};
use x11rb::protocol::xtest::ConnectionExt as _;

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// An X server, and a client with the hand on the mouse.
struct Screen {
    program: Child,
    name: String,
    client: RustConnection,
    root: Window,
    atoms: Atoms,
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }
}

impl Screen {
    fn new() -> Self {
        let mut program = Program::new("Xvfb")
            .args([
                "-displayfd",
                "1",
                "-screen",
                "0",
                "800x600x24",
                "-nolisten",
                "tcp",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb, which setup.sh installs");
        let mut number = String::new();
        let output = program.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut number).unwrap();
        let name = format!(":{}", number.trim());
        let (client, screen) = x11rb::connect(Some(&name)).unwrap();
        let root = client.setup().roots[screen].root;
        let atoms = Atoms::new(&client).unwrap().reply().unwrap();
        Self {
            program,
            name,
            client,
            root,
            atoms,
        }
    }

    /// A window within another that knows XDND, as the framework makes them.
    fn window(&self, parent: Window, area: Rectangle) -> Window {
        let id = self.client.generate_id().unwrap();
        let Rectangle {
            x,
            y,
            width,
            height,
        } = area;
        let aux = CreateWindowAux::new();
        let kind = WindowClass::INPUT_OUTPUT;
        self.client
            .create_window(0, id, parent, x, y, width, height, 0, kind, 0, &aux)
            .unwrap();
        let name = self.atoms.XdndAware;
        self.client
            .change_property32(PropMode::REPLACE, id, name, AtomEnum::ATOM, &[VERSION])
            .unwrap();
        self.client.map_window(id).unwrap().check().unwrap();
        id
    }

    fn desktop(&self, window: Window) -> Desktop {
        Desktop::on(Some(&self.name), window, RepaintNotifier::new()).unwrap()
    }

    fn mouse(&self, kind: u8, button: u8, (x, y): (i16, i16)) {
        self.client
            .xtest_fake_input(kind, button, 0, self.root, x, y, 0)
            .unwrap()
            .check()
            .unwrap();
        // As long as a hand takes.
        std::thread::sleep(Duration::from_millis(60));
    }

    fn go(&self, to: (i16, i16)) {
        self.mouse(MOTION_NOTIFY_EVENT, 0, to);
    }

    fn press(&self, at: (i16, i16)) {
        self.go(at);
        self.mouse(BUTTON_PRESS_EVENT, 1, at);
    }

    fn release(&self, at: (i16, i16)) {
        self.go(at);
        self.mouse(BUTTON_RELEASE_EVENT, 1, at);
    }

    fn send(&self, to: Window, kind: u32, data: [u32; 5]) {
        let message = ClientMessageEvent::new(32, to, kind, data);
        self.client
            .send_event(false, to, EventMask::NO_EVENT, message)
            .unwrap()
            .check()
            .unwrap();
    }

    /// The client's next message of this kind.
    fn message(&self, kind: u32) -> [u32; 5] {
        let message = self.wait(|event| match event {
            ServerEvent::ClientMessage(it) if it.type_ == kind => Some(it.data.as_data32()),
            _ => None,
        });
        message.expect("a message in time")
    }

    fn wait<T>(&self, mut take: impl FnMut(ServerEvent) -> Option<T>) -> Option<T> {
        let since = Instant::now();
        while since.elapsed() < SOON {
            match self.client.poll_for_event().unwrap() {
                Some(event) => {
                    if let Some(taken) = take(event) {
                        return Some(taken);
                    }
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        None
    }

    /// Fetches a selection in this form, to a property of `window`; none if it is not to be had.
    fn fetch(&self, window: Window, selection: u32, form: u32) -> Option<(u32, Vec<u8>)> {
        let place = self.atoms.Dropped;
        self.client
            .convert_selection(window, selection, form, place, x11rb::CURRENT_TIME)
            .unwrap();
        self.client.flush().unwrap();
        let property = self.wait(|event| match event {
            ServerEvent::SelectionNotify(it) => Some(it.property),
            _ => None,
        });
        match property.expect("an answer in time") {
            x11rb::NONE => None,
            property => {
                let reply = self
                    .client
                    .get_property(true, window, property, AtomEnum::ANY, 0, 1 << 20)
                    .unwrap();
                let reply = reply.reply().unwrap();
                Some((reply.type_, reply.value))
            }
        }
    }
}

fn area(x: i16, y: i16, width: u16, height: u16) -> Rectangle {
    Rectangle {
        x,
        y,
        width,
        height,
    }
}

/// The next event for which `is_it` holds, and all before it.
fn until(desktop: &mut Desktop, is_it: impl Fn(&Event) -> bool) -> Vec<Event> {
    let since = Instant::now();
    let mut events = Vec::new();
    while since.elapsed() < SOON {
        match desktop.poll(2.0) {
            Some(event) => {
                events.push(event);
                if is_it(&events[events.len() - 1]) {
                    return events;
                }
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    panic!("not among {events:?}");
}

fn two() -> Vec<PathBuf> {
    vec!["/x/kick 7.wav".into(), "/é/snare#2.wav".into()]
}

#[test]
fn files_go_from_window_to_window() {
    let screen = Screen::new();
    let mut from = screen.desktop(screen.window(screen.root, area(0, 0, 200, 200)));
    let mut to = screen.desktop(screen.window(screen.root, area(300, 100, 400, 300)));
    for paths in [two(), vec!["/again.wav".into()]] {
        screen.press((50, 50));
        from.drag(&paths).unwrap();
        screen.go((250, 50));
        screen.go((400, 300));
        screen.go((402, 320));
        let came = until(&mut to, |event| *event == Event::Over([51.0, 110.0]));
        assert!(matches!(came[0], Event::Over(_)), "{came:?}");
        until(&mut from, |event| *event == Event::Dragging { taken: true });
        screen.release((410, 330));
        let at = [55.0, 115.0];
        let dropped = Event::Dropped { paths, at };
        until(&mut to, |event| *event == dropped);
        until(&mut from, |event| *event == Event::Dragged { taken: true });
    }
}

#[test]
fn a_drag_that_ends_nowhere_is_nothing() {
    let screen = Screen::new();
    let mut from = screen.desktop(screen.window(screen.root, area(0, 0, 200, 200)));
    let mut to = screen.desktop(screen.window(screen.root, area(300, 100, 400, 300)));
    let ended = Event::Dragged { taken: false };
    // Beside every window; over the own; and given up over another.
    for end in [(250, 50), (100, 150), (400, 200)] {
        screen.press((50, 50));
        from.drag(&two()).unwrap();
        screen.go((400, 300));
        until(&mut to, |event| matches!(event, Event::Over(_)));
        screen.go(end);
        if end == (400, 200) {
            from.cancel_drag();
        } else {
            screen.release(end);
        }
        until(&mut from, |event| *event == ended);
        until(&mut to, |event| *event == Event::Left);
        screen.release(end);
        assert!(to.poll(1.0).is_none());
    }
    // Nothing was held at all.
    from.drag(&two()).unwrap();
    until(&mut from, |event| *event == ended);
    assert!(from.drag(&[]).is_err());
}

#[test]
fn beside_our_window_the_host_has_its_drops() {
    let screen = Screen::new();
    let mut from = screen.desktop(screen.window(screen.root, area(0, 0, 100, 100)));
    let host = screen.window(screen.root, area(200, 0, 500, 500));
    let holder = screen.window(host, area(50, 200, 400, 200));
    let own = screen.window(holder, area(0, 0, 400, 200));
    let mut ours = screen.desktop(own);
    let proxy = |window| {
        let name = screen.atoms.XdndProxy;
        let reply = screen
            .client
            .get_property(false, window, name, AtomEnum::WINDOW, 0, 1);
        reply.unwrap().reply().unwrap().value32()?.next()
    };
    assert_eq!(proxy(host), proxy(own));
    // A second one there, which closes later.
    let second = screen.window(host, area(50, 50, 50, 50));
    let second = screen.desktop(second);
    screen.press((50, 50));
    from.drag(&two()).unwrap();
    screen.go((210, 10));
    let atoms = &screen.atoms;
    let [between, ..] = screen.message(atoms.XdndEnter);
    for place in [(210, 10), (220, 10)] {
        screen.go(place);
        let data = screen.message(atoms.XdndPosition);
        assert_eq!(data[2], u32::from(place.0 as u16) << 16 | 10);
        screen.send(
            between,
            atoms.XdndStatus,
            [host, 1, 0, 0, atoms.XdndActionCopy],
        );
    }
    until(&mut from, |event| *event == Event::Dragging { taken: true });
    screen.go((250, 250));
    until(&mut ours, |event| *event == Event::Over([0.0, 25.0]));
    screen.message(atoms.XdndLeave);
    // And back to the host, which takes it.
    screen.go((230, 20));
    until(&mut ours, |event| *event == Event::Left);
    screen.message(atoms.XdndPosition);
    screen.send(
        between,
        atoms.XdndStatus,
        [host, 1, 0, 0, atoms.XdndActionCopy],
    );
    screen.release((230, 20));
    screen.message(atoms.XdndDrop);
    let (_, list) = screen
        .fetch(host, atoms.XdndSelection, atoms.UriList)
        .unwrap();
    assert_eq!(uris::files(&list, b""), two());
    screen.send(
        between,
        atoms.XdndFinished,
        [host, 1, atoms.XdndActionCopy, 0, 0],
    );
    until(&mut from, |event| *event == Event::Dragged { taken: true });
    // Into ours, which is inside the second's chain.
    screen.press((50, 50));
    from.drag(&two()).unwrap();
    screen.go((300, 300));
    until(&mut from, |event| *event == Event::Dragging { taken: true });
    screen.release((302, 300));
    until(&mut ours, |event| matches!(event, Event::Dropped { .. }));
    drop(second);
    assert_eq!(proxy(host), proxy(own));
    drop(ours);
    assert_eq!(proxy(host), None);
    // The framework does not tell that a window has closed.
    let own = screen.window(host, area(0, 0, 50, 50));
    let ours = screen.desktop(own);
    assert!(proxy(host).is_some());
    screen.client.destroy_window(own).unwrap().check().unwrap();
    assert!(screen.wait_for(|| ours.thread.as_ref().unwrap().is_finished()));
    assert_eq!(proxy(host), None);
}

#[test]
fn a_window_that_comes_into_a_host_later_is_found_there() {
    let screen = Screen::new();
    let own = screen.window(screen.root, area(0, 0, 100, 100));
    let mut ours = screen.desktop(own);
    let mut from = screen.desktop(screen.window(screen.root, area(0, 500, 100, 100)));
    let host = screen.window(screen.root, area(200, 0, 500, 400));
    screen.client.reparent_window(own, host, 100, 100).unwrap();
    screen.press((50, 550));
    from.drag(&two()).unwrap();
    screen.go((350, 150));
    until(&mut ours, |event| *event == Event::Over([25.0, 25.0]));
    screen.release((350, 150));
    until(&mut ours, |event| matches!(event, Event::Dropped { .. }));
}

#[test]
fn copied_files_can_be_pasted() {
    let screen = Screen::new();
    let own = screen.window(screen.root, area(0, 0, 100, 100));
    let mut ours = screen.desktop(own);
    let atoms = &screen.atoms;
    ours.copy(&two()).unwrap();
    let owned = screen.wait_for(|| {
        let owner = screen.client.get_selection_owner(atoms.CLIPBOARD).unwrap();
        owner.reply().unwrap().owner != x11rb::NONE
    });
    assert!(owned);
    let fetch = |form| screen.fetch(own, atoms.CLIPBOARD, form);
    let (kind, forms) = fetch(atoms.TARGETS).unwrap();
    assert_eq!(kind, u32::from(AtomEnum::ATOM));
    let (forms, _) = forms.as_chunks::<4>();
    let forms: Vec<u32> = forms
        .iter()
        .map(|bytes| u32::from_ne_bytes(*bytes))
        .collect();
    for form in [
        atoms.UriList,
        atoms.CopiedFiles,
        atoms.UTF8_STRING,
        atoms.TIMESTAMP,
    ] {
        assert!(forms.contains(&form));
        assert!(fetch(form).is_some());
    }
    assert_eq!(uris::files(&fetch(atoms.UriList).unwrap().1, b""), two());
    let copied = fetch(atoms.CopiedFiles).unwrap();
    let expected = "copy\nfile:///x/kick%207.wav\nfile:///%C3%A9/snare%232.wav";
    assert_eq!(copied, (atoms.CopiedFiles, expected.into()));
    assert_eq!(fetch(atoms.XdndAware), None);
    // Several at once, of which one is not to be had.
    let pairs = [atoms.UriList, atoms.XdndEnter, atoms.INCR, atoms.XdndLeave];
    screen
        .client
        .change_property32(
            PropMode::REPLACE,
            own,
            atoms.Dropped,
            atoms.ATOM_PAIR,
            &pairs,
        )
        .unwrap();
    let (_, answered) = fetch(atoms.MULTIPLE).unwrap();
    let (answered, _) = answered.as_chunks::<4>();
    assert_eq!(u32::from_ne_bytes(answered[1]), atoms.XdndEnter);
    assert_eq!(u32::from_ne_bytes(answered[3]), x11rb::NONE);
    drop(ours);
    assert_eq!(fetch(atoms.UriList), None);
}

impl Screen {
    fn wait_for(&self, is_so: impl Fn() -> bool) -> bool {
        let since = Instant::now();
        while since.elapsed() < SOON {
            if is_so() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

#[test]
fn damaged_messages_do_no_harm() {
    let screen = Screen::new();
    let own = screen.window(screen.root, area(0, 0, 200, 200));
    let mut ours = screen.desktop(own);
    let proxy = ours.wake.window;
    let atoms = &screen.atoms;
    let stranger = screen.window(screen.root, area(300, 300, 10, 10));
    let kinds = [
        atoms.XdndEnter,
        atoms.XdndPosition,
        atoms.XdndStatus,
        atoms.XdndLeave,
        atoms.XdndDrop,
        atoms.XdndFinished,
        atoms.Wake,
        atoms.INCR,
    ];
    // A generator of Lehmer's: every run has the same.
    let mut state = 7u64;
    let mut random = || {
        state = state * 48_271 % 0x7fff_ffff;
        state as u32
    };
    for _ in 0..3000 {
        let mut odd = || match random() % 6 {
            0 => 0,
            1 => u32::MAX,
            2 => stranger,
            3 => proxy,
            4 => own,
            _ => random(),
        };
        let data = [odd(), odd(), odd(), odd(), odd()];
        let kind = kinds[random() as usize % kinds.len()];
        let format = [8, 16, 32, 32, 32, 32][random() as usize % 6];
        let mut message = ClientMessageEvent::new(32, own, kind, data);
        message.format = format;
        screen
            .client
            .send_event(false, proxy, EventMask::NO_EVENT, message)
            .unwrap();
    }
    // A source that has nothing to hand over, one with nonsense, and one with too much.
    let long = b"file:///x\r\n".repeat(120_000);
    for (list, sentence) in [
        (None, "does not hand over"),
        (Some(b"http://a\r\nx".as_slice()), "no file on this machine"),
        (Some(&long), "more files were dropped"),
    ] {
        while ours.poll(1.0).is_some() {}
        let enter = [stranger, VERSION << 24, atoms.UriList, 0, 0];
        screen.send(proxy, atoms.XdndEnter, enter);
        let place = 50 << 16 | 60;
        let position = [stranger, 0, place, 0, atoms.XdndActionCopy];
        screen.send(proxy, atoms.XdndPosition, position);
        until(&mut ours, |event| *event == Event::Over([25.0, 30.0]));
        // The answers to what came before.
        while screen.client.poll_for_event().unwrap().is_some() {}
        let client = &screen.client;
        let owner = list.map_or(x11rb::NONE, |_| stranger);
        let now = x11rb::CURRENT_TIME;
        client
            .set_selection_owner(owner, atoms.XdndSelection, now)
            .unwrap();
        screen.send(proxy, atoms.XdndDrop, [stranger, 0, now, 0, 0]);
        if let Some(list) = list {
            let request = screen.wait(|event| match event {
                ServerEvent::SelectionRequest(it) => Some(it),
                _ => None,
            });
            let request = request.unwrap();
            let to = request.requestor;
            for (i, part) in list.chunks(100_000).enumerate() {
                let mode = if i == 0 {
                    PropMode::REPLACE
                } else {
                    PropMode::APPEND
                };
                client
                    .change_property8(mode, to, request.property, request.target, part)
                    .unwrap();
            }
            let answer = x11rb::protocol::xproto::SelectionNotifyEvent {
                response_type: x11rb::protocol::xproto::SELECTION_NOTIFY_EVENT,
                sequence: 0,
                time: request.time,
                requestor: to,
                selection: request.selection,
                target: request.target,
                property: request.property,
            };
            client
                .send_event(false, to, EventMask::NO_EVENT, answer)
                .unwrap();
            client.flush().unwrap();
        }
        until(&mut ours, |event| match event {
            Event::Refused(why) => why.contains(sentence),
            _ => false,
        });
        let [window, taken, ..] = screen.message(atoms.XdndFinished);
        assert_eq!((window, taken & 1), (proxy, 0));
    }
    assert!(!ours.thread.as_ref().unwrap().is_finished());
}

#[test]
fn it_ends_with_its_window() {
    let screen = Screen::new();
    let own = screen.window(screen.root, area(0, 0, 100, 100));
    let since = Instant::now();
    drop(screen.desktop(own));
    let mut busy = screen.desktop(own);
    screen.press((50, 50));
    busy.drag(&two()).unwrap();
    drop(busy);
    // And with the server.
    let orphan = screen.desktop(own);
    drop(screen);
    drop(orphan);
    assert!(
        since.elapsed() < Duration::from_secs(2),
        "{:?}",
        since.elapsed()
    );
    assert!(Desktop::on(Some(":not.there"), own, RepaintNotifier::new()).is_err());
}
