// Training as it happens: two curves, and the pictures of one task where the embedding puts them.
// data: { labels: [...], supports: how many of them are support examples, now }
// now, also a trait that a kernel keeps up to date: { step, curves: { loss: [[step, value]], accuracy },
//   frames: [{ step, points }] }

import { make, live, count, CLASSES } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { slider } from "./kit/controls.js";
import { plot } from "./kit/plot.js";

const nice = (top) => { // a round number above
  const unit = 10 ** Math.floor(Math.log10(top));
  return unit * [1, 2, 5, 10].find((m) => m * unit >= top);
};

export default { render({ model, el }) {
  const data = model.get("data"), now = () => model.get("now") ?? data.now;
  const fig = figure(el, model, { frame: 0, latest: true }), { state } = fig;
  const row = make("div.f-row", { style: "--w: 250px" }, el), left = make("div", {}, row);
  const looks = { x: [0, 1], height: 148, pad: [30, 14, 24, 40] };
  const loss = plot(fig, left, { ...looks, label: "the loss over the steps", y: [0, 1] });
  const accuracy = plot(fig, left, { ...looks, label: "the accuracy over the steps", y: [0, 1] });
  const plane = plot(fig, row, { label: "the pictures of one task in the plane of their two principal axes", x: [-1.1, 1.1],
    y: [-1.1, 1.1], ratio: 0.92, pad: [6, 6, 6, 6], framed: true });
  const bar = make("div.f-bar", {}, el);
  const input = slider(fig, bar, "look back", "frame", {
    min: 0, max: 0, show: (k) => `step ${now().frames[k]?.step ?? 0}`,
    then: (k) => { state.latest = k >= now().frames.length - 1; },
  });
  const said = live(el, 1);
  const curve = (p, name, values, colour) => {
    const last = Math.max(values.at(-1)?.[0] ?? 1, 2);
    const top = name === "loss" ? nice(Math.max(...values.map((v) => v[1]), 1e-3)) : 1;
    p.clear();
    p.x = [0, last];
    p.y = [0, top];
    p.axes({ x: [0, last], y: [0, top], yname: name, grid: true });
    if (!values.length) return;
    p.line(values, colour);
    p.text([last, top], values.at(-1)[1].toFixed(3), { anchor: "end", dy: -8, colour: `${colour}-text`, weight: 700 });
  };
  const changed = () => fig.draw();
  model.on("change:now", changed);
  fig.clean(() => model.off("change:now", changed));

  return fig.start(() => {
    const { step, curves, frames } = now();
    if (state.latest || state.frame >= frames.length) state.frame = Math.max(0, frames.length - 1);
    const frame = frames[state.frame];
    curve(loss, "loss", curves.loss ?? [], "blue");
    accuracy.box.hidden = !curves.accuracy;
    if (curves.accuracy) curve(accuracy, "accuracy", curves.accuracy, "green");
    plane.box.hidden = !frame;
    bar.hidden = frames.length < 2;
    input.max = frames.length - 1;
    if (frame) {
      plane.clear();
      const points = frame.points.map((at, i) => ({ at, colour: CLASSES[data.labels[i] % CLASSES.length], i }));
      for (const { at, colour } of points.slice(data.supports)) plane.dot(at, 4, colour, { opacity: 0.75 });
      for (const { at, colour, i } of points.slice(0, data.supports)) {
        plane.dot(at, 9, "paper", { ring: colour, width: 3 });
        const letter = String.fromCharCode(65 + data.labels[i]);
        plane.text(at, letter, { anchor: "middle", dy: 4, size: 11, weight: 700 });
      }
      plane.text([-1.1, -1.1], `step ${frame.step}`, { dx: 8, dy: -8, colour: "soft" });
    }
    const key = frame ? " Rings are the support set, dots the queries, a colour for each class." : "";
    said.textContent = step ? `${count(step, "step")}.${key}` : "Nothing has been trained yet.";
  });
} };
