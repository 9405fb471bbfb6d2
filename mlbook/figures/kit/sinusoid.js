// Points on a sinusoid that a reader moves, adds and takes away, and the plane that they lie in: what every figure of
// regression from a few points has in common.

import { make, minus } from "./elements.js";
import { button, choice, slider } from "./controls.js";
import { plot, handle } from "./plot.js";
import { argmax, clamp } from "../nets/vectors.js";

const LOW = -5, HIGH = 5, MOST = 20, STEPS = 120, TEN = [-4.6, -3.5, -2.9, -1.6, -0.7, 0.4, 1.1, 2.3, 3.6, 4.5];

/** Where curves are asked. */
export const GRID = Array.from({ length: STEPS + 1 }, (_, i) => LOW + ((HIGH - LOW) * i) / STEPS);

export const SETS = {
  "10 points": { A: 3.4, phi: 0.9, xs: TEN },
  "3 points": { A: 3.4, phi: 0.9, xs: [-3.4, 0.3, 2.6] },
  "1 point": { A: 3.4, phi: 0.9, xs: [0.3] },
  "half the range": { A: 4.2, phi: 2.1, xs: [-4.8, -4.3, -3.7, -3.1, -2.7, -2.1, -1.6, -1.1, -0.6, -0.2] },
  "amplitude 9": { A: 9, phi: 0.9, xs: TEN },
  "phase 1.5 π": { A: 3.4, phi: 1.5 * Math.PI, xs: TEN },
};

export const HOW = "Drag a point, or press Tab and the arrow keys; a click beside the points adds one, the Delete key or a " +
  "double click removes it; “free” lets points leave the curve.";

/** The state of a set of points at the start. */
export const taken = (name) => {
  const { A, phi, xs } = SETS[name];
  return { A, phi, points: xs.map((x) => [x, A * Math.sin(x - phi)]), bound: true, set: name };
};

/** In words; what has run away has. */
export const say = (v) =>
  (!Number.isFinite(v) || v > 9999 ? "diverged" : v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v.toFixed(2));

/** Buttons for sets of points above, the plane below. `chosen` is called when a set is taken. */
export const sinusoid = (fig, { names, label, chosen = () => {} }) => {
  const { state } = fig, truth = (x) => state.A * Math.sin(x - state.phi);
  const loose = () => { state.set = ""; }, follow = () => {
    if (state.bound) state.points = state.points.map(([x]) => [x, truth(x)]);
    loose();
  };
  const place = (k, [x, y]) => {
    const at = clamp(x, LOW, HIGH);
    state.points[k] = [at, state.bound ? truth(at) : clamp(y, ...plane.y)];
    loose();
  };
  const add = (z) => { if (state.points.length < MOST) place(state.points.length, z); };
  const remove = (k) => { if (state.points.length > 1) { state.points.splice(k, 1); loose(); } };

  choice(fig, make("div.f-bar", {}, fig.el), "examples", names.map((name) => [name, name]), "set", { then: (name) => {
    Object.assign(state, taken(name));
    chosen();
  } });
  const row = make("div.f-row", {}, fig.el), left = make("div", { style: "--w: 320px; flex-grow: 1.3" }, row);
  const plane = plot(fig, left, { x: [LOW, HIGH], y: [-6, 6], ratio: 0.82, pad: [0, 8, 0, 24], framed: true, role: "group",
    label: `${label} Points can be moved by dragging or with the arrow keys, and removed with the Delete key.` });
  plane.svg.style.cursor = "copy";
  const knobs = Array.from({ length: MOST }, (_, k) => {
    const gone = () => { remove(k); knobs[Math.min(k, state.points.length - 1)].focus(); };
    return handle(fig, plane, { get: () => state.points[k] ?? null, set: (z) => place(k, z), r: 12,
      label: (x, y) => `point ${k + 1}, at ${x.toFixed(1)}, ${y.toFixed(1)}`, keys: { Delete: gone, Backspace: gone },
      paint: (g) => make("circle", { r: 6, style: "fill: var(--ink); stroke: var(--paper); stroke-width: 2" }, g) });
  });
  plane.onClick(add);

  return {
    row, left, plane, truth,
    /** Sliders for amplitude and phase, and buttons for the points. */
    controls: (sliders, box) => {
      const range = { A: { min: 0.1, max: 10, step: 0.1, name: "amplitude of the true curve", show: (v) => v.toFixed(1) },
        phi: { min: 0, max: 6.25, step: 0.05, name: "phase of the true curve", show: (v) => `${(v / Math.PI).toFixed(2)} π` } };
      const both = [["amplitude <i>A</i>", "A"], ["phase <i>φ</i>", "phi"]].map(([name, key]) =>
        slider(fig, sliders, name, key, { ...range[key], then: follow }));
      choice(fig, box, "points", [[true, "on curve"], [false, "free"]], "bound", { then: follow });
      const fewer = button(fig, box, "−", () => remove(state.points.length - 1), { "aria-label": "remove a point" });
      const more = button(fig, box, "+", () => { // in the middle of the widest gap
        const xs = [LOW, ...state.points.map((p) => p[0]), HIGH].sort((a, b) => a - b);
        const widest = argmax(xs.slice(1).map((x, i) => x - xs[i])), x = (xs[widest] + xs[widest + 1]) / 2;
        add([x, truth(x)]);
      }, { "aria-label": "add a point" });
      fig.follow(() => {
        for (const input of both) input.disabled = !state.bound;
        fewer.disabled = state.points.length <= 1;
        more.disabled = state.points.length >= MOST;
      });
    },
    /** Clears the plane, and draws its axes and the true curve. */
    floor: (least) => {
      const top = Math.max(least, state.bound ? 1.2 * state.A : plane.y[1]), unit = top > 7 ? 5 : 2, soft = { colour: "soft" };
      plane.y = [-top, top];
      plane.clear();
      plane.line([[LOW, 0], [HIGH, 0]], "line-2", { width: 1 });
      plane.line([[0, -top], [0, top]], "line-2", { width: 1 });
      for (const x of [-4, -2, 2, 4]) plane.text([x, -top], minus(x), { ...soft, anchor: "middle", dy: -6 });
      for (const y of [-2, -1, 0, 1, 2].map((k) => k * unit))
        if (Math.abs(y) < 0.85 * top) plane.text([LOW, y], minus(y), { ...soft, anchor: "end", dx: -5, dy: 4 });
      if (state.bound) plane.line(GRID.map((x) => [x, truth(x)]), "ink",
        { width: 3, dash: "1 6", "stroke-linecap": "round", opacity: 0.75 });
    },
    curve: (ys, colour, attributes) => plane.line(GRID.map((x, i) => [x, ys[i]]), colour, attributes),
    /** The mean squared error on the whole true curve; there is none off it. */
    error: (ys) => (state.bound ? ys.reduce((total, y, i) => total + (y - truth(GRID[i])) ** 2, 0) / GRID.length : null),
  };
};
