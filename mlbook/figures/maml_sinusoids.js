// Gradient descent on a few points, step by step, from MAML's initial network and from the pre-trained one.
// data: {sizes: [1, H, H, 1], rate, maml, pretrained: every weight in torch's order (W1, b1, W2, b2, W3, b3)}

import { make, put, live, note, count } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, slider, player } from "./kit/controls.js";
import { plot } from "./kit/plot.js";
import { GRID, HOW, say, sinusoid, taken } from "./kit/sinusoid.js";
import { descend, mlp } from "./nets/mlp.js";
import { clamp } from "./nets/vectors.js";

const STEPS = 10, NETS = [["maml", "MAML", "blue", "none"], ["pretrained", "pre-trained", "orange", "7 4"]], CSS = `
.ms-table { display: grid; grid-template-columns: 1fr auto auto; gap: 0.15rem 0.8rem; margin: 0 0 0.3rem; white-space: nowrap; }
.ms-table .f-number { min-width: 4em; }`;

export default { render({ model, el }) {
  const data = model.get("data"), start = { ...taken("10 points"), step: 1, rate: data.rate };
  const fig = figure(el, model, start, CSS), { state } = fig;
  const task = sinusoid(fig, { names: ["10 points", "3 points", "half the range", "amplitude 9"],
    label: "The points and the two curves.", chosen: () => { play.stop(); state.rate = data.rate; } });
    const descent = (weights) => { // after 0, 1, ..., STEPS steps: the curve, the error on the points and on the curve
    const curves = [], points = [], curve = [], ask = (w, x) => mlp(w, data.sizes, [x])[0];
    for (let k = 0, w = Float64Array.from(weights); k <= STEPS; k++) {
      curves.push(GRID.map((x) => ask(w, x)));
      points.push(state.points.reduce((sum, [x, y]) => sum + (ask(w, x) - y) ** 2, 0) / state.points.length);
      curve.push(task.error(curves[k]));
      if (k < STEPS) w = descend(w, data.sizes, state.points, state.rate);
    }
    return { curves, points, curve: state.bound ? curve : points };
  };
  let runs = [], made = "";
  const compute = () => { // only when something has changed but the step that is shown
    const wanted = JSON.stringify([state.points, state.rate, state.bound, state.A, state.phi]);
    if (wanted !== made) runs = NETS.map(([key]) => descent(data[key]));
    made = wanted;
  };

  const steps = make("div.f-bar", { role: "group", "aria-label": "steps of gradient descent" }, task.left);
  const go = (by) => () => { play.stop(); state.step = clamp(state.step + by, 0, STEPS); };
  const back = button(fig, steps, "Back", go(-1), { "aria-label": "one step back" });
  const forth = button(fig, steps, "Step", go(1), { "aria-label": "one step of gradient descent" });
  const play = player(fig, steps, 550, () => {
    state.step = Math.min(STEPS, state.step + 1);
    return state.step < STEPS;
  }, () => { state.step = 0; });
  const shown = make("output", {}, steps);
  const panel = make("div", { style: "max-width: 420px" }, task.row), table = make("div.ms-table", {}, panel);
  make("span.f-soft", {}, table, "error");
  for (const text of ["on points", "on curve"]) make("span.f-soft.f-number", {}, table, text);
  const rows = NETS.map(([, name, colour]) => {
    make("b", { style: `color: var(--${colour})` }, table, name);
    return [make("span.f-number", {}, table), make("span.f-number", {}, table)];
  });
  const chart = plot(fig, panel, { x: [0, STEPS], y: [0, 1], height: 150, pad: [10, 8, 26, 30], looks: "ms-chart" });
  const sliders = make("div.f-sliders", {}, panel), kind = make("div.f-bar", {}, panel);
  slider(fig, sliders, "rate <i>α</i>", "rate", { min: -3, max: -1.3, step: 0.05, log: true, name: "rate alpha",
    show: (v) => v.toPrecision(2), then: (v) => { if (Math.abs(Math.log10(v / data.rate)) < 0.026) state.rate = data.rate; } });
  task.controls(sliders, kind);
  const said = live(el);
  note(el, `${HOW} Faint lines: the steps before. Dotted: the true curve. The error is the ` +
    "mean squared error. In the small chart broad lines are that on the whole curve, thin ones that on the points alone. Every " +
    "step is computed here, from the weights that were trained above.");

  return fig.start(() => {
    const { step } = state;
    compute();
    task.floor(6);
    [1, 0].forEach((n) => {
      for (let k = 0; k <= step; k++) {
        const now = k === step, opacity = now ? 1 : 0.22 + (0.2 * (k + 1)) / (step + 1);
        task.curve(runs[n].curves[k], NETS[n][2], { dash: now ? NETS[n][3] : "none", width: now ? 3.2 : 1.3, opacity });
      }
    });

    const high = Math.max(...runs.flatMap((run) => [run.points[0], run.curve[0]]), 0.1) * 1.12;
    const every = [20, 10, 5, 2, 1, 0.5, 0.1][[40, 20, 8, 3, 1.5, 0.5, 0].findIndex((least) => high > least)];
    chart.clear();
    chart.y = [0, high];
    const marks = [0, 1, 2, 3, 4].map((k) => +(k * every).toFixed(1)).filter((v) => v < 0.95 * high);
    chart.axes({ x: [0, 5, 10], y: marks, grid: false });
    chart.text([7.5, 0], "steps", { colour: "soft", anchor: "middle", dy: 17 });
    chart.line([[step, 0], [step, high]], "line-2", { width: 1, dash: "3 3" });
    [1, 0].forEach((n) => {
      const { points, curve } = runs[n], colour = NETS[n][2];
      const draft = (values) => values.map((v, k) => [k, Number.isFinite(v) ? v : 1e9]);
      chart.line(draft(points), colour, { width: 1.2, opacity: 0.85 });
      if (state.bound) chart.line(draft(curve), colour, { width: 2.6 });
      chart.dot([step, Number.isFinite(curve[step]) ? Math.min(curve[step], high) : high], 4.5, colour);
    });
    const list = (values) => values.map((v) => (Number.isFinite(v) ? v.toPrecision(4) : "diverged")).join(", ");
    put(chart.svg, { "aria-label": NETS.map(([, name], n) =>
      `${name}, error on the points after 0 to ${STEPS} steps: ${list(runs[n].points)}`).join("; ") });

    rows.forEach(([points, curve], n) => {
      points.textContent = say(runs[n].points[step]);
      curve.textContent = state.bound ? say(runs[n].curve[step]) : "–";
    });
    const [a, b] = runs.map((run) => run.curve[step]);
    shown.value = `step ${step}`;
    said.textContent = `After ${count(step, "step")} on ${count(state.points.length, "point")} the error on the ` +
      `${state.bound ? "whole curve" : "points"} is ${say(a)} from MAML’s start and ${say(b)} from the pre-trained one.` +
      (state.bound && state.A > 5 ? " Amplitudes in training went up to 5." : "") +
      (state.bound && state.phi > Math.PI + 0.01 ? " Phases in training went up to π." : "") +
      ([a, b].some((v) => !(v < 1e4)) ? " A rate this high overshoots." : "");
    back.disabled = step === 0;
    forth.disabled = step === STEPS;
  });
} };
