// A sentence, and which of some intents it is: prototypes of a few examples, and a threshold for "none of these".
// data: { classes, texts: [[sentence] of each class, and of none of them last], z: signed bytes in base64, a vector of `dim` for
//   each sentence in that order and of any length, dim, shots: examples a class to begin with, threshold }
// Traits of a kernel: asked, a sentence; answer { asked, z } with its vector, or { asked, error }.

import { make, put, bar, live, note, count, minus, OWN_KEYS } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, choice, slider } from "./kit/controls.js";
import { argmax, average, clamp, dot, unit } from "./nets/vectors.js";
import { quantised } from "./nets/weights.js";

const CSS = `
.mlbook-figure .sn-ask { display: flex; flex-wrap: wrap; gap: 0.4rem; align-items: center; margin: 0.3rem 0; }
.mlbook-figure .sn-ask > :is(select, input) { flex: 1 1 14rem; min-width: 0; max-width: 100%; min-height: 2.3rem; }
.mlbook-figure .sn-ask > input { font: inherit; color: var(--ink); background: var(--paper); border: 1px solid var(--line-2);
  border-radius: 6px; padding: 0.3rem 0.6rem; }
.sn-bars { display: grid; grid-template-columns: auto 1fr auto; gap: 0.3rem 0.7rem; align-items: center; margin: 0.5rem 0; }
.sn-bars .sn-best { color: var(--green-text); font-weight: 700; }
.sn-bars .f-track { overflow: visible; }
.sn-mark { position: absolute; top: -3px; bottom: -3px; width: 0; border-left: 2.5px dashed var(--orange); }
.sn-list { display: grid; gap: 0.3rem; margin: 0.4rem 0; padding: 0; }
.mlbook-figure .sn-list button { text-align: start; font-weight: 400; white-space: normal; }
.mlbook-figure .sn-list button[aria-pressed="true"]::before { content: "✓ "; font-weight: 700; }
.mlbook-figure .sn-none { color: var(--orange-text); font-weight: 700; }
.mlbook-figure .sn-some { color: var(--green-text); font-weight: 700; }`;

const words = (name) => name.replaceAll("_", " "), EXAMPLE = " It is one of the examples.";

export default { render({ model, el }) {
  const { classes, texts, z, dim, shots, threshold } = model.get("data"), all = quantised(z, 1), N = classes.length;
  const alive = typeof model.get("asked") === "string";
  const items = texts.flatMap((row, of) => row.map((text, i) => ({ text, of, first: i < shots && of < N })));
  items.forEach((item, i) => { item.z = unit(all.subarray(i * dim, (i + 1) * dim)); });
  const start = { ask: items.findIndex(({ of, first }) => of === 0 && !first), threshold, open: 0,
    used: items.flatMap(({ first }, i) => (first ? [i] : [])) };
  const fig = figure(el, model, start, CSS), { state } = fig;

  const asking = make("div.sn-ask", {}, el);
  const select = make("select", { "aria-label": "the sentence that is asked" }, asking);
  const step = (by) => () => { state.ask = (state.ask + by + items.length) % items.length; };
  button(fig, asking, "‹", step(-1), { "aria-label": "the sentence before" });
  button(fig, asking, "›", step(1), { "aria-label": "the next sentence" });
  const listed = () => {
    select.replaceChildren();
    [...classes.map(words), "of none of these"].forEach((label, k) => {
      const group = make("optgroup", { label }, select);
      items.forEach(({ text, of }, i) => { if (of === k) make("option", { value: i }, group, text); });
    });
    const own = make("optgroup", { label: "typed here" }, null);
    items.forEach(({ text, of }, i) => { if (of === null) make("option", { value: i }, own, text); });
    if (own.childNodes.length) select.append(own);
  };
  listed();
  select.addEventListener("change", () => { state.ask = Number(select.value); fig.draw(); });

  let problem = "";
  if (alive) { // the kernel embeds what is typed
    const typing = make("div.sn-ask", {}, el);
    const input = make("input", { type: "text", placeholder: "or type a sentence", "aria-label": "your own sentence" }, typing);
    const send = () => {
      if (!input.value.trim()) return;
      model.set("asked", input.value.trim());
      model.save_changes();
    };
    put(input, { keydown: (event) => { if (event.key === "Enter") send(); } });
    button(fig, typing, "Ask", send);
    button(fig, typing, "Make it an example", () => {
      if (items[state.ask].of === null && !state.used.includes(state.ask)) {
        items[state.ask].of = state.open;
        state.used = [...state.used, state.ask];
        listed();
      }
    }, { title: "of the class that is chosen below" });
    const answered = () => {
      const { asked, z: vector, error } = model.get("answer");
      problem = error ?? "";
      if (vector) state.ask = items.push({ text: asked, of: null, z: unit(quantised(vector, 1)) }) - 1;
      listed();
      fig.draw();
    };
    model.on("change:answer", answered);
    fig.clean(() => model.off("change:answer", answered));
  }

  const says = live(el, 2), bars = make("div.sn-bars", {}, el), rows = classes.map((name) => {
    const label = make("span", {}, bars, words(name)), fill = bar(bars, "blue");
    return { label, fill, mark: make("span.sn-mark", {}, fill.track), number: make("span.f-number", {}, bars) };
  });
  slider(fig, make("div.f-bar", {}, el), "none of these below", "threshold", { min: 0, max: 1, step: 0.01,
    show: (v) => v.toFixed(2) });
  const counted = live(el, 2);
  make("p.f-head", {}, el, "Examples, to take out or put in");
  choice(fig, el, "class", classes.map((name, k) => [k, words(name)]), "open");
  const list = make("div.sn-list", { role: "group", "aria-label": "sentences of this class" }, el);
  button(fig, make("div.f-bar", {}, el), "Reset", () => fig.reset());
  note(el, "Bars: the cosine of the sentence with each class’s prototype, the mean of its examples. Dashed: the threshold.");

  return fig.start(() => {
    const own = classes.map((_, k) => state.used.filter((i) => items[i].of === k));
    const c = own.map((some) => (some.length ? unit(average(some.map((i) => items[i].z))) : null));
    const cosines = (q) => c.map((v) => (v ? dot(v, q) : -1));
    const answer = (s) => (Math.max(...s) < state.threshold ? -1 : argmax(s));
    const asked = items[state.ask], s = cosines(asked.z), best = argmax(s), k = answer(s);
    select.value = state.ask;
    const sure = `cosine ${Math.max(...s, 0).toFixed(2)}`, seen = state.used.includes(state.ask) ? EXAMPLE : "";
    says.replaceChildren(make("i", {}, null, `“${asked.text}”`), make("br"));
    if (k < 0) says.append(make("span.sn-none", {}, null, "None of these"), `: ${words(classes[best])} has ${sure}.`);
    else says.append(make("span.sn-some", {}, null, words(classes[k])), `, ${sure}.${seen}`);
    if (problem) says.append(` ${problem}`);
    rows.forEach(({ label, fill, mark, number }, i) => {
      fill.set(clamp(s[i], 0, 1));
      fill.fill.style.background = i === k ? "var(--green)" : "var(--blue)";
      mark.style.left = `${100 * state.threshold}%`;
      number.textContent = c[i] ? minus(s[i].toFixed(2)) : "no example";
      label.classList.toggle("sn-best", i === k);
    });
    const others = items.filter(({ of }, i) => of !== null && !state.used.includes(i));
    const answers = others.map((item) => [item.of, answer(cosines(item.z))]), known = answers.filter(([of]) => of < N);
    const strangers = answers.filter(([of]) => of === N), refused = (some) => some.filter(([, a]) => a < 0).length;
    const right = known.filter(([of, a]) => of === a).length;
    counted.textContent = `Of the ${count(known.length, "other sentence")} of these intents ${right} are answered rightly and ` +
      `${refused(known)} turned away; of ${count(strangers.length, "stranger")} ${refused(strangers)} are caught.`;
    const at = document.activeElement?.getAttribute?.("data-sentence");
    list.replaceChildren();
    items.forEach(({ text, of }, i) => {
      if (of !== state.open) return;
      const node = button(fig, list, text, () => {
        state.used = state.used.includes(i) ? state.used.filter((j) => j !== i) : [...state.used, i];
      }, { "aria-pressed": state.used.includes(i), "data-sentence": i, ...OWN_KEYS });
      if (String(i) === at) node.focus();
    });
  });
} };
