// Sliders over a function that draws: where no kernel runs they turn over stored pictures, and where one does they ask it.
// data: { alt, names: [...], values: [[words of each value] of each name], frames: [base64 of a PNG], the last name fastest }
// Traits of a kernel: asked, where the sliders stand; answer { asked, picture } or { asked, error }. It has one frame, the first.

import { make, live } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { slider } from "./kit/controls.js";

const CSS = `
.mlbook-figure .ex-picture { display: block; width: 100%; height: auto; margin: 0.3rem 0 0; background: none; }
.mlbook-figure[data-dark] .ex-picture { filter: invert(0.9) hue-rotate(180deg); }
`;

export default { render({ model, el }) {
  const { alt, names, values, frames } = model.get("data");
  const start = Object.fromEntries(names.map((_, i) => [`k${i}`, 0]));
  const fig = figure(el, model, start, CSS), { state } = fig, box = make("div.f-sliders", {}, el);
  names.forEach((name, i) => {
    slider(fig, box, name, `k${i}`, { min: 0, max: values[i].length - 1, show: (k) => values[i][k] });
  });
  const picture = make("img.ex-picture", { alt }, el), said = live(el, 0), alive = Array.isArray(model.get("asked"));
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
