//! The explorer. Seen states are kept as 64-bit fingerprints with their parent's; only the frontier holds whole ones.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasher, Hash},
};

use foldhash::quality::FixedState;

/// What happened in one step.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// The action, in words.
    pub action: &'static str,
    /// Which client, worker or pod did it.
    pub who: usize,
    /// The version it is about, 0 for none.
    pub version: u8,
}

/// Something with a first state, steps, and properties that must hold.
pub trait Model {
    /// A state.
    type State: Copy + Hash;

    /// The first state.
    fn start(&self) -> Self::State;
    /// Every step that can be taken.
    fn steps(&self, state: &Self::State) -> Vec<(Label, Self::State)>;
    /// The property that a state violates. Such a state is not followed further.
    fn broken(&self, state: &Self::State) -> Option<&'static str>;
    /// A state for the reader of a trace.
    fn show(&self, state: &Self::State) -> String;
}

/// How long to go on.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most states that are kept; 100 million take 2.4 GB.
    pub states: usize,
    /// The property whose first violation is enough, if any is.
    pub until: Option<&'static str>,
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// States seen.
    pub states: usize,
    /// Steps of the longest way that was followed.
    pub depth: usize,
    /// Whether there was nothing left to explore.
    pub complete: bool,
    /// A shortest trace for each property that was violated.
    pub broken: BTreeMap<&'static str, Vec<String>>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.complete { "all of them" } else { "cut short" };
        write!(f, "{:>9} states, depth {:>2}, {how}:", self.states, self.depth)?;
        if self.broken.is_empty() {
            return write!(f, " holds");
        }
        for (property, trace) in &self.broken {
            write!(f, " {property} ({} steps)", trace.len())?;
        }
        Ok(())
    }
}

/// The print of the first state's parent.
const NOBODY: u64 = 0;

/// Explores a model.
pub fn explore<M: Model>(model: &M, bounds: Bounds) -> Report {
    let mut search = Search {
        model,
        parents: HashMap::with_hasher(FixedState::default()),
        broken: BTreeMap::new(),
    };
    let start = model.start();
    search.parents.insert(print(&start), NOBODY);
    let (mut frontier, mut depth) = (vec![start], 0);
    while !frontier.is_empty() && search.may_go_on(bounds) {
        frontier = search.next(&frontier);
        depth += 1;
    }
    let broken = search.broken.iter();
    Report {
        states: search.parents.len(),
        depth,
        complete: frontier.is_empty(),
        broken: broken
            .map(|(property, end)| (*property, search.trace(*end)))
            .collect(),
    }
}

struct Search<'a, M> {
    model: &'a M,
    parents: HashMap<u64, u64, FixedState>,
    broken: BTreeMap<&'static str, u64>,
}

impl<M: Model> Search<'_, M> {
    fn may_go_on(&self, bounds: Bounds) -> bool {
        let found = bounds
            .until
            .is_some_and(|property| self.broken.contains_key(property));
        self.parents.len() <= bounds.states && !found
    }

    /// The states one step after these that were not seen before.
    fn next(&mut self, frontier: &[M::State]) -> Vec<M::State> {
        let mut next = vec![];
        for state in frontier {
            let parent = print(state);
            for (_, after) in self.model.steps(state) {
                let me = print(&after);
                if self.parents.contains_key(&me) {
                    continue;
                }
                self.parents.insert(me, parent);
                match self.model.broken(&after) {
                    Some(property) => {
                        self.broken.entry(property).or_insert(me);
                    }
                    None => next.push(after),
                }
            }
        }
        next
    }

    /// The way to a state, found again from the prints of its ancestors.
    fn trace(&self, end: u64) -> Vec<String> {
        let mut prints = vec![end];
        let parent = |child: &u64| {
            self.parents
                .get(child)
                .copied()
                .filter(|parent| *parent != NOBODY)
        };
        while let Some(before) = prints.last().and_then(parent) {
            prints.push(before);
        }
        let (mut state, mut lines) = (self.model.start(), vec![]);
        for wanted in prints.iter().rev().skip(1) {
            let steps = self.model.steps(&state);
            let Some((label, after)) = steps.into_iter().find(|(_, after)| print(after) == *wanted) else {
                break;
            };
            let Label { action, who, version } = label;
            lines.push(format!(
                "{action} [{who}, {version}]   {}",
                self.model.show(&after)
            ));
            state = after;
        }
        lines
    }
}

fn print<S: Hash>(state: &S) -> u64 {
    FixedState::default().hash_one(state)
}
