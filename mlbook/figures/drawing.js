// The drawing lab: a support set and a query by hand, and a row for each model that says how probable it finds each class.
// data: { side, names: of the models, set: of the data, steps, and where no kernel runs task, more, recorded }
// Traits that a kernel shares: task { support, labels, query }, written by both; deal { ways, shots, n }; more; and
// rows [{ name, shares: [[of each class] after each step], message }]. Pictures are base64 of bytes. `recorded` has the rows
// for each picture of `more`.

import { make, put, live, note, count, CLASSES } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, slider, stepper } from "./kit/controls.js";
import { ink, pictures, show } from "./kit/ink.js";
import { pad } from "./kit/pad.js";
import { argmax } from "./nets/vectors.js";

const MOST = 10, EVERY = 120; // classes; milliseconds between two questions to the kernel
const LETTERS = "ABCDEFGHIJ";
const CSS = `
.lb-class { display: flex; flex-wrap: wrap; gap: 5px; align-items: center; margin: 3px 0; min-height: 46px; --tile: 38px; }
.mlbook-figure .lb-more { min-height: 0; padding: 0.1rem 0.6rem; }
.lb-class > b { width: 1.2em; }
.lb-targets { margin-bottom: 0.5rem; }
.lb-tiles { display: flex; flex-wrap: wrap; gap: 5px; margin: 0.2rem 0 0.5rem; --tile: 38px; }
.lb-query { border: 2.5px solid var(--orange); border-radius: 8px; width: 128px; --tile: 123px; }
.lb-wide { overflow-x: auto; margin-top: 0.8rem; }
.mlbook-figure table.lb-answers { border-collapse: separate; border-spacing: 2px; margin: 0; width: auto; min-width: 60%;
  font-size: inherit; --tile: 30px; border: 0; table-layout: auto; }
.mlbook-figure .lb-answers :is(th, td) { padding: 0.2rem 0.25rem; text-align: center; border: 0; background: none; color: inherit;
  min-width: 2.5em; font-weight: 400; vertical-align: middle; }
.mlbook-figure .lb-answers th:first-child { text-align: left; font-weight: 600; max-width: 9em; font-size: 0.95em; }
.mlbook-figure .lb-answers thead .f-ink { margin: 0 auto; }
.mlbook-figure table.lb-answers td { border-radius: 6px; font-variant-numeric: tabular-nums;
  background: var(--tint, none) !important; }
.mlbook-figure .lb-answers td.lb-best { font-weight: 700; box-shadow: inset 0 0 0 2px var(--blue); }
.mlbook-figure .lb-answers td.lb-alone { box-shadow: inset 0 0 0 2px var(--orange); }
.mlbook-figure .lb-answers td[colspan] { text-align: left; color: var(--orange-text); }
`;
const levels = (picture) => Uint8Array.from(picture, (v) => Math.round(255 * v));
const byteString = (lists) => lists.map((p) => String.fromCharCode(...p)).join("");

export default { render({ model, el }) {
  const data = model.get("data"), { side } = data, still = Boolean(data.recorded);
  const get = (key) => model.get(key) ?? data[key];
  const fig = figure(el, model, { target: -1, steps: data.steps, asked: 0, ways: 5, shots: 1 }, CSS), { state } = fig;
  let classes = [], query = null, told = "", waiting = 0, again = null;

  const floats = (picture) => (picture ? Float32Array.from(picture, (v) => v / 255) : new Float32Array(side * side));
  const built = new Map(); // what each part was last built of: it is built anew only then, and keeps the focus
  const part = (node, key, build) => {
    if (built.get(node) === key) return;
    built.set(node, key);
    const name = (b) => b.getAttribute("aria-label") ?? b.textContent, { activeElement: active } = document;
    const held = node.contains(active) ? name(active) : null;
    node.replaceChildren();
    build();
    if (held !== null) [...node.querySelectorAll("button")].find((b) => name(b) === held)?.focus();
  };

  // ---- what is drawn, from and to the other side
  const received = () => {
    const task = get("task");
    if (!task?.labels || JSON.stringify(task) === told) return;
    told = JSON.stringify(task);
    const all = pictures(task.support, side, 8);
    classes = Array.from({ length: Math.max(...task.labels) + 1 }, (_, k) => all.filter((_p, i) => task.labels[i] === k));
    [query] = task.query ? pictures(task.query, side, 8) : [null];
    state.target = -1;
    board?.set(floats(query));
  };
  const filled = () => classes.map((_, k) => k).filter((k) => classes[k].length);
  const send = () => {
    clearTimeout(again);
    if (Date.now() < waiting) { again = setTimeout(send, 30); return; }
    const present = filled();
    if (present.length < 2) return;
    const labels = present.flatMap((k, at) => classes[k].map(() => at));
    const all = present.flatMap((k) => classes[k]);
    const task = { support: btoa(byteString(all)), labels, query: query ? btoa(byteString([query])) : "" };
    if (JSON.stringify(task) === told) return;
    told = JSON.stringify(task);
    waiting = Date.now() + EVERY;
    model.set("task", task);
    model.save_changes();
  };
  const deal = () => {
    model.set("deal", { ways: state.ways, shots: state.shots, n: (get("deal")?.n ?? 0) + 1 });
    model.save_changes();
  };

  // ---- the parts
  const row = make("div.f-row", { style: "--w: 240px" }, el);
  const left = make("div", { style: "flex: 0 1 250px" }, row), right = make("div", {}, row);
  make("p.f-head", { style: "color: var(--orange-text)" }, left, still ? "The query" : "Draw");
  const targets = make("div.lb-targets", {}, left);
  const asked = still ? ink(make("div.lb-query", {}, left)) : null;
  let board = null;
  if (!still) {
    board = pad(fig, left, { side, label: "pad for the query", changed: () => {
      if (state.target >= 0) return;
      query = board.empty ? null : levels(board.picture);
      send();
    } });
    const buttons = make("div.f-bar", {}, left);
    board.buttons(buttons);
    const add = button(fig, buttons, "Add", () => {
      classes[state.target].push(levels(board.picture));
      board.clear();
      send();
    });
    fig.follow(() => {
      add.hidden = state.target < 0;
      add.disabled = board.empty;
      add.textContent = `Add to ${LETTERS[state.target] ?? ""}`;
    });
  }
  const pick = make("p.f-soft", {}, left, "or ask about one of these:");
  const tiles = make("div.lb-tiles", { role: "group", "aria-label": "queries to pick" }, left);
  make("p.f-head", { style: "color: var(--blue-text)" }, right, "Support set");
  const support = make("div", {}, right);
  if (!still) {
    const bar = make("div.f-bar", {}, right);
    const more = button(fig, bar, "One more class", () => { classes.push([]); aim(classes.length - 1); });
    fig.follow(() => { more.disabled = classes.length >= MOST; });
    const dealt = make("div.f-bar", {}, right);
    stepper(fig, dealt, "classes", "class", "ways", 2, MOST);
    stepper(fig, dealt, "examples", "example", "shots", 1, 5);
    button(fig, dealt, `Deal from ${data.set}`, deal);
  }
  const wide = make("div.lb-wide", { tabindex: 0, role: "region", "aria-label": "answers" }, el);
  const table = make("table.lb-answers", {}, wide);
  const steps = make("div.f-bar", {}, el);
  slider(fig, steps, "gradient steps", "steps", { min: 0, max: data.steps });
  const said = live(el, 1);
  if (still) {
    const page = model.get("site") ? document.querySelector("a[href$='lab.html']") : null;
    const own = "To draw here, and to ask the models that you have trained, run this cell in the notebook";
    if (page) note(el, ["To draw at once, go to ", make("a", { href: page.getAttribute("href") }, null, "the lab"), `. ${own}.`]);
    else note(el, `${own}, with pip install "mlbook[lab]".`);
  }
  const aim = (k) => {
    state.target = k;
    board.set(floats(k < 0 ? query : null));
  };

  // ---- drawing
  const drawTargets = () => part(targets, `${classes.length} ${state.target}`, () => {
    if (still) return;
    const group = make("div.f-choice", { role: "group", "aria-label": "what is drawn" }, targets);
    for (const k of [-1, ...classes.keys()]) {
      const name = k < 0 ? "the query" : `an example of class ${LETTERS[k]}`;
      button(fig, group, k < 0 ? name : LETTERS[k], () => aim(k), { "aria-pressed": state.target === k, "aria-label": name });
    }
  });
  const drawSupport = () => part(support, JSON.stringify(classes.map(byteString)), () => {
    classes.forEach((examples, k) => {
      const name = `class ${LETTERS[k]}, ${count(examples.length, "example")}`;
      const line = make("div.lb-class", { role: "group", "aria-label": name }, support);
      make("b", { style: `color: var(--${CLASSES[k % CLASSES.length]}-text)` }, line, LETTERS[k]);
      examples.forEach((picture, i) => {
        const tile = make(still ? "span.f-tile" : "button.f-tile", {}, line);
        ink(tile, picture);
        if (still) return;
        put(tile, { title: "take it out", "aria-label": `take example ${i + 1} of class ${LETTERS[k]} out`, click: () => {
          examples.splice(i, 1);
          send();
          fig.draw();
        } });
      });
      if (still) return;
      button(fig, line, "+", () => aim(k), { class: "lb-more", "aria-label": `draw an example of class ${LETTERS[k]}` });
      if (!examples.length && classes.length > 2) button(fig, line, "remove", () => { classes.splice(k, 1); aim(-1); send(); });
    });
  });
  const drawPicks = () => {
    const more = pictures(get("more") ?? "", side, 8);
    pick.hidden = !more.length;
    const ask = (i) => {
      Object.assign(state, { asked: i, target: -1 });
      board?.set(floats(more[i]));
      fig.draw();
    };
    part(tiles, get("more"), () => more.forEach((picture, i) => {
      ink(make("button.f-tile", { "aria-label": `picture ${i + 1}`, click: () => ask(i), keydown: (event) => {
        const to = (i + { ArrowRight: 1, ArrowLeft: -1 }[event.key] + more.length) % more.length;
        if (Number.isNaN(to)) return;
        event.preventDefault();
        ask(to);
        /** @type {any} */ (tiles.children[to]).focus();
      } }, tiles), picture);
    }));
    if (!still) return;
    [...tiles.children].forEach((tile, i) => put(tile, { "aria-pressed": i === state.asked }));
    query = more[state.asked] ?? query;
    show(asked, query);
  };
  const drawAnswers = () => {
    const rows = still ? data.recorded[state.asked] : get("rows") ?? [], columns = filled();
    table.replaceChildren();
    const head = make("tr", {}, make("thead", {}, table));
    make("th", { scope: "col" }, head, "model");
    for (const k of columns) {
      const cell = make("th", { scope: "col", "aria-label": `class ${LETTERS[k]}` }, head);
      make("b", { style: `color: var(--${CLASSES[k % CLASSES.length]}-text)` }, cell, LETTERS[k]);
      ink(cell, classes[k][0]);
    }
    const body = make("tbody", {}, table), at = (r) => r.shares[Math.min(state.steps, r.shares.length - 1)];
    const fresh = rows.filter((r) => r.shares.length && r.shares[0].length === columns.length);
    const votes = columns.map((_, k) => fresh.filter((r) => argmax(at(r)) === k).length), most = argmax(votes);
    for (const r of rows) {
      const line = make("tr", {}, body);
      make("th", { scope: "row" }, line, r.shares.length > 1 ? `${r.name}, ${count(state.steps, "step")}` : r.name);
      if (r.message) make("td", { colspan: Math.max(1, columns.length) }, line, r.message);
      if (!fresh.includes(r)) continue;
      const best = argmax(at(r));
      at(r).forEach((p, k) => {
        const other = k === best && best !== most && fresh.length > 1;
        make(`td${k === best ? ".lb-best" : ""}${other ? ".lb-alone" : ""}`, {
          style: `--tint: color-mix(in srgb, var(--${other ? "orange" : "blue"}) ${Math.round(42 * p)}%, transparent)`,
        }, line, p.toFixed(2));
      });
    }
    steps.hidden = !rows.some((r) => r.shares.length > 1);
    const agreed = votes[most] === fresh.length;
    said.textContent = !fresh.length ? (query ? "" : "Draw a query, and every model answers.")
      : agreed ? `${fresh.length > 1 ? "All say" : "It says"} ${LETTERS[columns[most]]}.`
        : `${votes[most]} of ${fresh.length} say ${LETTERS[columns[most]]}; the others are marked.`;
  };

  for (const key of ["task", "rows", "more"]) {
    const changed = () => { received(); fig.draw(); };
    model.on(`change:${key}`, changed);
    fig.clean(() => model.off(`change:${key}`, changed));
  }
  fig.clean(() => clearTimeout(again));
  received();
  return fig.start(() => {
    drawTargets();
    drawSupport();
    drawPicks();
    drawAnswers();
  });
} };
