// Elements of HTML and SVG by one function, and the small parts that figures are made of.

import { clamp } from "../nets/vectors.js";

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set("svg g path circle ellipse line polyline polygon rect text tspan clipPath defs".split(" "));

/** In JupyterLab keys on what has this are the figure's; arrows would move between cells, and two zeros restart the kernel. */
export const OWN_KEYS = { "data-lm-suppress-shortcuts": "true" };

/** Sets attributes; a function is a listener, null takes the attribute away.
 * @param {any} node @param {Record<string, any>} attributes */
export const put = (node, attributes) => {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (value === null) node.removeAttribute(key);
    else node.setAttribute(key, value);
  }
  return node;
};

/** An element: `make("div.f-row", { role: "group", click: act }, parent, "text")`. Classes stand in the tag; SVG is known
 * by its names. The last argument is a text, a node, or a list of both.
 * @param {string} tag @param {Record<string, any>} [attributes] @param {any} [parent] @param {any} [inside] @returns {any} */
export const make = (tag, attributes = {}, parent = null, inside = null) => {
  const [name, ...classes] = tag.split(".");
  const node = DRAWN.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  if (classes.length) node.setAttribute("class", classes.join(" "));
  if (name === "button") node.setAttribute("type", "button");
  if (/^(button|input|select)$/.test(name) || "tabindex" in attributes) put(node, OWN_KEYS);
  put(node, attributes);
  if (inside !== null) node.append(...[inside].flat());
  parent?.append(node);
  return node;
};

/** A sentence that is read aloud when it changes. */
export const live = (parent, lines = 2) =>
  make("p.f-said", { "aria-live": "polite", style: `min-height: ${1.45 * lines}em` }, parent);

/** What the figure is and how it is used, below it; read aloud when it changes if it is `spoken`. */
export const note = (parent, text, spoken = false) =>
  make("p.f-note", spoken ? { "aria-live": "polite" } : {}, parent, text);

/** A bar from 0 to 1: `set(share)` draws it. Colours are names of the palette. */
export const bar = (parent, colour, attributes = {}) => {
  const track = make("div.f-track", attributes, parent);
  const fill = make("div.f-fill", { style: `background: ${tone(colour)}` }, track);
  return { track, fill, set: (share) => { fill.style.width = `${(100 * clamp(share, 0, 1)).toFixed(2)}%`; } };
};

/** A name of the palette as a colour of CSS; anything else as it is. */
export const tone = (colour) => (/^(blue|orange|green|pink|amber|sky|grey|ink|paper|soft|line|line-2|wash)(-text)?$/.test(colour)
  ? `var(--${colour})` : colour);

export const CLASSES = ["blue", "orange", "green", "pink", "amber", "sky", "grey"];

/** 3 steps, 1 step. */
export const count = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

/** With a real minus sign. */
export const minus = (v) => String(v).replace("-", "−");
