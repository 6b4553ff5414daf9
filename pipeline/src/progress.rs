//! What users see of running stages.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use contract::{output, warn_line};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Shows running stages: on a terminal a line for each, else their messages.
pub struct Progress {
    bars: Option<MultiProgress>,
    /// By the stage's place
    of_stage: HashMap<usize, ProgressBar>,
    is_quiet: bool,
}

impl Progress {
    pub fn new(is_quiet: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal() && !is_quiet;
        Self { bars: is_terminal.then(MultiProgress::new), of_stage: HashMap::new(), is_quiet }
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
                let _ = bars.println(output::visible(text));
            }
            None => warn_line!("{text}"),
        }
    }

    pub fn start(&mut self, place: usize, label: &str) {
        if let Some(bars) = &self.bars {
            let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}");
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(style.expect("the template is well-formed"));
            bar.set_prefix(label.to_owned());
            bar.enable_steady_tick(Duration::from_millis(500));
            self.of_stage.insert(place, bar);
        }
    }

    /// Whether all lines of stages' messages are shown.
    pub fn shows_lines(&self) -> bool {
        self.bars.is_none() && !self.is_quiet
    }

    /// A line of a stage's messages. On a terminal the next line replaces it, unless it is a warning or a
    /// note.
    pub fn line(&self, place: usize, line: &str) {
        match self.of_stage.get(&place) {
            Some(_) if line.starts_with("warning: ") || line.starts_with("note: ") => {
                self.say(line);
            }
            Some(bar) => bar.set_message(output::visible_line(line).into_owned()),
            None => self.say(line),
        }
    }

    pub fn end(&mut self, place: usize) {
        if let Some(bar) = self.of_stage.remove(&place) {
            bar.finish_and_clear();
        }
    }
}
