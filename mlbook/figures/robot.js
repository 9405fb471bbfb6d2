// A cart that balances a pole on a slope under the reader's hand: the trained LSTM, another driver beside it.
// data: { index: [[name, shape]] of a policy's weights, weights: { lstm, plain }: in half precision and base64,
//   linear: { name: gains }, seconds: of a run }

import { make, put, live, note } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, choice, player, slider } from "./kit/controls.js";
import { plot } from "./kit/plot.js";
import { DT, FALLEN, linear, policy, step } from "./nets/cart.js";
import { clamp } from "./nets/vectors.js";
import { unpacked } from "./nets/weights.js";

const CSS = `
.rt-scene { flex: 1 1 270px; min-width: 0; }`;
const signed = (v, unit) => `${v < 0 ? "−" : ""}${Math.abs(v)}\u00a0${unit}`;

export default { render({ model, el }) {
  const { index, weights, linear: laws, seconds } = model.get("data");
  const start = { slope: 6, mass: 0.5, strength: 10, rival: "no memory" };
  const fig = figure(el, model, start, CSS), { state } = fig;
  const drivers = { lstm: policy(unpacked(index, weights.lstm), true), "no memory": policy(unpacked(index, weights.plain), false),
    ...Object.fromEntries(Object.entries(laws).map(([name, K]) => [name, linear(K)])) };
  let carts, t, ends;
  /** @returns {[number, number, number]} */
  const task = () => [(state.slope * Math.PI) / 180, state.mass, state.strength];
  const begin = () => {
    t = 0;
    ends = Math.round(seconds / DT);
    const s = [0.6, 0, task()[0] + 0.05, 0];
    carts = ["lstm", state.rival].map((name) => ({ name, s, u: 0, drive: drivers[name](), path: [s[0]] }));
  };
  const fallen = ({ s }) => Math.abs(s[2] - task()[0]) > FALLEN;
  const one = () => {
    for (const cart of carts) {
      if (!cart.down) {
        cart.u = cart.drive(cart.s);
        cart.s = step(cart.s, cart.u, task());
        cart.down = fallen(cart);
      }
      cart.path.push(cart.s[0]);
    }
    t += 1;
  };
  const tick = () => { // two actions a frame
    one();
    one();
    return t < ends;
  };
  const longer = () => { ends = Math.max(ends, t + Math.round(seconds / DT / 2)); };
  const push = (by) => {
    for (const cart of carts) cart.s = cart.s.map((v, k) => (k === 1 ? v + by : v));
    longer();
  };

  const hand = make("div.f-bar", {}, el);
  slider(fig, hand, "slope", "slope", { min: -15, max: 15, show: (v) => signed(v, "°"), then: () => longer() });
  slider(fig, hand, "mass of the pole", "mass", { min: 0.1, max: 1.5, step: 0.1, show: (v) => `${v.toFixed(1)}\u00a0kg` });
  slider(fig, hand, "motor", "strength", { min: 4, max: 14, show: (v) => `${v}\u00a0N` });
  choice(fig, el, "the other driver", ["no memory", ...Object.keys(laws)].map((name) => [name, name]), "rival",
    { name: "Beside it:", then: () => { play.stop(); begin(); } });
  const acts = make("div.f-bar", { role: "group", "aria-label": "run" }, el);
  const play = player(fig, acts, 40, tick, () => { if (t >= ends) begin(); });
  button(fig, acts, "← Push", () => push(-1));
  button(fig, acts, "Push →", () => push(1));
  button(fig, acts, "Start again", () => { play.stop(); begin(); });
  const row = make("div.f-row", {}, el), scenes = ["blue", "orange"].map((colour) => {
    const box = make("div.rt-scene", {}, row), head = make("p.f-head", {}, box);
    return { colour, head, view: plot(fig, box, { x: [-2, 2], y: [-0.7, 1.3], height: 176, pad: [6, 4, 6, 4] }) };
  });
  const chart = plot(fig, make("div", {}, el), { x: [0, seconds], y: [-1.2, 1.2], height: 150, pad: [16, 90, 28, 40],
    label: "metres from the mark over time" });
  const said = live(el, 2);
  note(el, "Both carts start 0.6 m from the mark with everything still to be found out: they see where they are, how fast, and " +
    "the angle between pole and slope, not the slope itself, the mass or the motor. Change the slope while they drive. Pink: " +
    "the force.");

  const drawn = ({ view, colour }, { s, u, down }) => {
    const [slope] = task(), [x, , angle] = s, c = Math.cos(slope), d = Math.sin(slope);
    const scale = (view.X(1) - view.X(0)) || 1, tall = 164 / scale;
    view.y = [-0.36 * tall, 0.64 * tall]; // a metre up is as long as a metre along
    const at = (along, up) => [along * c - up * d, along * d + up * c];
    view.clear();
    view.line([at(-4, 0), at(4, 0)], "grey", { width: 2 });
    view.line([at(0, -0.02), at(0, -0.16)], "ink", { width: 2 });
    view.text(at(0, -0.16), "mark", { anchor: "middle", dy: 13, colour: "soft" });
    const out = Math.abs(x) > 2.1;
    const place = clamp(x, -2.1, 2.1), box = [[-0.2, 0.07], [0.2, 0.07], [0.2, 0.21], [-0.2, 0.21]];
    view.fill(box.map(([a, b]) => at(place + a, b)), colour, out ? 0.3 : 0.85);
    for (const side of [-0.12, 0.12]) view.dot(at(place + side, 0.05), 0.05 * scale, "paper", { ring: "ink", width: 2 });
    const hinge = at(place, 0.18), lean = angle - slope; // from the vertical
    const tip = [hinge[0] + Math.sin(lean), hinge[1] + Math.cos(lean)];
    view.line([hinge, tip], down ? "grey" : "ink", { width: 5, "stroke-linecap": "round" });
    view.dot(hinge, 3.5, "paper", { ring: "ink", width: 1.5 });
    if (!down && Math.abs(u) > 0.02) { // the force, as an arrow
      const edge = place + 0.22 * Math.sign(u);
      view.line([at(edge, 0.14), at(edge + 0.9 * u, 0.14)], "pink", { width: 3 });
      view.dot(at(edge + 0.9 * u, 0.14), 4, "pink");
    }
    put(view.svg, { "aria-label": down ? "the pole has fallen" : `the cart is ${x.toFixed(2)} m from the mark` });
  };

  begin();
  return fig.start(() => {
    if (carts[1].name !== state.rival) begin();
    scenes.forEach((scene, k) => {
      scene.head.textContent = k ? `${state.rival[0].toUpperCase()}${state.rival.slice(1)}` : "LSTM";
      drawn(scene, carts[k]);
    });
    const from = Math.max(0, t * DT - seconds);
    chart.x = [from, from + seconds];
    chart.clear();
    chart.axes({ x: [0, 1, 2, 3].map((k) => [from + (k * seconds) / 3, `${(from + (k * seconds) / 3).toFixed(0)} s`]),
      y: [-1, 0, 1], yname: "metres from the mark" });
    carts.forEach(({ path, s, down }, k) => {
      const points = path.map((x, i) => [i * DT, clamp(x, -1.2, 1.2)]).filter(([time]) => time >= from);
      chart.line(points, scenes[k].colour, k ? { dash: "6 3" } : {});
      const y = clamp(s[0], -1.15, 1.15), other = carts[1 - k].s[0];
      const off = Math.abs(y - clamp(other, -1.15, 1.15)) < 0.25 ? (y > other || (y === other && !k) ? -8 : 9) : 0;
      chart.text([points[points.length - 1][0], y], k ? "other" : "LSTM",
        { colour: `${scenes[k].colour}-text`, dx: 6, dy: 4 + off });
      scenes[k].view.svg.setAttribute("data-state", s.map((v) => v.toFixed(6)).join(" "));
      scenes[k].view.svg.setAttribute("data-down", String(Boolean(down)));
    });
    const words = carts.map(({ s, down }) => (down ? "has fallen" : `is ${Math.abs(s[0]).toFixed(2)} m from the mark`));
    said.textContent = `After ${(t * DT).toFixed(1)} s the LSTM ${words[0]}, ${state.rival} ${words[1]}.`;
  });
} };
