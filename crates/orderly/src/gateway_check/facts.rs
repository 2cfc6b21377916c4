//! What is checked, and what came of it.

/// What was sent, what came, and what the contract wants instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    pub(super) sent: String,
    pub(super) came: String,
    pub(super) wanted: String,
}

/// Why a fact is not seen to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It does not hold.
    Missing(Box<Evidence>),
    /// It could not be looked at, for this reason.
    Unclear(String),
}

impl Trouble {
    /// What is missing for another fact to be looked at at all.
    pub(super) fn before(self, what: &str) -> Self {
        match self {
            Self::Missing(evidence) => {
                let Evidence { sent, came, .. } = *evidence;
                Self::Unclear(format!("{what} was not to be had: sent {sent}; came {came}"))
            }
            Self::Unclear(why) => Self::Unclear(format!("{what} was not to be had: {why}")),
        }
    }
}

pub(super) type Checked<T = ()> = Result<T, Trouble>;

/// One thing that the contract says.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    /// Which part of the contract it is of.
    pub(super) part: &'static str,
    /// The fact, as a sentence.
    pub(super) name: &'static str,
    /// What the contract says of it.
    pub(super) contract: &'static str,
    pub(super) checked: Checked,
}

/// All that was looked at.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) facts: Vec<Fact>,
    /// What cannot be seen from outside, or was not asked for.
    pub(super) unseen: Vec<String>,
}

impl Report {
    /// How many facts hold, are missing and are unclear.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        self.facts.iter().fold((0, 0, 0), |(ok, missing, unclear), fact| match &fact.checked {
            Ok(()) => (ok + 1, missing, unclear),
            Err(Trouble::Missing(_)) => (ok, missing + 1, unclear),
            Err(Trouble::Unclear(_)) => (ok, missing, unclear + 1),
        })
    }

    /// Facts of one part of the contract.
    pub(super) fn part(&mut self, part: &'static str) -> Part<'_> {
        Part { report: self, part }
    }
}

/// A part of the contract, whose facts are being noted.
#[derive(Debug)]
pub(super) struct Part<'a> {
    report: &'a mut Report,
    part: &'static str,
}

impl Part<'_> {
    pub(super) fn fact(&mut self, name: &'static str, contract: &'static str, checked: Checked) {
        self.report.facts.push(Fact { part: self.part, name, contract, checked });
    }
}
