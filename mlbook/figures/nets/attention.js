// Attention: a softmax of likenesses, and a mixture by it.
import { dot, softmax, sum } from "./vectors.js";

// The mixture of `values` [n][D] that a query [D] reads, each of the heads over its own share of the components:
// softmax(q k / sqrt(D / heads)).
export const attend = (query, keys, values, heads = 1) => {
  const D = query.length, d = D / heads, read = new Float64Array(D);
  for (let from = 0; from < D; from += d) {
    const q = query.slice(from, from + d);
    const weights = softmax(keys.map((k) => dot(q, k.slice(from, from + d))), 1 / Math.sqrt(d));
    weights.forEach((w, i) => {
      for (let j = from; j < from + d; j++) read[j] += w * values[i][j];
    });
  }
  return read;
};

// Attention weights added up by class: the answer of a Matching Network.
export const byClass = (weights, labels, ways) =>
  Array.from({ length: ways }, (_, k) => sum(weights.map((w, i) => (labels[i] === k ? w : 0))));
