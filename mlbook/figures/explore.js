// Sliders over a function that draws: where no kernel runs they turn over stored pictures, and where one does they ask it.
// data: { alt, names: [...], values: [[words of each value] of each name], frames: [base64 of a PNG], the last name fastest }
// Traits of a kernel: asked, where the sliders stand; answer { asked, picture } or { asked, error }. It has one frame, the first.

import { make, put, live } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { slider } from "./kit/controls.js";

const CSS = `
.ex-frame { overflow-x: auto; }
.ex-frame[data-more] { mask-image: linear-gradient(to right, #000 calc(100% - 2.5rem), #0003); }
/* on a phone a chart keeps a size at which its labels can be read, and is moved sideways */
.mlbook-figure .ex-picture { display: block; width: max(100%, 38rem); max-width: none; height: auto; margin: 0.3rem 0 0;
  background: none; }
.mlbook-figure[data-dark] .ex-picture { filter: invert(0.9) hue-rotate(180deg); }
`;

export default { render({ model, el }) {
  const { alt, names, values, frames } = model.get("data");
  const start = Object.fromEntries(names.map((_, i) => [`k${i}`, 0]));
  const fig = figure(el, model, start, CSS), { state } = fig, box = make("div.f-sliders", {}, el);
  names.forEach((name, i) => {
    slider(fig, box, name, `k${i}`, { min: 0, max: values[i].length - 1, show: (k) => values[i][k] });
  });
  const frame = make("div.ex-frame", {}, el), picture = make("img.ex-picture", { alt }, frame), said = live(el, 0);
  const alive = Array.isArray(model.get("asked"));
  const reach = () => { // what is wider than the page must be moved by keys as well
    const wide = frame.scrollWidth > frame.clientWidth, rest = frame.scrollWidth - frame.clientWidth - frame.scrollLeft;
    put(frame, { tabindex: wide ? 0 : null, role: wide ? "group" : null,
      "aria-label": wide ? "Picture, wider than the page" : null, "data-more": rest > 1 ? "" : null });
  };
  const sized = new ResizeObserver(reach);
  [frame, picture].forEach((e) => sized.observe(e));
  frame.addEventListener("scroll", reach);
  fig.clean(() => sized.disconnect());
  let waiting = false; // one question at a time: the next is where the sliders stand when the answer comes
  const where = () => names.map((_, i) => state[`k${i}`]), same = (a, b) => a.join() === b.join();
  const ask = () => {
    const before = model.get("answer")?.asked ?? names.map(() => 0);
    if (waiting || same(before, where())) return;
    waiting = true;
    model.set("asked", where());
    model.save_changes();
  };
  const answered = () => { waiting = false; fig.draw(); };
  model.on("change:answer", answered);
  fig.clean(() => model.off("change:answer", answered));
  return fig.start(() => {
    const at = names.reduce((k, _, i) => k * values[i].length + state[`k${i}`], 0), answer = model.get("answer");
    if (alive) ask();
    const png = alive ? answer?.picture ?? frames[0] : frames[at];
    if (png) picture.src = `data:image/png;base64,${png}`;
    picture.alt = `${alt} Here with ${names.map((name, i) => `${name} = ${values[i][state[`k${i}`]]}`).join(", ")}.`;
    said.textContent = answer?.error ?? "";
  });
} };
