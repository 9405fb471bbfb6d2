// Prototypes in the plane: drag the support points, watch the class means, the regions and p(y | x) follow.

import { make, note, bar } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, choice, slider, stepper } from "./kit/controls.js";
import { plot, handle, outline } from "./kit/plot.js";
import { ABC, borders, cells, examples, tint } from "./kit/classes.js";
import { distance } from "./nets/comparing.js";
import { argmax, average, dot, softmax, unit } from "./nets/vectors.js";

const START = {
  query: [0.05, 0.35], shots: 3, distance: "squared", scale: 1,
  support: [
    [[-0.95, 0.75], [-1.35, 1.95], [-2.3, 0.55], [-1.2, 0.1], [-2.35, 1.55]],
    [[1.15, 1.5], [2.35, 0.75], [2.05, 2.0], [2.6, 1.6], [1.3, 0.55]],
    [[0.75, -0.75], [-0.6, -1.5], [1.3, -1.9], [0.1, -2.0], [1.75, -1.15]],
  ],
};
const FORMULAS = { squared: "d = |z − c|²", euclidean: "d = |z − c|", cosine: "d = 1 − cos(z, c)" }, CSS = `
.pn-bars { display: grid; grid-template-columns: auto 1fr auto auto; gap: 0.45rem 0.6rem; align-items: center;
  margin: 0 0 0.5rem; }
.pn-bars > .pn-right { text-align: right; }
.pn-bars .f-number { min-width: 2.7em; } .pn-bars .f-track { height: 1.15rem; }`;

export default { render({ model, el }) {
  const fig = figure(el, model, { ...START, ...model.get("data") }, CSS), { state } = fig;
  const shown = () => state.support.map((points) => points.slice(0, state.shots));
  const row = make("div.f-row", {}, el), left = make("div", { style: "--w: 330px; flex-grow: 1.5" }, row);
  const plane = plot(fig, left, { x: [-3.2, 3.2], y: [-2.5, 2.5], ratio: 0.78, pad: [0, 0, 0, 0], framed: true, canvas: true,
    role: "group", label: "The plane of embeddings. Every point can be moved by dragging or with the arrow keys.",
    resized: (p) => { p.y = [-1, 1].map((side) => (side * 3.2 * p.height) / p.width); } });
  const means = make("g", { "pointer-events": "none" });
  plane.handles.before(means); // below the points
  handle(fig, plane, { get: () => state.query, set: (z) => { state.query = plane.inside(z); }, r: 16,
    label: (x, y) => `query point, at ${x.toFixed(1)}, ${y.toFixed(1)}`, paint: (g) => {
      make("circle", { r: 12, style: "fill: var(--paper); stroke: var(--ink); stroke-width: 2.2" }, g);
      make("text", { "text-anchor": "middle", y: 5.5, "font-size": 16, "font-weight": 700 }, g, "?");
    } });
  examples(fig, plane, shown, 5);
  plane.onClick((z) => { state.query = plane.inside(z); });
  const rings = ABC.map(([name, colour, shape]) => {
    const g = make("g", { fill: `var(--${colour})` }, means);
    make("path", { d: outline(shape, 14), style: `fill: var(--paper); stroke: var(--${colour})`, "fill-opacity": 0.75,
      "stroke-width": 3.2, "stroke-linejoin": "round" }, g);
    make("text", { "text-anchor": "middle", y: shape === "triangle" ? 7 : 4.6, "font-size": 13, "font-weight": 700,
      style: `fill: var(--${colour})` }, g, name);
    return g;
  });

  const panel = make("div", {}, row), bars = make("div.pn-bars", {}, panel);
  for (const text of ["", "the query’s class"]) make("span.f-soft", {}, bars, text);
  for (const text of ["p(y | x)", "d"]) make("span.f-soft.pn-right", {}, bars, text);
  const rows = ABC.map(([name, colour]) => {
    make("b", { style: `color: var(--${colour})` }, bars, name);
    return { fill: bar(bars, colour), number: make("span.f-number", {}, bars), away: make("span.f-number.f-soft", {}, bars) };
  });
  const summary = make("output", { "aria-live": "polite" }, panel), kinds = make("div.f-bar", {}, panel);
  choice(fig, kinds, "distance", [["squared", "squared"], ["euclidean", "unsquared"], ["cosine", "cosine"]], "distance");
  const formula = make("div.f-soft", {}, panel);
  slider(fig, make("div.f-sliders", {}, panel), "scale", "scale", { min: -1, max: 1, step: 0.05, log: true,
    name: "factor on the distance", show: (v) => `× ${v.toPrecision(2)}` });
  const last = make("div.f-bar", {}, panel);
  stepper(fig, last, "shots", "shot", "shots", 1, 5);
  button(fig, last, "Reset", () => fig.reset());
  note(el, "Drag any point, or press Tab and the arrow keys; a click on the plane brings the query there. Small solid shapes " +
    "are support examples, large rings their prototypes, the ? is the query. The stronger a colour, the surer the classifier.");

  return fig.start(() => {
    const support = shown(), c = support.map(average), cosine = state.distance === "cosine";
    const far = (z) => c.map((v) => distance(z, v, state.distance)), columns = Math.round(plane.width / 4);
    const d = far(state.query), p = softmax(d, -state.scale), best = argmax(p);
    tint(fig, plane, columns, cells(plane, columns).map((z) => softmax(far(z), -state.scale)));
    plane.clear();
    plane.line([[plane.x[0], 0], [plane.x[1], 0]], "line-2", { width: 1 });
    plane.line([[0, plane.y[0]], [0, plane.y[1]]], "line-2", { width: 1 });
    const lines = borders(plane, cosine ? c.map(unit) : c, c.map((v) => (cosine ? 0 : -dot(v, v) / 2)));
    plane.draw(lines, "ink", { width: 1.6, opacity: 0.75 });
    c.forEach((v, k) => {
      for (const s of support[k]) plane.line([v, s], ABC[k][1], { width: 1.4, opacity: 0.6 });
      plane.line([v, state.query], "ink", { width: 1 + 3.5 * p[k], dash: "1 6", "stroke-linecap": "round", opacity: 0.8 });
      rings[k].setAttribute("transform", `translate(${plane.spot(v)})`);
    });
    rows.forEach(({ fill, number, away }, k) => {
      fill.set(p[k]);
      number.textContent = p[k].toFixed(3);
      away.textContent = d[k].toFixed(2);
      number.style.fontWeight = k === best ? 700 : 400;
    });
    summary.value = `The answer: ${ABC[best][0]}`;
    formula.textContent = FORMULAS[state.distance];
  });
} };
