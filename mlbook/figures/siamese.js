// Two drawings, chosen by the reader; their embeddings are compared component by component:
// u = b + sum_j alpha_j |h1_j - h2_j|, p = sigmoid(u). data: {pictures, characters, h, alpha, b}.

import { make, put, live } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button } from "./kit/controls.js";
import { plot } from "./kit/plot.js";
import { fromHex, ink, show } from "./kit/ink.js";
import { alike } from "./nets/comparing.js";

const CSS = `
.sn-grid { display: grid; grid-template-columns: repeat(8, minmax(0, 1fr)); gap: 6px; max-width: 520px; --tile: 100%; }
.mlbook-figure .sn-grid button[data-slot="1"], .sn-one { border-color: var(--blue); box-shadow: 0 0 0 1.5px var(--blue); }
.mlbook-figure .sn-grid button:is([data-slot="2"], [data-slot="12"]), .sn-two
  { border-color: var(--orange); box-shadow: 0 0 0 1.5px var(--orange); }
.f-row > .sn-pair { flex: none; display: flex; gap: 8px; --tile: 62px; }
.sn-pair > span { padding: 5px; border: 2px solid var(--blue); border-radius: 8px; }
.sn-pair > .sn-two { border-color: var(--orange); }`;
const STEPS = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 8, ArrowUp: -8 };

export default { render({ model, el }) {
  const { pictures, characters, h, alpha, b } = model.get("data"), n = pictures.length;
  const order = alpha.map((_, j) => j).sort((i, j) => alpha[i] - alpha[j]); // strongest first
  const fig = figure(el, model, { chosen: [0, 1], next: 0 }, CSS), { state } = fig, inks = pictures.map(fromHex);

  make("p.f-note", {}, el, "Choose two drawings. Every four in a row are one character, drawn by four people.");
  const grid = make("div.sn-grid", { role: "group", "aria-label": "drawings" }, el);
  const buttons = inks.map((picture, k) => button(fig, grid, ink(null, picture), () => {
    state.chosen[state.next] = k;
    state.next = 1 - state.next;
  }, { class: "f-tile", keydown: (event) => { // an arrow key goes to the neighbour, and takes along what is chosen here
    const to = (k + STEPS[event.key] + n) % n, slot = state.chosen.indexOf(k);
    if (Number.isNaN(to)) return;
    event.preventDefault();
    if (slot >= 0) state.chosen[slot] = to;
    fig.draw();
    buttons[to].focus();
  } }));
  const bar = make("div.f-bar", {}, el), any = (list) => list[Math.floor(Math.random() * list.length)];
  for (const [text, same] of [["A pair of one character", true], ["A pair of two", false]]) {
    button(fig, bar, text, () => {
      const one = any([...Array(n).keys()]);
      const others = [...Array(n).keys()].filter((k) => k !== one && (characters[k] === characters[one]) === same);
      Object.assign(state, { chosen: [one, any(others)], next: 0 });
    });
  }
  button(fig, bar, "Exchange the two", () => state.chosen.reverse());
  const row = make("div.f-row", { style: "--w: 300px; align-items: center" }, el), pair = make("div.sn-pair", {}, row);
  const shown = ["sn-one", "sn-two"].map((name) => ink(make(`span.${name}`, {}, pair)));
  const charts = make("div", {}, row), gapsLabel = "The differences of the 64 components";
  const upper = plot(fig, charts, { label: gapsLabel, x: [0, alpha.length], y: [0, 4], height: 78, pad: [22, 30, 6, 40] });
  const lower = plot(fig, charts, { label: "The logit falling from b by one contribution after another", x: [0, alpha.length],
    y: [-2.5, b], height: 158, pad: [14, 30, 10, 40] });
  const said = live(el);

  return fig.start(() => {
    buttons.forEach((node, k) => {
      const slots = [0, 1].filter((s) => state.chosen[s] === k).map((s) => s + 1);
      const name = `Character ${"ABCDEFGH"[characters[k]]}, drawing ${1 + (k % 4)}`;
      put(node, { "data-slot": slots.join(""), "aria-pressed": slots.length > 0,
        "aria-label": name + (slots.length ? `, chosen as x${slots.join(" and x")}` : "") });
    });
    const [one, two] = state.chosen;
    shown.forEach((node, slot) => show(node, inks[state.chosen[slot]]));

    const { parts, u, p } = alike(alpha, b, h[one], h[two]), right = alpha.length;
    upper.clear();
    upper.text([0, 4], "|h₁ − h₂|, component by component", { dy: -9 });
    upper.line([[0, 0], [right, 0]], "grey", { width: 1 });
    order.forEach((j, i) => {
      const gap = Math.min(4, Math.abs(h[one][j] - h[two][j]));
      upper.line([[i + 0.5, 0], [i + 0.5, gap]], "ink", { width: 4, opacity: 0.75 });
    });
    lower.clear();
    lower.y = [Math.min(-2.5, u - 0.3), b]; // the running sum, from b at the top of the axis down to u
    lower.line([[0, b], [right, b]], "grey", { dash: "2 4", width: 1 });
    lower.line([[0, 0], [right, 0]], "ink", { dash: "5 4", width: 1 });
    for (const [v, words] of [[b, "b"], [0, "0"]]) lower.text([0, v], words, { anchor: "end", dx: -6, dy: 4 });
    lower.text([0, 0], "same", { colour: "blue", dx: 8, dy: -5 });
    lower.text([0, 0], "different", { colour: "orange", dx: 8, dy: 15 });
    order.reduce((from, j, i) => {
      const part = parts[j];
      lower.fill([[i, from], [i + 1, from], [i + 1, from + part], [i, from + part]], part > 0 ? "pink" : "green", 1);
      lower.line([[i, b], [i, from]], "green", { width: 0.4, opacity: 0.5 });
      return from + part;
    }, b);
    const colour = u > 0 ? "blue" : "orange", truth = characters[one] === characters[two];
    lower.dot([right, u], 6, colour);
    lower.text([right, u], "u", { colour, dx: 10, dy: 4, weight: 700 });
    const words = one === two ? "A drawing and itself: no difference at all, and p is as large as this b allows."
      : `It says ${u > 0 ? "the same" : "different"}, and is ${u > 0 === truth ? "right" : "wrong"}: ` +
        `they are ${truth ? "two drawings of one character" : "two characters"}.`;
    said.textContent = `u = ${b.toFixed(2)} − ${(Number(b.toFixed(2)) - Number(u.toFixed(2))).toFixed(2)} = ${u.toFixed(2)}, ` +
      `p = ${p < 0.001 ? "0.000" : p.toFixed(3)}. ${words}`;
  });
} };
