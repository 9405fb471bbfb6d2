// The gates of a trained LSTM meta-learner along one recorded adaptation, computed here from its fourteen numbers.
// data: { rule: { i, f: six weights and a bias each, for [size ∇, sign ∇, size L, sign L, θ, last gate] }, L: [T],
// layers: { name: { g: [T][n], theta: [T][n] } }, sgd, adam: rates of the two others }.

import { make, put, live, bar, CLASSES } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, slider } from "./kit/controls.js";
import { plot } from "./kit/plot.js";
import { average, clamp, median } from "./nets/vectors.js";
import { gates, preprocessed } from "./nets/lstm.js";

const HEARS = { gradient: [0, 1], loss: [2, 3], weight: [4], "last gate": [5] }, X = [-10, 2], Y = [-2.5, 0.15], CSS = `
.ml-bars { display: grid; grid-template-columns: auto 1fr 1fr; gap: 5px 10px; align-items: center; align-self: center; }
.ml-bars > b { font-size: 12.5px; line-height: 1.25; align-self: end; }
.ml-bars .f-track { height: 20px; border-radius: 3px; } .ml-bars .f-fill { opacity: 0.5; }
.ml-bars em { position: absolute; inset: 0 5px 0 auto; font: 12.5px/20px inherit; font-style: normal; color: var(--ink); }
.ml-name { white-space: nowrap; } .ml-name > i { display: inline-block; width: 9px; height: 9px; border-radius: 50%;
  margin-inline-end: 6px; }`;
const raised = (k) => "10" + String(k).replace("-", "⁻").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);
const short = (v) => (v >= 0.095 ? v.toFixed(2) : v >= 0.001 ? v.toFixed(3) : v.toExponential(1));
const word = (v) => (v && (v < 1e-3 || v >= 1e4) ? v.toExponential(1) : String(Number(v.toPrecision(2))));

export default { render({ model, el }) {
  const data = model.get("data"), names = Object.keys(data.layers), T = data.L.length, inputs = Object.keys(HEARS);
  const fig = figure(el, model, { t: 1, scale: 0, deaf: [] }, CSS), { state } = fig;
  const walk = (factor, heard) => names.map((name) => { // gates of every weight at every step
    const { g, theta } = data.layers[name];
    return g[0].map((_, n) => gates(data.rule, g.map((row, t) =>
      [...preprocessed(factor * row[n]), ...preprocessed(factor * data.L[t]), theta[t][n]]), heard)
      .map((step, t) => ({ ...step, g: Math.abs(factor * g[t][n]) })));
  });
  const plain = walk(1), means = average(plain.flat().map((steps) => steps[0].seen)); // what a gate must not see stays
  const compute = () => { //                                                             as it is in step 1 on average
    const off = new Set(state.deaf.flatMap((k) => HEARS[k]));
    return walk(10 ** state.scale, (x) => x.map((v, k) => (off.has(k) ? means[k] : v)));
  };

  const controls = make("div.f-bar", {}, el);
  slider(fig, controls, "step", "t", { min: 1, max: T, show: (t) => `${t} of ${T}` });
  slider(fig, controls, "loss times", "scale", { min: -2, max: 2, step: 0.25, show: (v) => word(10 ** v) });
  const row = make("div.f-row", { style: "--w: 250px" }, el);
  const chart = plot(fig, make("div", { style: "flex-grow: 1.6; max-width: 470px" }, row), { x: X, y: Y, height: 310,
    pad: [12, 14, 44, 40], label: "rate of each weight against the size of its gradient", looks: "ml-chart", xnameBelow: 18 });
  const bars = make("div.ml-bars", { role: "img" }, row);
  for (const title of ["median", "input gate, the rate", "forgotten, 1\u2212f"]) make("b", {}, bars, title);
  const lines = names.map((name, k) => {
    make("span.ml-name", {}, bars, [make("i", { style: `background: var(--${CLASSES[k % 6]})` }), name]);
    return [0, 1].map(() => {
      const { track, set } = bar(bars, CLASSES[k % 6]);
      return { set, number: make("em", {}, track) };
    });
  });
  const sees = make("div.f-choice", { role: "group", "aria-label": "what the gates see", style: "margin-top: 0.7rem" }, el,
    make("span", {}, null, "The gates see"));
  for (const key of inputs) {
    const node = button(fig, sees, key, () => {
      state.deaf = inputs.filter((k) => (k === key) !== state.deaf.includes(k));
    });
    fig.follow(() => put(node, { "aria-pressed": !state.deaf.includes(key) }));
  }
  button(fig, sees, "Reset", () => fig.reset());
  const said = live(el, 4);

  return fig.start(() => {
    const t = state.t - 1, now = compute(), factor = 10 ** state.scale, { deaf } = state;
    chart.clear(); // both axes logarithmic; what lies outside is put on the edge
    chart.axes({ x: [-10, -8, -6, -4, -2, 0, 2].map((k) => [k, raised(k)]), y: [[0, "1"], [-1, "0.1"], [-2, "0.01"]],
      xname: "size of the gradient" });
    const rate = Math.log10(data.sgd), adam = Math.log10(data.adam);
    chart.line([[X[0], rate], [X[1], rate]], "ink", { width: 1.5 });
    chart.text([X[0], rate], "SGD", { dx: 6, dy: -6 });
    if (!t) { // later steps of Adam depend on its own history
      const end = Math.min(X[1], adam - Y[0]);
      chart.line([[adam - Y[1], Y[1]], [end, adam - end]], "ink", { width: 1.5, dash: "6 4" });
      chart.text([adam + 2.1, -2.1], "Adam", { anchor: "end", dx: -8, dy: 5 });
    }
    now.forEach((weights, k) => weights.forEach((steps) => chart.dot([clamp(Math.log10(steps[t].g || 1e-30), ...X),
      clamp(Math.log10(steps[t].i), ...Y)], 2.6, CLASSES[k % 6], { opacity: 0.75 })));
    const pairs = now.map((weights) => [median(weights.map((s) => s[t].i)), median(weights.map((s) => 1 - s[t].f))]);
    pairs.forEach(([i, forgotten], k) => {
      lines[k][0].set(i);
      lines[k][1].set(forgotten / 0.2);
      lines[k][0].number.textContent = short(i);
      lines[k][1].number.textContent = `${(100 * forgotten).toFixed(1)} %`;
    });
    put(bars, { "aria-label": names.map((name, k) =>
      `${name}: rate ${pairs[k][0].toFixed(4)}, forgotten ${pairs[k][1].toFixed(4)}`).join("; ") });
    const flat = now.flat().map((steps) => steps[t]), before = plain.flat().map((steps) => steps[t]);
    const ratio = median(flat.map(({ i, g }, n) => (before[n].g ? (i * g) / (before[n].i * before[n].g) : 1)));
    const rates = flat.map(({ i }) => i), changed = deaf.length || state.scale;
    said.textContent = `Step ${t + 1}: the support loss is ${word(factor * data.L[t])}, and rates go from ` +
      `${short(Math.min(...rates))} to ${short(Math.max(...rates))}. ` +
      (changed ? `Against the rule as it is, the median step is ${word(ratio)} times as long` : "") +
      (state.scale ? `; one of SGD would be ${word(factor)} times as long, one of Adam as long as before` : "") +
      (changed ? ". " : "") +
      (deaf.length ? `What the gates do not see (${deaf.join(", ")}) stays for them as it is in step 1 on average. ` : "") +
      (changed ? "Gradients and weights are those of the recorded run."
        : `A dot is a weight; the level line is SGD${t ? "." : ", the falling one Adam's first step."}`);
  });
} };
