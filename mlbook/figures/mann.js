// A memory, step by step: a recorded sequence, and the addressing computed again from the recorded keys and gates.
// data: {size, pictures: base64 of 2-bit grey levels, y: [label a step], ways, slots, gamma, scale,
//        k: [step][head][width], a: [step][head] gates in (0, 1), base: [step][class], U: [class][head * width]}

import { make, put, live, bar } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, choice, slider } from "./kit/controls.js";
import { pictures, ink, show, paint } from "./kit/ink.js";
import { rgb } from "./kit/theme.js";
import { remember } from "./nets/memory.js";
import { argmax, clamp, dot, softmax, sum } from "./nets/vectors.js";

const TONES = ["blue", "orange", "green", "pink"], CSS = `
.mn .f-bar > label { flex: 1 1 14rem; } .mn .f-bar > label > input { flex: 1; }
.mn-film { margin: 0.7rem 0; --tile: clamp(30px, 4.4vw, 33px); }
.mlbook-figure .mn-film .f-tile { line-height: 1.3; font-size: 12px; border-color: transparent; }
.mlbook-figure .mn-film .f-tile[aria-pressed="true"] { border-color: var(--orange); }
.mn-film button.mn-later .f-ink { opacity: 0.35; }
.mn-flow { display: flex; flex-wrap: wrap; gap: 0.6rem 1.4rem; align-items: center; margin-bottom: 0.8rem; --tile: 58px; }
.mn-flow > * { display: flex; gap: 0.6rem; align-items: center; }
.mn-flow .f-ink { flex: none; }
.mn-flow > .mn-answer { flex: 1 1 13rem; display: grid; grid-template-columns: auto 1fr 2.8em; gap: 3px 8px; }
.mn-memory { display: grid; column-gap: 7px; --tile: 17px; grid-template-columns:
  1.7em minmax(36px, 0.9fr) minmax(46px, 0.8fr) minmax(80px, 2.6fr) 2.4em minmax(52px, 1.5fr); }
.mn-memory > * { display: grid; grid-column: 1 / -1; grid-template-columns: subgrid; align-items: center; }
.mn-top { font-size: 12px; line-height: 1.2; padding-bottom: 3px; }
.mn-row { height: 18px; font-size: 11px; border-top: 1px solid color-mix(in srgb, currentColor 9%, transparent); }
.mn-row .f-ink { margin-inline: auto; } .mn-row .f-track { height: 10px; background: none; }
.mn-row .f-number { color: var(--soft); } .mn-row.mn-wiped .f-number { color: var(--orange-text); font-weight: 700; }
.mlbook-figure .mn-row canvas { width: 100%; height: 11px; image-rendering: pixelated; border-radius: 2px; }`;
const ordinal = (i) => ["1st", "2nd", "3rd"][i - 1] ?? `${i}th`, percent = (v) => `${Math.round(100 * v)}\u00a0%`;

export default { render({ model, el }) {
  const data = model.get("data"), L = data.y.length, N = data.slots, n = data.k[0].length, D = data.k[0][0].length;
  const fig = figure(el, model, { t: Math.min(7, L), scale: data.scale }, CSS), { state } = fig;
  const inks = pictures(data.pictures, data.size), word = (c) => `var(--${TONES[c % 4]}-text)`, runs = new Map();
  el.classList.add("mn");
  const run = (scale) => {
    if (!runs.has(scale)) runs.set(scale, remember(data, scale));
    return runs.get(scale);
  };

  const steps = make("div.f-bar", {}, el), go = (by) => () => { state.t = clamp(state.t + by, 1, L); };
  slider(fig, steps, "<b>Step <i>t</i></b>", "t", { min: 1, max: L, name: "Step t", show: (t) => `${t} of ${L}` });
  button(fig, steps, "Back", go(-1));
  button(fig, steps, "Next", go(1));
  const film = choice(fig, el, "the sequence", data.y.map((y, t) => [t + 1,
    [ink(null, inks[t]), make("b", { style: `color: ${word(y)}` }, null, String(y))]]), "t", { looks: "f-tile" });
  film.classList.add("mn-film");
  film.buttons.forEach((node, t) => put(node, { "aria-label": `step ${t + 1}, a picture of class ${data.y[t]}` }));

  const flow = make("div.mn-flow", {}, el), enters = make("div", {}, flow), now = ink(enters), beside = make("span", {}, enters);
  const answer = make("div.mn-answer", { role: "group", "aria-label": "the answer" }, flow);
  const bars = Array.from({ length: data.ways }, (_, c) => ({
    name: make("span", { style: `color: ${word(c)}` }, answer), fill: bar(answer, TONES[c % 4]),
    number: make("span.f-number.mn-p", {}, answer),
  }));
  const table = make("div.mn-memory", { role: "group", "aria-label": "the memory, a row a slot" }, el);
  const top = make("div.mn-top", {}, table), heads = [["", "soft"], ["usage", "soft"], ["written", "orange-text"],
    ["content", "soft"], ["from", "soft"], ["read", "blue-text"]];
  for (const [name, colour] of heads) make("span", { style: `color: var(--${colour})` }, top, name);
  const rows = Array.from({ length: N }, (_, i) => {
    const row = make("div.mn-row", { role: "img" }, table);
    return { row, number: make("span.f-number", {}, row), usage: bar(row, "grey"), written: bar(row, "orange"),
      canvas: make("canvas", {}, row), origin: ink(row), read: bar(row, "blue") };
  });
  const sharp = make("div.f-bar", {}, el);
  const scales = [[data.scale, `s = ${data.scale.toFixed(1)}, learned`], [1, "s = 1, the paper’s"]];
  choice(fig, sharp, "sharpness of reading", scales, "scale", { name: "Reading with" });
  const said = live(el, 4);

  return fig.start(() => {
    const all = run(state.scale), t = state.t - 1, s = all[t], y = data.y[t], seen = data.y.slice(0, t + 1);
    const p = softmax(data.base[t].map((b, c) => b + dot(s.r, data.U[c]))), best = argmax(p), gate = sum(data.a[t]) / n;
    film.buttons.forEach((node, i) => node.classList.toggle("mn-later", i > t));
    show(now, inks[t]);
    const given = t ? make("b", { style: `color: ${word(data.y[t - 1])}` }, null, `label ${data.y[t - 1]}`) : "no label";
    beside.replaceChildren("comes in beside ", given, t ? ", that of the picture before" : ", for there was none before");
    bars.forEach(({ name, fill, number }, c) => {
      name.textContent = `${c === best ? "▸ " : ""}class ${c}`;
      name.style.fontWeight = c === best ? 700 : 400;
      fill.set(p[c]);
      number.textContent = p[c].toFixed(2);
    });
    const most = Math.max(...all.flatMap((step) => step.before));
    const loud = Math.max(...all.flatMap((step) => step.memory.flat().map(Math.abs))), share = { new: 0, same: 0, other: 0 };
    rows.forEach(({ row, number, usage, written, canvas, origin, read }, i) => {
      const wrote = s.written[i], found = s.read[i] / n, left = sum(s.origin[i]), from = argmax(s.origin[i]), held = left > 0.05;
      row.classList.toggle("mn-wiped", s.wiped[i]);
      number.textContent = s.wiped[i] ? `×${i + 1}` : i + 1;
      usage.set(s.before[i] / most);
      written.set(wrote / n);
      read.set(found);
      const tones = [rgb(el, "orange"), rgb(el, "blue")], m = s.memory[i];
      paint(canvas, m.map((v) => Math.min(255, (255 * Math.abs(v)) / loud)), D, 1, (j) => tones[Number(m[j] > 0)]);
      show(origin, held ? inks[from] : null).style.color = word(data.y[from]);
      s.origin[i].forEach((o, step) => {
        if (left) share[step === t ? "new" : data.y[step] === y ? "same" : "other"] += (found * o) / left;
      });
      put(row, { "aria-label": `row ${i + 1}${s.wiped[i] ? ", wiped" : ""}: usage ${s.before[i].toFixed(3)}, ` +
        `written ${wrote.toFixed(3)}, read ${found.toFixed(3)}${held ? `, from step ${from + 1}` : ""}` });
    });
    const lists = (flags) => flags.flatMap((flag, i) => (flag ? [i + 1] : [])).join(", ");
    said.textContent = `The ${ordinal(seen.filter((c) => c === y).length)} picture of class ${y}; the answer is ${best}, ` +
      `${best === y ? "right" : "wrong"}. Least used ${n > 1 ? "are rows" : "is row"} ${lists(s.least)}; ` +
      `${n > 1 ? `row ${lists(s.wiped)} is` : "it is"} wiped. Of the writing, ${percent(1 - gate)} goes there and ` +
      `${percent(gate)} to the rows read a step ago. Of the reading, ${percent(share.new)} finds what was written just now, ` +
      `${percent(share.same)} what earlier pictures of class ${y} left, ${percent(share.other)} what the others did.` +
      (state.scale === data.scale ? "" : " (Keys and gates stay those of the recorded run.)");
  });
} };
