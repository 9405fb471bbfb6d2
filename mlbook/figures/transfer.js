// The losses of two tasks over one parameter: where joint pre-training ends, where MAML ends, and what the inner steps make
// of both. data: { preset } names one of the shapes below, if it is not to be the last.

import { make, put, note, count, minus, tone } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { choice, slider, stepper } from "./kit/controls.js";
import { plot, handle, outline } from "./kit/plot.js";
import { clamp } from "./nets/vectors.js";
import { loss, descent, minimum } from "./nets/wells.js";

const PRESETS = {
  alike: ["equal bowls", [[{ m: -1.6, v: 0, h: 1 }], [{ m: 1.6, v: 0, h: 1 }]]],
  steep: ["steep and flat", [[{ m: -1.8, v: 0, h: 2.2 }], [{ m: 1.6, v: 0, h: 0.35 }]]],
  basin: ["tempting basin", [[{ m: 1.3, v: 0, h: 2 }, { m: -2.15, v: 0.4, h: 0.3 }],
    [{ m: 2.9, v: 0, h: 2 }, { m: -1.75, v: 0.4, h: 0.3 }]]],
};
const SIDE = 4, RISE = 0.45, COLOURS = ["blue", "orange"], TICKS = [-4, -2, 0, 2, 4];
const STARTS = [["joint pre-training", "joint", "soft", "square", "5 4"], ["MAML", "MAML", "green", "diamond", "none"]];
const grid = Array.from({ length: 801 }, (_, i) => -SIDE + (2 * SIDE * i) / 800), CSS = `
.tr-table { border-collapse: collapse; margin: 0.5rem 0; font-variant-numeric: tabular-nums; }
.mlbook-figure .tr-table :is(th, td) { padding: 0.15rem 0.6rem 0.15rem 0; text-align: right; border: 0; background: none;
  font-weight: 400; }
.mlbook-figure .tr-table th:first-child { text-align: left; font-weight: 700; }
.mlbook-figure .tr-table td:last-child { font-weight: 700; }
.mlbook-figure .tr-table svg { display: inline-block; vertical-align: -2px; margin-right: 0.4rem; }`;
const number = (v, digits) => (Math.abs(v) > 50 ? "> 50" : minus(v.toFixed(digits).replace(/^-(0\.?0*)$/, "$1")));
const arm = (w) => Math.sqrt((2 * RISE) / w.h);
const side = (w, i) => { // the ring of A on the left, that of B on the right, as long as it is on the picture
  const wish = i ? 1 : -1;
  return Math.abs(w.m + wish * arm(w)) > SIDE - 0.05 ? -wish : wish;
};

export default { render({ model, el }) {
  const preset = model.get("data")?.preset || "basin", start = { alpha: 0.4, steps: 1 };
  const fig = figure(el, model, { preset, ...start, tasks: PRESETS[preset][1] }, CSS), { state } = fig;
  const coloured = (colour, words) => make("span", { style: `color: ${tone(colour)}` }, null, words);

  choice(fig, el, "shapes of the two losses", Object.entries(PRESETS).map(([key, [label]]) => [key, label]), "preset",
    { then: (key) => Object.assign(state, start, { tasks: structuredClone(PRESETS[key][1]) }) });
  make("p.f-head", {}, el, ["loss of ", coloured("blue", "task A"), " and ", coloured("orange", "task B")]);
  const upper = plot(fig, el, { x: [-SIDE, SIDE], y: [-0.16, 2.15], height: 280, pad: [4, 10, 24, 34], role: "group",
    label: "Above, the losses of tasks A and B over the parameter theta; below, their mean before and after the inner steps. " +
      "Every bowl can be moved by its bottom and widened by the ring on its side, by dragging or with the arrow keys." });
  const head = make("p.f-head", { style: "margin: 0" }, el);
  const lower = plot(fig, el, { x: [-SIDE, SIDE], y: [0, 1.5], height: 158, pad: [4, 10, 24, 34] });

  for (const i of [0, 1]) for (const j of [0, 1]) { // what a hand can move: how wide a bowl is, and its bottom
    const w = () => state.tasks[i][j], kind = () => (state.tasks[i][1] ? ["narrow ", "wide "][j] : "");
    const which = () => `${kind()}bowl of task ${"AB"[i]}`;
    const widen = (a) => { w().h = clamp((2 * RISE) / Math.max(0.2, a) ** 2, 0.15, 6); };
    const place = ([m, v]) => Object.assign(w(), { m: clamp(m, 0.1 - SIDE, SIDE - 0.1), v: clamp(v, 0, 1.6) });
    handle(fig, upper, { r: 10, get: () => w() && [clamp(w().m + side(w(), i) * arm(w()), -SIDE, SIDE), w().v + RISE],
      set: ([x]) => widen(Math.abs(x - w().m)), nudge: (x, y, n) => widen(arm(w()) + 0.06 * n * (x * side(w(), i) + y)),
      label: () => `width of the ${which()}, curvature ${w().h.toFixed(2)}`,
      paint: (g) => make("circle", { r: 5.5, style: `fill: var(--paper); stroke: ${tone(COLOURS[i])}; stroke-width: 2.4` }, g) });
    handle(fig, upper, { get: () => w() && [w().m, w().v], set: place,
      nudge: (x, y, n) => place([w().m + 0.1 * n * x, w().v + 0.05 * n * y]),
      label: () => `bottom of the ${which()}, at ${w().m.toFixed(2)}, loss ${w().v.toFixed(2)}`, paint: (g) => {
        make("circle", { r: 9, style: `fill: ${tone(COLOURS[i])}; stroke: var(--paper); stroke-width: 1.5` }, g);
        make("text", { "text-anchor": "middle", y: 4.5, style: "fill: var(--paper); font-weight: 700" }, g, "AB"[i]);
      } });
  }

  const controls = make("div.f-bar", {}, el);
  slider(fig, controls, "rate α", "alpha", { min: 0, max: 1, step: 0.02, show: (v) => v.toFixed(2) });
  stepper(fig, controls, "steps S", "step", "steps", 1, 10);
  const table = make("table.tr-table", {}, el), heads = make("tr", {}, make("thead", {}, table)), body = make("tbody", {}, table);
  const [, , , last] = ["start", "θ", "mean loss", ""].map((text) => make("th", { scope: "col" }, heads, text));
  const rows = STARTS.map(([name, , colour, shape]) => {
    const row = make("tr", {}, body), icon = make("svg", { width: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true" });
    make("path", { d: outline(shape, 6), style: `fill: ${tone(colour)}` }, icon);
    make("th", { scope: "row" }, row, [icon, name]);
    return [0, 1, 2].map(() => make("td", {}, row));
  });
  const caption = note(el, "", true);

  return fig.start(() => {
    const { tasks, alpha, steps } = state, word = steps === 1 ? "one step" : count(steps, "step");
    const path = (wells, x) => descent(wells, x, alpha, steps), mean = (f) => (x) => (f(tasks[0], x) + f(tasks[1], x)) / 2;
    const before = mean(loss), after = mean((wells, x) => loss(wells, path(wells, x).at(-1)));
    const J0 = grid.map(before), JS = grid.map(after), inner = JS.slice(100, 701);
    const joint = minimum(grid, before, J0, J0), maml = minimum(grid, after, JS, J0);
    const same = Math.max(...inner) - Math.min(...inner) < 1e-3, together = Math.abs(joint - maml) < 0.12;

    const top = clamp(1.6 * Math.max(before(joint), after(joint), before(maml)), 0.4, 2.5);
    head.replaceChildren("mean loss ", coloured("soft", "before"), ", and ", coloured("green", `after ${word}`));
    upper.clear();
    upper.axes({ y: [0, 1, 2], grid: false });
    tasks.forEach((wells, i) => upper.line(grid.map((x) => [x, loss(wells, x)]), COLOURS[i], { width: 2.6 }));
    lower.clear();
    lower.y = [0, top];
    lower.axes({ x: TICKS, y: [0, top > 1.2 ? 1 : top > 0.6 ? 0.5 : 0.2], grid: false });
    lower.text([3, 0], "θ", { dy: 17, anchor: "middle", "font-style": "italic" });
    [J0, JS].forEach((values, k) =>
      lower.line(values.map((v, n) => [grid[n], v]), STARTS[k][2], { dash: STARTS[k][4], width: 2 + 0.6 * k }));
    [joint, maml].forEach((x, k) => {
      const [, short, colour, shape, dash] = STARTS[k];
      for (const p of [upper, lower]) p.line([[x, p.y[0]], [x, p.y[1]]], colour, { dash, width: 1.4, opacity: 0.6 });
      for (const wells of tasks) { // the inner steps, along the curve that they descend
        const walked = path(wells, x).map((t) => [clamp(t, -SIDE, SIDE), loss(wells, t)]), [from, to] = walked.slice(-2);
        upper.line(walked, colour, { dash });
        for (const point of walked.slice(1, -1)) upper.dot(point, 2.2, colour);
        const [dx, dy] = [upper.X(to[0]) - upper.X(from[0]), upper.Y(to[1]) - upper.Y(from[1])];
        const turn = `translate(${upper.spot(to)}) rotate(${((Math.atan2(dy, dx) * 180) / Math.PI).toFixed(1)})`;
        if (Math.hypot(dx, dy) > 3) upper.mark(to, "M0 0L-9 -4.5L-9 4.5Z", colour, { transform: turn });
        upper.mark(walked[0], outline(shape, 6), colour, { ring: "paper" });
      }
      lower.mark([x, Math.min(top, [before, after][k](x))], outline(shape, 7.5), colour, { ring: "paper" });
      if (!k) lower.mark([x, Math.min(top, after(x))], outline("square", 5.5), "paper", { ring: colour, width: 2 });
      const words = together ? "both" : short, below = { colour, dy: 17, anchor: "middle", weight: 700 };
      if (k || !together) upper.text([clamp(x, 0.5 - SIDE, SIDE - 0.5), -0.16], words, below);
      [[x, 2], [before(x), 3], [after(x), 3]].forEach(([v, digits], i) => { rows[k][i].textContent = number(v, digits); });
    });
    last.textContent = `after ${word}`;

    const [a, b] = [after(joint), after(maml)], [c, d] = [before(joint), before(maml)];
    const least = `lowest at ${number(joint, 2)} and ${number(maml, 2)}`;
    put(lower.svg, { "aria-label": `The mean of both losses before and after ${word}; ${least}` });
    caption.textContent = same
      ? `With this rate ${word} solve${steps === 1 ? "s" : ""} both tasks from anywhere: every start is as good as any other.`
      : together && a - b < 5e-3
        ? `Both end at the same place: the mean of the losses has its minimum where the mean after ${word} has it.`
        : "Joint pre-training ends where the dashed curve is lowest, MAML where the green one is. MAML's start is " +
          `${d > c + 5e-4 ? "the worse one" : "no worse"} before the inner steps (${number(d, 3)} against ${number(c, 3)}) ` +
          `and ${a > b + 5e-4 ? "the better one" : "no better"} after them (${number(b, 3)} against ${number(a, 3)}).`;
  });
} };
