//! Making a run that fails small: parts of its plan are left out while it fails in the same way.

use super::{
    Bug, Run,
    cuts::{Cut, Cuts},
    plan::Plan,
    run::run_without,
};

/// The most runs that are spent on one seed.
const RUNS: usize = 2_000;

/// A run that fails, and the least of its plan that still does.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// What is left out.
    pub cuts: Cuts,
    /// The size of the plan before and after.
    pub sizes: [Size; 2],
    /// What is left of the plan, line by line.
    pub plan: Vec<String>,
    /// The run of that.
    pub run: Run,
    /// How many runs it took.
    pub runs: usize,
}

/// The size of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Clients that do something.
    pub clients: usize,
    /// What they do.
    pub steps: usize,
    /// Crashes, jumps and outages.
    pub chaos: usize,
    /// Workers.
    pub workers: usize,
}

impl Size {
    fn of(plan: &Plan) -> Self {
        Self {
            clients: plan.scripts.iter().filter(|steps| !steps.is_empty()).count(),
            steps: plan.steps(),
            chaos: plan.chaos.len(),
            workers: plan.processes.iter().map(Vec::len).sum(),
        }
    }
}

/// What a violation says, without the names and the numbers of the run: runs that differ in it fail
/// in different ways.
pub fn kind(violation: &str) -> String {
    let said = violation.rsplit_once(": ").map_or(violation, |(_, said)| said);
    let plain = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase());
    said.split_whitespace().filter(plain).collect::<Vec<_>>().join(" ")
}

/// Shrinks a seed that fails; nothing when it does not.
///
/// # Panics
/// When a run does.
pub fn shrink(seed: u64, orders: usize, bug: Option<Bug>) -> Option<Shrunk> {
    let run = run_without(seed, orders, bug, &Cuts::default());
    let kind = kind(run.violations.first()?);
    let plan = Plan::new(seed, orders);
    let mut shrinker = Shrinker { seed, orders, bug, kind, cuts: Cuts::default(), runs: 0, run };
    for _ in 0..2 {
        for group in Cuts::all(&plan) {
            shrinker.leave_out(group);
        }
    }
    let Shrinker { cuts, runs, run, .. } = shrinker;
    let before = Size::of(&plan);
    let least = cuts.apply(plan);
    let sizes = [before, Size::of(&least)];
    Some(Shrunk { cuts, sizes, plan: least.lines(), run, runs })
}

struct Shrinker {
    seed: u64,
    orders: usize,
    bug: Option<Bug>,
    kind: String,
    cuts: Cuts,
    runs: usize,
    run: Run,
}

impl Shrinker {
    /// Leaves out what can be left out of these: all at once, then halves, down to each by itself.
    fn leave_out(&mut self, group: Vec<Cut>) {
        let mut left: Vec<Cut> =
            group.into_iter().filter(|cut| !self.cuts.0.contains(cut)).collect();
        let mut size = left.len();
        while size > 0 {
            let mut kept = Vec::new();
            for chunk in left.chunks(size) {
                if !self.fails_without(chunk) {
                    kept.extend_from_slice(chunk);
                }
            }
            left = kept;
            size /= 2;
        }
    }

    /// Whether it fails in the same way without these, too; then they stay out.
    fn fails_without(&mut self, more: &[Cut]) -> bool {
        if self.runs >= RUNS {
            return false;
        }
        self.runs += 1;
        let cuts = self.cuts.and(more);
        let run = run_without(self.seed, self.orders, self.bug, &cuts);
        let same = run.violations.iter().any(|violation| kind(violation) == self.kind);
        if same {
            (self.cuts, self.run) = (cuts, run);
        }
        same
    }
}
