//! The report as one HTML file that needs nothing else: no script, no request.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, HtmlEscape, Value};

use crate::page::Page;

/// Writes the page as HTML. Every text is escaped; names of brands are data.
pub fn render(page: &Page) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.add_filter("prose", |text: &str| Value::from_safe_string(prose(text)));
    environment.add_filter("plain", |text: &str| text.replace('`', ""));
    environment.add_template("report.html", include_str!("../templates/report.html"))?;
    environment.get_template("report.html")?.render(Serde(page))
}

/// Escapes a sentence, then sets what stands between backticks as code.
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
    use crate::page::{Cell, Column, Row, Section, Table};

    #[test]
    fn a_brand_named_like_markup_is_shown_as_text() {
        let column = Column { title: "Brand".to_owned(), is_code: false, is_number: false };
        let cell = Cell { text: "<b>\"&".to_owned(), ..Cell::default() };
        let table = Table {
            caption: "F1".to_owned(),
            columns: vec![column],
            rows: vec![Row { class: "", cells: vec![cell] }],
        };
        let page = Page {
            title: "Experiments against `bau`".to_owned(),
            subtitle: "1 < 2".to_owned(),
            answer: vec!["`a` beats <i>".to_owned()],
            sections: vec![Section {
                id: "x",
                title: "X",
                tables: vec![table],
                ..Section::default()
            }],
        };
        let html = render(&page).unwrap();
        assert!(html.contains("&lt;b&gt;&quot;&amp;"), "{html}");
        assert!(!html.contains("<b>") && !html.contains("<i>"));
        assert!(html.contains("<code>a</code> beats &lt;i&gt;"));
        assert!(html.contains("<title>Experiments against bau</title>"));
    }

    #[test]
    fn the_page_asks_the_network_for_nothing() {
        let template = include_str!("../templates/report.html");
        for reference in ["http:", "https:", "src=", "@import", "url(", "<script", "<link"] {
            assert!(!template.contains(reference), "{reference}");
        }
    }
}
