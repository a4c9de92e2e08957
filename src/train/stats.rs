//! The lines of a run's `stats.jsonl`.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::file::write_whole;

/// One optimizer step, as reported and as a line of `stats.jsonl`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Steps done.
    pub step: u64,
    /// Clips seen.
    #[serde(alias = "windows")]
    pub clips: u64,
    /// Weighted loss of this batch.
    pub loss: f32,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    #[serde(alias = "gradient_norm")]
    pub grad_norm: f64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Part of the training that is done, 0 to 1.
    pub progress: f64,
    /// Validation loss of the averaged weights, at the steps that measure it: see
    /// [`Trainer::validate`](crate::train::Trainer::validate).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<f32>,
}

impl StepReport {
    fn line(&self) -> String {
        serde_json::to_string(self).expect("a report is plain data") + "\n"
    }
}

/// The reports of a run, oldest first; none if the file does not exist. Lines that a crash left
/// unfinished are passed over.
///
/// # Errors
/// [`Error::Io`] when the file exists and cannot be read.
pub fn read_stats(path: &Path) -> Result<Vec<StepReport>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(path)(e)),
    };
    let lines = BufReader::new(file)
        .lines()
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::io(path))?;
    Ok(lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

/// `stats.jsonl`, open at its end.
pub(super) struct Stats {
    path: PathBuf,
    file: File,
}

impl Stats {
    /// Opens the file of the run in `folder`, after its last line.
    pub fn append(folder: &Path) -> Result<Self> {
        let path = path_in(folder);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(Error::io(&path))?;
        Ok(Self { path, file })
    }

    pub fn write(&mut self, report: &StepReport) -> Result<()> {
        let written = self.file.write_all(report.line().as_bytes());
        written.map_err(Error::io(&self.path))
    }

    /// Begins the file anew: an earlier run that ended before its first checkpoint may have left lines.
    pub fn clear(folder: &Path) -> Result<()> {
        write_whole(&path_in(folder), b"")
    }

    /// Drops all lines after `step`: an interrupted run wrote them after its last checkpoint.
    pub fn truncate(folder: &Path, step: u64) -> Result<()> {
        let path = path_in(folder);
        let reports = read_stats(&path)?.into_iter();
        let kept = reports.filter(|report| report.step <= step);
        let kept: String = kept.map(|report| report.line()).collect();
        write_whole(&path, kept.as_bytes())
    }
}

fn path_in(folder: &Path) -> PathBuf {
    folder.join("stats.jsonl")
}
