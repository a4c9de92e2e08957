//! How long work shows how far it is, and how Ctrl-C ends it.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use audiodiff::train::StepReport;
use indicatif::{ProgressBar, ProgressStyle};

use super::Global;

/// A progress bar on stderr: only on a terminal, and not when told to be quiet.
pub struct Bar(Option<ProgressBar>);

impl Bar {
    pub fn new(what: &'static str, global: &Global) -> Self {
        if global.quiet || !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let style =
            ProgressStyle::with_template("{prefix:>16} {bar:32} {percent:>3}% {msg} {eta:>5}")
                .expect("the template is valid");
        let bar = ProgressBar::new(1000).with_style(style).with_prefix(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(Some(bar))
    }

    pub fn set(&self, done: usize, all: usize) {
        self.fraction(done as f64 / all.max(1) as f64);
    }

    pub fn fraction(&self, done: f64) {
        if let Some(bar) = &self.0 {
            bar.set_position((1000.0 * done) as u64);
        }
    }

    fn message(&self, text: String) {
        if let Some(bar) = &self.0 {
            bar.set_message(text);
        }
    }

    /// Runs something that prints while the bar is out of the way.
    pub fn aside<R>(&self, print: impl FnOnce() -> R) -> R {
        match &self.0 {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Shows how a training goes: a bar on a terminal, else a line now and then.
pub struct Monitor {
    bar: Bar,
    quiet: bool,
    loss: Option<f32>,
    validation: Option<f32>,
    started: Instant,
    clips_before: Option<u64>,
    spoke: Instant,
}

impl Monitor {
    pub fn new(global: &Global) -> Self {
        let now = Instant::now();
        Self {
            bar: Bar::new("training", global),
            quiet: global.quiet,
            loss: None,
            validation: None,
            started: now,
            clips_before: None,
            spoke: now,
        }
    }

    pub fn step(&mut self, report: &StepReport) {
        // Smoothed over about fifty steps: noise levels differ from batch to batch.
        let loss = self
            .loss
            .map_or(report.loss, |old| old + 0.02 * (report.loss - old));
        self.loss = Some(loss);
        self.validation = report.validation.or(self.validation);
        let Some(before) = self.clips_before else {
            (self.started, self.clips_before) = (Instant::now(), Some(report.clips));
            return;
        };
        let rate = (report.clips - before) as f64 / self.started.elapsed().as_secs_f64().max(1e-3);
        let validation = self
            .validation
            .map_or(String::new(), |v| format!(" validation {v:.4}"));
        self.bar.fraction(report.progress);
        self.bar.message(format!(
            "step {} loss {loss:.4}{validation} {rate:.1} clips/s",
            report.step
        ));
        let speaks = !self.quiet && self.bar.0.is_none();
        if speaks && self.spoke.elapsed() > Duration::from_secs(20) {
            self.spoke = Instant::now();
            let left = report.seconds * (1.0 / report.progress.max(1e-6) - 1.0) / 60.0;
            eprintln!(
                "step {} ({:.0}%) loss {loss:.4}{validation} {rate:.1} clips/s, {left:.0} min left",
                report.step,
                100.0 * report.progress
            );
        }
    }

    pub fn finish(&self) {
        self.bar.finish();
    }
}

/// Set by Ctrl-C; a second one ends the program at once.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

pub fn catch_interrupts() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .context("cannot listen for Ctrl-C")
}

/// Tells long work after each part of it whether to go on.
pub fn keep_going() -> ControlFlow<()> {
    match INTERRUPTED.load(Ordering::Relaxed) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}
