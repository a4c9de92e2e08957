//! CLAP, as version 1.2 of its headers has it.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap_sys::audio_buffer::clap_audio_buffer;
use clap_sys::entry::clap_plugin_entry;
use clap_sys::events::{
    CLAP_CORE_EVENT_SPACE_ID, CLAP_EVENT_NOTE_ON, clap_event_header, clap_event_note,
    clap_input_events, clap_output_events,
};
use clap_sys::ext::audio_ports::{
    CLAP_EXT_AUDIO_PORTS, clap_audio_port_info, clap_plugin_audio_ports,
};
use clap_sys::ext::gui::{
    CLAP_EXT_GUI, CLAP_WINDOW_API_WIN32, clap_host_gui, clap_plugin_gui, clap_window,
    clap_window_handle,
};
use clap_sys::ext::render::{CLAP_EXT_RENDER, CLAP_RENDER_OFFLINE, clap_plugin_render};
use clap_sys::ext::state::{CLAP_EXT_STATE, clap_plugin_state};
use clap_sys::factory::plugin_factory::{CLAP_PLUGIN_FACTORY_ID, clap_plugin_factory};
use clap_sys::host::clap_host;
use clap_sys::plugin::clap_plugin;
use clap_sys::process::{CLAP_PROCESS_ERROR, clap_process};
use clap_sys::stream::{clap_istream, clap_ostream};
use clap_sys::version::CLAP_VERSION;

use crate::{Description, Instance, Library, Note, RATE, library_in, window};

/// A function that the headers allow to be missing, and that every plugin has.
macro_rules! call {
    ($of:expr, $name:ident $(, $argument:expr)*) => {{
        let function = (*$of).$name.context(concat!("no ", stringify!($name)))?;
        function($($argument),*)
    }};
}

/// A `.clap` that is loaded and begun.
pub struct Bundle {
    entry: *const clap_plugin_entry,
    factory: *const clap_plugin_factory,
    /// Dropped last: the pointers lead into it.
    _library: libloading::Library,
}

impl Bundle {
    pub fn load(path: &Path) -> Result<Self> {
        let file = library_in(path)?;
        let named = CString::new(path.to_str().context("a path of characters")?)?;
        // SAFETY: the library is our own plugin's, whose initialisers may run at any time.
        let library = unsafe { libloading::Library::new(&file) }
            .with_context(|| format!("{}", file.display()))?;
        // SAFETY: CLAP gives this name to a structure of this type, which is there as long as the library.
        unsafe {
            let entry: *const clap_plugin_entry = *library.get(b"clap_entry")?;
            ensure!(
                call!(entry, init, named.as_ptr()),
                "the entry refuses to begin"
            );
            let factory = call!(entry, get_factory, CLAP_PLUGIN_FACTORY_ID.as_ptr());
            ensure!(
                !factory.is_null(),
                "expected a factory of plugins, found none"
            );
            Ok(Self {
                entry,
                factory: factory.cast(),
                _library: library,
            })
        }
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // SAFETY: begun once, and no instance is left, since they borrow this.
        unsafe {
            if let Some(deinit) = (*self.entry).deinit {
                deinit();
            }
        }
    }
}

/// The text at a pointer that a plugin gave.
///
/// # Safety
/// `text` is null or ends with a zero, and stays as it is during the call.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

impl Library for Bundle {
    fn descriptions(&self) -> Result<Vec<Description>> {
        // SAFETY: the factory lives as long as `self`, and so do its descriptors.
        unsafe {
            let count = call!(self.factory, get_plugin_count, self.factory);
            let mut found = Vec::new();
            for place in 0..count {
                let about = call!(self.factory, get_plugin_descriptor, self.factory, place);
                ensure!(!about.is_null(), "plugin {place} has no descriptor");
                found.push(Description {
                    id: text((*about).id),
                    name: text((*about).name),
                });
            }
            Ok(found)
        }
    }

    fn instance(&self, place: usize) -> Result<Box<dyn Instance + '_>> {
        let host = Box::new(Host::new());
        // SAFETY: the host is boxed, so it stays where it is until `Plugin` is dropped; the plugin is destroyed before.
        unsafe {
            let about = call!(
                self.factory,
                get_plugin_descriptor,
                self.factory,
                place as u32
            );
            ensure!(!about.is_null(), "plugin {place} has no descriptor");
            let plugin = call!(
                self.factory,
                create_plugin,
                self.factory,
                &host.table,
                (*about).id
            );
            ensure!(!plugin.is_null(), "not created");
            let mut made = Plugin {
                plugin,
                ports: Vec::new(),
                time: 0,
                is_active: false,
                host,
                _bundle: self,
            };
            ensure!(call!(plugin, init, plugin), "does not begin");
            let render: *const clap_plugin_render = made.extension(CLAP_EXT_RENDER)?;
            ensure!(
                call!(render, set, plugin, CLAP_RENDER_OFFLINE),
                "does not render offline"
            );
            let ports: *const clap_plugin_audio_ports = made.extension(CLAP_EXT_AUDIO_PORTS)?;
            for port in 0..call!(ports, count, plugin, false) {
                let mut info: clap_audio_port_info = std::mem::zeroed();
                ensure!(
                    call!(ports, get, plugin, port, false, &mut info),
                    "port {port}"
                );
                made.ports.push(info.channel_count as usize);
            }
            ensure!(made.ports.first() == Some(&2), "outputs: {:?}", made.ports);
            Ok(Box::new(made))
        }
    }
}

/// What a plugin is told of its host.
struct Host {
    table: clap_host,
    /// Set from any thread by the plugin that wants a call on the main one. The table points here.
    wants_call: Box<AtomicBool>,
}

impl Host {
    fn new() -> Self {
        let wants_call = Box::new(AtomicBool::new(false));
        let table = clap_host {
            clap_version: CLAP_VERSION,
            host_data: ptr::from_ref::<AtomicBool>(&wants_call).cast_mut().cast(),
            name: c"audiodiff-host".as_ptr(),
            vendor: c"audiodiff".as_ptr(),
            url: c"".as_ptr(),
            version: c"1".as_ptr(),
            get_extension: Some(extension),
            request_restart: Some(nothing),
            request_process: Some(nothing),
            request_callback: Some(call_back),
        };
        Self { table, wants_call }
    }
}

/// Its windows are as large as they begin.
static GUI: clap_host_gui = clap_host_gui {
    resize_hints_changed: Some(nothing),
    request_resize: Some(no_size),
    request_show: Some(no),
    request_hide: Some(no),
    closed: Some(closed),
};

unsafe extern "C" fn no_size(_: *const clap_host, _: u32, _: u32) -> bool {
    false
}

unsafe extern "C" fn no(_: *const clap_host) -> bool {
    false
}

unsafe extern "C" fn closed(_: *const clap_host, _: bool) {}

unsafe extern "C" fn extension(_: *const clap_host, name: *const c_char) -> *const c_void {
    // SAFETY: a name ends with a zero.
    if unsafe { CStr::from_ptr(name) } == CLAP_EXT_GUI {
        ptr::from_ref(&GUI).cast()
    } else {
        ptr::null()
    }
}

unsafe extern "C" fn nothing(_: *const clap_host) {}

unsafe extern "C" fn call_back(host: *const clap_host) {
    // SAFETY: `host_data` is the `wants_call` of the `Host`, which outlives its plugin.
    unsafe { (*(*host).host_data.cast::<AtomicBool>()).store(true, Ordering::SeqCst) };
}

struct Plugin<'a> {
    plugin: *const clap_plugin,
    /// The number of channels of each output.
    ports: Vec<usize>,
    time: i64,
    is_active: bool,
    host: Box<Host>,
    _bundle: &'a Bundle,
}

impl Plugin<'_> {
    fn extension<T>(&self, name: &CStr) -> Result<*const T> {
        // SAFETY: the plugin is alive; every caller asks for the type that CLAP gives this name.
        let found = unsafe { call!(self.plugin, get_extension, self.plugin, name.as_ptr()) };
        ensure!(!found.is_null(), "no {}", name.to_string_lossy());
        Ok(found.cast())
    }

    fn window(&mut self, gui: *const clap_plugin_gui, time: Duration) -> Result<(u32, u32)> {
        let plugin = self.plugin;
        // SAFETY: on the main thread, in the order that CLAP asks for.
        unsafe {
            let (mut width, mut height) = (0, 0);
            ensure!(
                call!(gui, get_size, plugin, &mut width, &mut height),
                "tells no size"
            );
            let frame = window::Frame::new(width, height)?;
            let parent = clap_window {
                api: CLAP_WINDOW_API_WIN32.as_ptr(),
                specific: clap_window_handle {
                    ptr: frame.handle(),
                },
            };
            ensure!(call!(gui, set_parent, plugin, &parent), "takes no parent");
            ensure!(call!(gui, show, plugin), "does not show itself");
            let main = (*plugin).on_main_thread.context("no on_main_thread")?;
            frame.answer(time, || {
                if self.host.wants_call.swap(false, Ordering::SeqCst) {
                    main(plugin);
                }
            });
            call!(gui, destroy, plugin);
            Ok((width, height))
        }
    }
}

impl Drop for Plugin<'_> {
    fn drop(&mut self) {
        if self.is_active
            && let Err(error) = self.deactivate()
        {
            eprintln!("{error}");
        }
        // SAFETY: nothing uses the plugin after this; the host's table is still there.
        unsafe {
            if let Some(destroy) = (*self.plugin).destroy {
                destroy(self.plugin);
            }
        }
    }
}

unsafe extern "C" fn count(events: *const clap_input_events) -> u32 {
    // SAFETY: `ctx` is the list that `process` holds meanwhile.
    unsafe { (*(*events).ctx.cast::<Vec<clap_event_note>>()).len() as u32 }
}

unsafe extern "C" fn get(events: *const clap_input_events, place: u32) -> *const clap_event_header {
    // SAFETY: as in `count`.
    let notes = unsafe { &*(*events).ctx.cast::<Vec<clap_event_note>>() };
    notes
        .get(place as usize)
        .map_or(ptr::null(), |note| &note.header)
}

unsafe extern "C" fn push(_: *const clap_output_events, _: *const clap_event_header) -> bool {
    true
}

unsafe extern "C" fn write(stream: *const clap_ostream, data: *const c_void, size: u64) -> i64 {
    // SAFETY: `ctx` is the vector of `save`, and the plugin gives `size` bytes at `data`.
    unsafe {
        let into = &mut *(*stream).ctx.cast::<Vec<u8>>();
        into.extend_from_slice(std::slice::from_raw_parts(data.cast(), size as usize));
    }
    size as i64
}

unsafe extern "C" fn read(stream: *const clap_istream, data: *mut c_void, size: u64) -> i64 {
    // SAFETY: `ctx` is the slice of `load`, and the plugin has room for `size` bytes at `data`.
    unsafe {
        let from = &mut *(*stream).ctx.cast::<&[u8]>();
        let now = from.len().min(size as usize);
        ptr::copy_nonoverlapping(from.as_ptr(), data.cast(), now);
        *from = &from[now..];
        now as i64
    }
}

impl Instance for Plugin<'_> {
    fn activate(&mut self, most_frames: usize) -> Result<()> {
        let plugin = self.plugin;
        // SAFETY: not active, and on the only thread there is.
        unsafe {
            ensure!(
                call!(plugin, activate, plugin, RATE, 1, most_frames as u32),
                "not activated"
            );
            ensure!(call!(plugin, start_processing, plugin), "does not start");
        }
        self.is_active = true;
        Ok(())
    }

    fn deactivate(&mut self) -> Result<()> {
        let plugin = self.plugin;
        // SAFETY: active, and on the only thread there is.
        unsafe {
            call!(plugin, stop_processing, plugin);
            call!(plugin, deactivate, plugin);
        }
        self.is_active = false;
        Ok(())
    }

    fn reset(&mut self) -> Result<()> {
        // SAFETY: active, and on the only thread there is.
        unsafe { call!(self.plugin, reset, self.plugin) };
        Ok(())
    }

    fn process(&mut self, frames: usize, notes: &[Note]) -> Result<[Vec<f32>; 2]> {
        let event = |note: &Note| clap_event_note {
            header: clap_event_header {
                size: size_of::<clap_event_note>() as u32,
                time: note.frame as u32,
                space_id: CLAP_CORE_EVENT_SPACE_ID,
                type_: CLAP_EVENT_NOTE_ON,
                flags: 0,
            },
            note_id: -1,
            port_index: 0,
            channel: 0,
            key: note.key,
            velocity: 1.0,
        };
        let mut events: Vec<_> = notes.iter().map(event).collect();
        let in_events = clap_input_events {
            ctx: ptr::from_mut(&mut events).cast(),
            size: Some(count),
            get: Some(get),
        };
        let out_events = clap_output_events {
            ctx: ptr::null_mut(),
            try_push: Some(push),
        };
        let channels = |&count: &usize| vec![vec![0.0_f32; frames]; count];
        let mut samples: Vec<Vec<Vec<f32>>> = self.ports.iter().map(channels).collect();
        let mut pointers: Vec<Vec<*mut f32>> = (samples.iter_mut())
            .map(|port| port.iter_mut().map(Vec::as_mut_ptr).collect())
            .collect();
        let buffer = |port: &mut Vec<*mut f32>| clap_audio_buffer {
            data32: port.as_mut_ptr(),
            data64: ptr::null_mut(),
            channel_count: port.len() as u32,
            latency: 0,
            constant_mask: 0,
        };
        let mut outputs: Vec<_> = pointers.iter_mut().map(buffer).collect();
        let process = clap_process {
            steady_time: self.time,
            frames_count: frames as u32,
            transport: ptr::null(),
            audio_inputs: ptr::null(),
            audio_outputs: outputs.as_mut_ptr(),
            audio_inputs_count: 0,
            audio_outputs_count: outputs.len() as u32,
            in_events: &in_events,
            out_events: &out_events,
        };
        // SAFETY: active; everything that `process` points to outlives the call.
        let status = unsafe { call!(self.plugin, process, self.plugin, &process) };
        ensure!(status != CLAP_PROCESS_ERROR, "a block failed");
        self.time += frames as i64;
        let mut main = samples.swap_remove(0).into_iter();
        Ok([main.next().context("left")?, main.next().context("right")?])
    }

    fn save(&mut self) -> Result<Vec<u8>> {
        let state: *const clap_plugin_state = self.extension(CLAP_EXT_STATE)?;
        let mut project = Vec::new();
        let stream = clap_ostream {
            ctx: ptr::from_mut(&mut project).cast(),
            write: Some(write),
        };
        // SAFETY: stream and vector outlive the call.
        let saved = unsafe { call!(state, save, self.plugin, &stream) };
        ensure!(saved, "saves nothing");
        Ok(project)
    }

    fn load(&mut self, mut project: &[u8]) -> Result<()> {
        let state: *const clap_plugin_state = self.extension(CLAP_EXT_STATE)?;
        let stream = clap_istream {
            ctx: ptr::from_mut(&mut project).cast(),
            read: Some(read),
        };
        // SAFETY: stream and slice outlive the call.
        let loaded = unsafe { call!(state, load, self.plugin, &stream) };
        ensure!(loaded, "refuses the project");
        Ok(())
    }

    fn show(&mut self, time: Duration) -> Result<(u32, u32)> {
        let gui: *const clap_plugin_gui = self.extension(CLAP_EXT_GUI)?;
        let api = CLAP_WINDOW_API_WIN32.as_ptr();
        // SAFETY: on the main thread, with a name of CLAP's.
        let is_made = unsafe { call!(gui, create, self.plugin, api, false) };
        ensure!(is_made, "makes no window");
        self.window(gui, time)
    }
}
