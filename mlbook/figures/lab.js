// The lab: draw five characters and one more; nine methods answer side by side, each from its shipped weights.
// data: { example: six pictures as text, five classes and a query, with which the page starts }

import { make, put, live, note, tone, count } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, slider } from "./kit/controls.js";
import { pictures, pack, ink, show } from "./kit/ink.js";
import { pad } from "./kit/pad.js";
import { loaded, machine } from "./lab/machine.js";
import { argmax, clamp, sigmoid, softmax } from "./nets/vectors.js";

const LETTERS = "ABCDE", QUERY = 5, WAYS = 5, STEPS = 5, BLANK = pack(new Uint8Array(784));
const closeness = (s) => s.map((v) => 1 - v / (1.25 * Math.min(...s))); // of minus a distance
// name, in words, page, what a score says, how it becomes a share of a bar, how it is written
/** @type {any[][]} */
const METHODS = [
  ["prototypical", "Prototypical", "metric/prototypical.html", "probability", (s) => softmax(s)],
  ["matching", "Matching", "metric/matching.html", "probability", (s) => softmax(s)],
  ["siamese", "Siamese", "metric/siamese.html", "chance of the same", (s) => s.map(sigmoid)],
  ["relation", "Relation", "metric/relation.html", "relation score", (s) => s],
  ["hypernetwork", "HyperNetwork", "model_based/hypernetworks.html", "probability", (s) => softmax(s)],
  ["in_context", "In-context", "model_based/hypernetworks.html", "probability", (s) => softmax(s)],
  ["centroids", "Pre-training", "problem/evaluation.html", "cosine to centroid", (s) => s],
  ["pixels", "Nearest pixels", "problem/evaluation.html", "distance", closeness, (v) => (-v).toFixed(1)],
  ["maml", "MAML", "optimization/maml_omniglot.html", "probability", (s) => softmax(s)],
];

const CSS = `
.lb { position: relative; max-width: 60rem; --tile: min(100%, 58px); }
.lb > .f-link { position: absolute; right: 0; top: 1.15rem; float: none; }
.lb-desk { display: grid; grid-template-columns: 270px minmax(0, 1fr); gap: 1.1rem 1.8rem; align-items: start;
  margin-top: 0.8rem; }
.mlbook-figure .lb-left .f-said { font: 1.18em/1.4 var(--serif, Georgia, serif); margin: 1.1rem 0 0; }
.mlbook-figure .lb-left .f-head { margin: 0 0 0.4rem; }
.lb-left .f-bar { margin: 0.55rem 0 0; gap: 0.4rem; }
.lb-pad { display: none; }
.lb-pad[data-on] { display: block; }
.lb-pad[data-class] .f-pad { border-color: var(--blue); }
.lb-table { display: grid; grid-template-columns: minmax(7.6rem, 1.6fr) repeat(5, minmax(2.5rem, 1fr)) auto; gap: 4px 5px;
  align-items: center; }
.lb-line { display: contents; }
.mlbook-figure .lb-tile { --c: var(--blue); display: block; padding: 3px 2px 1px; min-width: 0; min-height: 0; width: 100%;
  line-height: 1.15; color: color-mix(in srgb, var(--c) 88%, var(--ink)); background: none; border-radius: 8px;
  border: 2px solid color-mix(in srgb, var(--c) 50%, transparent); }
.mlbook-figure .lb-tile.lb-query { --c: var(--orange); width: min(100%, 84px); }
.mlbook-figure .lb-tile:hover { border-color: var(--c); }
.lb-tile .f-ink { color: var(--ink); margin: 0 auto; }
.mlbook-figure .lb-tile[aria-pressed="true"] { color: color-mix(in srgb, var(--c) 88%, var(--ink)); border-color: var(--c);
  background: color-mix(in srgb, var(--c) 13%, transparent); }
.mlbook-figure .lb-tile[data-truth] { --c: var(--green); box-shadow: 0 0 0 2px var(--green); }
.lb-name { line-height: 1.2; padding: 2px 0; }
.lb-name small { display: block; color: var(--soft); font-size: 0.78em; }
.mlbook-figure .lb-name a { color: var(--ink); font-weight: 600; text-decoration-color: var(--line-2); }
.mlbook-figure .lb-name a:hover { color: var(--orange-text); }
.lb-cell { position: relative; height: 2.35rem; border-radius: 6px; overflow: hidden; display: grid; place-items: center;
  background: color-mix(in srgb, currentColor 6%, transparent); font-size: 0.88em; font-variant-numeric: tabular-nums;
  color: var(--soft); }
.lb-cell > i { position: absolute; inset: auto auto 0 0; height: 0.32rem; width: 0; transition: width 0.18s ease-out;
  background: color-mix(in srgb, var(--tone, var(--green)) 62%, transparent); }
.lb-cell > span { position: relative; }
.lb-cell[data-best] { color: var(--ink); font-weight: 700; box-shadow: inset 0 0 0 2px var(--tone, var(--green));
  background: color-mix(in srgb, var(--tone, var(--green)) 26%, transparent); }
.lb-line[data-odd] { --tone: var(--orange); }
.lb-odd { color: var(--orange-text); font-weight: 700; min-width: 0.8em; text-align: center; }
.lb-tally { font-variant-numeric: tabular-nums; color: var(--soft); white-space: nowrap; font-size: 0.88em; }
.lb-steps { grid-column: 1 / -1; margin-top: 0.2rem; }
.lb-steps label { display: flex; gap: 0.6rem; align-items: center; }
.lb-steps input { flex: 1 1 6rem; max-width: 15rem; }
.lb-load { height: 3px; border-radius: 2px; background: var(--line); margin: 0.6rem 0 0; transition: opacity 0.6s; }
.lb-load[data-whole] { opacity: 0; }
.lb-load > i { display: block; height: 100%; width: 0; border-radius: 2px; background: var(--green); transition: width 0.2s; }
@media (max-width: 760px) {
  .lb-desk { grid-template-columns: minmax(0, 1fr); }
  .lb-left { display: grid; grid-template-columns: minmax(0, 236px) 1fr; gap: 0 0.8rem; align-items: start; }
  .lb-left > :is(.f-head, .f-said) { grid-column: 1 / -1; }
  .mlbook-figure .lb-left .f-said { margin: 0.6rem 0 0; min-height: 2.9em !important; }
  .lb > .f-link { position: static; float: right; }
  .lb-left .f-choice { flex-direction: column; align-items: stretch; }
  .lb-left .f-bar { margin: 0; }
  .lb-table { grid-template-columns: minmax(5.9rem, 1.5fr) repeat(5, minmax(0, 1fr)) auto; gap: 3px; }
  .lb-name, .lb-cell { font-size: 0.8em; }
}`;

export default { render({ model, el }) {
  const { example } = model.get("data"), start = { pictures: example.join("."), step: STEPS, slot: QUERY, round: -1 };
  const fig = figure(el, model, start, CSS), { state } = fig, answers = new Map(), shown = [], own = [];
  const tally = { asked: 0, you: 0 }; // right answers in the game, and those of every method
  let sets = null, told = null, seen = 0, took = 0, plain = 0, failed = "", done = 0, counted = new Set();
  el.classList.add("lb");
  const score = (right) => (tally.asked ? `${right ?? 0}/${tally.asked}` : "");
  const picturesOf = () => state.pictures.split(".");
  const playing = () => state.round >= 0 && sets, current = () => sets.alike[state.round % sets.alike.length];
  const truth = () => current().truth[Math.floor(state.round / sets.alike.length) % current().truth.length];
  const hidden = () => playing() && told === null, revealed = () => playing() && told !== null;

  // ---- what is asked, and what comes back
  const engine = machine(METHODS.map(([name]) => name), {
    answered: ({ id, name, scores, step: steps, ms }) => {
      if (id !== seen) { seen = id; took = 0; }
      took += ms;
      answers.set(name, { scores, ms, steps });
      fig.draw();
    },
    progress: (n) => { done = n; fig.draw(); },
  });
  engine.started.catch((error) => { failed = error.message; fig.draw(); });
  loaded("sets").then((content) => { sets = content; fig.draw(); }, () => {});
  fig.clean(engine.end);
  let before = "", step = -1;
  const ask = () => { // when a picture has changed, or MAML's steps
    const all = picturesOf(), same = state.pictures === before;
    if (same && state.step === step) return;
    before = state.pictures;
    step = state.step;
    if (!same) {
      answers.clear();
      counted = new Set();
    }
    if (all.includes(BLANK)) return;
    const numbers = all.map((text) => Float32Array.from(pictures(text, 28)[0], (v) => v / 255));
    engine.ask(numbers.slice(0, WAYS), numbers[QUERY], step);
  };
  const deal = (set, query, round = -1) => {
    Object.assign(state, { pictures: [...set.support, query].join("."), round, slot: QUERY });
    told = null;
  };
  const another = () => {
    plain += 1;
    const set = sets.plain[plain % sets.plain.length];
    deal(set, set.query[Math.floor(plain / sets.plain.length) % set.query.length]);
  };
  const confuse = () => {
    state.round += 1;
    const set = current();
    deal(set, set.query[Math.floor(state.round / sets.alike.length) % set.query.length], state.round);
  };
  const answer = (k) => { told = k; tally.asked += 1; tally.you += Number(k === truth()); };
  const choose = (k) => { if (hidden() && k < WAYS) answer(k); else state.slot = k; };

  // ---- the page's parts
  const bar = make("div.f-bar", {}, el);
  const others = [button(fig, bar, "Another set", another), button(fig, bar, "Confuse them", confuse)];
  button(fig, bar, "Draw all myself", () => {
    Object.assign(state, { pictures: Array(6).fill(BLANK).join("."), round: -1, slot: 0 });
  });
  const whole = { role: "progressbar", "aria-label": "networks loaded", "aria-valuemin": 0, "aria-valuemax": METHODS.length };
  const load = make("div.lb-load", whole, el);
  const loading = make("i", {}, load), desk = make("div.lb-desk", {}, el), left = make("div.lb-left", {}, desk);
  const head = make("p.f-head", {}, left), frames = make("div", {}, left), tools = make("div.f-bar", {}, left);
  const table = make("div.lb-table", { role: "table", "aria-label": "Answers: a row a method, a column a class" }, desk);
  const pads = Array.from({ length: 6 }, (_, k) => {
    const box = make("div.lb-pad", k < WAYS ? { "data-class": "" } : {}, frames);
    const self = pad(fig, box, { label: k < WAYS ? `drawing pad, class ${LETTERS[k]}` : "drawing pad, query", changed: () => {
      const text = pack(Array.from(self.picture, (v) => 255 * v));
      if (text === own[k]) return;
      own[k] = text;
      state.pictures = picturesOf().map((old, i) => (i === k ? text : old)).join(".");
      state.round = -1;
    } });
    self.buttons(make("div.f-choice", {}, tools));
    return { self, box, tools: tools.lastChild };
  });
  const top = make("div.lb-line", { role: "row" }, table);
  const tiles = Array.from({ length: 6 }, (_, k) => {
    const cell = make("div", { role: "columnheader" }), picture = ink(null);
    const looks = `button.lb-tile${k === QUERY ? ".lb-query" : ""}`;
    const node = make(looks, { click: () => { choose(k); fig.draw(); } }, cell, picture);
    make("b", {}, node, k === QUERY ? "query" : LETTERS[k]);
    return { cell, node, picture };
  });
  top.append(tiles[QUERY].cell, ...tiles.slice(0, WAYS).map((t) => t.cell));
  const yours = make("div.lb-tally", { role: "columnheader" }, top);
  const lines = METHODS.map(([name, words, page, says, share, write = (v, p) => p.toFixed(2)]) => {
    const line = make("div.lb-line", { role: "row", "data-method": name }, table);
    const title = make("div.lb-name", { role: "rowheader" }, line);
    make("a", { href: page }, title, words);
    const small = make("small", {}, title, says);
    const cells = Array.from({ length: WAYS }, () => {
      const cell = make("div.lb-cell", { role: "cell" }, line);
      return { cell, fill: make("i", {}, cell), number: make("span", {}, cell) };
    });
    return { name, words, says, share, write, line, small, cells, mark: make("div", { role: "cell" }, line) };
  });
  const steps = make("div.lb-steps", {}, table);
  slider(fig, steps, "MAML after", "step", { min: 0, max: STEPS, name: "steps of MAML", show: (n) => count(n, "step") });
  const said = live(left, 4), small = note(el, "");
  put(el, { keydown: (event) => {
    const k = "abcdeq".indexOf(event.key.toLowerCase());
    if (k < 0 || event.key.length > 1 || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    choose(k);
    fig.draw();
  } });

  const words = (answered, odd, best) => {
    const all = picturesOf(), empty = all.findIndex((text) => text === BLANK);
    if (failed) return `The networks cannot be loaded here: ${failed}.`;
    if (empty === QUERY) return "Now draw one of the five again, as the query.";
    if (empty >= 0) return `Draw a character for class ${LETTERS[empty]}.`;
    if (hidden()) return "Which of the five is it? Choose above, or press A to E. You see the answers when you have given yours.";
    if (!answered.length) return "Loading the networks …";
    const name = (k) => LETTERS[k], verdict = odd.length
      ? `${answered.length - odd.length} of ${answered.length} say ${name(best)}. ` +
        `${odd.map(([line, k]) => `${line.words}: ${name(k)}`).join("; ")}.`
      : `${answered.length === 1 ? "It says" : `All ${answered.length} say`} ${name(best)}.`;
    if (!revealed()) return verdict;
    return `${told === truth() ? `Right, it is ${name(truth())}.` : `No, it is ${name(truth())}.`} ${verdict}`;
  };

  return fig.start(() => {
    const all = picturesOf(), chosen = state.slot;
    all.forEach((text, k) => { // what the address or a button has brought in
      if (text === own[k]) return;
      own[k] = text;
      pads[k].self.set(Float32Array.from(pictures(text, 28)[0], (v) => v / 255));
    });
    ask();
    tiles.forEach(({ node, picture }, k) => {
      if (shown[k] !== all[k]) show(picture, all[k] === BLANK ? null : pictures(all[k], 28)[0]);
      shown[k] = all[k];
      const name = k === QUERY ? "query" : `${hidden() ? "answer" : "class"} ${LETTERS[k]}`;
      put(node, { "aria-pressed": !hidden() && k === chosen, "aria-label": name,
        "data-truth": revealed() && k === truth() ? "" : null });
    });
    pads.forEach(({ box, tools: own }, k) => {
      put(box, { "data-on": k === chosen ? "" : null });
      own.style.display = k === chosen ? "" : "none";
    });
    head.textContent = chosen < WAYS ? `Class ${LETTERS[chosen]}` : "The query";
    head.style.color = tone(chosen < WAYS ? "blue-text" : "orange-text");
    for (const node of others) node.disabled = !sets;
    others[1].textContent = playing() ? "Next round" : "Confuse them";

    // ---- answers, and how often each class is one
    const answered = [], votes = new Array(WAYS).fill(0);
    for (const line of lines) {
      const found = answers.get(line.name);
      if (!found) continue;
      const { scores } = found, k = argmax(scores);
      votes[k] += 1;
      answered.push([line, k, scores, found]);
      if (revealed() && !counted.has(line.name)) {
        counted.add(line.name);
        tally[line.name] = (tally[line.name] ?? 0) + Number(k === truth());
      }
    }
    const best = revealed() ? truth() : argmax(votes); // who says another is marked
    const odd = answered.filter(([, k]) => k !== best);
    for (const line of lines) {
      const [, k, scores, found] = hidden() ? [] : answered.find(([other]) => other === line) ?? [];
      const shares = scores ? line.share(scores) : null;
      put(line.line, { "data-odd": scores && k !== best ? "" : null, "data-ms": scores ? found.ms.toFixed(1) : null,
        "data-step": scores ? found.steps : null });
      line.cells.forEach(({ cell, fill, number }, c) => {
        const text = scores ? line.write(scores[c], shares[c]) : "";
        put(cell, { "data-best": c === k ? "" : null,
          "aria-label": text ? `${LETTERS[c]}: ${text}${c === k ? ", the answer" : ""}` : "no answer yet" });
        fill.style.width = shares ? `${(100 * clamp(shares[c], 0, 1)).toFixed(1)}%` : "0";
        number.textContent = text;
      });
      line.mark.className = playing() ? "lb-tally" : "lb-odd";
      line.mark.textContent = playing() ? score(tally[line.name]) : scores && k !== best ? "≠" : "";
    }
    yours.textContent = playing() && tally.asked ? `you ${score(tally.you)}` : "";
    loading.style.width = `${(100 * done) / METHODS.length}%`;
    put(load, { "aria-valuenow": done, "data-whole": done === METHODS.length ? "" : null });
    said.textContent = words(answered, odd, best);
    const open = answered.length && !hidden(), time = `Worked out in this page in ${Math.round(took)} ms; nothing leaves it.`;
    small.textContent = done < METHODS.length && !failed ? `Loading the networks: ${done} of ${METHODS.length}.`
      : open ? `${time} Orange: ${revealed() ? "who is wrong" : "who says something else than most"}.` : "";
  });
} };
