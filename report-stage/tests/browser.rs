//! The page in a headless Chromium without a network, on a desktop and a phone, in both themes: it
//! logs nothing, requests nothing, and the table of all brands searches and sorts.
//!
//! Skipped with a message where no Chromium is found; the variable `CHROMIUM` names one.

mod fixture;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use contract::warn_line;
use serde_json::Value;
use tempfile::TempDir;

use fixture::{pipeline, read, run_well};

/// What a page logged and what the script found.
struct Visit {
    console: Vec<String>,
    findings: Value,
}

/// A window and its theme.
struct Window {
    size: (u32, u32),
    is_dark: bool,
}

const DESKTOP: Window = Window { size: (1400, 900), is_dark: false };

fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file());
    let found = named.or(found);
    if found.is_none() {
        warn_line!("skipped: no Chromium; name one with CHROMIUM=");
    }
    found
}

/// Opens a page in which `script` runs after the page's own and returns its findings.
fn visit(chromium: &Path, html: &str, script: &str, window: &Window) -> Visit {
    let dir = TempDir::new().unwrap();
    let page = dir.path().join("report.html");
    let probe = format!(
        "<pre id=\"findings\"></pre><script>document.getElementById('findings').textContent = \
         JSON.stringify((() => {{ {script} }})());</script></body>"
    );
    fs::write(&page, html.replace("</body>", &probe)).unwrap();
    let (width, height) = window.size;
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!window.is_dark)))
        .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let (dom, log) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let findings =
        dom.split("<pre id=\"findings\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let findings = findings.unwrap_or_else(|| panic!("no findings:\n{log}"));
    let findings = findings.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    Visit {
        console: log.lines().filter(|l| l.contains("CONSOLE")).map(str::to_owned).collect(),
        findings: serde_json::from_str(&findings).unwrap_or_else(|err| panic!("{err}: {findings}")),
    }
}

fn page() -> String {
    let dir = pipeline();
    run_well(&dir, &[]);
    read(&dir, "report.html")
}

const LOOK: &str = "
    const screens = document.documentElement.scrollHeight / 900;
    scrollTo({ top: 1e6, behavior: 'instant' });
    const contents = document.querySelector('nav').getBoundingClientRect().top;
    scrollTo({ top: 0, behavior: 'instant' });
    const colour = (name) => getComputedStyle(document.body)[name];
    return {
        screens, contents,
        requests: performance.getEntriesByType('resource').length,
        ground: colour('backgroundColor'), ink: colour('color'),
        overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        width: innerWidth,
        unnamed: [...document.querySelectorAll('svg[role=img]')].filter((svg) =>
            !svg.getAttribute('aria-labelledby').split(' ').every((id) =>
                document.getElementById(id)?.textContent)).length,
        charts: document.querySelectorAll('svg[role=img]').length,
        captions: [...document.querySelectorAll('table')].every((table) => table.caption),
        dead: [...document.querySelectorAll('a[href^=\"#\"]')].filter((a) =>
            !document.getElementById(a.getAttribute('href').slice(1))).map((a) => a.outerHTML),
        twice: [...document.querySelectorAll('[id]')].map((e) => e.id)
            .filter((id, i, all) => all.indexOf(id) !== i),
    };";

#[test]
fn the_page_logs_nothing_and_fits_every_window() {
    let Some(chromium) = chromium() else { return };
    let html = page();
    let windows = [
        DESKTOP,
        Window { is_dark: true, ..DESKTOP },
        Window { size: (500, 900), is_dark: false }, // the narrowest that Chromium opens
    ];
    let mut grounds = Vec::new();
    for window in &windows {
        let Visit { console, findings } = visit(&chromium, &html, LOOK, window);
        assert!(console.is_empty(), "{console:?}");
        assert_eq!(findings["requests"], 0);
        assert!(findings["screens"].as_f64().unwrap() < 8.0, "{findings}");
        assert_eq!(findings["contents"], 0, "the contents stay in view");
        assert_eq!(findings["overflow"], 0, "{findings}");
        assert_eq!(findings["unnamed"], 0, "every chart has a title and a description");
        assert!(findings["charts"].as_u64().unwrap() > 8, "{findings}");
        assert_eq!(findings["captions"], true);
        assert_eq!(findings["dead"], serde_json::json!([]));
        assert_eq!(findings["twice"], serde_json::json!([]));
        grounds.push((findings["ground"].clone(), findings["ink"].clone()));
    }
    assert_ne!(grounds[0], grounds[1], "light and dark");
    assert_eq!(grounds[1].0, "rgb(16, 20, 26)");
}

#[test]
fn all_brands_are_searched_sorted_and_compared() {
    let Some(chromium) = chromium() else { return };
    let script = "
        const names = () => [...document.querySelectorAll('#brands-table tbody th')].map((e) => e.textContent);
        const cells = (row) => [...document.querySelectorAll(`#brands-table tbody tr:nth-child(${row}) td`)].map((e) => e.textContent);
        const head = (title) => [...document.querySelectorAll('#brands-table thead button')].find((b) => b.textContent === title);
        const set = (id, value, event) => {
            const field = document.getElementById('brands-' + id);
            field.value = value; field.dispatchEvent(new Event(event));
        };
        const found = {};
        found.all = names(); found.first = cells(1);
        head('Brand').click(); found.byName = names();
        found.sort = head('Brand').parentElement.getAttribute('aria-sort');
        head('F1').click(); found.undefinedLast = names()[3];
        head('F1').click(); found.ascending = names();
        set('search', 'STAR pipe', 'input'); found.search = names();
        set('search', 'nothing', 'input'); found.status = document.getElementById('brands-status').textContent;
        set('search', '73', 'input'); found.byId = names();
        set('search', '', 'input'); set('tier', 'tail', 'change'); found.tail = names().length;
        set('tier', '', 'change'); set('shown', 'bau', 'change'); head('Volume').click();
        found.bau = cells(1);
        return found;";
    let Visit { console, findings } = visit(&chromium, &page(), script, &DESKTOP);
    assert!(console.is_empty(), "{console:?}");
    let is = |key: &str, expected: Value| assert_eq!(findings[key], expected, "{key}");
    is("all", serde_json::json!(["<b>\"&", "pipe | star *", "plain", "empty"]));
    let of_good =
        ["70", "head", "4,000", "60", "60", "1.000", "1.000", "1.000", "0.667", "+0.333", "0.250"];
    is("first", serde_json::json!(of_good));
    is("byName", serde_json::json!(["<b>\"&", "empty", "pipe | star *", "plain"]));
    is("sort", "ascending".into());
    is("undefinedLast", "empty".into());
    assert_eq!(findings["ascending"][3], "empty", "undefined is last both ways");
    is("search", serde_json::json!(["pipe | star *"]));
    is("status", "No brand matches.".into());
    is("byId", serde_json::json!(["empty"]));
    is("tail", 2.into());
    // Undefined precision of a brand that is never predicted is a dash, not 0.
    let of_bau =
        ["70", "head", "4,000", "60", "30", "1.000", "0.500", "0.667", "0.667", "0.000", "0.250"];
    is("bau", serde_json::json!(of_bau));
}

/// The overlaps of the names in a chart: with each other, and with the edges of the drawing.
const NAMES: &str = "
    const charts = [...document.querySelectorAll('.answer svg[role=img]')].filter((svg) => svg.checkVisibility());
    const boxes = (svg) => [...svg.querySelectorAll('text.label, text.quadrant')].map((text) => [text.textContent, text.getBoundingClientRect()]);
    const over = ([, a], [, b]) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2;
    const found = { charts: charts.length, names: [], overlaps: [], outside: [] };
    for (const svg of charts) {
        const all = boxes(svg), frame = svg.getBoundingClientRect();
        found.names.push(...all.map(([name]) => name));
        all.forEach((a, i) => all.slice(i + 1).filter((b) => over(a, b)).forEach((b) => found.overlaps.push(a[0] + '|' + b[0])));
        all.filter(([, box]) => box.left < frame.left - 1 || box.right > frame.right + 1).forEach(([name]) => found.outside.push(name));
    }
    found.inView = document.documentElement.clientWidth >= charts[0].getBoundingClientRect().right;
    return found;";

#[test]
fn every_experiment_is_named_in_the_chart_of_all() {
    let Some(chromium) = chromium() else { return };
    let html = page();
    for size in [(1400, 900), (500, 900)] {
        let window = Window { size, is_dark: false };
        let Visit { findings, .. } = visit(&chromium, &html, NAMES, &window);
        assert_eq!(findings["charts"], 1, "one drawing for each width: {findings}");
        let names = findings["names"].to_string();
        assert!(names.contains("bau (baseline)") && names.contains("good (chosen)"), "{names}");
        assert_eq!(findings["overlaps"], serde_json::json!([]));
        assert_eq!(findings["outside"], serde_json::json!([]));
        assert_eq!(findings["inView"], true);
    }
}

#[test]
fn a_phone_shows_the_verdict_and_both_levels_of_an_experiment_together() {
    let Some(chromium) = chromium() else { return };
    let script = "
        const row = [...document.querySelectorAll('table.cards tbody tr')].find((row) => row.textContent.includes('good'));
        const place = (name) => row.querySelector('td.' + name).getBoundingClientRect();
        const [verdict, item, user] = ['verdict', 'item-change', 'user-change'].map(place);
        const width = document.documentElement.clientWidth;
        return {
            first: verdict.bottom <= item.top + 1 && item.bottom <= user.top + 1,
            whole: [verdict, item, user].every((box) => box.left >= 0 && box.right <= width && box.width > 0),
            near: row.getBoundingClientRect().height < 260,
            words: row.querySelector('td.verdict').textContent,
            hints: [...document.querySelectorAll('.scroll')].filter((region) =>
                region.checkVisibility() && region.scrollWidth > region.clientWidth
                && region.previousElementSibling.hidden).length,
        };";
    let window = Window { size: (500, 900), is_dark: false };
    let Visit { findings, .. } = visit(&chromium, &page(), script, &window);
    assert_eq!(findings["first"], true, "{findings}");
    assert_eq!(findings["whole"], true, "{findings}");
    assert_eq!(findings["near"], true, "{findings}");
    assert_eq!(findings["words"], "better for both");
    assert_eq!(findings["hints"], 0, "a table that scrolls says so");
}

#[test]
fn a_link_opens_the_panel_of_an_experiment() {
    let Some(chromium) = chromium() else { return };
    let script = "
        const panel = (name) => document.getElementById('experiment-' + name).closest('details');
        const found = { closed: !panel('good').open && !panel('bau').open };
        location.hash = '#good'; dispatchEvent(new Event('hashchange')); found.byName = panel('good').open;
        location.hash = '#experiment-bau'; dispatchEvent(new Event('hashchange')); found.byId = panel('bau').open;
        location.hash = '#term-f1'; dispatchEvent(new Event('hashchange'));
        found.term = document.getElementById('term-f1').checkVisibility();
        const parts = (name) => [...panel(name).querySelectorAll('figcaption')].map((part) => part.textContent);
        found.good = parts('good'); found.bau = parts('bau');
        return found;";
    let Visit { console, findings } = visit(&chromium, &page(), script, &DESKTOP);
    assert!(console.is_empty(), "{console:?}");
    for key in ["closed", "byName", "byId", "term"] {
        assert_eq!(findings[key], true, "{key}: {findings}");
    }
    let good = findings["good"].to_string();
    for part in [
        "Where",
        "this F1",
        "by volume",
        "recall",
        "other decisions",
        "Audience",
        "Calibration",
        "Training",
    ] {
        assert!(good.contains(part), "{part}: {good}");
    }
    let bau = findings["bau"].to_string();
    assert!(!bau.contains("Where") && bau.contains("Calibration"), "the baseline has no change");
}

#[test]
fn tables_are_sorted_by_their_headings_and_back() {
    let Some(chromium) = chromium() else { return };
    let script = "
        const table = document.querySelector('table.cards');
        const names = () => [...table.tBodies[0].rows].map((row) => row.cells[0].querySelector('code').textContent);
        const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
        const sort = (title) => { heads.find((head) => head.textContent.trim() === title).querySelector('button').click(); return names(); };
        return { before: names(), down: sort('change'), up: sort('change'), back: sort('change') };";
    let Visit { findings, .. } = visit(&chromium, &page(), script, &DESKTOP);
    let is = |key: &str, names: [&str; 3]| {
        assert_eq!(findings[key], serde_json::json!(names), "{key}");
    };
    is("before", ["bau", "good", "never_run"]);
    is("down", ["good", "bau", "never_run"]);
    is("back", ["bau", "good", "never_run"]);
}

/// The tests above would fail if the page logged a message.
#[test]
fn a_message_that_a_page_logs_is_detected() {
    let Some(chromium) = chromium() else { return };
    let html = page();
    let Visit { console, .. } =
        visit(&chromium, &html, "console.error('loud'); return 1;", &DESKTOP);
    assert!(console.iter().any(|line| line.contains("loud")), "{console:?}");
    let image = "document.body.append(Object.assign(new Image(), {src: 'https://example.org/x.png'})); return 1;";
    let Visit { console, .. } = visit(&chromium, &html, image, &DESKTOP);
    assert!(console.iter().any(|line| line.contains("Content Security Policy")), "{console:?}");
}
