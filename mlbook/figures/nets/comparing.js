// How the metric-based methods compare.
import { dot, norm, sigmoid, squaredDistance, sum } from "./vectors.js";

// From an embedding to a prototype: "squared", the paper's, "euclidean" or "cosine".
export const distance = (z, c, kind) => {
  if (kind === "squared") return squaredDistance(z, c);
  if (kind === "euclidean") return Math.sqrt(squaredDistance(z, c));
  const lengths = norm(z) * norm(c);
  return lengths < 1e-9 ? 1 : 1 - dot(z, c) / lengths;
};

// A Siamese network's parts of u, alpha_j |h1_j - h2_j| each; with b they add up to u, and p = sigmoid(u).
export const alike = (alpha, b, one, two) => {
  const parts = Array.from(alpha, (w, j) => w * Math.abs(one[j] - two[j])), u = b + sum(parts);
  return { parts, u, p: sigmoid(u) };
};

// The most that a mixture by cosines between 0 and 1 can give one of so many classes.
export const mostCertain = (ways, scale) => 1 / (1 + (ways - 1) * Math.exp(-scale));

// The prototype of a description: the rows of a first layer that its parts choose, added up, ReLU, a second layer.
export const described = ({ bias1, weight2, bias2 }, parts) => {
  const h = bias1.map((b, j) => b + sum(parts.map((row) => row[j])));
  return bias2.map((b, d) => {
    let total = b;
    for (let j = 0; j < h.length; j++) if (h[j] > 0) total += weight2[d * h.length + j] * h[j];
    return total;
  });
};
