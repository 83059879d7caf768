//! What a person or a program sees while tracks are on their way: a bar per file on a terminal, JSON lines with `--json`.

use crate::inputs::InputError;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use loopmaster_core::Stage;
use loopmaster_core::master::{Clock, Watch};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// Rough share of each stage in a track's time, measured on a 240 s WAV; only moves the bar, decides nothing.
const SHARES: [(Stage, u64); 6] = [
    (Stage::Decode, 6),
    (Stage::Analyse, 22),
    (Stage::Plan, 1),
    (Stage::Render, 47),
    (Stage::Encode, 23),
    (Stage::Deliver, 1),
];

/// How to talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// Bars and sentences for people.
    Human,
    /// One JSON object per line on standard output.
    Json,
    /// Only errors, on standard error.
    Quiet,
}

/// Where all tracks report to.
#[derive(Debug)]
pub struct Progress {
    voice: Voice,
    bars: MultiProgress,
}

impl Progress {
    /// A new display.
    #[must_use]
    pub fn new(voice: Voice) -> Self {
        let target = if voice == Voice::Human { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { voice, bars: MultiProgress::with_draw_target(target) }
    }

    /// Begins a track.
    #[must_use]
    pub fn track(&self, path: &Path) -> Track<'_> {
        let bar = self.bars.add(ProgressBar::new(SHARES.iter().map(|(_, share)| share).sum()));
        if let Ok(style) = ProgressStyle::with_template("  {prefix:28!} {bar:24.yellow/dim} {msg}") {
            bar.set_style(style.progress_chars("━━─"));
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        bar.set_prefix(name);
        bar.set_message("waiting to be read");
        Track {
            progress: self,
            path: path.to_string_lossy().into_owned(),
            bar,
            started: Instant::now(),
            seconds: None,
            clock: Clock::default(),
        }
    }

    /// Begins a file on its way over the network.
    #[must_use]
    pub fn transfer(&self, path: &Path, bytes: u64) -> Transfer<'_> {
        let bar = self.bars.add(ProgressBar::new(bytes));
        if let Ok(style) =
            ProgressStyle::with_template("  {prefix:28!} {bar:24.yellow/dim} {binary_bytes}/{binary_total_bytes} {msg}")
        {
            bar.set_style(style.progress_chars("━━─"));
        }
        bar.set_prefix(path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned());
        Transfer { progress: self, bar }
    }

    /// One JSON line, in JSON only.
    pub fn event(&self, event: &impl Serialize) {
        if self.voice == Voice::Json
            && let Ok(line) = serde_json::to_string(event)
        {
            // A reader that went away (`| head`) is no reason to stop mastering.
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
    }

    /// A line for people, above the bars.
    pub fn say(&self, text: &str) {
        if self.voice == Voice::Human {
            self.bars.suspend(|| {
                let _ = writeln!(std::io::stdout().lock(), "{text}");
            });
        }
    }

    /// Lines for people about something that is wrong, on standard error; programs hear of it by events.
    pub fn warn(&self, text: &str) {
        if self.voice != Voice::Json {
            self.bars.suspend(|| {
                let _ = writeln!(std::io::stderr().lock(), "{text}");
            });
        }
    }

    /// Names on the command line that lead to no file.
    pub fn unresolved(&self, errors: &[InputError]) {
        for error in errors {
            let text = error.to_string();
            let (file, message) = text.split_once(": ").unwrap_or(("", &text));
            self.error(file, error.code(), message);
        }
    }

    /// One line that says what is wrong and what to do, for people and machines alike.
    pub fn error(&self, file: &str, code: &str, message: &str) {
        self.event(&json!({ "event": "failed", "file": file, "code": code, "message": message }));
        if self.voice != Voice::Json {
            self.bars.suspend(|| {
                let _ = writeln!(std::io::stderr().lock(), "{file}: {message} [{code}]");
            });
        }
    }
}

/// One track's line.
#[derive(Debug)]
pub struct Track<'a> {
    progress: &'a Progress,
    path: String,
    bar: ProgressBar,
    started: Instant,
    seconds: Option<f64>,
    clock: Clock,
}

impl Watch for Track<'_> {
    /// From here on × real time and the time left can be shown.
    fn length(&mut self, seconds: f64) {
        self.seconds = Some(seconds);
    }

    fn stage(&self, stage: Stage, detail: &str) {
        self.clock.stage(stage, detail);
        let before: u64 = SHARES.iter().take_while(|(s, _)| *s != stage).map(|(_, share)| share).sum();
        self.bar.set_position(before);
        let mut text = stage.name().to_owned();
        if !detail.is_empty() {
            text = format!("{text} {detail}");
        }
        if let Some(speed) = self.speed(before) {
            text = format!("{text}   {speed}");
        }
        self.bar.set_message(text);
        self.event(json!({ "event": "stage", "stage": stage, "detail": detail }));
    }

    fn times(&self) -> Vec<(Stage, f64)> {
        self.clock.times()
    }
}

impl Track<'_> {
    fn speed(&self, done: u64) -> Option<String> {
        let share = done as f64 / self.bar.length()? as f64;
        let spent = self.started.elapsed().as_secs_f64();
        let whole = if share > 0.0 { spent / share } else { return None };
        Some(format!("{:.0} × real time, {:.1} s left", self.seconds? / whole, (whole - spent).max(0.0)))
    }

    /// A JSON line about this track.
    pub fn event(&self, mut event: Value) {
        if let Some(fields) = event.as_object_mut() {
            fields.insert("file".to_owned(), Value::from(self.path.clone()));
        }
        self.progress.event(&event);
    }

    /// Seconds since the track began.
    #[must_use]
    pub fn elapsed(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

impl Drop for Track<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.progress.bars.remove(&self.bar);
    }
}

/// One file's way over the network.
#[derive(Debug)]
pub struct Transfer<'a> {
    progress: &'a Progress,
    bar: ProgressBar,
}

impl Transfer<'_> {
    /// So many bytes more, or fewer where they did not arrive.
    pub fn moved(&self, by: i64) {
        self.bar.set_position(self.bar.position().saturating_add_signed(by));
    }

    /// What happens to it now.
    pub fn say(&self, text: &str) {
        self.bar.set_message(text.to_owned());
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.progress.bars.remove(&self.bar);
    }
}
