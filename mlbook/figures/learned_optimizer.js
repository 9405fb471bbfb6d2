// A trained rule, SGD, momentum and Adam on a quadratic in the plane, steep along one of its axes, which are turned.
// data: { scale, p, steps, start: [x, y], steep, long, turn, rates: { sgd, momentum, adam }, layers: [{ x, h, b }, ...], g, b },
// where a layer has matrices x [4H][inputs] and h [4H][H] and the sum b [4H] of its biases, gates in torch's order i, f, g, o.

import { make, put, note, count } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, slider, player } from "./kit/controls.js";
import { plot, handle } from "./kit/plot.js";
import { bestRate, descent, quadratic } from "./nets/optimizers.js";
import { clamp } from "./nets/vectors.js";

const RULES = [["sgd", "SGD", "grey"], ["momentum", "momentum", "blue"], ["adam", "Adam", "green"],
  ["learned", "learned rule", "orange"]];
const FLOOR = 1e-9, LEVELS = [0.4, 0.8, 1.2, 1.7, 2.3, 3, 4, 5.5, 8, 12, 18];
const short = (v) => (v >= 100 ? v.toFixed(0) : Number(v.toPrecision(2)).toString());
const power = (v) => (Number.isFinite(v) ? v.toExponential(2) : "∞"), finite = (v) => (Number.isFinite(v) ? v : 1e9);
const ten = (e) => (e === 0 ? "1" : e === 1 ? "10" : `10${e < 0 ? "⁻" : ""}${"⁰¹²³⁴⁵⁶⁷⁸⁹"[Math.abs(e)]}`);

export default { render({ model, el }) {
  const data = model.get("data"), { steps, rates } = data, shown = 2 * steps, unit = data.steep;
  const learned = { ...data, layers: data.layers.map(({ x, h, b }) => ({ ih: x, hh: h, bias: b })) };
  const start = { factor: 1, long: data.long, turn: data.turn, t: steps, ...rates, start: data.start };
  const fig = figure(el, model, start), { state } = fig, f = () => quadratic(unit * state.factor, state.long, state.turn);
  const runs = {}, made = {};
  const solve = (rule) => { // only when something of it has changed
    const wanted = JSON.stringify([state.factor, state.long, state.turn, state.start, state[rule]]);
    if (made[rule] !== wanted) runs[rule] = descent(f(), state.start, rule, state[rule], shown, learned);
    made[rule] = wanted;
  };

  const row = make("div.f-row", { style: "--w: 300px" }, el), left = make("div", { style: "flex-grow: 1.3" }, row);
  const plane = plot(fig, left, { x: [-3.2, 3.2], y: [-2.8, 2.8], ratio: 0.875, pad: [0, 0, 0, 0], framed: true, role: "group",
    label: "The plane of parameters" });
  handle(fig, plane, { get: () => state.start, set: (z) => { state.start = plane.inside(z); }, r: 15,
    label: (x, y) => `start theta 0, at ${x.toFixed(2)}, ${y.toFixed(2)}; arrow keys move it`, paint: (g) => {
      make("circle", { r: 7, style: "fill: var(--ink); stroke: var(--paper); stroke-width: 2.5" }, g);
      const style = "font-style: italic; font-weight: 700; paint-order: stroke; stroke: var(--paper); stroke-width: 4";
      make("text", { x: 10, y: -9, "font-size": 17, style }, g, ["θ", make("tspan", { "font-size": 12, dy: 4 }, null, "0")]);
    } });
  plane.onClick((z) => { state.start = plane.inside(z); });
  const panel = make("div", {}, row), buttons = make("div.f-bar", { style: "margin-top: 0" }, panel);
  const play = player(fig, buttons, 90, () => {
    state.t = Math.min(shown, state.t + 1);
    return state.t < shown;
  }, () => { if (state.t >= shown || state.t === steps) state.t = 0; });
  button(fig, buttons, "Best rates here", () => { // from this very start, after the trained number of steps
    for (const rule of Object.keys(rates)) state[rule] = bestRate(f(), state.start, rule, steps, learned);
  });
  button(fig, buttons, "Reset", () => { play.stop(); fig.reset(); });
  const dials = make("div.f-sliders", {}, panel);
  slider(fig, dials, "step <i>t</i>", "t", { min: 0, max: shown, then: () => play.stop() });
  slider(fig, dials, "loss times", "factor", { min: -2, max: 2, step: 0.05, log: true, show: short });
  slider(fig, dials, "flatter way", "long", { min: 0, max: 2, step: 0.05, log: true, show: (v) => `${short(v)}×` });
  slider(fig, dials, "turned by", "turn", { min: 0, max: 90, step: 5, show: (v) => `${v}°` });
  for (const [rule, name] of RULES.slice(0, 3))
    slider(fig, dials, `${name}, rate`, rule, { min: -4, max: 1, step: 0.05, log: true, show: short });
  const chart = plot(fig, panel, { x: [0, shown], y: [0, 1], height: 216, pad: [22, 88, 26, 38], looks: "lo-chart" });
  const said = note(el, "", true);

  return fig.start(() => {
    RULES.forEach(([rule]) => solve(rule));
    const { t } = state, [sx, sy] = [plane.X(1) - plane.X(0), plane.Y(0) - plane.Y(1)];
    plane.clear();
    const transform = `translate(${plane.spot([0, 0])}) rotate(${-state.turn})`, look = { fill: "none", stroke: "var(--line-2)" };
    for (const r of LEVELS)
      make("ellipse", { rx: r * sx, ry: r * Math.sqrt(state.long) * sy, transform, ...look }, plane.ink);
    plane.mark([0, 0], "M-7 0h14M0 -7v14", "none", { ring: "ink", width: 2 });
    for (const [rule, , colour] of RULES) {
      const path = runs[rule].path.slice(0, t + 1), width = rule === "learned" ? 3 : 2;
      plane.line([...path, path.at(-1)], colour, { width, opacity: 0.9 });
      for (const z of path.slice(1, 31)) plane.dot(z, width, colour);
      plane.dot(path.at(-1), 5, "paper", { ring: colour, width: 2.5 });
    }

    const logs = Object.fromEntries(RULES.map(([rule]) =>
      [rule, runs[rule].loss.map((v) => Math.log10(clamp(finite(v), FLOOR, 1e4)))])), all = Object.values(logs).flat();
    const low = Math.floor(Math.min(...all)), high = Math.max(low + 3, Math.ceil(Math.max(...all)));
    const every = high - low > 6 ? 3 : high - low > 3 ? 2 : 1, ticks = [];
    for (let e = low; e <= high; e += every) ticks.push([e, ten(e)]);
    chart.clear();
    chart.y = [low, high];
    chart.fill([[steps, low], [steps, high], [shown, high], [shown, low]], "line-2", 0.35);
    chart.axes({ x: [0, steps, shown], y: ticks, yname: "loss" });
    chart.text([steps / 2, low], "step", { anchor: "middle", colour: "soft", dy: 17 });
    chart.text([1.5 * steps, high], "longer than trained", { anchor: "middle", dy: -9, size: 12 });
    for (const [rule, , colour] of RULES)
      chart.line(logs[rule].map((v, i) => [i, v]), colour, { width: rule === "learned" ? 2.8 : 1.8 });
    const names = RULES.map(([rule, name, colour]) => ({ y: chart.Y(logs[rule].at(-1)), name: name.split(" ")[0], colour }));
    names.sort((a, b) => a.y - b.y);
    names.forEach((each, i) => { if (i) each.y = Math.max(each.y, names[i - 1].y + 14); }); // none over another
    const over = Math.max(0, names.at(-1).y - chart.Y(low));
    for (const { y, name, colour } of names)
      chart.text([shown, high], name, { colour, dx: 5, dy: y - over - chart.Y(high) + 4, weight: 700, size: 12 });
    chart.line([[t, low], [t, high]], "ink", { width: 1.2, dash: "3 3" });

    const now = RULES.map(([rule, name]) => `${name} ${power(runs[rule].loss[t])}`).join("; ");
    put(chart.svg, { "aria-label": `Loss after ${t} steps: ${now}` });
    const [first] = RULES.map(([rule, name]) => [runs[rule].loss[t], name]).sort((a, b) => a[0] - b[0]);
    said.textContent = t ? `After ${count(t, "step")}: ${now}. Lowest: ${first[1]}. ` +
        "Dots mark the first 30 steps of each path, rings where they are now."
      : "Drag the start, or focus it and use the arrow keys. Thin lines: where the loss is equal. Cross: its least point.";
  });
} };
