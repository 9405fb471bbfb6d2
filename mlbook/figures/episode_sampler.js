// Deals N-way K-shot episodes from real pictures and lets the reader answer the queries.
// data: {size, samples, groups: [a name per class], bits: base64 of 2-bit grey levels, class by class}

import { make, note } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, slider } from "./kit/controls.js";
import { plot } from "./kit/plot.js";
import { pictures, ink } from "./kit/ink.js";
import { generator, shuffled } from "./nets/random.js";
import { wilson } from "./nets/shrinkage.js";
import { squaredDistance } from "./nets/vectors.js";

const QUERIES = 10, CSS = `
.es { --tile: clamp(40px, 11vw, 62px); }
.es-s { color: var(--blue-text); } .es-q { color: var(--orange-text); }
.es code { font-size: 0.86em; }
.es-support { display: flex; flex-wrap: wrap; gap: 8px; }
.mlbook-figure .es-class { display: flex; align-items: center; gap: 2px; padding: 3px 5px; color: inherit; opacity: 1;
  background: color-mix(in srgb, var(--blue) 12%, transparent); border: 2px solid var(--blue); }
.mlbook-figure .es-class:not(:disabled):hover { background: color-mix(in srgb, var(--blue) 26%, transparent); }
.es-class b { min-width: 1.1em; color: var(--blue-text); }
.es-now { display: flex; gap: 14px; align-items: center; min-height: calc(1.6 * var(--tile) + 10px); }
.es-now > .es-box { flex: none; border: 3px solid var(--orange); border-radius: 8px; padding: 2px;
  --tile: clamp(64px, 17vw, 99px); }
.es-done { display: flex; flex-wrap: wrap; gap: 6px; min-height: 62px; margin: 8px 0; }
.es-done > span { width: 54px; white-space: nowrap; text-align: center; font-size: 12px; line-height: 1.35; --tile: 34px;
  border: 1.5px solid var(--line-2); border-radius: 5px; }
.es-done > .es-no { border: 1.5px dashed var(--orange); }
.es-done .f-ink { margin: 2px auto 0; }
.es-score { max-width: 560px; }`;

export default { render({ model, el }) {
  const { size, samples, groups, bits } = model.get("data"), inks = pictures(bits, size);
  const fig = figure(el, model, { ways: 5, shots: 1, from: "all" }, CSS), { state } = fig;
  el.classList.add("es");
  const random = generator(2026); // a fixed start: the first episode is the same for every reader
  const picture = ({ c, s }) => inks[c * samples + s];
  let episode, tally;

  const deal = () => {
    const { ways, shots, from } = state, names = [...new Set(groups)];
    const only = from === "one" ? names[Math.floor(random() * names.length)] : null;
    const pool = [...groups.keys()].filter((c) => only === null || groups[c] === only);
    const chosen = shuffled(pool, random).slice(0, ways); // distinct classes; their labels are their places
    const own = chosen.map((c, y) => shuffled(Array(samples).keys(), random).map((s) => ({ c, s, y })));
    const support = own.flatMap((all) => all.slice(0, shots)), rest = own.flatMap((all) => all.slice(shots)); // disjoint
    const query = shuffled(rest, random).slice(0, QUERIES).map((q) => {
      const d = support.map((e) => squaredDistance(picture(q), picture(e)));
      return { ...q, pixels: support[d.indexOf(Math.min(...d))].y };
    });
    episode = { ways, shots, support, query, only, at: 0 };
    layOut();
  };
  const afresh = () => { tally = { asked: 0, you: 0, pixels: 0 }; deal(); };
  const answer = (y) => {
    const q = episode.query[episode.at];
    if (!q) return;
    q.you = y;
    tally.asked += 1;
    tally.you += Number(y === q.y);
    tally.pixels += Number(q.pixels === q.y);
    episode.at += 1;
  };

  const bar = make("div.f-bar", {}, el);
  slider(fig, bar, "ways <i>N</i>", "ways", { min: 2, max: 8, then: afresh });
  slider(fig, bar, "shots <i>K</i>", "shots", { min: 1, max: 4, then: afresh });
  const source = make("select", { change: () => { state.from = source.value; afresh(); fig.draw(); } },
    make("label", {}, bar, "classes from "), [["all", "all alphabets"], ["one", "one alphabet"]].map(([value, text]) =>
      make("option", { value }, null, text)));
  button(fig, bar, "Draw a new episode", deal);
  const supportHead = make("p.f-head.es-s", {}, el), support = make("div.es-support", {}, el);
  const queryHead = make("p.f-head.es-q", {}, el), now = make("div.es-now", { "aria-live": "polite" }, el);
  const done = make("div.es-done", {}, el), words = note(el, "");
  const score = plot(fig, make("div.es-score", {}, el), { x: [0, 1], y: [2, -0.3], height: 86, pad: [6, 30, 24, 70],
    label: "Accuracy of the reader and of the nearest neighbour on pixels with their 95 % intervals, and chance" });
  const onKey = (event) => { // a digit answers wherever the focus is within the figure
    const y = event.key.length === 1 ? "01234567".indexOf(event.key) : -1;
    if (y < 0 || y >= episode.ways || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    answer(y);
    fig.draw();
  };
  el.addEventListener("keydown", onKey);
  fig.clean(() => el.removeEventListener("keydown", onKey));

  const shape = (name, n) => make("code", {}, null, `${name} [1, ${n}, 1, ${size}, ${size}]`);
  const layOut = () => {
    const { ways, shots, only } = episode, n = ways * shots;
    const words = `Support set: ${ways} × ${shots} = ${n} pictures with their labels${only ? `, all from ${only}` : ""} `;
    supportHead.replaceChildren(words, shape("support_x", n));
    support.replaceChildren(...Array.from({ length: ways }, (_, y) => button(fig, null, [make("b", {}, null, String(y)),
      ...episode.support.filter((e) => e.y === y).map((e) => ink(null, picture(e)))], () => answer(y),
    { class: "es-class", "aria-label": `answer ${y}` })));
  };
  const interval = (right) => wilson(right, tally.asked).map((p) => Math.round(100 * p)).join(" to ");

  return fig.start(() => {
    if (!episode || episode.ways !== state.ways || episode.shots !== state.shots) afresh();
    source.value = state.from;
    const { query, at, ways } = episode, last = query[at - 1], over = at === query.length, { asked, you, pixels } = tally;
    queryHead.replaceChildren(`Query set: ${query.length} other pictures of the same classes `, shape("query_x", query.length));
    const verdict = last ? `${last.you === last.y ? "Right" : "No"}, it was ${last.y}. ` : "";
    if (over) now.replaceChildren("All answered. Draw a new episode: other classes, other labels; only you are the same.");
    else {
      now.replaceChildren(make("span.es-box", {}, null, ink(null, picture(query[at]))), make("p", {}, null,
        `${verdict}Query ${at + 1} of ${query.length}: which class is this? Choose above, or press 0 to ${ways - 1}.`));
    }
    done.replaceChildren(...query.slice(0, at).map((q) => make("span", q.you === q.y ? {} : { class: "es-no" }, null,
      [ink(null, picture(q)), q.you === q.y ? `✓ ${q.you}` : `✗ ${q.you} → ${q.y}`])));
    for (const node of support.children) node.disabled = over;

    words.textContent = (asked ? `You: ${you} of ${asked} right, 95 % interval ${interval(you)} %. ` +
      `Nearest picture by pixels: ${pixels} of ${asked}. `
      : "Your answers are counted here, beside those of the nearest picture by pixels. ") +
      `Chance: ${Math.round(100 / ways)} %.`;
    score.clear();
    score.axes({ x: [[0, "0 %"], [0.5, "50 %"], [1, "100 %"]], grid: false });
    score.line([[1 / ways, 2], [1 / ways, -0.3]], "grey", { dash: "4 4" });
    score.text([1 / ways, -0.3], "chance", { colour: "grey", dx: 5, dy: 6 });
    [["you", you, "orange"], ["pixels", pixels, "ink"]].forEach(([name, right, colour], row) => {
      const y = row + 0.3;
      score.text([0, y], name, { dx: -62, dy: 4 });
      if (!asked) return;
      score.line(wilson(right, asked).map((p) => [p, y]), colour, { width: 3, "stroke-linecap": "round" });
      score.dot([right / asked, y], 6, colour);
    });
  });
} };
