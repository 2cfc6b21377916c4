use super::Phase;
use crate::{server::DrainReport, tasks::TasksReport};
use std::{process::ExitCode, time::Duration};

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// In order, after it was asked to.
    Stopped,
    /// Because a part failed; the reason.
    Failed(String),
    /// At once, because it was asked twice; what ran was cut and not counted.
    Forced,
}

/// What a shutdown took and what it cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How the process ended.
    pub end: End,
    /// The phases of the shutdown that were finished, with their durations.
    pub phases: Vec<(Phase, Duration)>,
    /// How many connections were cut with a request in flight or half sent.
    pub connections_cut: usize,
    /// The background tasks that were cut, by name.
    pub tasks_cut: Vec<&'static str>,
}

impl Report {
    pub(super) fn new() -> Self {
        Self { end: End::Stopped, phases: Vec::new(), connections_cut: 0, tasks_cut: Vec::new() }
    }

    pub(super) fn drained(&mut self, drain: DrainReport) {
        self.connections_cut = drain.cut;
    }

    pub(super) fn flushed(&mut self, tasks: TasksReport) {
        self.tasks_cut = tasks.cut;
    }

    /// 0 for an orderly stop even if something was cut, 1 for a failure, 130 for a forced end.
    pub fn exit_code(&self) -> ExitCode {
        match self.end {
            End::Stopped => ExitCode::SUCCESS,
            End::Failed(_) => ExitCode::FAILURE,
            End::Forced => ExitCode::from(130),
        }
    }

    /// How long a finished phase took; zero if it was not entered or not finished.
    pub fn duration(&self, phase: Phase) -> Duration {
        self.phases.iter().filter(|(one, _)| *one == phase).map(|(_, took)| *took).sum()
    }

    pub(super) fn log(&self) {
        let ms = |phase| u64::try_from(self.duration(phase).as_millis()).unwrap_or(u64::MAX);
        let (failure, level_error) = match &self.end {
            End::Stopped => (None, false),
            End::Failed(reason) => (Some(reason.as_str()), true),
            End::Forced => (Some("stopped twice"), true),
        };
        let cut = self.connections_cut > 0 || !self.tasks_cut.is_empty();
        let (lame_duck_ms, drain_ms) = (ms(Phase::LameDuck), ms(Phase::Draining));
        let (flush_ms, connections_cut) = (ms(Phase::Flushing), self.connections_cut);
        let tasks_cut = self.tasks_cut.join(",");
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    failure,
                    lame_duck_ms,
                    drain_ms,
                    flush_ms,
                    connections_cut,
                    tasks_cut,
                    "stopped"
                )
            };
        }
        match (level_error, cut) {
            (true, _) => line!(error),
            (false, true) => line!(warn),
            (false, false) => line!(info),
        }
    }
}
