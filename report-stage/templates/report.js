// What a script adds; all figures are on the page without it.

// A link into something closed opens it. `#NAME` is the panel of an experiment too.
(function () {
  "use strict";
  function reveal() {
    const id = decodeURIComponent(location.hash.slice(1));
    const target = id && (document.getElementById(id) || document.getElementById("experiment-" + id));
    if (!target) return;
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", reveal);
  // A second click on the same link changes no hash.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (link && link.hash === location.hash) setTimeout(reveal);
  });
  reveal();
})();

// Links to terms say on hover what these mean.
(function () {
  "use strict";
  for (const link of document.querySelectorAll('a[href^="#term-"]:not([title])')) {
    link.title = document.getElementById(link.hash.slice(1))?.nextElementSibling?.textContent ?? "";
  }
})();

// Marks the section in view in the contents.
(function () {
  "use strict";
  const links = [...document.querySelectorAll("nav a")];
  const targets = links.map((link) => document.getElementById(link.hash.slice(1)));
  let current = null;
  function mark() {
    let last = 0;
    targets.forEach((target, i) => {
      const place = target.closest("details.section") ?? target;
      if (place.getBoundingClientRect().top < 120) last = i;
    });
    if (links[last] === current) return;
    current?.removeAttribute("aria-current");
    current = links[last];
    current.setAttribute("aria-current", "true");
    const list = current.closest("ul");
    list.scrollLeft = current.offsetLeft - list.clientWidth / 2;
  }
  addEventListener("scroll", mark, { passive: true });
  mark();
})();

// Sorts the rows of a table: largest first, smallest first, as they were.
(function () {
  "use strict";
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  function value(cell) {
    if (cell.dataset.sort) return Number(cell.dataset.sort);
    const text = cell.firstChild?.textContent.trim() ?? "";
    if (text === "" || text === "–") return null;
    const number = Number(text.replace(/,/g, "").replace("−", "-"));
    return Number.isFinite(number) ? number : text;
  }
  function order(a, b, sign) {
    if (a === null || b === null) return (a === null) - (b === null);
    const both = typeof a === "number" && typeof b === "number";
    return sign * (both ? a - b : collator.compare(a, b));
  }
  for (const table of document.querySelectorAll("table.cards, table.sortable")) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    if (original.length < 3 || table.closest(".panel")) continue;
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    heads.forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.setAttribute("aria-label", "Sort by " + head.textContent.trim());
      button.addEventListener("click", () => {
        const next = { descending: "ascending", ascending: null }[head.ariaSort];
        const way = next === undefined ? "descending" : next;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        if (way) head.setAttribute("aria-sort", way);
        const sign = way === "descending" ? -1 : 1;
        const rows = way
          ? [...original].sort((a, b) => order(value(a.cells[place]), value(b.cells[place]), sign))
          : original;
        body.replaceChildren(...rows);
      });
      head.append(button);
    });
  }
})();

// Searches, sorts and pages the table of all brands.
(function () {
  "use strict";
  const PAGE = 12;
  const at = (id) => document.getElementById("brands-" + id);
  if (!at("data")) return;
  const { brands, experiments, meanings } = JSON.parse(at("data").textContent);
  const named = (name) => experiments.find((e) => e.name === name);
  const round = (value, digits) => (value === null ? "–" : value.toFixed(digits));
  const count = (value) => value.toLocaleString("en-US");
  const signed = (value) =>
    value === null ? "–" : (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(3);

  // Undefined is null, never 0.
  const ratio = (above, below) => (below > 0 ? above / below : null);
  const f1 = (e, i) => ratio(2 * e.tp[i], e.tp[i] + e.fp[i] + brands.support[i]);
  const minus = (a, b) => (a === null || b === null ? null : a - b);

  const hasIds = brands.name.some((name, i) => name !== String(brands.id[i]));
  const columns = [
    { title: "Brand", value: (i) => brands.name[i], text: String, words: true },
    { title: "Id", value: (i) => brands.id[i], text: String, words: true, hidden: !hasIds },
    { title: "Tier", value: (i) => -brands.volume[i], text: (_, i) => brands.tier[i], words: true },
    { title: "Volume", value: (i) => brands.volume[i], text: count },
    { title: "Support", value: (i) => brands.support[i], text: count },
    { title: "Predicted", value: (i, e) => e.tp[i] + e.fp[i], text: count },
    { title: "Precision", value: (i, e) => ratio(e.tp[i], e.tp[i] + e.fp[i]), text: (v) => round(v, 3) },
    { title: "Recall", value: (i, e) => ratio(e.tp[i], brands.support[i]), text: (v) => round(v, 3) },
    { title: "F1", value: (i, e) => f1(e, i), text: (v) => round(v, 3) },
    { title: "F1, compared", value: (i, e, c) => f1(c, i), text: (v) => round(v, 3) },
    { title: "Change", value: (i, e, c) => minus(f1(e, i), f1(c, i)), text: signed },
    {
      title: "Threshold",
      value: (i, e) => (Array.isArray(e.threshold) ? e.threshold[i] : e.threshold),
      text: (v) => (v === null ? "–" : v.toPrecision(3)),
    },
  ].filter((column) => !column.hidden);

  const state = { by: columns.findIndex((column) => column.title === "Volume"), descending: true, page: 0 };
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  // Undefined comes last in both directions.
  const order = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null);
    const way = typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b);
    return state.descending ? -way : way;
  };
  const folded = (text) => String(text).normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const haystack = brands.name.map((name, i) => folded(name) + "\n" + folded(brands.id[i]));

  function draw() {
    const shown = named(at("shown").value);
    const compared = named(at("compared").value);
    const words = folded(at("search").value).split(/\s+/).filter(Boolean);
    const tier = at("tier").value;
    const value = (i) => columns[state.by].value(i, shown, compared);
    const rows = brands.name
      .map((_, i) => i)
      .filter((i) => (!tier || brands.tier[i] === tier) && words.every((w) => haystack[i].includes(w)))
      .map((i) => [value(i), i])
      .sort((a, b) => order(a[0], b[0]) || a[1] - b[1])
      .map(([, i]) => i);
    const pages = Math.max(1, Math.ceil(rows.length / PAGE));
    state.page = Math.min(state.page, pages - 1);
    const first = state.page * PAGE;
    const body = at("table").tBodies[0];
    body.replaceChildren(
      ...rows.slice(first, first + PAGE).map((i) => {
        const row = document.createElement("tr");
        columns.forEach((column, place) => {
          const cell = document.createElement(place === 0 ? "th" : "td");
          if (place === 0) cell.scope = "row";
          if (column.words) cell.className = "words";
          cell.textContent = column.text(column.value(i, shown, compared), i);
          row.append(cell);
        });
        return row;
      })
    );
    const last = Math.min(first + PAGE, rows.length);
    at("status").textContent = rows.length
      ? `${count(first + 1)} to ${count(last)} of ${count(rows.length)} ${rows.length === 1 ? "brand" : "brands"}`
      : "No brand matches.";
    at("previous").disabled = state.page === 0;
    at("next").disabled = state.page >= pages - 1;
    at("table").querySelectorAll("th[scope=col]").forEach((head, place) => {
      if (place === state.by) head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  }

  columns.forEach((column, place) => {
    const head = document.createElement("th");
    head.scope = "col";
    if (!column.words) head.className = "number";
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = column.title;
    button.title = meanings[column.title] ?? "";
    button.addEventListener("click", () => {
      state.descending = state.by === place ? !state.descending : !column.words;
      state.by = place;
      state.page = 0;
      draw();
    });
    head.append(button);
    at("table").tHead.rows[0].append(head);
  });
  const again = () => {
    state.page = 0;
    draw();
  };
  at("search").addEventListener("input", again);
  for (const id of ["tier", "shown", "compared"]) at(id).addEventListener("change", again);
  at("previous").addEventListener("click", () => (state.page--, draw()));
  at("next").addEventListener("click", () => (state.page++, draw()));
  for (const id of ["controls", "region", "pages"]) at(id).hidden = false;
  draw();
})();

// Says on a phone which tables scroll.
(function () {
  "use strict";
  for (const region of document.querySelectorAll(".scroll")) {
    const hint = document.createElement("span");
    hint.className = "hint";
    hint.textContent = "scrolls sideways →";
    region.before(hint);
    const look = () => (hint.hidden = region.scrollWidth <= region.clientWidth);
    new ResizeObserver(look).observe(region);
    look();
  }
})();
