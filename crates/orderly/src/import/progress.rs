//! How far an import got: a bar on a terminal, plain lines elsewhere.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// How often a plain line is written.
const EVERY: Duration = Duration::from_secs(5);

/// Shows how far an import got.
pub(crate) enum Progress {
    Bar { bar: ProgressBar, lines: u64 },
    Plain { lines: u64, start: Instant, shown: Instant },
}

impl Progress {
    /// Starts; the length of the input is not known of a pipe.
    pub(crate) fn new(bytes: Option<u64>) -> Self {
        if !io::stderr().is_terminal() {
            let now = Instant::now();
            return Self::Plain { lines: 0, start: now, shown: now };
        }
        let (bar, template) = match bytes {
            Some(bytes) => (ProgressBar::new(bytes), "{wide_bar} {percent}% {msg}, eta {eta}"),
            None => (ProgressBar::no_length(), "{spinner} {msg}"),
        };
        // A template that does not parse would only cost the looks.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self::Bar { bar, lines: 0 }
    }

    /// One more line is done; the input is done up to `end` bytes.
    pub(crate) fn advance(&mut self, end: u64) {
        match self {
            Self::Bar { bar, lines } => {
                *lines += 1;
                bar.set_position(end);
                let rate = *lines / bar.elapsed().as_secs().max(1);
                bar.set_message(format!("{lines} lines, {rate}/s"));
            }
            Self::Plain { lines, start, shown } => {
                *lines += 1;
                let now = Instant::now();
                if now - *shown >= EVERY {
                    *shown = now;
                    let rate = *lines / (now - *start).as_secs().max(1);
                    drop(writeln!(io::stderr(), "{lines} lines, {rate} a second"));
                }
            }
        }
    }

    /// The input is done.
    pub(crate) fn finish(&self) {
        if let Self::Bar { bar, .. } = self {
            bar.finish_and_clear();
        }
    }
}
