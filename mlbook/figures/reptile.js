// Reptile in a plane: two tasks, each solved along a curve, pull the initial point phi by turns.
// data: { scenes: { name: [[p0, p1, p2], [p0, p1, p2]] }, steep: [a1, a2], rate, start }. Task i is solved where
// y = p0 + p1 x + p2 x², and its loss is a_i (y - p(x))² / 2.

import { make, live, count, tone } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, choice, player, slider, toggle } from "./kit/controls.js";
import { plot, handle } from "./kit/plot.js";
import { contour } from "./nets/contour.js";
import { height, distance, objective, inner, outer, lowest } from "./nets/curves.js";

const X = 3.2, Y = 2.4, COLUMNS = 65, ROWS = 49, K = [1, 2, 3, 5, 10, 30, Infinity], FALL = 60;
const COLOURS = ["blue", "orange"], CSS = `
.rt-values { display: grid; grid-template-columns: 1fr auto; gap: 0.1rem 0.8rem; margin: 0.5rem 0; max-width: 20rem; }
.rt-walks .f-handle { transition: transform 0.2s ease-out; }`;

export default { render({ model, el }) {
  const { scenes, steep, rate, start } = model.get("data"), names = Object.keys(scenes);
  const fig = figure(el, model, { scene: names[0], k: 5, epsilon: 0.5, batched: false, falls: false, start }, CSS);
  const { state } = fig;
  let scene, segments, least, level, run;

  const look = () => { // what changes with the curves only: the objective's least point and level lines
    scene = state.scene;
    const f = (z) => objective(scenes[scene], z);
    least = lowest(f);
    level = f(least);
    const place = ([i, j]) => [X * ((2 * i) / (COLUMNS - 1) - 1), Y * (1 - (2 * j) / (ROWS - 1))];
    const grid = Array.from({ length: COLUMNS * ROWS }, (_, n) => f(place([n % COLUMNS, Math.floor(n / COLUMNS)])));
    segments = [0.05, 0.15, 0.35, 0.7, 1.2, 1.9].flatMap((v) => contour(grid, COLUMNS, level + v)).map((ends) => ends.map(place));
  };
  const restart = () => {
    play.stop();
    if (scene !== state.scene) look();
    run = { from: state.start.join(), trail: [state.start], values: [objective(scenes[scene], state.start)], paths: [], used: 0 };
  };
  const epsilon = () => state.epsilon * (state.falls ? Math.max(0, 1 - (run.trail.length - 1) / FALL) : 1);
  const step = () => { // one step of the outer loop; says whether there is another
    const n = run.trail.length, phi = run.trail[n - 1];
    run.used = epsilon();
    run.paths = (state.batched ? [0, 1] : [(n - 1) % 2]).map((i) =>
      ({ i, path: inner(scenes[scene][i], steep[i], phi, rate, K[state.k]) }));
    run.trail.push(outer(phi, run.paths.map(({ path }) => path.at(-1)), run.used));
    run.values.push(objective(scenes[scene], run.trail[n]));
    return n < (state.falls ? FALL : 400);
  };
  const once = () => { play.stop(); step(); };
  const move = (z) => { state.start = plane.inside(z); restart(); };

  const row = make("div.f-row", { style: "--w: 240px" }, el), left = make("div", { style: "flex: 1 1 340px" }, row);
  const plane = plot(fig, left, { x: [-X, X], y: [-Y, Y], ratio: Y / X, pad: [0, 0, 0, 0], framed: true, role: "group",
    label: "The plane of parameters" });
  plane.onClick(move);
  handle(fig, plane, { get: () => run.trail.at(-1), set: move, keys: { Enter: once }, r: 14,
    label: (x, y) => `initial point phi, at ${x.toFixed(2)}, ${y.toFixed(2)}; arrow keys move it`, paint: (g) => {
      make("circle", { r: 7.5, style: "fill: var(--ink); stroke: var(--paper); stroke-width: 2" }, g);
      make("text", { x: 10, y: -9, style: "font: italic 700 18px system-ui; paint-order: stroke; stroke: var(--paper); " +
        "stroke-width: 4px; stroke-linejoin: round" }, g, "φ");
    } });
  const panel = make("div", {}, row), bar = () => make("div.f-bar", {}, panel), buttons = bar();
  button(fig, buttons, "Step", once);
  const play = player(fig, buttons, 260, step, () => { if (state.falls && run.trail.length > FALL) restart(); });
  button(fig, buttons, "Restart", restart);
  choice(fig, bar(), "tasks in a step", [[false, "task by task"], [true, "both at once"]], "batched");
  const sliders = make("div.f-sliders", {}, panel);
  const steps = (k) => String(K[k]).replace("Infinity", "∞");
  slider(fig, sliders, "inner steps <i>k</i>", "k", { min: 0, max: K.length - 1, show: steps });
  slider(fig, sliders, "outer rate ε", "epsilon", { min: 0.05, max: 1, step: 0.05, show: () => epsilon().toFixed(2) });
  toggle(fig, bar(), `ε falls to 0 in ${FALL} steps`, "falls", () => restart());
  choice(fig, bar(), "solution curves", names.map((name) => [name, name]), "scene", { name: "curves", then: () => restart() });
  const values = make("div.rt-values", {}, panel);
  const told = [["distance to W₁*", "blue-text"], ["distance to W₂*", "orange-text"], ["mean of ½ D²", "ink"],
    ["the least there is", "green-text"]].map(([words, colour]) => {
    make("b", { style: `color: ${tone(colour)}` }, values, words);
    return make("output.f-number", {}, values);
  });
  const chart = plot(fig, panel, { x: [0, 20], y: [0, 1], height: 96, pad: [8, 8, 18, 34],
    label: "The mean of half the squared distance over the steps so far" });
  const said = live(el, 3);

  return fig.start(() => {
    if (!run || scene !== state.scene || run.from !== state.start.join()) restart();
    const { trail, paths, used } = run, curves = scenes[scene], n = trail.length - 1, phi = trail[n];
    plane.box.classList.toggle("rt-walks", n > 0); // it glides when it steps, not under the hand
    plane.clear();
    plane.draw(segments.map(plane.path).join(""), "line-2", { width: 1.2 });
    curves.forEach((p, i) => {
      /** @type {any[]} */
      const points = Array.from({ length: 129 }, (_, m) => X * (m / 64 - 1)).map((x) => [x, height(p, x)]);
      plane.line(points, COLOURS[i], { width: 3 });
      const at = points.find(([x, y]) => x > -2.75 && Math.abs(y) < Y - 0.45);
      const anchor = height(p, at[0] + 0.1) > at[1] === !i ? "end" : "start"; // beside the curve, whichever way it runs
      plane.text(at, `W${"₁₂"[i]}*`, { colour: COLOURS[i], dy: i ? 26 : -12, size: 17, weight: 700, anchor });
    });
    plane.dot(least, 11, "none", { ring: "green", width: 3 });
    plane.line(trail, "ink", { opacity: 0.65 });
    for (const z of trail.slice(-40)) plane.dot(z, 2.4, "ink", { opacity: 0.75 });
    for (const { i, path } of paths) {
      plane.line(path, COLOURS[i], { dash: "2 5", "stroke-linecap": "round" });
      for (const z of path.slice(1, -1)) plane.dot(z, path.length > 12 ? 1.8 : 2.8, COLOURS[i]);
      plane.dot(path.at(-1), 5.5, "paper", { ring: COLOURS[i], width: 2.4 });
    }

    const now = run.values[n], shown = run.values.slice(-120), top = Math.max(...shown, 2 * level, 0.1);
    [...curves.map((p) => distance(p, phi)), now, level].forEach((v, i) => { told[i].value = v.toFixed(3); });
    chart.x = [0, Math.max(20, shown.length - 1)];
    chart.y = [0, top];
    chart.clear();
    chart.axes({ y: [0, [top, top.toFixed(top < 1 ? 2 : 1)]], x: [], grid: false });
    chart.line(chart.x.map((x) => [x, level]), "green", { dash: "5 4" });
    chart.line(shown.map((v, i) => [i, v]), "ink");
    chart.dot([shown.length - 1, now], 3.5, "ink");
    chart.text([chart.x[1], 0], `step ${n}`, { anchor: "end", dy: 15, colour: "soft" });
    const far = K[state.k] === Infinity ? "to the nearest solution" : count(K[state.k], "inner step");
    said.textContent = n === 0
      ? "Drag φ, or focus it and press the arrow keys; then Step or Play. Lines: all parameters that solve task 1 and task 2. " +
        "Ring: the point with the least mean of ½ D². Thin lines: where that mean is equal."
      : `Step ${n}: trained on task ${paths.map(({ i }) => i + 1).join(" and ")}, ${far} (dotted), then φ moved the share ` +
        `ε = ${used.toFixed(2)} of the way. φ is ${Math.hypot(phi[0] - least[0], phi[1] - least[1]).toFixed(2)} from the ring.`;
  });
} };
