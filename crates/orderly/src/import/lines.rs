//! The lines of a file or of standard input, one at a time.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::Path,
};

/// One line that is not blank.
#[derive(Debug)]
pub(crate) struct Line {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// What it says; cut off past the limit, so that it is refused and not held in memory.
    pub(crate) text: Vec<u8>,
    /// Where it ends in the file, in bytes.
    pub(crate) end: u64,
}

/// Why lines cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {name}")]
pub(crate) struct Unreadable {
    name: String,
    source: io::Error,
}

/// A file of lines.
pub(crate) struct Lines {
    name: String,
    input: Box<dyn BufRead>,
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
        let failed = |source| Unreadable { name: name.clone(), source };
        let (input, bytes): (Box<dyn BufRead>, _) = if path == Path::new("-") {
            (Box::new(BufReader::new(io::stdin())), None)
        } else {
            let file = File::open(path).map_err(failed)?;
            let bytes = file.metadata().map_err(failed)?.len();
            (Box::new(BufReader::with_capacity(1 << 20, file)), Some(bytes))
        };
        Ok(Self { name, input, bytes, number: 0, skip, end: 0, limit })
    }

    /// How long the file is; not known of standard input.
    pub(crate) const fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// Reads to the end of the line and returns how long it is. Past the limit it is not kept.
    fn read(&mut self, text: &mut Vec<u8>) -> io::Result<u64> {
        let most = u64::try_from(self.limit).unwrap_or(u64::MAX).saturating_add(2);
        let mut length = self.input.by_ref().take(most).read_until(b'\n', text)?;
        let kept = length;
        while length > 0 && text.last() != Some(&b'\n') && !self.input.fill_buf()?.is_empty() {
            let buffer = self.input.fill_buf()?;
            let end = buffer.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let passed = end.unwrap_or(buffer.len());
            self.input.consume(passed);
            length += passed;
            if end.is_some() {
                break;
            }
        }
        text.truncate(kept);
        Ok(u64::try_from(length).unwrap_or(u64::MAX))
    }
}

impl Iterator for Lines {
    type Item = Result<Line, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut text = Vec::new();
            match self.read(&mut text) {
                Ok(0) => return None,
                Ok(length) => self.end += length,
                Err(source) => return Some(Err(Unreadable { name: self.name.clone(), source })),
            }
            self.number += 1;
            if self.number > self.skip && !text.trim_ascii().is_empty() {
                return Some(Ok(Line { number: self.number, text, end: self.end }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn lines(text: &str, skip: u64) -> Vec<(u64, String, u64)> {
        let input: Box<dyn BufRead> = Box::new(Cursor::new(text.to_owned()));
        let name = "test".to_owned();
        let lines = Lines { name, input, bytes: None, number: 0, skip, end: 0, limit: 8 };
        lines
            .map(Result::unwrap)
            .map(|line| (line.number, String::from_utf8(line.text).unwrap(), line.end))
            .collect()
    }

    #[test]
    fn blank_lines_count_but_are_not_read() {
        let all = lines("a\n\nb", 0);
        assert_eq!(all, [(1, "a\n".to_owned(), 2), (3, "b".to_owned(), 4)]);
    }

    #[test]
    fn lines_can_be_skipped() {
        assert_eq!(lines("a\nb\n", 1), [(2, "b\n".to_owned(), 4)]);
    }

    #[test]
    fn a_line_past_the_limit_is_cut_and_the_next_is_whole() {
        let all = lines("0123456789abcdef\nb\n", 0);
        assert_eq!(all, [(1, "0123456789".to_owned(), 17), (2, "b\n".to_owned(), 19)]);
    }
}
