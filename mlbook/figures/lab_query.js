// The lab's small form on the first page: five characters, a query to draw, and one Prototypical Network that answers.
// data: { support: five pictures as text, query: another, p: the answer to it, so that nothing has to be loaded at first }

import { make, put } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button } from "./kit/controls.js";
import { pictures, pack, ink } from "./kit/ink.js";
import { pad } from "./kit/pad.js";
import { machine } from "./lab/machine.js";
import { argmax, softmax } from "./nets/vectors.js";

const CSS = `
.mlbook-figure.lq { max-width: none; border: 0; padding: 0; margin: 0; }
.lq-stage { position: relative; display: grid; grid-template-columns: minmax(0, 5.3fr) minmax(5.6rem, 1fr) minmax(9rem, 150px);
  gap: 0 1rem; align-items: start; padding-bottom: 0.4rem; }
.lq-stage > svg { position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none; max-width: none; }
.mlbook-figure .lq-head { font-weight: 700; font-size: 1.08em; margin: 0 0 0.35rem; white-space: nowrap; }
.lq-tiles { display: grid; grid-template-columns: repeat(5, minmax(0, 1fr)); gap: clamp(5px, 1vw, 13px); }
.lq-tile { position: relative; aspect-ratio: 1; border-radius: 12px; background: var(--blue); color: var(--paper); padding: 6%;
  --tile: 100%; transition: box-shadow 0.2s; }
.lq-tile[data-best] { box-shadow: 0 0 0 3px var(--paper), 0 0 0 6px var(--green); }
.lq-middle { align-self: start; padding-top: 2.2rem; text-align: center; font-size: 1.05em; line-height: 1.3; }
.mlbook-figure .lq-middle button { display: block; margin: 0.5rem auto 0; font-size: 0.84em; min-height: 1.9rem;
  padding: 0.1rem 0.7rem; }
.lq .f-pad { max-width: none; border-width: 3px; border-radius: 12px; }
.lq-words { grid-column: 1 / 3; min-height: 1.5em; color: var(--soft); margin: 3.4rem 0 0; }
.mlbook-figure .lq-words a { color: var(--blue-text); }
@media (max-width: 640px) {
  .lq-stage { grid-template-columns: 1fr 1fr; gap: 2.1rem 0.9rem; }
  .lq-stage > :first-of-type { grid-column: 1 / -1; }
  .lq-pad { order: 1; display: flex; flex-direction: column-reverse; }
  .mlbook-figure .lq-pad .lq-head { margin: 0.3rem 0 0; }
  .lq-middle { order: 2; padding-top: 1.4rem; text-align: start; }
  .mlbook-figure .lq-middle button { margin: 0.6rem 0 0; }
  .lq-words { grid-column: 1 / -1; order: 3; margin: 0; }
}`;

export default { render({ model, el }) {
  const data = model.get("data"), fig = figure(el, model, {}, CSS);
  const numbers = (text) => Float32Array.from(pictures(text, 28)[0], (v) => v / 255), support = data.support.map(numbers);
  let p = data.p, engine = null, failed = false;
  el.classList.add("lq");
  const stage = make("div.lq-stage", {}, el), arcs = make("svg", { "aria-hidden": "true" }, stage), left = make("div", {}, stage);
  make("p.lq-head", { style: "color: var(--blue-text)" }, left, "support: one example of each");
  const row = make("div.lq-tiles", {}, left), tiles = data.support.map((text, k) => {
    const tile = make("div.lq-tile", { role: "img", "aria-label": `character ${k + 1}` }, row);
    ink(tile, pictures(text, 28)[0]);
    return tile;
  });
  const middle = make("div.lq-middle", {}, stage, make("div", {}, null, "Which is it?"));
  const right = make("div.lq-pad", {}, stage);
  make("p.lq-head", { style: "color: var(--orange-text)" }, right, "query: draw it");
  const wake = () => { // the network comes when somebody is about to draw
    if (engine) return;
    engine = machine(["prototypical"], { answered: ({ scores }) => { p = softmax(scores); fig.draw(); } });
    engine.started.catch(() => { failed = true; fig.draw(); });
    fig.clean(engine.end);
  };
  const ask = () => {
    p = null;
    if (query.empty) return;
    wake();
    engine.ask(support, numbers(pack(Array.from(query.picture, (v) => 255 * v))));
  };
  const query = pad(fig, right, { label: "drawing pad: draw one of the five characters again", changed: ask });
  button(fig, middle, "Clear", query.clear);
  put(el, { pointerenter: wake, focusin: wake });
  const words = make("p.lq-words", { "aria-live": "polite" }, stage);
  const box = (node) => {
    const a = node.getBoundingClientRect(), b = stage.getBoundingClientRect();
    return { x: a.left - b.left, y: a.top - b.top, w: a.width, h: a.height };
  };
  const watch = new ResizeObserver(() => fig.draw());
  watch.observe(stage);
  fig.clean(() => watch.disconnect());
  let first = true;

  return fig.start(() => {
    if (first) { // the example, with its answer
      first = false;
      query.picture = numbers(data.query);
    }
    const best = p ? argmax(p) : -1, to = box(query.canvas), below = to.y > box(tiles[0]).y + box(tiles[0]).h;
    arcs.replaceChildren();
    tiles.forEach((tile, k) => {
      put(tile, { "data-best": k === best ? "" : null });
      const from = box(tile), x = from.x + from.w / 2, y = from.y + from.h + 7;
      const end = below ? [to.x + to.w / 2, to.y - 3] : [to.x - 3, to.y + to.h * 0.8], deep = y + 62 - 5 * k;
      const bend = below ? `${x} ${y + 26} ${end[0]} ${end[1] - 26}` : `${x} ${deep} ${end[0] - 90} ${deep + 4}`;
      const wide = p ? 1 + 7 * p[k] : 1, colour = k === best ? "var(--green)" : "var(--grey)";
      make("path", { d: `M${x} ${y}C${bend} ${end[0]} ${end[1]}`, fill: "none", "stroke-linecap": "round",
        style: `stroke: ${colour}; stroke-width: ${wide.toFixed(1)}; opacity: ${p ? 0.35 + 0.65 * p[k] : 0.35}` }, arcs);
    });
    const nth = ["first", "second", "third", "fourth", "fifth"][best];
    const says = failed ? "The network cannot be loaded here. " : !p ? (query.empty ? "Draw one of the five again. " : "… ")
      : `A Prototypical Network says: the ${nth}, with ${Math.round(100 * p[best])} %. `;
    words.replaceChildren(says, make("a", { href: "lab.html" }, null, "Nine methods at once: the lab"));
  });
} };
