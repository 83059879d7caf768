//! How far a track has come.

use super::Excerpt;
use crate::Stage;
use std::cell::RefCell;
use std::time::Instant;

/// Who follows a track on its way.
pub trait Watch {
    /// The length is known now.
    fn length(&mut self, seconds: f64);

    /// A stage begins.
    fn stage(&self, stage: Stage, detail: &str);

    /// Seconds spent in each stage so far, in the order of the stages.
    fn times(&self) -> Vec<(Stage, f64)>;

    /// Whether somebody waits to hear the master before its files are ready.
    fn waits(&self) -> bool {
        false
    }

    /// The first that can be heard, for those who wait. It comes again where the plan is rendered again: the last one is true.
    fn audible(&mut self, _excerpt: Excerpt) {}
}

/// When each stage began, for whom the times are enough.
#[derive(Debug, Default)]
pub struct Clock(RefCell<Vec<(Stage, Instant)>>);

impl Watch for Clock {
    fn length(&mut self, _seconds: f64) {}

    fn stage(&self, stage: Stage, _detail: &str) {
        self.0.borrow_mut().push((stage, Instant::now()));
    }

    fn times(&self) -> Vec<(Stage, f64)> {
        let stages = self.0.borrow();
        let ends = stages.iter().skip(1).map(|(_, at)| *at).chain([Instant::now()]);
        let spent: Vec<(Stage, f64)> =
            stages.iter().zip(ends).map(|((stage, at), end)| (*stage, (end - *at).as_secs_f64())).collect();
        let total = |stage: Stage| spent.iter().filter(|(s, _)| *s == stage).map(|(_, seconds)| seconds).sum::<f64>();
        Stage::ALL.into_iter().map(|stage| (stage, total(stage))).filter(|(_, seconds)| *seconds > 0.0).collect()
    }
}
