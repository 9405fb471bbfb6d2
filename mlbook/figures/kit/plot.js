// A plot in units of its data: limits, axes, curves, and points that a hand can move. Drawn in pixels of the screen, so that
// words keep their size on a phone.

import { make, put, tone, minus } from "./elements.js";
import { clamp } from "../nets/vectors.js";

const MOVES = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const SHORT = {
  width: "stroke-width", dash: "stroke-dasharray", size: "font-size", weight: "font-weight", anchor: "text-anchor",
};
const long = (attributes) => Object.fromEntries(Object.entries(attributes).map(([key, v]) => [SHORT[key] || key, v]));

/** A plot below `parent`. `x` and `y` are its limits, `pad` what is left free above, right, below and left, in pixels; its
 * height is `height` pixels or `ratio` times its width. With `framed` it is a plane with a border, and has a canvas below
 * with `canvas`. What is drawn goes to the layer `ink`; handles lie above. */
export const plot = (fig, parent, options) => {
  const { label = "", role = "img", ratio = 0, height = 220, pad = [14, 12, 26, 34], framed = false, looks = "" } = options;
  const box = make(`div.f-plot${framed ? ".f-framed" : ""}${looks && `.${looks}`}`, {}, parent);
  const canvas = options.canvas ? make("canvas", { "aria-hidden": "true" }, box) : null;
  const svg = make("svg", { role, "aria-label": label }, box), ink = make("g", { "pointer-events": "none" }, svg);
  const p = {
    box, svg, canvas, ink, handles: make("g", {}, svg), x: options.x, y: options.y, width: 0, height: 0,
    X: (v) => pad[3] + ((v - p.x[0]) / (p.x[1] - p.x[0])) * (p.width - pad[1] - pad[3]),
    Y: (v) => p.height - pad[2] - ((v - p.y[0]) / (p.y[1] - p.y[0])) * (p.height - pad[0] - pad[2]),
    /** Where a pointer is, in units of the data. */
    at: (event) => {
      const r = svg.getBoundingClientRect();
      const across = ((event.clientX - r.left) / r.width) * p.width, down = ((event.clientY - r.top) / r.height) * p.height;
      return [p.x[0] + ((across - pad[3]) / (p.width - pad[1] - pad[3])) * (p.x[1] - p.x[0]),
        p.y[0] + ((p.height - pad[2] - down) / (p.height - pad[0] - pad[2])) * (p.y[1] - p.y[0])];
    },
    /** Within the limits, and `by` of the data's units away from them. */
    inside: ([x, y], by = 0.1) => [clamp(x, p.x[0] + by, p.x[1] - by), clamp(y, p.y[0] + by, p.y[1] - by)],
    clear: () => ink.replaceChildren(),
    /** "x y" in pixels; what is far outside or no number lies far outside. */
    spot: (/** @type {number[]} */ [x, y]) =>
      [p.X(x), p.Y(y)].map((v) => clamp(Number.isNaN(v) ? -1e4 : v, -1e4, 1e4).toFixed(1)).join(" "),
    path: (points) => `M${points.map(p.spot).join("L")}`,
    draw: (d, colour, attributes = {}) =>
      make("path", { d, fill: "none", "stroke-width": 2, style: `stroke: ${tone(colour)}`, ...long(attributes) }, ink),
    line: (points, colour, attributes = {}) => p.draw(p.path(points), colour, { "stroke-linejoin": "round", ...attributes }),
    fill: (points, colour, opacity) =>
      make("path", { d: `${p.path(points)}Z`, style: `fill: ${tone(colour)}; opacity: ${opacity}` }, ink),
    dot: (point, r, colour, attributes = {}) => make("circle", { r, transform: `translate(${p.spot(point)})`,
      style: `fill: ${tone(colour)}${attributes.ring ? `; stroke: ${tone(attributes.ring)}` : ""}`, ...long(attributes) }, ink),
    /** A mark by its outline around (0, 0). */
    mark: (point, d, colour, attributes = {}) => make("path", { d, transform: `translate(${p.spot(point)})`,
      style: `fill: ${tone(colour)}${attributes.ring ? `; stroke: ${tone(attributes.ring)}` : ""}`, ...long(attributes) }, ink),
    /** A word at a point; dx and dy move it, in pixels.
     * @param {number[]} at @param {string} words @param {Record<string, any>} [look] */
    text: ([x, y], words, { colour = "ink", dx = 0, dy = 0, ...more } = {}) => make("text", { x: (p.X(x) + dx).toFixed(1),
      y: (p.Y(y) + dy).toFixed(1), style: `fill: ${tone(colour)}`, ...long(more) }, ink, words),
    /** Numbers along the axes: { x: [1, 2], y: [[0, "none"], 1], xname, yname, grid }. */
    axes: ({ x = [], y = [], xname = "", yname = "", grid = true }) => {
      const [left, bottom] = [p.x[0], p.y[0]], end = { anchor: "middle", colour: "soft", dy: 17 };
      const both = (ticks) => ticks.map((tick) => (Array.isArray(tick) ? tick : [tick, minus(tick)]));
      for (const [v, words] of both(y)) {
        if (grid) p.line([[left, v], [p.x[1], v]], "line-2", { width: 0.7 });
        p.text([left, v], words, { colour: "soft", anchor: "end", dx: -6, dy: 4 });
      }
      for (const [v, words] of both(x)) p.text([v, bottom], words, end);
      p.line([[left, bottom], [p.x[1], bottom]], "grey", { width: 1 });
      if (xname) p.text([(left + p.x[1]) / 2, bottom], xname, { ...end, dy: 17 + (options.xnameBelow ?? 0) });
      if (yname) p.text([left, p.y[1]], yname, { dx: 4 - pad[3], dy: -pad[0] + 12 });
    },
    /** Calls `f([x, y])` where the plane is clicked or tapped, beside the handles. */
    onClick: (f) => svg.addEventListener("click", (event) => { f(p.at(event)); fig.draw(); }),
  };
  const measure = () => {
    const width = box.clientWidth || p.width || 320;
    if (width === p.width) return false;
    p.width = width;
    p.height = Math.round(ratio ? width * ratio * (width < 420 && framed ? 1.1 : 1) : height);
    put(svg, { viewBox: `0 0 ${width} ${p.height}`, style: `height: ${p.height}px` });
    options.resized?.(p);
    return true;
  };
  const watch = new ResizeObserver(() => { if (measure()) fig.draw(); });
  watch.observe(box);
  fig.clean(() => watch.disconnect());
  measure();
  return p;
};

/** A point that mouse, finger and arrow keys move. `get()` says where it is, or null while it is not there; `set([x, y])`
 * moves it; `paint(g)` draws it around (0, 0); `label()` names it; `keys` are further keys: { Delete: act }; `nudge(dx, dy, far)`
 * takes the arrow keys in place of steps of `step`.
 * @param {any} fig @param {any} p @param {Record<string, any>} options */
export const handle = (fig, p, { get, set, paint, label, r = 13, step = 0.1, keys = {}, nudge = null }) => {
  const g = make("g.f-handle", { tabindex: 0, role: "group", "aria-roledescription": "movable point" }, p.handles);
  make("circle", { r: 18, fill: "transparent" }, g);
  paint(g);
  make("circle.f-focus", { r }, g);
  let held = false;
  const act = (event, f) => { event.preventDefault(); event.stopPropagation(); f(); fig.draw(); };
  put(g, {
    pointerdown: (event) => {
      held = true;
      g.setPointerCapture(event.pointerId);
      event.preventDefault();
      g.focus({ preventScroll: true });
    },
    pointermove: (event) => { if (held) act(event, () => set(p.at(event))); },
    pointerup: () => { held = false; },
    pointercancel: () => { held = false; },
    click: (event) => event.stopPropagation(),
    dblclick: (event) => { if (keys.Delete) act(event, keys.Delete); },
    keydown: (event) => {
      const move = MOVES[event.key], far = event.shiftKey ? 4 : 1;
      if (keys[event.key]) act(event, keys[event.key]);
      else if (move && nudge) act(event, () => nudge(...move, far));
      else if (move) act(event, () => set(get().map((v, i) => v + far * step * move[i])));
    },
  });
  fig.follow(() => {
    const at = get();
    g.style.display = at ? "" : "none";
    put(g, { tabindex: at ? 0 : -1 });
    if (at) put(g, { transform: `translate(${p.spot(at)})`, "aria-label": label(...at) });
  });
  return g;
};

/** The outline of a mark of radius r around (0, 0). */
export const outline = (shape, r) => ({
  circle: `M${-r} 0A${r} ${r} 0 1 1 ${r} 0A${r} ${r} 0 1 1 ${-r} 0Z`,
  square: `M${-0.9 * r} ${-0.9 * r}H${0.9 * r}V${0.9 * r}H${-0.9 * r}Z`,
  triangle: `M0 ${-1.2 * r}L${1.1 * r} ${0.8 * r}H${-1.1 * r}Z`,
  diamond: `M0 ${-r}L${r} 0L0 ${r}L${-r} 0Z`,
  cross: `M${-r} ${-r}L${r} ${r}M${-r} ${r}L${r} ${-r}`,
})[shape];
