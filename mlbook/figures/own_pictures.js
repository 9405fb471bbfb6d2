// The reader says which pictures a classifier is shown; all others are asked, here in the page: a class is the mean of its
// features, the nearest by cosine answers, and below a threshold the answer is "none of these".
// data: {names: [classes], styles, sheet: an address of a picture [classes x styles] of tiles `side` wide, dim, scale,
//        z: int8 features [classes * styles, dim], sharp: the factor before softmax, threshold, known: how many classes at first}

import { make, put, live, note, bar, count } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, choice, slider } from "./kit/controls.js";
import { bytes } from "./kit/ink.js";
import { answer, prototype } from "./nets/nearest.js";

const CSS = `
.op-rows { display: grid; grid-template-columns: repeat(auto-fill, minmax(290px, 1fr)); gap: 4px 22px; margin: 0.6rem 0; }
.op-row { display: grid; grid-template-columns: minmax(0, 7.5rem) repeat(4, 50px); gap: 5px; align-items: center; }
.op-row > span { font-size: 13px; line-height: 1.2; } .op-known { font-weight: 700; color: var(--blue-text); }
.mlbook-figure .op-tile { padding: 0; width: 50px; height: 50px; min-height: 0; background: #fff; border: 3px solid var(--line-2);
  border-radius: 9px; position: relative; overflow: hidden; }
.op-tile > i { display: block; width: 100%; height: 100%; background-repeat: no-repeat; }
.mlbook-figure .op-tile[data-is="shown"] { border-color: var(--blue); box-shadow: 0 0 0 1.5px var(--blue); }
.mlbook-figure .op-tile[data-is="right"] { border-color: var(--green); }
.mlbook-figure .op-tile[data-is="wrong"] { border-color: var(--orange); border-style: double; border-width: 5px; }
.mlbook-figure .op-tile[data-is="none"] { border-style: dotted; border-color: var(--grey); }
.mlbook-figure .op-tile[aria-current="true"] { outline: 3px solid var(--ink); outline-offset: 1px; }
.op-bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: 3px 10px; align-items: center;
  max-width: 30rem; font-size: 13px; margin-top: 0.4rem; min-height: 9.5rem; align-content: start; }
.op-bars .f-track { height: 0.75rem; }`;
const STEPS = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 4, ArrowUp: -4 };

export default { render({ model, el }) {
  const data = model.get("data"), { names, styles, dim, sharp } = data, wide = styles.length, n = names.length * wide;
  const numbers = Float32Array.from(new Int8Array(bytes(data.z).buffer), (v) => v * data.scale);
  const z = Array.from({ length: n }, (_, i) => numbers.subarray(i * dim, (i + 1) * dim));
  const first = names.slice(0, data.known).map((_, c) => c * wide);
  const fig = figure(el, model, { shown: first, asked: 1, mode: "show", threshold: data.threshold }, CSS), { state } = fig;

  const top = make("div.f-bar", {}, el);
  const modes = [["show", "show it"], ["ask", "ask about it"]];
  choice(fig, top, "what a press does", modes, "mode", { name: "a press on a picture:" });
  const several = (text, chosen) => button(fig, top, text, () => { state.shown = chosen(); });
  several("One of each", () => [...first]);
  several("Three of each", () => first.flatMap((i) => [i, i + 1, i + 2]));
  several("All kinds, one of each", () => names.map((_, c) => c * wide));
  const low = make("div.f-bar", {}, el);
  const two = { min: 0, max: 1, step: 0.01, show: (v) => v.toFixed(2) };
  slider(fig, low, "none of these below", "threshold", two);

  const rows = make("div.op-rows", {}, el);
  const labels = [], tiles = [];
  names.forEach((name, c) => {
    const row = make("div.op-row", { role: "group", "aria-label": name }, rows);
    labels.push(make("span", {}, row, name));
    for (let s = 0; s < wide; s++) {
      const i = c * wide + s;
      const tile = button(fig, row, make("i", { "aria-hidden": "true" }), () => {
        if (state.mode === "ask") state.asked = i;
        else state.shown = state.shown.includes(i) ? state.shown.filter((k) => k !== i) : [...state.shown, i];
      }, { class: "op-tile", keydown: (event) => {
        const to = i + STEPS[event.key];
        if (!(to >= 0 && to < n)) return;
        event.preventDefault();
        tiles[to].focus();
      } });
      Object.assign(tile.firstChild.style, { backgroundImage: `url("${data.sheet}")`,
        backgroundSize: `${100 * wide}% ${100 * names.length}%`,
        backgroundPosition: `${(100 * s) / (wide - 1)}% ${(100 * c) / (names.length - 1)}%` });
      tiles.push(tile);
    }
  });
  const said = live(el, 3);
  const bars = make("div.op-bars", { role: "group", "aria-label": "the answer for the picture asked about" }, el);
  note(el, "Blue: shown, so that its kind is known. Of the others, green is answered rightly, orange and double wrongly, and " +
    "dotted is “none of these”, which is right where the kind is not known. Each row is one thing, drawn in four styles.");

  return fig.start(() => {
    const known = names.map((_, c) => c).filter((c) => state.shown.some((i) => Math.floor(i / wide) === c));
    const c = known.map((k) => prototype(state.shown.filter((i) => Math.floor(i / wide) === k).map((i) => z[i])));
    const of = (i) => answer(z[i], c, sharp), tally = { right: 0, wrong: 0, none: 0, caught: 0, strangers: 0 };
    tiles.forEach((tile, i) => {
      const own = Math.floor(i / wide), mine = known.includes(own), shown = state.shown.includes(i);
      let is = "shown", words = "shown";
      if (!shown) {
        const { best, cosine } = of(i), none = best < 0 || cosine < state.threshold;
        is = none ? "none" : known[best] === own ? "right" : "wrong";
        words = none ? "none of these" : `answered ${names[known[best]]}`;
        if (mine) tally[is] += 1; else { tally.strangers += 1; tally.caught += none ? 1 : 0; }
      }
      put(tile, { "data-is": is, "aria-pressed": shown, "aria-current": i === state.asked ? "true" : null,
        "aria-label": `${names[own]}, ${styles[i % wide]}: ${words}` });
    });
    labels.forEach((label, k) => label.classList.toggle("op-known", known.includes(k)));
    const asked = tally.right + tally.wrong + tally.none;
    said.textContent = `${count(known.length, "kind")} known from ${count(state.shown.length, "picture")}. Of their ` +
      `${count(asked, "other picture")} ${tally.right} answered rightly, ${tally.wrong} wrongly, ${tally.none} turned away. ` +
      `Of ${count(tally.strangers, "picture")} of other kinds ${tally.caught} turned away.`;
    bars.replaceChildren();
    const own = Math.floor(state.asked / wide), { p, cosines, best } = of(state.asked);
    const found = best < 0 ? "nothing is known" : `nearest is ${names[known[best]]}, cosine ${cosines[best].toFixed(2)}` +
      (cosines[best] < state.threshold ? ", so none of these" : "");
    make("b", { style: "grid-column: 1 / -1" }, bars, `${names[own]}, ${styles[state.asked % wide]}: ${found}`);
    known.map((k, j) => ({ k, j })).sort((a, b) => p[b.j] - p[a.j]).slice(0, 6).forEach(({ k, j }) => {
      make("span", {}, bars, names[k]);
      bar(bars, j === best ? "blue" : "grey").set(p[j]);
      make("span.f-number", {}, bars, `${(100 * p[j]).toFixed(0)} %`);
    });
  });
} };
