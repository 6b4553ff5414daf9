//! What users see of running stages.

use std::collections::{HashMap, HashSet};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use contract::words::plural;
use contract::{output, warn_line};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::left::{self, Left};

/// Shows a run: on a terminal a line for each running stage and one for the whole; else a line when a
/// stage starts and ends.
pub struct Progress {
    left: Left,
    n_stages: usize,
    n_ended: usize,
    /// Stages that run at once
    jobs: usize,
    bars: Option<Bars>,
    /// Stages whose last line was a warning or a note
    remarking: HashSet<usize>,
    is_quiet: bool,
}

struct Bars {
    all: MultiProgress,
    /// By the stage's place
    of_stage: HashMap<usize, ProgressBar>,
    /// The last line
    whole: ProgressBar,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let style = ProgressStyle::with_template("{elapsed} {wide_msg}");
        let whole = all.add(ProgressBar::new_spinner());
        whole.set_style(style.expect("the template is well-formed"));
        whole.enable_steady_tick(Duration::from_millis(500));
        Self { all, of_stage: HashMap::new(), whole }
    }
}

impl Progress {
    pub fn new(left: Left, n_stages: usize, jobs: usize, is_quiet: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal() && !is_quiet;
        let (bars, remarking) = (is_terminal.then(Bars::new), HashSet::new());
        Self { left, n_stages, n_ended: 0, jobs, bars, remarking, is_quiet }
    }

    /// A message that `--quiet` leaves out.
    pub fn say(&self, text: &str) {
        if !self.is_quiet {
            self.fail(text);
        }
    }

    /// A message that is always shown.
    pub fn fail(&self, text: &str) {
        match &self.bars {
            Some(bars) => {
                // A terminal that is gone must not stop the stages.
                let _ = bars.all.println(output::visible(text));
            }
            None => warn_line!("{text}"),
        }
    }

    /// A stage is fresh. On a terminal it is only counted: there may be hundreds.
    pub fn fresh(&self, label: &str) {
        if self.bars.is_none() {
            self.say(&format!("{label}: fresh"));
        }
    }

    pub fn start(&mut self, place: usize, label: &str) {
        self.left.start(place, Instant::now());
        if let Some(bars) = &mut self.bars {
            let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}");
            let bar = bars.all.insert_before(&bars.whole, ProgressBar::new_spinner());
            bar.set_style(style.expect("the template is well-formed"));
            bar.set_prefix(label.to_owned());
            bar.enable_steady_tick(Duration::from_millis(500));
            bars.of_stage.insert(place, bar);
        }
    }

    /// A line of a stage's messages. Warnings and notes stay; of others a terminal shows the last.
    pub fn line(&mut self, place: usize, line: &str) {
        self.left.line(place, line, Instant::now());
        if is_remark(line, self.remarking.contains(&place)) {
            self.remarking.insert(place);
            self.say(line);
            return;
        }
        self.remarking.remove(&place);
        if let Some(bar) = self.bars.as_ref().and_then(|bars| bars.of_stage.get(&place)) {
            bar.set_message(output::visible_line(line).into_owned());
        }
    }

    /// A stage's program has ended.
    pub fn stop(&mut self, place: usize) {
        if let Some(bar) = self.bars.as_mut().and_then(|bars| bars.of_stage.remove(&place)) {
            bar.finish_and_clear();
        }
    }

    /// The summary of a stage that ran, with how much is left.
    pub fn result(&self, text: &str) {
        match self.bars {
            Some(_) => self.say(text),
            None => self.say(&format!("{text} ({})", self.words())),
        }
    }

    /// A stage has ended, or will not run.
    ///
    /// * `secs`: if it ran.
    pub fn end(&mut self, place: usize, secs: Option<f64>) {
        self.left.end(place, secs);
        self.n_ended += 1;
        self.tick();
    }

    /// Shows how much is left.
    pub fn tick(&self) {
        if let Some(bars) = &self.bars {
            bars.whole.set_message(self.words());
        }
    }

    /// Removes what is not to stay.
    pub fn finish(&self) {
        if let Some(bars) = &self.bars {
            bars.whole.finish_and_clear();
        }
    }

    /// As in `12 of 64 stages, about 4 min left`.
    fn words(&self) -> String {
        let left = self.left.secs(self.jobs, Instant::now()).filter(|secs| *secs > 0.0);
        let left =
            left.map_or(String::new(), |secs| format!(", about {} left", left::in_words(secs)));
        format!("{} of {}{left}", self.n_ended, plural(self.n_stages as u64, "stage"))
    }
}

/// Whether a line of a stage's messages is more than progress.
///
/// * `is_after_remark`: whether the line before it was.
fn is_remark(line: &str, is_after_remark: bool) -> bool {
    let is_hint = line.starts_with("hint: ") && is_after_remark;
    is_hint || line.starts_with("note: ") || line.starts_with("warning: ") || {
        line.split_once(": warning: ").is_some_and(|(program, _)| program.ends_with("-stage"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_and_notes_are_remarks_with_their_hints_and_progress_is_none() {
        for line in ["warning: a", "note: b", "train-stage: warning: c"] {
            assert!(is_remark(line, false), "{line}");
        }
        assert!(is_remark("hint: d", true));
        for line in ["hint: d", "train bau: epoch 1 of 2 (3 of 6 updates)", "x: warning: y", ""] {
            assert!(!is_remark(line, false), "{line}");
        }
    }
}
