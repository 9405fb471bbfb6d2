// A trained Meta Network on a real task: one query, the attention over the support's keys, the fast weights that it
// mixes, and the scores; dials for how much of the fast weights is used, and whose memory is read.
// data: { size, support, query: pictures as base64 of 2-bit grey levels, query_y, hidden, and tensors { shape, scale, bits:
// base64 of signed bytes }: z [N, D], z_query [n, D], Q and W (both layers, flat), fast [P], memory and other [N, P'] }.
// Support example i is of class i.

import { make, put, live } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, choice, slider } from "./kit/controls.js";
import { bytes, pictures, ink, paint } from "./kit/ink.js";
import { rgb } from "./kit/theme.js";
import { recall, represent } from "./nets/fast_weights.js";
import { argmax, softmax, sum } from "./nets/vectors.js";

const DIALS = [["sharpness", "sharpness of the attention", "softmax(s · cosine); the method has s = 1", 8, 0.1, 1],
  ["base", "fast part of b", "W* of the query, times this; 1 is the method, 0 leaves W alone", 2, 0.05, 2],
  ["embedding", "fast part of u", "Q*, times this; 1 is the method, 0 leaves Q alone", 2, 0.05, 2]];
const CSS = `
.mn { --tile: 40px; } .mn > .f-choice { --tile: 34px; }
.mlbook-figure.mn .f-tile { position: relative; }
.mlbook-figure.mn .f-tile.mn-wrong::after { content: ""; position: absolute; right: -1px; bottom: -1px; width: 9px; height: 9px;
  border-radius: 50%; background: var(--orange); }
.mn-grid { display: grid; gap: 6px 12px; align-items: center; margin-top: 0.9rem;
  grid-template-columns: auto minmax(48px, 0.8fr) minmax(84px, 1.15fr) minmax(84px, 1.3fr) 2.6em; }
.mn-grid > * { min-width: 0; } .mn-title { font-size: 12.5px; line-height: 1.25; font-weight: 600; align-self: end; }
.mn-example { display: flex; gap: 7px; align-items: center; font-weight: 700; }
.mn-example .f-ink { border-radius: 6px; } .mn-frame { border: 1.5px solid var(--blue); border-radius: 6px; }
.mn-bar { display: flex; align-items: center; gap: 5px; font-size: 12.5px; font-variant-numeric: tabular-nums; }
.mn-bar > i { height: 18px; border-radius: 3px; background: var(--blue); flex: none; }
.mlbook-figure canvas.mn-strip { width: 100%; height: 24px; image-rendering: pixelated; border-radius: 3px; }
.mn-parts { position: relative; height: 30px;
  background: linear-gradient(var(--line-2), var(--line-2)) 50% 0 / 1.5px 100% no-repeat; }
.mn-parts > i { position: absolute; height: 12px; border-radius: 2px; top: 2px; background: var(--grey); }
.mn-parts > i + i { top: 16px; background: var(--orange); }
.mn-dials { grid-template-columns: auto minmax(6rem, 18rem) auto; justify-content: start; margin: 0.9rem 0 0.5rem; }
@media (max-width: 480px) {
  .mn { --tile: 28px; } .mn-example { gap: 4px; } .mn-title { font-size: 11px; }
  .mn-grid { gap: 6px 5px; grid-template-columns: 48px minmax(40px, 0.75fr) minmax(40px, 1fr) minmax(40px, 1fr) 2.7em; }
}`;

export default { render({ model, el }) {
  const data = model.get("data"), H = data.hidden, n = data.query_y.length;
  /** @returns {any} */
  const tensor = ({ shape, scale, bits }) => {
    const values = new Int8Array(bytes(bits).buffer), length = shape.at(-1);
    const row = (i) => Float64Array.from(values.subarray(i * length, (i + 1) * length), (v) => v * scale);
    return shape.length === 1 ? row(0) : Array.from({ length: shape[0] }, (_, i) => row(i));
  };
  const names = ["z", "z_query", "Q", "W", "fast", "memory", "other"];
  const [z, zQuery, Q, W, fastQ, memory, other] = names.map((k) => tensor(data[k]));
  const N = z.length, first = H * z[0].length; // where the last layer begins
  const fig = figure(el, model, { query: 0, embedding: 1, base: 1, sharpness: 1, memory: "own" }, CSS), { state } = fig;
  const answers = () => {
    const fast = fastQ.map((v) => v * state.embedding), keys = z.map((x) => represent(x, Q, fast, H));
    const read = { own: memory, other, moved: memory.map((_, i) => memory[(i + 1) % N]) }[state.memory];
    return zQuery.map((x) => {
      const all = recall(W, H, keys, read, represent(x, Q, fast, H), x, state.sharpness, state.base);
      return { ...all, best: argmax(all.scores) };
    });
  };

  el.classList.add("mn");
  make("p.f-head", { style: "color: var(--orange-text)" }, el, "Choose a query");
  const items = pictures(data.query, data.size).slice(0, n), support = pictures(data.support, data.size);
  const options = data.query_y.map((_, q) => [q, ink(null, items[q] ?? null)]);
  const queries = choice(fig, el, "queries", options, "query", { looks: "f-tile" });
  const grid = make("div.mn-grid", { role: "img" }, el);
  for (const title of ["support", "attention", "last layer of W*, row by row", "score by slow and fast weights", "p"])
    make("span.mn-title", title === "p" ? { style: "text-align: right" } : {}, grid, title);
  const rows = Array.from({ length: N }, (_, k) => {
    ink(make("span.mn-frame", {}, make("div.mn-example", {}, grid, String(k))), support[k]);
    const share = make("div.mn-bar", {}, grid), fill = make("i", {}, share), percent = make("span", {}, share);
    const strip = make("canvas.mn-strip", {}, grid), parts = make("div.mn-parts", {}, grid);
    return { fill, percent, strip, slow: make("i", {}, parts), quick: make("i", {}, parts), p: make("span.f-number", {}, grid) };
  });
  const dials = make("div.f-sliders.mn-dials", {}, el);
  for (const [key, label, title, max, step, digits] of DIALS) {
    const input = slider(fig, dials, label, key, { min: 0, max, step, show: (v) => v.toFixed(digits) });
    put(input, { title });
  }
  const last = make("div.f-bar", {}, el);
  choice(fig, last, "memory", [["own", "of this task"], ["other", "of another task"], ["moved", "of the wrong labels"]], "memory",
    { name: "Memory" });
  button(fig, last, "Reset", () => fig.reset("query"));
  const said = live(el, 3);

  const centred = (x) => x.map((v) => v - sum(x) / x.length); // softmax sees no more
  return fig.start(() => {
    const all = answers(), now = all[state.query], truth = data.query_y[state.query], p = softmax(now.scores);
    const right = all.filter(({ best }, q) => best === data.query_y[q]).length, tones = [rgb(el, "orange"), rgb(el, "blue")];
    const slow = centred(now.slow), quick = centred(now.quick), wide = Math.max(2, ...slow.map(Math.abs), ...quick.map(Math.abs));
    queries.buttons.forEach((node, q) => {
      node.classList.toggle("mn-wrong", all[q].best !== data.query_y[q]);
      put(node, { "aria-label": `query ${q + 1} of ${n}, of class ${data.query_y[q]}, answered ${all[q].best}` });
    });
    const place = (node, v) => {
      node.style.left = `${50 + Math.min(0, (48 * v) / wide)}%`;
      node.style.width = `${Math.max(0.8, (48 * Math.abs(v)) / wide)}%`;
    };
    rows.forEach((row, k) => {
      row.fill.style.width = `calc((100% - 2.6em) * ${now.attention[k].toFixed(3)})`;
      row.percent.textContent = `${Math.round(100 * now.attention[k])} %`;
      const values = now.read.subarray(first + k * H, first + (k + 1) * H); // orange below zero, blue above
      paint(row.strip, values.map((v) => 255 * Math.min(1, Math.abs(v))), H, 1, (j) => tones[Number(values[j] >= 0)]);
      place(row.slow, slow[k]);
      place(row.quick, quick[k]);
      row.p.textContent = p[k].toFixed(2);
      row.p.style.fontWeight = k === now.best ? 700 : 400;
    });
    const list = (x) => Array.from(x, (v) => v.toFixed(4)).join(", ");
    put(grid, { "aria-label": `attention: ${list(now.attention)}; scores: ${list(now.scores)}` });
    said.textContent = `Answer: class ${now.best}, which is ${now.best === truth ? "right" : `wrong; it is class ${truth}`}. ` +
      `The example looked at most is that of class ${argmax(now.attention)}. ` +
      `With these settings ${right} of the ${n} queries are answered rightly (a dot marks those that are not). ` +
      "Grey and orange bars: what slow and fast weights add to each score, from the mean over the classes. " +
      "Strips: orange below zero, blue above.";
  });
} };
