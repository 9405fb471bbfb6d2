// A neural process and MAML on the same few points: one reads them, the other takes steps of gradient descent on them.
// data: { dim, heads, h, a, g: weights of the neural process's three networks; sizes: [1, M, M, 1], maml: MAML's start;
//         rate, steps: of MAML at test }. Weights are lists in torch's order (W1, b1, W2, b2, W3, b3).

import { make, live, note, count } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { slider } from "./kit/controls.js";
import { GRID, HOW, SETS, say, sinusoid, taken } from "./kit/sinusoid.js";
import { descend, mlp } from "./nets/mlp.js";
import { asks, predict } from "./nets/neural_process.js";

const CSS = `
.np-table { display: grid; grid-template-columns: 1fr auto; gap: 0.15rem 0.8rem; margin: 0 0 0.3rem; }`;

export default { render({ model, el }) {
  const data = model.get("data"), fig = figure(el, model, { ...taken("3 points"), steps: data.steps }, CSS), { state } = fig;
  const names = ["3 points", ...Object.keys(SETS).filter((name) => name !== "3 points")];
  const task = sinusoid(fig, { names, label: "The points and both curves." }), { plane, truth } = task;
  const asked = GRID.map((x) => asks(data, x)); // of the targets: the same for every task
  const adapted = () => {
    let w = Float64Array.from(data.maml);
    for (let k = 0; k < state.steps; k++) w = descend(w, data.sizes, state.points, data.rate);
    return GRID.map((x) => mlp(w, data.sizes, [x])[0]);
  };

  const panel = make("div", { style: "max-width: 420px" }, task.row), table = make("div.np-table", {}, panel);
  make("span.f-soft", {}, table, "on the whole curve");
  make("span.f-soft", {}, table, "squared error");
  const cell = (name, style = "color: var(--soft)") => {
    make("span", { style }, table, name);
    return make("span.f-number", {}, table);
  };
  const bold = (colour) => `color: var(--${colour}); font-weight: 700`;
  const errors = [cell("neural process", bold("blue")), cell("MAML", bold("orange"))];
  const covered = cell("of the curve within 2 σ"), spread = cell("σ, least to most");
  const sliders = make("div.f-sliders", {}, panel);
  slider(fig, sliders, "MAML’s steps", "steps", { min: 0, max: 10, name: "inner steps of MAML" });
  task.controls(sliders, make("div.f-bar", {}, panel));
  const said = live(el);
  note(el, `${HOW} Blue: the neural process’s mean, and two of its standard deviations either way. Orange, dashed: MAML’s ` +
    "network after its steps. Dotted: the true curve. Both are computed here, with the weights that were trained above.");

  return fig.start(() => {
    const { points, bound } = state, process = predict(data, points, GRID, asked), maml = adapted();
    const mean = process.map((p) => p[0]), sigma = process.map((p) => p[1]), off = (by) => mean.map((m, i) => m + by * sigma[i]);
    task.floor(6.5);
    const edge = (ys) => GRID.map((x, i) => [x, ys[i]]);
    plane.fill([...edge(off(2)), ...edge(off(-2)).reverse()], "blue", 0.2);
    task.curve(maml, "orange", { width: 2.6, dash: "7 4" });
    task.curve(mean, "blue", { width: 3 });
    const list = (values) => values.filter((_, i) => i % 30 === 0)
      .map((v) => (Number.isFinite(v) ? v.toFixed(4) : "diverged")).join(", ");
    plane.svg.dataset.curves = `mean: ${list(mean)}; sigma: ${list(sigma)}; maml: ${list(maml)}`;

    const [a, b] = [task.error(mean), task.error(maml)], given = count(points.length, "point");
    const within = GRID.filter((x, i) => Math.abs(truth(x) - mean[i]) < 2 * sigma[i]).length / GRID.length;
    const percent = `${(100 * within).toFixed(0)} %`, range = `${say(Math.min(...sigma))} to ${say(Math.max(...sigma))}`;
    errors.forEach((node, n) => { node.textContent = bound ? say([a, b][n]) : "–"; });
    covered.textContent = bound ? percent : "–";
    spread.textContent = range;
    const wide = state.A > 5.001 ? "amplitudes up to 5" : state.phi > Math.PI + 0.01 ? "phases up to π" : "";
    said.textContent = (bound ? `From ${given}: squared error ${say(a)} for the neural process, ${say(b)} for MAML after ` +
        `${count(state.steps, "step")}. ${percent} of the true curve lie within the band.`
      : `From ${given} off any sinusoid: σ from ${range}.`) + (bound && wide ? ` Training had ${wide} only.` : "");
  });
} };
