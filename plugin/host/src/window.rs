//! A window for a plugin's to stand in. Linux's hosts have theirs in `plugin/tests/hosts`.

#[cfg(not(windows))]
pub use elsewhere::Frame;
#[cfg(windows)]
pub use windows::Frame;

#[cfg(not(windows))]
mod elsewhere {
    use std::ffi::c_void;
    use std::time::Duration;

    use anyhow::{Result, bail};

    /// There is none.
    #[derive(Debug)]
    pub struct Frame(());

    impl Frame {
        pub fn new(_: u32, _: u32) -> Result<Self> {
            bail!("this host shows windows on Windows alone")
        }

        pub fn handle(&self) -> *mut c_void {
            std::ptr::null_mut()
        }

        pub fn answer(&self, _: Duration, _: impl FnMut()) {}
    }
}

#[cfg(windows)]
mod windows {
    use std::ffi::c_void;
    use std::time::{Duration, Instant};

    use anyhow::{Result, ensure};
    use windows_sys::Win32::Foundation::HWND;
    use windows_sys::Win32::System::LibraryLoader::GetModuleHandleW;
    use windows_sys::Win32::UI::WindowsAndMessaging::{
        CreateWindowExW, DefWindowProcW, DestroyWindow, DispatchMessageW, MSG, PM_REMOVE,
        PeekMessageW, RegisterClassW, TranslateMessage, WNDCLASSW, WS_CLIPCHILDREN, WS_POPUP,
        WS_VISIBLE,
    };
    use windows_sys::w;

    /// A window without a frame, at the upper left corner of the screen.
    #[derive(Debug)]
    pub struct Frame {
        window: HWND,
    }

    impl Frame {
        pub fn new(width: u32, height: u32) -> Result<Self> {
            let class = w!("audiodiff-host");
            // SAFETY: the class is filled with what may be null; a second registration changes nothing.
            let window = unsafe {
                let instance = GetModuleHandleW(std::ptr::null());
                RegisterClassW(&WNDCLASSW {
                    lpfnWndProc: Some(DefWindowProcW),
                    hInstance: instance,
                    lpszClassName: class,
                    ..std::mem::zeroed()
                });
                CreateWindowExW(
                    0,
                    class,
                    class,
                    WS_POPUP | WS_VISIBLE | WS_CLIPCHILDREN,
                    0,
                    0,
                    width as i32,
                    height as i32,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    instance,
                    std::ptr::null(),
                )
            };
            ensure!(!window.is_null(), "the system gives no window");
            Ok(Self { window })
        }

        pub fn handle(&self) -> *mut c_void {
            self.window
        }

        /// Hands messages on for so long, and calls `each` between them.
        pub fn answer(&self, time: Duration, mut each: impl FnMut()) {
            let begun = Instant::now();
            while begun.elapsed() < time {
                // SAFETY: a message is filled before it is handed on, on the thread whose windows these are.
                unsafe {
                    let mut message: MSG = std::mem::zeroed();
                    while PeekMessageW(&mut message, std::ptr::null_mut(), 0, 0, PM_REMOVE) != 0 {
                        TranslateMessage(&message);
                        DispatchMessageW(&message);
                    }
                }
                each();
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    impl Drop for Frame {
        fn drop(&mut self) {
            // SAFETY: made by us, on this thread, and destroyed once.
            unsafe { DestroyWindow(self.window) };
        }
    }
}
