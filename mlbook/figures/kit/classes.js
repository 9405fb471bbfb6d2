// Three classes in a plane: their marks, a classifier's answer as a tint, and the borders between nearest means.

import { make, tone } from "./elements.js";
import { handle, outline } from "./plot.js";
import { paint } from "./ink.js";
import { rgb } from "./theme.js";
import { sum } from "../nets/vectors.js";

export const ABC = [["A", "blue", "circle"], ["B", "orange", "square"], ["C", "green", "triangle"]];

/** The support examples [class][shot] of a plane as points to move; `most` a class can be there. `moved` is called then. */
export const examples = (fig, p, support, most, moved = () => {}) => ABC.forEach(([name, colour, shape], k) => {
  for (let i = 0; i < most; i++) {
    handle(fig, p, { get: () => support()[k][i] ?? null, set: (z) => { support()[k][i] = p.inside(z); moved(); },
      label: (x, y) => `support example ${i + 1} of class ${name}, at ${x.toFixed(1)}, ${y.toFixed(1)}`,
      paint: (g) => make("path", { d: outline(shape, 7), stroke: "var(--paper)", "stroke-width": 1.5, fill: tone(colour) }, g) });
  }
});

/** The middles of the cells of a plane, row by row from the top. */
export const cells = (p, columns) => {
  const rows = Math.round((columns * p.height) / p.width), [w, h] = [p.x[1] - p.x[0], p.y[1] - p.y[0]];
  return Array.from({ length: rows * columns }, (_, n) =>
    [p.x[0] + (((n % columns) + 0.5) / columns) * w, p.y[1] - ((Math.floor(n / columns) + 0.5) / rows) * h]);
};

/** Tints the plane: every cell in the mixture of the classes' colours, stronger where one class is sure. */
export const tint = (fig, p, columns, probabilities) => {
  const inks = ABC.map(([, colour]) => rgb(fig.el, colour)), rows = probabilities.length / columns;
  const alpha = probabilities.map((share) => 255 * (0.05 + 0.5 * (Math.max(...share) - 1 / 3)));
  paint(p.canvas, alpha, columns, rows, (n) => [0, 1, 2].map((i) => sum(probabilities[n].map((v, k) => v * inks[k][i]))));
};

/** The borders of the regions where c_k · z + bias_k is the largest of three, as a path: straight lines, each kept where the
 * third is no larger. */
export const borders = (p, c, bias) => [[0, 1, 2], [0, 2, 1], [1, 2, 0]].map(([i, j, k]) => {
  const line = (m, n) => [c[m][0] - c[n][0], c[m][1] - c[n][1], bias[m] - bias[n]];
  const [a, b, e] = line(i, j), norm = a * a + b * b;
  if (norm < 1e-12) return "";
  const start = [(-e * a) / norm, (-e * b) / norm], along = [-b, a], end = (t) => p.spot(start.map((v, n) => v + t * along[n]));
  let low = -1e4, high = 1e4;
  for (const [u, v, w] of [line(i, k), [1, 0, -p.x[0]], [-1, 0, p.x[1]], [0, 1, -p.y[0]], [0, -1, p.y[1]]]) {
    // where u x + v y + w >= 0
    const slope = u * along[0] + v * along[1], value = u * start[0] + v * start[1] + w;
    if (slope > 1e-12) low = Math.max(low, -value / slope);
    else if (slope < -1e-12) high = Math.min(high, -value / slope);
    else if (value < 0) high = -Infinity;
  }
  return low < high ? `M${end(low)}L${end(high)}` : "";
}).join("");
