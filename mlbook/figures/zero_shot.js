// The reader composes a description; the trained network's g turns it into a prototype, here in the page, and
// pictures are ranked by their cosine with it.
// data: {letters, cases, marks: [names], hidden, dim, scale: [for each of the arrays below],
//        script, case, letter, mark: int8 rows of the first layer, bias1, weight2 [dim, hidden], bias2,
//        pictures: [{name, case, letter, marks, seen}], z: int8 [pictures, dim], side, bits: 2-bit grey levels}

import { make, put, live, note, bar } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, choice } from "./kit/controls.js";
import { bytes, pictures, ink } from "./kit/ink.js";
import { described } from "./nets/comparing.js";
import { dot, norm, unit } from "./nets/vectors.js";

const SHOWN = 10, CSS = `
.zs .f-choice { display: flex; margin: 0.45rem 0; }
.zs .f-choice > span { flex: 0 0 3.4rem; }
.mlbook-figure.zs .f-choice button { min-width: 2.2rem; padding: 0.2rem 0.5rem; font-size: 0.92em; font-weight: 500; }
.zs-best { display: grid; grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); gap: 8px; padding: 0;
  margin: 0.6rem 0 0; --tile: 56px; }
.zs-best li { list-style: none; margin: 0; padding: 5px; border: 2px solid var(--blue); border-radius: 7px; font-size: 11.5px;
  line-height: 1.3; }
.zs-best li.zs-new { border-color: var(--orange); }
.zs-best li.zs-hit { background: color-mix(in srgb, var(--green) 20%, transparent); }
.zs-best .f-ink { margin: 0 auto 3px; } .zs-best .f-track { height: 5px; margin: 3px 0; }
.zs-seen { color: var(--blue-text); font-weight: 700; } .zs-unseen { color: var(--orange-text); font-weight: 700; }`;
const ordinal = (n) => n + (["th", "st", "nd", "rd"][n % 100 > 10 && n % 100 < 14 ? 0 : n % 10] || "th");
const lower = (text) => text.toLowerCase();

export default { render({ model, el }) {
  const data = model.get("data"), { hidden, dim } = data, inks = pictures(data.bits, data.side);
  const numbers = (key) => Float32Array.from(new Int8Array(bytes(data[key]).buffer), (v) => v * data.scale[key]);
  const arrays = ["script", "case", "letter", "mark", "bias1", "weight2", "bias2", "z"];
  const W = /** @type {any} */ (Object.fromEntries(arrays.map((key) => [key, numbers(key)])));
  const z = data.pictures.map((_, i) => W.z.subarray(i * dim, (i + 1) * dim));
  const start = { letter: data.letters.indexOf("O"), case: 1, marks: [data.marks.indexOf("HORN")] };
  const fig = figure(el, model, start, CSS), { state } = fig;
  el.classList.add("zs");

  const row = (key, i) => W[key].subarray(i * hidden, (i + 1) * hidden);
  const prototype = () => unit(described(W, [row("script", 0), row("case", state.case), row("letter", state.letter),
    ...state.marks.map((mark) => row("mark", mark))]));

  for (const [key, names] of [["letter", data.letters], ["case", data.cases]])
    choice(fig, el, key, names.map((name, i) => [i, name]), key, { name: key });
  const marks = make("div.f-choice", { role: "group", "aria-label": "marks" }, el, make("span", {}, null, "marks"));
  data.marks.forEach((name, i) => {
    const node = button(fig, marks, lower(name), () => {
      state.marks = state.marks.includes(i) ? state.marks.filter((m) => m !== i) : [...state.marks, i];
    });
    fig.follow(() => put(node, { "aria-pressed": state.marks.includes(i) }));
  });
  const says = live(el, 3), best = make("ol.zs-best", { "aria-label": "the pictures most like the description, best first" }, el);
  note(el, [
    `The ${data.pictures.length} pictures are of small and capital Latin letters, one a class, none of them trained on. In a `,
    make("span.zs-seen", {}, null, "blue"), " frame: classes whose other pictures were trained on. In ",
    make("span.zs-unseen", {}, null, "orange"), ": combinations never seen. Shaded: what the description says. Below each " +
    "picture, the cosine of its embedding with the prototype."]);

  return fig.start(() => {
    const wanted = state.marks.map((m) => data.marks[m]).sort(), c = prototype(), kind = data.cases[state.case];
    const letter = data.letters[state.letter];
    const ranked = data.pictures.map((p, i) => ({
      ...p, i, cosine: dot(z[i], c) / norm(z[i]),
      hit: p.case === kind && p.letter === letter && p.marks.join() === wanted.join(),
    })).sort((a, b) => b.cosine - a.cosine);
    const rank = ranked.findIndex((p) => p.hit), found = ranked[rank];
    const name = ["Latin", kind, "letter", letter, ...(wanted.length ? ["with", wanted.map(lower).join(" and ")] : [])].join(" ");
    says.replaceChildren(make("b", {}, null, name), make("br"));
    if (!found) says.append("No such letter among these pictures: the network can only look for something like it.");
    else {
      make(`span.zs-${found.seen ? "seen" : "unseen"}`, {}, says,
        found.seen ? "A class of training." : "A combination that training never showed.");
      says.append(` Its picture comes ${rank ? ordinal(rank + 1) : "first"} of ${ranked.length}.`);
    }
    best.replaceChildren();
    for (const p of ranked.slice(0, SHOWN)) {
      const li = make("li", { class: `${p.seen ? "" : "zs-new"} ${p.hit ? "zs-hit" : ""}` }, best);
      ink(li, inks[p.i]);
      bar(li, "green").set(p.cosine);
      make("div", {}, li, `${p.cosine.toFixed(2)}  ${p.case} ${p.letter}${p.marks.map((m) => `, ${lower(m)}`).join("")}`);
    }
  });
} };
