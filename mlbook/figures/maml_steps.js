// Queries of one task, placed by their class probabilities, after each inner step; three choices of what adapts.
// data: {support: 5 pictures, queries, y, rate, ways: [{name, p[step][query][class] in percent, loss[step]}]}

import { make, put, note, count } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { slider, choice, player } from "./kit/controls.js";
import { plot } from "./kit/plot.js";
import { fromHex, ink } from "./kit/ink.js";
import { argmax, sum } from "./nets/vectors.js";

const COLOURS = ["blue", "orange", "green", "pink", "grey"], LETTERS = "ABCDE";
const HEIGHT = 92, TILE = 7, CORNER = 11, RADIUS = 32, MIDDLE = [50, 49]; // the stage is 100 wide
const LINES = ["blue", "green", "orange"], DASHES = ["none", "7 4", "2 4"], CSS = `
.ms-stage { position: relative; max-width: 470px; aspect-ratio: 100 / ${HEIGHT}; --tile: 100%; }
.ms-stage > svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.ms-tile, .ms-corner { position: absolute; border-radius: 5px; transform: translate(-50%, -50%); background: var(--paper); }
.ms-tile { width: ${TILE}%; border: 1.5px solid var(--line-2); transition: left 0.45s ease, top 0.45s ease; padding: 1px; }
.ms-tile[data-wrong] { border: 2px dashed var(--ink); }
.ms-corner { width: ${CORNER}%; border: 2.5px solid; padding: 2px; }
.ms-name { position: absolute; transform: translate(-50%, -50%); font-weight: 700; }`;

export default { render({ model, el }) {
  const { support, queries, y, ways, rate } = model.get("data"), last = ways[0].p.length - 1, n = queries.length;
  const fig = figure(el, model, { step: 0, way: 0 }, CSS), { state } = fig;
  const corners = support.map((_, k) => [Math.cos, Math.sin].map((f) => f(-Math.PI / 2 + (2 * Math.PI * k) / 5)));
  const framed = corners.map(([a, b]) => [MIDDLE[0] + (RADIUS + 12) * a, MIDDLE[1] + (RADIUS + 11) * b]);
  const apart = (p, q, gap) => { // the way out of an overlap
    const d = [p[0] - q[0], p[1] - q[1]], far = Math.hypot(...d) || 0.01;
    return far < gap ? d.map((v) => (v / far) * (gap - far)) : [0, 0];
  };
  // where the tiles go: the mean of the corners, weighted by probability, then pushed apart until none covers another
  const places = (p) => {
    const at = p.map((row, q) => MIDDLE.map((middle, i) => middle + 0.3 * [Math.cos, Math.sin][i](2.4 * q) +
      sum(row.map((share, k) => (RADIUS * corners[k][i] * share) / sum(row)))));
    const home = at.map((spot) => [...spot]);
    for (let round = 0; round < 240; round++)
      for (let a = 0; a < n; a++)
        for (let i = 0; i < 2; i++) {
          for (let b = 0; b < n; b++) if (b !== a) at[a][i] += 0.4 * apart(at[a], at[b], 1.16 * TILE)[i];
          for (const frame of framed) at[a][i] += apart(at[a], frame, 0.66 * (TILE + CORNER))[i]; // these stay
          if (round < 160) at[a][i] += 0.06 * (home[a][i] - at[a][i]);
        }
    return at;
  };
  const frames = ways.map((way) => way.p.map(places));
  const right = ways.map((way) => way.p.map((p) => p.filter((row, q) => argmax(row) === y[q]).length));

  const bar = make("div.f-bar", {}, el);
  slider(fig, bar, `steps of α = ${rate}`, "step", { min: 0, max: last, then: () => play.stop() });
  const play = player(fig, bar, 600, () => {
    state.step = Math.min(last, state.step + 1);
    return state.step < last;
  }, () => { if (state.step === last) state.step = 0; });
  choice(fig, bar, "what adapts", ways.map((way, w) => [w, way.name]), "way");
  const row = make("div.f-row", { style: "--w: 300px; align-items: center" }, el);
  const stage = make("div.ms-stage", { role: "img" }, row);
  make("polygon", { points: corners.map(([a, b]) => [MIDDLE[0] + RADIUS * a, MIDDLE[1] + RADIUS * b].join()).join(" "),
    fill: "none", stroke: "currentColor", "stroke-opacity": 0.25, "stroke-width": 0.5 },
  make("svg", { viewBox: `0 0 100 ${HEIGHT}`, "aria-hidden": "true" }, stage));
  const spot = (/** @type {number[]} */ [a, b]) => `left: ${a}%; top: ${(100 * b) / HEIGHT}%`;
  support.forEach((digits, k) => {
    const [a, b] = framed[k], wide = Math.abs(a - 50) > 40, style = `color: var(--${COLOURS[k]})`;
    ink(make("span.ms-corner", { style: `${spot(framed[k])}; ${style}` }, stage), fromHex(digits));
    const beside = wide ? [a, b - 8.4] : [a + (a < 49 ? -8.2 : 8.2), b];
    make("span.ms-name", { style: `${spot(beside)}; ${style}` }, stage, LETTERS[k]);
  });
  const tiles = queries.map((digits, q) => {
    const tile = make("span.ms-tile", {}, stage);
    ink(tile, fromHex(digits)).style.color = `var(--${COLOURS[y[q]]})`;
    return tile;
  });
  const chart = plot(fig, make("div", { style: "max-width: 360px" }, row), { x: [0, last], y: [0, n], height: 240,
    pad: [30, 14, 40, 34], label: "Right answers against inner steps, a line for each choice of what adapts", xnameBelow: 17 });
  const caption = note(el, "", true);

  return fig.start(() => {
    const { step } = state, way = ways[state.way], p = way.p[step], hits = right[state.way][step];
    tiles.forEach((tile, q) => {
      const k = argmax(p[q]), [a, b] = frames[state.way][step][q];
      tile.style.left = `${a}%`;
      tile.style.top = `${(100 * b) / HEIGHT}%`;
      tile.toggleAttribute("data-wrong", k !== y[q]);
      tile.title = `a drawing of ${LETTERS[y[q]]}; answer ${LETTERS[k]} with ${p[q][k]} %`;
    });
    chart.clear();
    chart.axes({ x: [0, last / 2, last], y: [0, n / 5, n], xname: "inner steps", yname: `right answers of ${n}` });
    chart.text([last, n / 5], "chance", { anchor: "end", dy: -5, colour: "soft" });
    const order = ways.map((_, w) => w).sort((a, b) => Number(a === state.way) - Number(b === state.way)); // the chosen on top
    for (const w of order) {
      const now = w === state.way;
      chart.line(right[w].map((r, s) => [s, r]), LINES[w], { dash: DASHES[w], width: now ? 3.5 : 2, opacity: now ? 1 : 0.65 });
    }
    chart.dot([step, hits], 6.5, LINES[state.way]);
    ways.forEach(({ name }, w) => {
      const high = n / 5 + (3 - w) * 0.1 * n;
      chart.line([[0.4 * last, high], [0.51 * last, high]], LINES[w], { dash: DASHES[w], width: 3 });
      chart.text([0.54 * last, high], name, { dy: 4 });
    });
    const words = `After ${count(step, "step")}, ${way.name} adapting: ${hits} of ${n} queries right, ` +
      `support loss ${way.loss[step].toFixed(2)}.`;
    put(stage, { "aria-label": words });
    caption.textContent = `${words} Framed in the corners: the support drawings. Inside: the queries, in the colour of their ` +
      "true class, each pulled to the corners as strongly as the network believes in them; a dashed frame marks a wrong answer.";
  });
} };
