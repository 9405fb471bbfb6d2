// Pictures as ink: grey levels become opacity, so that a picture has the colour of the text and follows light and dark.

import { make } from "./elements.js";

export const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/** Pictures of `side` x `side` from base64: 2-bit grey levels, four a byte, or bytes. Each is a list of 0..255.
 * @param {string} text @param {number} side @param {2 | 8} [bits] */
export const pictures = (text, side, bits = 2) => {
  const raw = bytes(text), size = side * side, n = Math.floor((raw.length * 8) / bits / size);
  const level = (k) => (bits === 8 ? raw[k] : 85 * ((raw[k >> 2] >> (2 * (k & 3))) & 3));
  return Array.from({ length: n }, (_, i) => Uint8Array.from({ length: size }, (_, k) => level(i * size + k)));
};

/** A picture from one hexadecimal digit a pixel. */
export const fromHex = (digits) => Uint8Array.from(digits, (d) => 17 * parseInt(d, 16));

/** Pictures as base64 of 2-bit levels: what `pictures` reads. Good enough for a drawing in an address. */
export const pack = (picture) => {
  const out = new Uint8Array(Math.ceil(picture.length / 4));
  picture.forEach((v, k) => { out[k >> 2] |= Math.round(v / 85) << (2 * (k & 3)); });
  return btoa(String.fromCharCode(...out));
};

/** Paints `colour` [r, g, b] on a canvas, opaque as `alpha` (0..255) says; a picture smaller than the canvas is scaled. */
export const paint = (canvas, alpha, width, height, colour) => {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"), sheet = context.createImageData(width, height);
  for (let k = 0; k < width * height; k++) {
    sheet.data.set(typeof colour === "function" ? colour(k) : colour, 4 * k);
    sheet.data[4 * k + 3] = alpha[k];
  }
  context.putImageData(sheet, 0, 0);
};

const masks = new WeakMap();
const mask = (picture) => {
  if (!masks.has(picture)) {
    const canvas = document.createElement("canvas"), side = Math.round(Math.sqrt(picture.length));
    paint(canvas, picture, side, side, [0, 0, 0]);
    masks.set(picture, `url("${canvas.toDataURL()}")`);
  }
  return masks.get(picture);
};

/** Shows another picture, or none. */
export const show = (node, picture) => {
  node.style.maskImage = node.style.webkitMaskImage = picture ? mask(picture) : "linear-gradient(transparent, transparent)";
  return node;
};

/** A picture in the colour of the text around it; as wide as --tile. */
export const ink = (parent, picture = null) => show(make("span.f-ink", { "aria-hidden": "true" }, parent), picture);
