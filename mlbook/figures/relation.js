// A Relation Network at work in the page: draw the query, and the trained network scores it against five classes.
// data: { support, query: base64 of 28x28 bytes each; layers: { name: { shape, scale, bias, weight } } }, batch norm
// folded into the weights, which are bytes times a scale for each output channel.

import { make, put, live, note, bar } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, choice } from "./kit/controls.js";
import { pictures, ink, pack, paint } from "./kit/ink.js";
import { pad } from "./kit/pad.js";
import { rgb } from "./kit/theme.js";
import { embed, half, relate } from "./nets/relation.js";
import { argmax, sum } from "./nets/vectors.js";
import { quantised } from "./nets/weights.js";

const MOVES = { ArrowLeft: ["←", "left", -1, 0], ArrowRight: ["→", "right", 1, 0], ArrowUp: ["↑", "up", 0, -1],
  ArrowDown: ["↓", "down", 0, 1] }, CSS = `
.f-row > .rl-left { flex: 0 1 232px; display: flex; flex-wrap: wrap; gap: 0 0.9rem; --tile: 34px; }
.rl-left > * { flex: 0 1 232px; } .rl-left > * + * { flex: 1 1 110px; } .rl-left .f-bar { gap: 0.3rem; }
.rl-left .f-choice { margin-top: 0.45rem; }
.mlbook-figure .rl-left .f-bar > button { padding-inline: 0.45rem; min-width: 2.1rem; font-size: 0.95em; }
@media (max-width: 560px) { .f-row > .rl-left { flex: 1 1 100%; flex-wrap: nowrap; } .rl-left > * + * { padding-top: 1.4rem; } }
.mlbook-figure .rl-class { display: grid; grid-template-columns: 0.7em 51px 1fr 3.2em; gap: 0.7rem; align-items: center;
  width: 100%; padding: 3px 6px; margin: 0 0 2px; border: 1.5px solid transparent; background: none; color: inherit;
  text-align: left; font-weight: 400; --tile: 44px; }
.mlbook-figure .rl-class:hover { border-color: var(--line-2); }
.mlbook-figure .rl-class[aria-pressed="true"] { border-color: var(--blue); background: none; color: inherit; }
.rl-class .f-tile { border-color: var(--blue); }
.rl-inside { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 0.8rem; margin: 1rem 0 0; }
.rl-inside canvas { width: 100%; max-width: 165px; margin-top: 0.25rem; image-rendering: pixelated; }`;

export default { render({ model, el }) {
  const data = model.get("data");
  const layer = ({ shape: [out], weight, scale, bias }) => ({ out, weight: quantised(weight, scale), bias });
  /** @type {any} */
  const net = Object.fromEntries(Object.entries(data.layers).map(([name, values]) => [name, layer(values)]));
  const [supports, queries] = [data.support, data.query].map((all) => all.map((text) => pictures(text, 28, 8)[0]));
  const light = (picture) => Float32Array.from(picture, (v) => v / 255);
  const classes = supports.map((x) => {
    const maps = embed(net, light(x));
    return { x, maps, half: half(net.s, maps) };
  });
  // query: which of the test set, or -1 for what was drawn; look: the class to look into, or -1 for the most likely one
  const fig = figure(el, model, { query: 0, drawn: "", look: -1 }, CSS), { state } = fig;
  let held;

  const row = make("div.f-row", { style: "--w: 290px" }, el), left = make("div.rl-left", {}, row), right = make("div", {}, row);
  const frame = make("div", {}, left), tools = make("div", {}, left);
  const tool = (label, more = {}) => make("div.f-bar", { role: "group", "aria-label": label, ...more }, tools);
  make("p.f-head", { style: "color: var(--orange-text)" }, frame, "query");
  const sheet = pad(fig, frame, { changed: () => {
    if (sheet.empty) state.look = -1;
    held = state.drawn = pack(sheet.picture.map((v) => 255 * v));
    state.query = -1;
  } });
  const some = choice(fig, tools, "queries from the test set", queries.map((x, k) => [k, ink(null, x)]), "query",
    { looks: "f-tile", then: () => { state.look = -1; } });
  some.buttons.forEach((node, k) => put(node, { "aria-label": `query ${k + 1}` }));
  sheet.buttons(tool("change the query"), { rubber: true });
  const moving = tool("move the query by one pixel", { keydown: (event) => {
    if (!MOVES[event.key]) return;
    event.preventDefault();
    sheet.move(...MOVES[event.key].slice(2));
  } });
  for (const [sign, way, dx, dy] of Object.values(MOVES))
    button(fig, moving, sign, () => sheet.move(dx, dy), { "aria-label": way });
  make("p.f-head", {}, right, "class and relation score");
  const rows = classes.map(({ x }, k) => {
    const inside = [make("b", {}, null, String(k)), make("span.f-tile", {}, null, ink(null, x))];
    const node = button(fig, right, inside, () => { state.look = k; }, { class: "rl-class" });
    return { node, fill: bar(node, "green"), number: make("span.f-number", {}, node) };
  });
  const said = live(right), inside = make("div.rl-inside", {}, el);
  const parts = ["64 maps of the query", "", "the pair after block one", "and after block two"].map((words) => {
    const part = make("div.f-soft", {}, inside), name = make("div", {}, part, words);
    return { name, canvas: make("canvas", {}, part) };
  });
  note(el, "Draw into the orange frame with mouse, pen or finger (or by keys: the arrows move the pen, the space bar sets it " +
    "down), or take one of the queries below it and move it with the buttons. The whole network, weights rounded to bytes, " +
    "runs in the page. Choose a class to look inside its pair.");
  const mosaic = (canvas, maps, high, colour) => { // 64 maps in 8 rows, with gaps of one pixel for every five
    const n = Math.sqrt(maps.length / 64), step = n + Math.max(1, Math.floor(n / 5)), side = 7 * step + n;
    const alpha = new Float32Array(side * side);
    maps.forEach((v, at) => {
      const map = Math.floor(at / (n * n)), i = Math.floor(at / n) % n;
      alpha[((map >> 3) * step + i) * side + (map & 7) * step + (at % n)] = 255 * (0.06 + v / high);
    });
    paint(canvas, alpha, side, side, rgb(el, colour));
  };

  return fig.start(() => {
    const wanted = state.query < 0 ? state.drawn : state.query;
    if (wanted !== held) sheet.picture = light(state.query < 0 ? pictures(state.drawn, 28)[0] : queries[state.query]);
    held = wanted;
    const maps = embed(net, sheet.picture), own = half(net.q, maps), results = classes.map((c) => relate(net, c.half, own));
    const scores = results.map((r) => r.score), best = argmax(scores), k = state.look < 0 ? best : state.look;
    rows.forEach(({ node, fill, number }, i) => {
      fill.set(scores[i]);
      number.textContent = scores[i].toFixed(3);
      number.style.fontWeight = i === best ? 700 : 400;
      put(node, { "aria-pressed": i === k, "aria-label": `class ${i}: relation score ${scores[i].toFixed(2)}` });
    });
    const high = (all) => 0.7 * Math.max(1e-6, ...all.map((x) => Math.max(...x)));
    const every = high([maps, ...classes.map((c) => c.maps)]);
    mosaic(parts[0].canvas, maps, every, "orange");
    mosaic(parts[1].canvas, classes[k].maps, every, "blue");
    mosaic(parts[2].canvas, results[k].first, high(results.map((r) => r.first)), "green");
    mosaic(parts[3].canvas, results[k].second, high(results.map((r) => r.second)), "green");
    parts[1].name.replaceChildren("64 maps of class ", make("b", {}, null, String(k)));
    said.textContent = (scores[best] < 0.5 ? `None of the five is likely; the nearest is class ${best}.`
      : `The answer: class ${best}.`) + ` The scores add up to ${sum(scores).toFixed(2)}.`;
    sheet.label = `The query. Highest relation score: class ${best}, ${scores[best].toFixed(2)}`;
  });
} };
