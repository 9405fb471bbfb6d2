// Buttons, sliders and choices. Each is bound to a property of the figure's state, and brings itself up to date.

import { make, put } from "./elements.js";
import { clamp } from "../nets/vectors.js";

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/** Does something and draws. @param {Record<string, any>} [attributes] */
export const button = (fig, parent, text, act, attributes = {}) =>
  make("button", { click: () => { act(); fig.draw(); }, ...attributes }, parent, text);

/** A slider over state[key], or its power of ten with `log`. `show` says a value in words, `then` is called after a change.
 * The label may hold <i>; `name` is what is read aloud in its place. */
export const slider = (fig, parent, label, key, options) => {
  const { min, max, step = 1, log = false, show = String, name = label.replace(/<[^>]*>/g, ""), then = null } = options;
  const box = make("label", {}, parent);
  box.insertAdjacentHTML("beforeend", `<span>${label}</span>`);
  const input = make("input", { type: "range", min, max, step, "aria-label": name, "data-set": key }, box);
  const output = make("output", {}, box);
  input.addEventListener("input", () => {
    fig.state[key] = log ? 10 ** Number(input.value) : Number(input.value);
    then?.(fig.state[key]);
    fig.draw();
  });
  fig.follow(() => {
    const value = fig.state[key], words = show(value);
    input.value = log ? Math.log10(value).toFixed(3) : value;
    output.value = words;
    put(input, { "aria-valuetext": words });
  });
  return input;
};

/** One of several values for state[key], each a button: [[value, text or node], ...]. Arrow keys go round.
 * `then(value)` is called after a change; `looks` is the class of the buttons, `columns` how many stand in a row of a grid. */
export const choice = (fig, parent, label, options, key, { then = null, looks = "", name = "", columns = 1 } = {}) => {
  const group = make("div.f-choice", { role: "group", "aria-label": label }, parent);
  if (name) make("span", {}, group, name);
  const take = (k) => {
    fig.state[key] = options[k][0];
    then?.(options[k][0]);
    fig.draw();
  };
  const buttons = options.map(([, inside], k) => make(`button${looks && `.${looks}`}`, {
    click: () => take(k),
    keydown: (event) => {
      const way = STEPS[event.key] * (/Up|Down/.test(event.key) ? columns : 1);
      if (!way) return;
      event.preventDefault();
      take((k + way + options.length) % options.length);
      buttons[options.findIndex(([value]) => value === fig.state[key])]?.focus();
    },
  }, group, inside));
  fig.follow(() => buttons.forEach((b, k) => put(b, { "aria-pressed": options[k][0] === fig.state[key] })));
  return Object.assign(group, { buttons });
};

/** A button that turns state[key] on and off. */
export const toggle = (fig, parent, text, key, then = null) => {
  const node = button(fig, parent, text, () => { fig.state[key] = !fig.state[key]; then?.(); });
  fig.follow(() => put(node, { "aria-pressed": Boolean(fig.state[key]) }));
  return node;
};

/** A number with a button on either side: "one shot fewer", "one shot more". `to(n, before)` does more than set it. */
export const stepper = (fig, parent, label, word, key, low, high, to = null) => {
  const group = make("div.f-choice", { role: "group", "aria-label": label }, parent), way = (by) => () => {
    const before = fig.state[key];
    fig.state[key] = clamp(before + by, low, high);
    to?.(fig.state[key], before);
  };
  make("span", {}, group, label);
  const fewer = button(fig, group, "−", way(-1), { "aria-label": `one ${word} fewer` });
  const shown = make("output", { style: "min-width: 1.4em; text-align: center", "aria-live": "polite" }, group);
  const more = button(fig, group, "+", way(1), { "aria-label": `one ${word} more` });
  fig.follow(() => {
    shown.value = fig.state[key];
    fewer.disabled = fig.state[key] <= low;
    more.disabled = fig.state[key] >= high;
  });
  return group;
};

/** A button that plays: `tick()` moves one frame on and says whether there is another, `first()` makes ready. It waits while
 * the figure is off the screen; for readers who want no motion it goes to the end at once. */
export const player = (fig, parent, every, tick, first = () => {}) => {
  let timer = null, seen = true;
  const stop = () => { clearInterval(timer); timer = null; };
  const eye = new IntersectionObserver(([entry]) => { seen = entry.isIntersecting; });
  eye.observe(fig.el);
  fig.clean(() => { stop(); eye.disconnect(); });
  const node = button(fig, parent, "Play", () => {
    if (timer) return stop();
    first();
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) { while (tick()); return null; }
    timer = setInterval(() => {
      if (!fig.el.isConnected) return stop();
      if (!seen) return null;
      if (!tick()) stop();
      return fig.draw();
    }, every);
    return null;
  });
  fig.follow(() => { node.textContent = timer ? "Pause" : "Play"; });
  return Object.assign(node, { stop });
};
