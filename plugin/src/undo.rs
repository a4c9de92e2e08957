//! Undo and redo over the pads: what was changed by hand or made, gesture by gesture.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::project::Project;

/// Changes that can be taken back, and bytes that sounds may take which are needed for that alone.
const MOST: usize = 200;
const MOST_BYTES: usize = 64 << 20;

/// A parameter with a value that it has or had.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// The knob of this index among [`knobs`](crate::params::PluginParams::knobs), normalized.
    Knob(usize, f32),
    /// The seed of a pad.
    Seed(usize, i32),
}

/// What a change has put an end to.
#[derive(Debug, Clone)]
enum Before {
    Project(Arc<Project>),
    Value(Value),
}

/// One change, and the gesture that it is a part of: those of a gesture are taken back together.
#[derive(Debug, Clone)]
struct Change {
    gesture: u64,
    before: Before,
}

/// The changes of an instance, those that were made and those that were taken back.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    made: VecDeque<Change>,
    taken_back: VecDeque<Change>,
}

/// The direction in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Undo.
    Back,
    /// Redo.
    Forth,
}

impl Undo {
    /// The project is about to be changed from `before`.
    pub fn project(&mut self, gesture: u64, before: &Arc<Project>) {
        let of_gesture = self
            .made
            .iter()
            .rev()
            .take_while(|it| it.gesture == gesture);
        let is_there = of_gesture
            .into_iter()
            .any(|it| matches!(it.before, Before::Project(_)));
        if !is_there {
            self.push(gesture, Before::Project(before.clone()));
        }
        self.bound(before);
    }

    /// A parameter was changed from `before`.
    pub fn value(&mut self, gesture: u64, before: Value) {
        self.push(gesture, Before::Value(before));
    }

    fn push(&mut self, gesture: u64, before: Before) {
        self.taken_back.clear();
        self.made.push_back(Change { gesture, before });
        // Half a gesture would be no state that there was; the newest one may be as large as a kit.
        while self.made.len() > MOST
            && let Some(oldest) = self.made.front().map(|it| it.gesture)
            && oldest != gesture
        {
            while self.made.front().is_some_and(|it| it.gesture == oldest) {
                self.made.pop_front();
            }
        }
    }

    /// The gesture that is taken back next, or made again.
    pub fn next(&self, direction: Direction) -> Option<u64> {
        let changes = match direction {
            Direction::Back => &self.made,
            Direction::Forth => &self.taken_back,
        };
        changes.back().map(|it| it.gesture)
    }

    /// Forgets the oldest changes while sounds that only they hold take too much.
    fn bound(&mut self, present: &Project) {
        let mut seen: HashSet<_> = present.sounds().map(Arc::as_ptr).collect();
        let mut bytes = 0;
        let mut kept = 0;
        for change in self.made.iter().rev() {
            if let Before::Project(project) = &change.before {
                let new = project
                    .sounds()
                    .filter(|sound| seen.insert(Arc::as_ptr(sound)));
                bytes += new.map(|sound| sound.bytes()).sum::<usize>();
            }
            if bytes > MOST_BYTES {
                break;
            }
            kept += 1;
        }
        self.made.drain(..self.made.len() - kept);
    }

    /// Forgets everything: it was of another project.
    pub fn clear(&mut self) {
        self.made.clear();
        self.taken_back.clear();
    }

    /// Whether there is a change to take back, and one to make again.
    pub fn are_there(&self) -> (bool, bool) {
        (!self.made.is_empty(), !self.taken_back.is_empty())
    }

    /// Takes the last gesture back, or makes it again: `project` is given each project to return to and returns the one
    /// that was there, `value` the same of parameters.
    pub fn go(
        &mut self,
        direction: Direction,
        mut project: impl FnMut(Arc<Project>) -> Arc<Project>,
        mut value: impl FnMut(Value) -> Value,
    ) {
        let (from, to) = match direction {
            Direction::Back => (&mut self.made, &mut self.taken_back),
            Direction::Forth => (&mut self.taken_back, &mut self.made),
        };
        let Some(gesture) = from.back().map(|it| it.gesture) else {
            return;
        };
        while from.back().is_some_and(|it| it.gesture == gesture)
            && let Some(change) = from.pop_back()
        {
            let before = match change.before {
                Before::Project(it) => Before::Project(project(it)),
                Before::Value(it) => Before::Value(value(it)),
            };
            to.push_back(Change { gesture, before });
        }
    }
}

#[cfg(test)]
mod tests {
    use audiodiff::audio::Clip;

    use super::*;
    use crate::stored::StoredSound;
    use crate::stored::tests::recipe;

    fn selecting(pad: usize) -> Arc<Project> {
        Arc::new(Project {
            selected: pad,
            ..Project::default()
        })
    }

    /// A project and a parameter that one goes back and forth through.
    struct State {
        project: Arc<Project>,
        knob: f32,
    }

    impl State {
        fn go(&mut self, undo: &mut Undo, direction: Direction) -> (usize, f32) {
            let Self { project, knob } = self;
            undo.go(
                direction,
                |it| std::mem::replace(project, it),
                |it| match it {
                    Value::Knob(7, x) => Value::Knob(7, std::mem::replace(knob, x)),
                    other => panic!("{other:?}"),
                },
            );
            (self.project.selected, self.knob)
        }
    }

    #[test]
    fn gestures_are_taken_back_whole_and_made_again() {
        let mut undo = Undo::default();
        let mut state = State {
            project: selecting(0),
            knob: 0.0,
        };
        // A knob and three sounds in one gesture, then a knob alone.
        undo.value(1, Value::Knob(7, state.knob));
        state.knob = 0.5;
        for pad in 1..=3 {
            undo.project(1, &state.project);
            state.project = selecting(pad);
        }
        undo.value(2, Value::Knob(7, state.knob));
        state.knob = 0.7;
        use Direction::{Back, Forth};
        assert_eq!(state.go(&mut undo, Back), (3, 0.5));
        assert_eq!(state.go(&mut undo, Back), (0, 0.0));
        assert_eq!(state.go(&mut undo, Back), (0, 0.0), "there is nothing more");
        assert_eq!(undo.are_there(), (false, true));
        assert_eq!(state.go(&mut undo, Forth), (3, 0.5));
        assert_eq!(state.go(&mut undo, Forth), (3, 0.7));
        assert_eq!(state.go(&mut undo, Forth), (3, 0.7));
        assert_eq!(state.go(&mut undo, Back), (3, 0.5));
        // A new change takes the place of what was taken back.
        undo.project(3, &state.project);
        state.project = selecting(9);
        assert_eq!(undo.are_there(), (true, false));
        assert_eq!(state.go(&mut undo, Back), (3, 0.5));
    }

    #[test]
    fn the_past_takes_no_more_than_its_bytes_and_its_number() {
        let long = |seed| {
            // 5.76 MB.
            let clip = Clip::new(48_000, vec![vec![0.1; 48_000 * 30]; 2]);
            let mut project = Project::default();
            project.set_sound(0, Some(Arc::new(StoredSound::new(recipe(seed), &clip))));
            Arc::new(project)
        };
        let mut undo = Undo::default();
        for seed in 0..14 {
            undo.project(seed, &long(seed));
        }
        assert_eq!(undo.made.len(), 12);
        for gesture in 0..2 * MOST as u64 {
            undo.value(gesture, Value::Seed(0, 1));
        }
        assert_eq!(undo.made.len(), MOST);
        // A gesture is kept whole, however many parameters it moves, and forgotten whole.
        for _ in 0..MOST + 50 {
            undo.value(9000, Value::Seed(0, 1));
        }
        assert_eq!(undo.made.len(), MOST + 50);
        undo.value(9001, Value::Seed(0, 1));
        assert_eq!(
            (undo.made.len(), undo.next(Direction::Back)),
            (1, Some(9001))
        );
        undo.clear();
        assert_eq!(undo.are_there(), (false, false));
    }
}
