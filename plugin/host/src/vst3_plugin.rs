//! VST3, with the bindings that the plugin's framework uses too.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_void};
use std::path::Path;
use std::ptr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vst3::Steinberg::Vst::{
    AudioBusBuffers, AudioBusBuffers__type0, BusDirections_, BusInfo, Event, Event_,
    IAudioProcessor, IAudioProcessorTrait, IComponent, IComponentTrait, IEditController,
    IEditControllerTrait, IEventList, IEventListTrait, MediaTypes_, NoteOnEvent, ProcessData,
    ProcessModes_, ProcessSetup, SymbolicSampleSizes_, ViewType,
};
use vst3::Steinberg::{
    IBStream, IBStream_, IBStreamTrait, IPlugFrame, IPlugFrameTrait, IPlugView, IPlugViewTrait,
    IPluginBaseTrait, IPluginFactory, IPluginFactoryTrait, PClassInfo, TUID, ViewRect,
    kInvalidArgument, kPlatformTypeHWND, kResultFalse, kResultOk, tresult,
};
use vst3::{Class, ComPtr, ComWrapper, Interface};

use crate::{Description, Instance, Library, Note, RATE, library_in, window};

/// The category of classes that process audio.
const AUDIO_CLASS: &CStr = c"Audio Module Class";

/// A `.vst3` that is loaded and begun.
pub struct Bundle {
    /// Released before the library is unloaded.
    factory: Option<ComPtr<IPluginFactory>>,
    library: libloading::Library,
}

impl Bundle {
    pub fn load(path: &Path) -> Result<Self> {
        let file = library_in(path)?;
        // SAFETY: the library is our own plugin's, whose initialisers may run at any time.
        let library = unsafe { libloading::Library::new(&file) }
            .with_context(|| format!("{}", file.display()))?;
        // SAFETY: VST3 gives these names to functions of these types.
        unsafe {
            let begins = if cfg!(windows) {
                // It may be missing.
                let enter = library.get::<unsafe extern "system" fn() -> bool>(b"InitDll");
                enter.map_or(true, |enter| enter())
            } else {
                type Enter = unsafe extern "C" fn(*mut c_void) -> bool;
                library.get::<Enter>(b"ModuleEntry")?(ptr::from_ref(&library).cast_mut().cast())
            };
            ensure!(begins, "the module refuses to begin");
            type Factory = unsafe extern "system" fn() -> *mut IPluginFactory;
            let factory = library.get::<Factory>(b"GetPluginFactory")?();
            let factory = ComPtr::from_raw(factory).context("expected a factory, found none")?;
            Ok(Self {
                factory: Some(factory),
                library,
            })
        }
    }

    /// The classes that are instruments.
    fn classes(&self) -> Result<Vec<PClassInfo>> {
        let factory = self.factory.as_ref().context("a factory")?;
        // SAFETY: the factory is alive, and the information is filled by the call.
        unsafe {
            let mut found = Vec::new();
            for place in 0..factory.countClasses() {
                let mut info: PClassInfo = std::mem::zeroed();
                done(factory.getClassInfo(place, &mut info), "getClassInfo")?;
                if CStr::from_ptr(info.category.as_ptr()) == AUDIO_CLASS {
                    found.push(info);
                }
            }
            Ok(found)
        }
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        drop(self.factory.take());
        let name: &[u8] = if cfg!(windows) {
            b"ExitDll"
        } else {
            b"ModuleExit"
        };
        // SAFETY: VST3 gives these names to functions of this type; nothing of the module is in use any more.
        unsafe {
            if let Ok(exit) = self
                .library
                .get::<unsafe extern "system" fn() -> bool>(name)
            {
                exit();
            }
        }
    }
}

fn done(result: tresult, what: &str) -> Result<()> {
    ensure!(result == kResultOk, "{what} failed with {result}");
    Ok(())
}

/// Of a class's identifier, the digits as `moduleinfo.json` has them: on Windows its first half is a COM GUID's.
fn digits(id: &TUID) -> String {
    let order = if cfg!(windows) {
        [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]
    } else {
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    };
    order
        .map(|place: usize| format!("{:02X}", id[place] as u8))
        .concat()
}

impl Library for Bundle {
    fn descriptions(&self) -> Result<Vec<Description>> {
        let describe = |class: &PClassInfo| Description {
            id: digits(&class.cid),
            // SAFETY: the name ends with a zero within its 64 characters.
            name: unsafe { CStr::from_ptr(class.name.as_ptr()) }
                .to_string_lossy()
                .into_owned(),
        };
        Ok(self.classes()?.iter().map(describe).collect())
    }

    fn instance(&self, place: usize) -> Result<Box<dyn Instance + '_>> {
        let factory = self.factory.as_ref().context("a factory")?;
        let classes = self.classes()?;
        let class = classes.get(place).context("a class")?;
        // SAFETY: the factory is alive; what it makes has the interface that is asked for, and is owned by us.
        unsafe {
            let mut made = ptr::null_mut();
            let wanted = IComponent::IID.as_ptr().cast::<c_char>();
            done(
                factory.createInstance(class.cid.as_ptr(), wanted, &mut made),
                "createInstance",
            )?;
            let component = ComPtr::from_raw(made.cast::<IComponent>()).context("a component")?;
            done(component.initialize(ptr::null_mut()), "initialize")?;
            let processor = component.cast().context("expected an IAudioProcessor")?;
            let controller = component.cast().context("expected an IEditController")?;
            let mut ports = Vec::new();
            let (audio, output) = (MediaTypes_::kAudio as i32, BusDirections_::kOutput as i32);
            for port in 0..component.getBusCount(audio, output) {
                let mut info: BusInfo = std::mem::zeroed();
                done(
                    component.getBusInfo(audio, output, port, &mut info),
                    "getBusInfo",
                )?;
                ports.push(info.channelCount as usize);
            }
            ensure!(ports.first() == Some(&2), "outputs: {ports:?}");
            Ok(Box::new(Plugin {
                component,
                processor,
                controller,
                ports,
                is_active: false,
                _bundle: self,
            }))
        }
    }
}

struct Plugin<'a> {
    component: ComPtr<IComponent>,
    processor: ComPtr<IAudioProcessor>,
    controller: ComPtr<IEditController>,
    /// The number of channels of each output.
    ports: Vec<usize>,
    is_active: bool,
    _bundle: &'a Bundle,
}

impl Drop for Plugin<'_> {
    fn drop(&mut self) {
        if self.is_active
            && let Err(error) = self.deactivate()
        {
            eprintln!("{error}");
        }
        // SAFETY: initialised once; only its pointers are released after this.
        unsafe { self.component.terminate() };
    }
}

/// Bytes that a plugin writes and reads.
struct Stream {
    bytes: RefCell<Vec<u8>>,
    at: Cell<usize>,
}

impl Class for Stream {
    type Interfaces = (IBStream,);
}

impl Stream {
    fn holding(bytes: Vec<u8>) -> ComWrapper<Self> {
        ComWrapper::new(Self {
            bytes: RefCell::new(bytes),
            at: Cell::new(0),
        })
    }
}

#[allow(non_snake_case)]
impl IBStreamTrait for Stream {
    unsafe fn read(&self, buffer: *mut c_void, numBytes: i32, numBytesRead: *mut i32) -> tresult {
        let bytes = self.bytes.borrow();
        let left = &bytes[self.at.get().min(bytes.len())..];
        let now = left.len().min(numBytes.max(0) as usize);
        // SAFETY: the plugin has room for `numBytes` there.
        unsafe {
            ptr::copy_nonoverlapping(left.as_ptr(), buffer.cast(), now);
            if !numBytesRead.is_null() {
                *numBytesRead = now as i32;
            }
        }
        self.at.set(self.at.get() + now);
        kResultOk
    }

    unsafe fn write(
        &self,
        buffer: *mut c_void,
        numBytes: i32,
        numBytesWritten: *mut i32,
    ) -> tresult {
        let mut bytes = self.bytes.borrow_mut();
        bytes.truncate(self.at.get());
        // SAFETY: the plugin gives `numBytes` there.
        unsafe {
            bytes.extend_from_slice(std::slice::from_raw_parts(buffer.cast(), numBytes as usize));
            if !numBytesWritten.is_null() {
                *numBytesWritten = numBytes;
            }
        }
        self.at.set(bytes.len());
        kResultOk
    }

    unsafe fn seek(&self, pos: i64, mode: i32, result: *mut i64) -> tresult {
        let length = self.bytes.borrow().len() as i64;
        // The constants are of another type on Windows.
        #[allow(clippy::unnecessary_cast)]
        let from = match mode as u32 {
            mode if mode == IBStream_::IStreamSeekMode_::kIBSeekSet as u32 => 0,
            mode if mode == IBStream_::IStreamSeekMode_::kIBSeekCur as u32 => self.at.get() as i64,
            _ => length,
        };
        let place = from + pos;
        if !(0..=length).contains(&place) {
            return kInvalidArgument;
        }
        self.at.set(place as usize);
        if !result.is_null() {
            // SAFETY: the plugin wants to be told the place there.
            unsafe { *result = place };
        }
        kResultOk
    }

    unsafe fn tell(&self, pos: *mut i64) -> tresult {
        // SAFETY: the plugin wants to be told the place there.
        unsafe { *pos = self.at.get() as i64 };
        kResultOk
    }
}

/// The events of one block.
struct Events(Vec<Event>);

impl Class for Events {
    type Interfaces = (IEventList,);
}

#[allow(non_snake_case)]
impl IEventListTrait for Events {
    unsafe fn getEventCount(&self) -> i32 {
        self.0.len() as i32
    }

    unsafe fn getEvent(&self, index: i32, e: *mut Event) -> tresult {
        let Some(event) = self.0.get(index as usize) else {
            return kInvalidArgument;
        };
        // SAFETY: the plugin has room for one there.
        unsafe { *e = *event };
        kResultOk
    }

    unsafe fn addEvent(&self, _: *mut Event) -> tresult {
        kResultFalse
    }
}

/// What a window asks to become larger or smaller: it may not.
struct Frame;

impl Class for Frame {
    type Interfaces = (IPlugFrame,);
}

#[allow(non_snake_case)]
impl IPlugFrameTrait for Frame {
    unsafe fn resizeView(&self, _: *mut IPlugView, _: *mut ViewRect) -> tresult {
        kResultFalse
    }
}

impl Instance for Plugin<'_> {
    fn activate(&mut self, most_frames: usize) -> Result<()> {
        let mut setup = ProcessSetup {
            processMode: ProcessModes_::kOffline as i32,
            symbolicSampleSize: SymbolicSampleSizes_::kSample32 as i32,
            maxSamplesPerBlock: most_frames as i32,
            sampleRate: RATE,
        };
        let (audio, event) = (MediaTypes_::kAudio as i32, MediaTypes_::kEvent as i32);
        let (input, output) = (
            BusDirections_::kInput as i32,
            BusDirections_::kOutput as i32,
        );
        // SAFETY: not active, and on the only thread there is.
        unsafe {
            done(
                self.processor.setupProcessing(&mut setup),
                "setupProcessing",
            )?;
            for port in 0..self.ports.len() {
                done(
                    self.component.activateBus(audio, output, port as i32, 1),
                    "activateBus",
                )?;
            }
            done(
                self.component.activateBus(event, input, 0, 1),
                "activateBus",
            )?;
            done(self.component.setActive(1), "setActive")?;
            done(self.processor.setProcessing(1), "setProcessing")?;
        }
        self.is_active = true;
        Ok(())
    }

    fn deactivate(&mut self) -> Result<()> {
        self.is_active = false;
        // SAFETY: active, and on the only thread there is.
        unsafe {
            done(self.processor.setProcessing(0), "setProcessing")?;
            done(self.component.setActive(0), "setActive")
        }
    }

    fn reset(&mut self) -> Result<()> {
        // SAFETY: active, and on the only thread there is.
        unsafe {
            done(self.processor.setProcessing(0), "setProcessing")?;
            done(self.processor.setProcessing(1), "setProcessing")
        }
    }

    fn process(&mut self, frames: usize, notes: &[Note]) -> Result<[Vec<f32>; 2]> {
        let event = |note: &Note| {
            // SAFETY: a structure of numbers.
            let mut event: Event = unsafe { std::mem::zeroed() };
            event.sampleOffset = note.frame as i32;
            event.r#type = Event_::EventTypes_::kNoteOnEvent as u16;
            event.__field0.noteOn = NoteOnEvent {
                channel: 0,
                pitch: note.key,
                tuning: 0.0,
                velocity: 1.0,
                length: 0,
                noteId: -1,
            };
            event
        };
        let events = ComWrapper::new(Events(notes.iter().map(event).collect()));
        let events = events
            .to_com_ptr::<IEventList>()
            .context("a list of events")?;
        let channels = |&count: &usize| vec![vec![0.0_f32; frames]; count];
        let mut samples: Vec<Vec<Vec<f32>>> = self.ports.iter().map(channels).collect();
        let mut pointers: Vec<Vec<*mut f32>> = (samples.iter_mut())
            .map(|port| port.iter_mut().map(Vec::as_mut_ptr).collect())
            .collect();
        let buffer = |port: &mut Vec<*mut f32>| AudioBusBuffers {
            numChannels: port.len() as i32,
            silenceFlags: 0,
            __field0: AudioBusBuffers__type0 {
                channelBuffers32: port.as_mut_ptr(),
            },
        };
        let mut outputs: Vec<_> = pointers.iter_mut().map(buffer).collect();
        let mut data = ProcessData {
            processMode: ProcessModes_::kOffline as i32,
            symbolicSampleSize: SymbolicSampleSizes_::kSample32 as i32,
            numSamples: frames as i32,
            numInputs: 0,
            numOutputs: outputs.len() as i32,
            inputs: ptr::null_mut(),
            outputs: outputs.as_mut_ptr(),
            inputParameterChanges: ptr::null_mut(),
            outputParameterChanges: ptr::null_mut(),
            inputEvents: events.as_ptr(),
            outputEvents: ptr::null_mut(),
            processContext: ptr::null_mut(),
        };
        // SAFETY: active; everything that `data` points to outlives the call.
        done(unsafe { self.processor.process(&mut data) }, "process")?;
        let mut main = samples.swap_remove(0).into_iter();
        Ok([main.next().context("left")?, main.next().context("right")?])
    }

    fn save(&mut self) -> Result<Vec<u8>> {
        let stream = Stream::holding(Vec::new());
        let pointer = stream.to_com_ptr::<IBStream>().context("a stream")?;
        // SAFETY: the stream outlives the call.
        let told = unsafe { self.component.getState(pointer.as_ptr()) };
        done(told, "getState")?;
        let project = stream.bytes.take();
        ensure!(!project.is_empty(), "saves nothing");
        Ok(project)
    }

    fn load(&mut self, project: &[u8]) -> Result<()> {
        let stream = Stream::holding(project.to_vec());
        let pointer = stream.to_com_ptr::<IBStream>().context("a stream")?;
        // SAFETY: the stream outlives the call.
        done(
            unsafe { self.component.setState(pointer.as_ptr()) },
            "setState",
        )
    }

    fn show(&mut self, time: Duration) -> Result<(u32, u32)> {
        // SAFETY: on the main thread, in the order that VST3 asks for; frame and window outlive the view.
        unsafe {
            let view = ComPtr::from_raw(self.controller.createView(ViewType::kEditor));
            let Some(view) = view else {
                bail!("makes no window");
            };
            let frame = ComWrapper::new(Frame)
                .to_com_ptr::<IPlugFrame>()
                .context("a frame")?;
            done(
                view.isPlatformTypeSupported(kPlatformTypeHWND),
                "isPlatformTypeSupported",
            )?;
            done(view.setFrame(frame.as_ptr()), "setFrame")?;
            let mut size: ViewRect = std::mem::zeroed();
            done(view.getSize(&mut size), "getSize")?;
            let (width, height) = (
                (size.right - size.left) as u32,
                (size.bottom - size.top) as u32,
            );
            let parent = window::Frame::new(width, height)?;
            done(
                view.attached(parent.handle(), kPlatformTypeHWND),
                "attached",
            )?;
            parent.answer(time, || ());
            done(view.removed(), "removed")?;
            done(view.setFrame(ptr::null_mut()), "setFrame")?;
            Ok((width, height))
        }
    }
}
