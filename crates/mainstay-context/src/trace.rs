use std::{error::Error, fmt, str::FromStr};

/// Which trace a call belongs to, and which span is its parent (W3C Trace Context).
///
/// Reads (`FromStr`) and writes (`Display`) the `traceparent` header. The default is
/// [`TraceContext::NONE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

impl TraceContext {
    /// No trace: all ids are zero. Never sent; parsing refuses it.
    pub const NONE: Self = Self { trace_id: [0; 16], span_id: [0; 8], flags: 0 };

    /// A trace that starts here, not sampled.
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        Self { trace_id, span_id, flags: 0 }
    }

    /// The same trace and flags with `span_id` as the current span.
    #[must_use]
    pub fn child_span(self, span_id: [u8; 8]) -> Self {
        Self { span_id, ..self }
    }

    /// The same trace and span, recorded or not.
    #[must_use]
    pub fn with_sampled(self, sampled: bool) -> Self {
        Self { flags: self.flags & !1 | u8::from(sampled), ..self }
    }

    /// Whether there is no trace; true exactly when an id is zero.
    pub fn is_none(self) -> bool {
        self.trace_id == [0; 16] || self.span_id == [0; 8]
    }

    /// Whether the caller may have recorded this trace.
    pub fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }

    /// The trace id as 32 lower-case hexadecimal digits.
    pub fn trace_id_hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.trace_id))
    }

    /// The span id as 16 lower-case hexadecimal digits.
    pub fn span_id_hex(self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.span_id))
    }
}

/// The value of a `traceparent` header, version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trace = u128::from_be_bytes(self.trace_id);
        let span = u64::from_be_bytes(self.span_id);
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", self.flags)
    }
}

impl FromStr for TraceContext {
    type Err = InvalidTraceParent;

    /// Reads a `traceparent`. A later version than 00 is read by its first four fields, as the
    /// specification asks; of its flags only "sampled" is kept.
    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        parse(text.as_bytes()).ok_or(InvalidTraceParent)
    }
}

fn parse(text: &[u8]) -> Option<TraceContext> {
    let (fields, rest) = text.split_at_checked(55)?;
    let dashes = [2, 35, 52].iter().all(|&i| fields[i] == b'-');
    let [version] = hex(&fields[..2])?;
    let trace_id: [u8; 16] = hex(&fields[3..35])?;
    let span_id: [u8; 8] = hex(&fields[36..52])?;
    let [flags] = hex(&fields[53..])?;
    let length_fits = match version {
        0x00 => rest.is_empty(),
        0xff => false,
        _ => rest.is_empty() || rest[0] == b'-',
    };
    let flags = if version == 0 { flags } else { flags & 1 };
    let trace = TraceContext { trace_id, span_id, flags };
    (dashes && length_fits && !trace.is_none()).then_some(trace)
}

/// Decodes exactly `2 * N` lower-case hexadecimal digits.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |d: u8| match d {
        b'0'..=b'9' => Some(d - b'0'),
        b'a'..=b'f' => Some(d - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    (digits.len() == 2 * N).then_some(bytes)
}

/// A text is not a W3C `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTraceParent;

impl fmt::Display for InvalidTraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a W3C traceparent")
    }
}

impl Error for InvalidTraceParent {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_header_of_the_specification_round_trips() {
        let trace: TraceContext = SAMPLE.parse().unwrap();
        assert_eq!(trace.to_string(), SAMPLE);
        assert_eq!(trace.trace_id_hex(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(trace.span_id_hex(), "b7ad6b7169203331");
        assert!(trace.is_sampled());
    }

    #[test]
    fn malformed_headers_are_refused() {
        let refused = [
            String::new(),
            SAMPLE.to_uppercase(),
            SAMPLE.replacen("00-", "ff-", 1),
            SAMPLE.replacen("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32), 1),
            SAMPLE.replacen("b7ad6b7169203331", &"0".repeat(16), 1),
            SAMPLE.replacen("-b7", "_b7", 1),
            SAMPLE.replacen("0af", "+af", 1),
            format!("{SAMPLE}-more"),
            format!("{}x", SAMPLE.replacen("00-", "01-", 1)),
            SAMPLE[..54].to_owned(),
        ];
        for text in refused {
            assert_eq!(text.parse::<TraceContext>(), Err(InvalidTraceParent), "{text}");
        }
    }

    #[test]
    fn a_later_version_is_read_by_its_known_fields() {
        let later = format!("{}-more", SAMPLE.replacen("00-", "01-", 1));
        assert_eq!(later.parse(), SAMPLE.parse::<TraceContext>());
    }

    #[test]
    fn a_child_span_stays_in_the_trace() {
        let trace: TraceContext = SAMPLE.parse().unwrap();
        let child = trace.child_span([9; 8]);
        assert_eq!(child.trace_id_hex(), trace.trace_id_hex());
        assert_eq!(child.span_id_hex(), "0909090909090909");
        assert!(child.is_sampled());
    }

    #[test]
    fn a_trace_says_whether_it_is_recorded() {
        let trace = TraceContext::new([1; 16], [2; 8]);
        assert!(!trace.is_sampled());
        assert!(trace.with_sampled(true).is_sampled());
        assert_eq!(trace.with_sampled(true).with_sampled(false), trace);
    }

    #[test]
    fn no_trace_is_the_default() {
        assert_eq!(TraceContext::default(), TraceContext::NONE);
        assert!(TraceContext::NONE.is_none());
        assert!(!TraceContext::new([1; 16], [1; 8]).is_none());
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(
            trace_id in any::<[u8; 16]>(), span_id in any::<[u8; 8]>(), flags: u8
        ) {
            let trace = TraceContext { trace_id, span_id, flags };
            let read = trace.to_string().parse();
            prop_assert_eq!(read, if trace.is_none() { Err(InvalidTraceParent) } else { Ok(trace) });
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,80}") {
            let _ = text.parse::<TraceContext>();
        }
    }
}
