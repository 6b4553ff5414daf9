//! The report as one self-contained HTML file. It requests nothing, and only the table of all brands
//! has a script.

use contract::output::visible;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, HtmlEscape, Value, context};

use crate::page::Page;

const TEMPLATES: [(&str, &str); 5] = [
    ("report.html", include_str!("../templates/report.html")),
    ("blocks.html", include_str!("../templates/blocks.html")),
    ("chart.svg", include_str!("../templates/chart.svg")),
    ("report.css", include_str!("../templates/report.css")),
    ("report.js", include_str!("../templates/report.js")),
];

/// Writes the page as HTML. All text is escaped: names of brands are data and may hold any character.
pub fn render(page: &Page) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|name| match name {
        "report.css" | "report.js" => AutoEscape::None, // ours, without a variable
        _ => AutoEscape::Html,
    });
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.add_filter("prose", |text: &str| Value::from_safe_string(prose(text)));
    environment.add_filter("plain", |text: &str| text.replace('`', ""));
    environment.add_filter("groups", groups);
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    let html = environment.get_template("report.html")?.render(Serde(page))?;
    Ok(visible(&html).into_owned())
}

/// Neighbouring columns of one group: its title, or none, and the number of columns.
fn groups(columns: Vec<Value>) -> Vec<Value> {
    let mut groups: Vec<(Value, usize)> = Vec::new();
    for column in columns {
        let title = column.get_attr("group").unwrap_or_default();
        match groups.last_mut() {
            Some((last, n)) if *last == title => *n += 1,
            _ => groups.push((title, 1)),
        }
    }
    groups.into_iter().map(|(title, n)| context! { title, n }).collect()
}

/// Escapes a sentence, then marks the text between backticks as code.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(i, part)| {
        let part = HtmlEscape(part).to_string();
        if i % 2 == 1 { format!("<code>{part}</code>") } else { part }
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_escaped_before_their_code_is_marked() {
        assert_eq!(
            prose("`a` beats <i> & \"b\""),
            "<code>a</code> beats &lt;i&gt; &amp; &quot;b&quot;"
        );
    }

    #[test]
    fn the_page_requests_nothing_from_the_network() {
        for (name, source) in TEMPLATES {
            for reference in
                ["http:", "https:", "src=", "@import", "url(", "<link", "fetch(", "import("]
            {
                assert!(!source.contains(reference), "{reference} in {name}");
            }
        }
    }

    /// Relative luminance of a colour as `#rrggbb`, by WCAG 2.2.
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_has_enough_contrast_in_both_themes() {
        let css = include_str!("../templates/report.css");
        let themes: Vec<&str> = css.split(":root").skip(1).take(2).collect();
        assert_eq!(themes.len(), 2, "a light and a dark theme");
        for theme in themes {
            let colour = |name: &str| {
                let start = theme.find(&format!("--{name}: #")).unwrap_or_else(|| panic!("{name}"));
                &theme[start + name.len() + 4..start + name.len() + 11]
            };
            for ground in ["page", "panel"] {
                for ink in ["ink", "muted", "accent", "better", "worse", "warn"] {
                    let found = contrast(colour(ink), colour(ground));
                    assert!(found >= 4.5, "{ink} on {ground}: {found:.2}");
                }
            }
            for shade in ["up-1", "up-2", "up-3", "down-1", "down-2", "down-3"] {
                for ink in ["ink", "muted"] {
                    let found = contrast(colour(ink), colour(shade));
                    assert!(found >= 4.5, "{ink} on {shade}: {found:.2}");
                }
            }
            // Marks are no text: 3 to 1.
            for mark in ["main", "base", "third"] {
                let found = contrast(colour(mark), colour("page"));
                assert!(found >= 3.0, "{mark}: {found:.2}");
            }
            let found = contrast(colour("warn"), colour("warn-ground"));
            assert!(found >= 4.5, "warn on its ground: {found:.2}");
        }
    }
}
