//! The lines of a file or of standard input, one at a time.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    mem,
    path::Path,
    thread,
};

use tokio::sync::mpsc;

use crate::console::{many, whole};

/// One line.
#[derive(Debug)]
pub(crate) struct Line {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// What it says, without the line break; cut off past the limit, so that it is not held in
    /// memory.
    pub(crate) text: Vec<u8>,
    /// How long it is, in bytes without the line break, cut off or not.
    pub(crate) length: usize,
    /// Where it ends in the file, in bytes.
    pub(crate) end: u64,
}

impl Line {
    /// Whether there is nothing in it but spaces.
    pub(crate) fn is_blank(&self) -> bool {
        self.text.trim_ascii_start().is_empty()
    }
}

/// Why lines cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// The system says no.
    #[error("cannot read {0}")]
    File(String, #[source] io::Error),
    /// There are not so many lines.
    #[error("{name} has {}: --skip {skip} passes over more", many(*.lines, "line"))]
    Short { name: String, lines: u64, skip: u64 },
}

/// A file of lines.
pub(crate) struct Lines {
    name: String,
    input: Box<dyn BufRead + Send>,
    bytes: Option<u64>,
    number: u64,
    skip: u64,
    end: u64,
    limit: usize,
}

impl Lines {
    /// Opens the file; `-` is standard input. The first `skip` lines are passed over.
    pub(crate) fn open(path: &Path, skip: u64, limit: usize) -> Result<Self, Unreadable> {
        let name = path.display().to_string();
        let failed = |error| Unreadable::File(whole(path).display().to_string(), error);
        let (input, bytes): (Box<dyn BufRead + Send>, _) = if path == Path::new("-") {
            (Box::new(BufReader::new(io::stdin())), None)
        } else {
            let file = File::open(path).map_err(failed)?;
            let bytes = file.metadata().map_err(failed)?.len();
            (Box::new(BufReader::with_capacity(1 << 20, file)), Some(bytes))
        };
        Ok(Self { name, input, bytes, number: 0, skip, end: 0, limit })
    }

    /// How long a line may be, in bytes.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// How long the file is; not known of standard input.
    pub(crate) const fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// Reads on a thread of its own, a few lines ahead: a pipe may be silent for long, and the lines
    /// that came must not wait for it. The thread ends with the lines, or when nobody takes them.
    pub(crate) fn read_ahead(
        self,
        count: usize,
    ) -> io::Result<mpsc::Receiver<<Self as Iterator>::Item>> {
        let (lines, taken) = mpsc::channel(count);
        let mut all = self;
        let read =
            move || while all.next().is_some_and(|line| lines.blocking_send(line).is_ok()) {};
        thread::Builder::new().name("import-reader".to_owned()).spawn(read)?;
        Ok(taken)
    }

    /// Reads to the end of the line and returns how many bytes that took; past the limit they are
    /// not kept.
    fn read(&mut self, text: &mut Vec<u8>) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            let buffer = self.input.fill_buf()?;
            let end = buffer.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let part = end.unwrap_or(buffer.len());
            let room = self.limit.saturating_add(2).saturating_sub(text.len());
            text.extend_from_slice(&buffer[..part.min(room)]);
            self.input.consume(part);
            taken += part;
            if part == 0 || end.is_some() {
                return Ok(taken);
            }
        }
    }
}

impl Lines {
    /// At the end: that there were fewer lines than should be passed over, once.
    fn short(&mut self) -> Option<Unreadable> {
        let (name, lines, skip) = (self.name.clone(), self.number, mem::take(&mut self.skip));
        (lines < skip).then_some(Unreadable::Short { name, lines, skip })
    }
}

impl Iterator for Lines {
    type Item = Result<Line, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut text = Vec::new();
            let taken = match self.read(&mut text) {
                Ok(0) => return self.short().map(Err),
                Ok(taken) => taken,
                Err(error) => return Some(Err(Unreadable::File(self.name.clone(), error))),
            };
            self.end += u64::try_from(taken).unwrap_or(u64::MAX);
            self.number += 1;
            let line = text.trim_ascii_end().len();
            let length = if taken == text.len() { line } else { taken };
            text.truncate(line);
            if self.number > self.skip {
                return Some(Ok(Line { number: self.number, text, length, end: self.end }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn lines(text: &str, skip: u64) -> Vec<(u64, String, usize, u64)> {
        let input: Box<dyn BufRead + Send> = Box::new(Cursor::new(text.to_owned()));
        let name = "test".to_owned();
        let lines = Lines { name, input, bytes: None, number: 0, skip, end: 0, limit: 8 };
        lines
            .map(Result::unwrap)
            .map(|line| (line.number, String::from_utf8(line.text).unwrap(), line.length, line.end))
            .collect()
    }

    #[test]
    fn blank_lines_are_lines() {
        let all = lines("a\n \nb", 0);
        let text = |text: &str| text.to_owned();
        assert_eq!(all, [(1, text("a"), 1, 2), (2, text(""), 0, 4), (3, text("b"), 1, 5)]);
    }

    #[test]
    fn more_lines_than_there_are_cannot_be_skipped() {
        let input: Box<dyn BufRead + Send> = Box::new(Cursor::new("a\nb\n"));
        let name = "orders.ndjson".to_owned();
        let mut lines = Lines { name, input, bytes: None, number: 0, skip: 3, end: 0, limit: 8 };
        let told = lines.next().unwrap().unwrap_err().to_string();
        assert_eq!(told, "orders.ndjson has 2 lines: --skip 3 passes over more");
        assert!(lines.next().is_none());
    }

    #[test]
    fn lines_can_be_skipped() {
        assert_eq!(lines("a\nb\n", 1), [(2, "b".to_owned(), 1, 4)]);
    }

    #[test]
    fn a_line_past_the_limit_is_cut_and_the_next_is_whole() {
        let all = lines("0123456789abcdef\nb\n", 0);
        assert_eq!(all, [(1, "0123456789".to_owned(), 17, 17), (2, "b".to_owned(), 1, 19)]);
    }

    #[test]
    fn a_line_as_long_as_the_limit_is_whole() {
        let all = lines("01234567\r\n", 0);
        assert_eq!(all, [(1, "01234567".to_owned(), 8, 10)]);
    }
}
