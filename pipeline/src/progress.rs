//! What people see of stages at work.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use contract::{output, warn_line};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// What is shown of stages at work: on a terminal a line each, else what they say.
pub struct Progress {
    bars: Option<MultiProgress>,
    of_node: HashMap<usize, ProgressBar>,
    is_quiet: bool,
}

impl Progress {
    /// For this program's standard error.
    pub fn new(is_quiet: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal() && !is_quiet;
        Self { bars: is_terminal.then(MultiProgress::new), of_node: HashMap::new(), is_quiet }
    }

    /// Something that a reader may want to know.
    pub fn say(&self, text: &str) {
        if !self.is_quiet {
            self.fail(text);
        }
    }

    /// Something that a reader must know.
    pub fn fail(&self, text: &str) {
        match &self.bars {
            // Above the bars. A terminal that is gone must not stop the stages.
            Some(bars) => drop(bars.println(output::visible(text))),
            None => warn_line!("{text}"),
        }
    }

    /// A stage begins.
    pub fn start(&mut self, place: usize, label: &str) {
        if let Some(bars) = &self.bars {
            let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}");
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(style.expect("the template is sound"));
            bar.set_prefix(label.to_owned());
            bar.enable_steady_tick(Duration::from_millis(500));
            self.of_node.insert(place, bar);
        }
    }

    /// Whether what stages say is shown as it comes, whole.
    pub fn shows_lines(&self) -> bool {
        self.bars.is_none() && !self.is_quiet
    }

    /// A stage says something. Beside a bar only the last line is seen, but warnings stay.
    pub fn line(&self, place: usize, line: &str) {
        match self.of_node.get(&place) {
            Some(_) if line.starts_with("warning: ") || line.starts_with("note: ") => {
                self.say(line);
            }
            Some(bar) => bar.set_message(output::visible_line(line).into_owned()),
            None => self.say(line),
        }
    }

    /// A stage has ended.
    pub fn end(&mut self, place: usize) {
        if let Some(bar) = self.of_node.remove(&place) {
            bar.finish_and_clear();
        }
    }
}
