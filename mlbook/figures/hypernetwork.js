// A trained HyperNetwork in the plane: drag the support points, and the weights that it emits move the borders.
// data: { dim, units, hidden, embed, norm, phi, rho: weights of each part in torch's order, as one list,
//         presets: { name: [[[x, y], ...] of A, of B, of C] } }

import { make, put, live, note, minus } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, choice, slider, stepper, toggle } from "./kit/controls.js";
import { plot } from "./kit/plot.js";
import { ABC, borders, cells, examples, tint } from "./kit/classes.js";
import { contour } from "./nets/contour.js";
import { embedding, emit, scores } from "./nets/generated.js";
import { argmax, average, dot, softmax, squaredDistance } from "./nets/vectors.js";

const MOST = 8, COLUMNS = 84;

export default { render({ model, el }) {
  const data = model.get("data"), D = data.dim, names = Object.keys(data.presets), sizes = [2, data.units, D];
  const start = { support: data.presets[names[0]], preset: 0, turned: 0, plain: true };
  start.shots = start.support[0].length;
  const fig = figure(el, model, start), { state } = fig, embed = (x) => embedding({ ...data, sizes }, x);
  let grid = [], turned = 0;

  const other = () => { state.preset = -1; };
  const bar = make("div.f-bar", {}, el);
  choice(fig, bar, "examples", names.map((name, k) => [k, name]), "preset", { then: (k) => {
    state.support = structuredClone(data.presets[names[k]]);
    state.shots = state.support[0].length;
    state.turned = turned = 0;
  } });
  const row = make("div.f-row", {}, el), left = make("div", { style: "--w: 330px; flex-grow: 1.4" }, row);
  const plane = plot(fig, left, { x: [-3.4, 3.4], y: [-2.72, 2.72], ratio: 0.8, pad: [0, 0, 0, 0], framed: true, canvas: true,
    role: "group", label: "The plane of examples. Every support point can be moved by dragging or with the arrow keys.",
    resized: (p) => { // where the classifier is asked; its embeddings do not change with the support set
      p.y = [-1, 1].map((side) => (side * 3.4 * p.height) / p.width);
      grid = cells(p, COLUMNS).map((x) => ({ x, z: embed(x) }));
    } });
  examples(fig, plane, () => state.support, MOST, other);
  const panel = make("div", {}, row);
  make("div.f-soft", {}, panel, "the emitted weights");
  const chart = plot(fig, panel, { x: [0, D + 1.6], y: [3, 0], height: 118, pad: [20, 2, 2, 24], looks: "hn-weights" });
  slider(fig, make("div.f-sliders", {}, panel), "turn all", "turned", { min: -90, max: 90, step: 5, name: "turn the support set",
    show: (v) => minus(`${v}°`), then: (to) => {
      const by = ((to - turned) * Math.PI) / 180, c = Math.cos(by), s = Math.sin(by);
      state.support = state.support.map((points) => points.map(([x, y]) => [c * x - s * y, s * x + c * y]));
      turned = to;
      other();
    } });
  const another = (points, k) => { // mirrored through the class's mean, a little off
    const m = average(points), i = points.length, off = [Math.cos, Math.sin].map((f) => 0.25 * f(2 * i + k));
    points.push(plane.inside(m.map((v, axis) => 2 * v - points[0][axis] + off[axis])));
  };
  stepper(fig, make("div.f-bar", {}, panel), "shots", "shot", "shots", 1, MOST, (to, before) => {
    state.support.forEach((points, k) => (to < before ? points.pop() : another(points, k)));
    other();
  });
  const options = make("div.f-bar", {}, panel);
  button(fig, options, "Exchange A and B", () => { state.support = [1, 0, 2].map((k) => state.support[k]); other(); });
  toggle(fig, options, "Nearest mean", "plain");
  const said = live(el);
  note(el, "Drag a support point, or press Tab and the arrow keys. Solid lines: where the generated classifier changes its " +
    "answer; the stronger a colour, the surer it is. Dashed: where the nearest mean changes. One square is one emitted " +
    "number, blue above zero, orange below; the last of each row is the bias.");

  return fig.start(() => {
    const { support } = state, means = support.map((points) => average(points)), nearest = (x) =>
      argmax(means.map((m) => -squaredDistance(m, x)));
    const w = emit(data, support.map((points) => points.map(embed))), all = grid.map(({ z }) => scores(w, z));
    const X = (i) => ((i + 0.5) / COLUMNS) * plane.width, Y = (j) => ((j + 0.5) * COLUMNS * plane.height) / all.length;
    tint(fig, plane, COLUMNS, all.map((s) => softmax(s)));
    plane.clear();
    plane.line([[plane.x[0], 0], [plane.x[1], 0]], "line-2", { width: 1 });
    plane.line([[0, plane.y[0]], [0, plane.y[1]]], "line-2", { width: 1 });
    const straight = borders(plane, means, means.map((m) => -dot(m, m) / 2));
    if (state.plain) plane.draw(straight, "ink", { width: 1.3, dash: "7 5", opacity: 0.7 });
    for (const k of [0, 1, 2]) { // where class k and the best of the others have the same score
      const lead = all.map((s) => s[k] - Math.max(...s.filter((_, i) => i !== k)));
      const path = contour(lead, COLUMNS).map(([a, b]) =>
        `M${X(a[0]).toFixed(1)} ${Y(a[1]).toFixed(1)}L${X(b[0]).toFixed(1)} ${Y(b[1]).toFixed(1)}`).join("");
      plane.draw(path, "ink", { width: 1.5, "stroke-linecap": "round" });
    }

    const most = Math.max(...w.flatMap((r) => [...r]).map(Math.abs), 1e-9);
    chart.clear();
    chart.text([D / 2, 0], "w", { anchor: "middle", colour: "soft", dy: -9 });
    chart.text([D + 1.1, 0], "b", { anchor: "middle", colour: "soft", dy: -9 });
    w.forEach((r, k) => {
      chart.text([0, k + 0.5], ABC[k][0], { colour: ABC[k][1], weight: 700, dx: -20, dy: 4 });
      r.forEach((v, i) => make("rect", { x: chart.X(i < D ? i : D + 0.6), y: chart.Y(k + 0.1), width: chart.X(0.94) - chart.X(0),
        rx: 2, height: chart.Y(0.8) - chart.Y(0), stroke: "var(--line-2)", "stroke-width": 0.7,
        fill: `var(--${v > 0 ? "blue" : "orange"})`, "fill-opacity": Math.min(1, Math.abs(v) / most).toFixed(2) }, chart.ink));
    });
    put(chart.svg, { "aria-label": "Emitted weights and biases. " + w.map((r, k) =>
      `${ABC[k][0]}: ${Array.from(r, (v) => v.toFixed(3)).join(", ")}`).join("; ") });

    const points = support.flatMap((some, k) => some.map((x) => [x, k])), right = (answer) =>
      points.filter(([x, k]) => answer(x) === k).length;
    const differ = grid.filter(({ x }, n) => nearest(x) !== argmax(all[n])).length / grid.length;
    said.textContent = `Of the ${points.length} support points the generated classifier gets ` +
      `${right((x) => argmax(scores(w, embed(x))))} right, the nearest mean ${right(nearest)}. ` +
      `In ${(100 * differ).toFixed(0)} % of the plane they answer differently.`;
  });
} };
