// Attention over a real support set: choose a query, move the scale; weights, mixture and bound follow.
// data: {size, support, query: base64 of 2-bit grey levels, support_y, query_y, cosines: [a row per query], scale}

import { make, put, live, bar } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, choice, slider } from "./kit/controls.js";
import { pictures, ink } from "./kit/ink.js";
import { byClass } from "./nets/attention.js";
import { mostCertain } from "./nets/comparing.js";
import { argmax, softmax } from "./nets/vectors.js";

const CSS = `
.mt { --tile: clamp(40px, 11vw, 52px); } .mt .f-choice { --tile: 38px; }
.mt .f-bar > label { flex: 1 1 14rem; } .mt .f-bar > label > input { flex: 1; }
.mt-grid { display: grid; grid-template-columns: auto auto minmax(70px, 1fr) 3.2em; gap: 5px 8px; align-items: center; }
.mt-support { display: flex; gap: 4px; }
.mt-example { text-align: center; font-size: 12px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.mt-tile { position: relative; border: 1.5px solid var(--blue); border-radius: 6px; overflow: hidden; margin-bottom: 1px; }
.mt-tint { position: absolute; inset: 0; background: var(--blue); } .mt-tile .f-ink { position: relative; }
.mt-grid .f-track { height: 1.25rem; overflow: visible; }
.mt-bound { position: absolute; top: -4px; bottom: -4px; width: 0; border-left: 2px dashed currentColor; }`;

export default { render({ model, el }) {
  const data = model.get("data"), ways = Math.max(...data.support_y) + 1;
  const fig = figure(el, model, { query: 0, scale: data.scale }, CSS), { state } = fig;
  const support = pictures(data.support, data.size), query = pictures(data.query, data.size);
  el.classList.add("mt");
  make("p.f-head", { style: "color: var(--orange-text)" }, el, "Choose a query");
  const queries = choice(fig, el, "queries", query.map((x, q) => [q, ink(null, x)]), "query", { looks: "f-tile" });
  queries.buttons.forEach((node, q) =>
    put(node, { "aria-label": `query ${q + 1} of ${query.length}, of class ${data.query_y[q]}` }));
  const scaling = make("div.f-bar", { role: "group", "aria-label": "scale" }, el);
  slider(fig, scaling, "<b>Scale <i>s</i></b>", "scale", { min: -1, max: 2, step: 0.02, log: true, name: "Scale s",
    show: (s) => (s < 10 ? s.toFixed(2) : s.toFixed(1)) });
  for (const [text, value] of [["1, the paper’s", 1], [`${data.scale.toPrecision(3)}, learned`, data.scale]])
    button(fig, scaling, text, () => { state.scale = value; });
  make("p.f-head", {}, el, [make("span", { style: "color: var(--blue-text)" }, null, "Attention to the support set"), ", and ",
    make("span", { style: "color: var(--green-text)" }, null, "its sum by class")]);
  const grid = make("div.mt-grid", {}, el), examples = [];
  const rows = Array.from({ length: ways }, (_, k) => {
    make("b", {}, grid, String(k));
    const own = make("div.mt-support", {}, grid);
    data.support_y.forEach((y, i) => {
      if (y !== k) return;
      const example = make("div.mt-example", {}, own), tile = make("div.mt-tile", {}, example);
      examples[i] = { tint: make("div.mt-tint", {}, tile), number: make("span", {}, example) };
      ink(tile, support[i]);
    });
    const fill = bar(grid, "green");
    const mark = make("div.mt-bound", { title: "the largest probability that this scale allows" }, fill.track);
    return { fill, mark, number: make("span.f-number", {}, grid) };
  });
  const said = live(el);

  return fig.start(() => {
    const a = softmax(data.cosines[state.query], state.scale), p = byClass(a, data.support_y, ways), best = argmax(p);
    const most = mostCertain(ways, state.scale), truth = data.query_y[state.query], first = Math.max(...a);
    examples.forEach(({ tint, number }, i) => {
      tint.style.opacity = (0.04 + 0.6 * a[i]).toFixed(3);
      number.textContent = `${(100 * a[i]).toFixed(a[i] < 0.0995 ? 1 : 0)} %`;
      number.style.fontWeight = a[i] === first ? 700 : 400;
    });
    rows.forEach(({ fill, mark, number }, k) => {
      fill.set(p[k]);
      mark.style.left = `${(100 * most).toFixed(1)}%`;
      number.textContent = p[k].toFixed(3);
      number.style.fontWeight = k === best ? 700 : 400;
    });
    said.textContent = `Answer: class ${best}, which is ${best === truth ? "right" : `wrong; it is class ${truth}`}. ` +
      `At this scale no answer among ${ways} classes can be surer than ${most.toFixed(3)} (the dashed marks).`;
  });
} };
