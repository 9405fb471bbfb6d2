// Layers with slow and fast weights (Meta Networks: Munkhdalai & Yu, 2017).
import { dot, softmax, unit } from "./vectors.js";
import { linear } from "./mlp.js";

// Two layers without biases, the hidden one the sum of both ReLUs: what comes out by slow weights, and by fast ones.
export const augmented = (x, slow, fast, hidden, outputs) => {
  const times = (w) => linear(w, 0, x.length, hidden, x, false), quick = times(fast);
  const h = times(slow).map((v, i) => Math.max(v, 0) + Math.max(quick[i], 0));
  return [slow, fast].map((w) => linear(w, hidden * x.length, hidden, outputs, h, false));
};

// The key of an embedding: of length 1, by the slow and the fast weights of u.
export const represent = (x, slow, fast, hidden) => {
  const [a, b] = augmented(x, slow, fast, hidden, slow.length / hidden - x.length);
  return unit(a.map((v, i) => v + b[i]));
};

// The scores of a query z with the key r: attention over the support's keys mixes the rows of the memory into the fast
// weights that b, the base learner, gets with its slow ones, W.
export const recall = (W, hidden, keys, memory, r, z, sharpness = 1, strength = 1) => {
  const attention = softmax(keys.map((key) => dot(key, r)), sharpness);
  const read = new Float64Array(W.length);
  attention.forEach((a, i) => { for (let j = 0; j < read.length; j++) read[j] += strength * a * memory[i][j]; });
  const [slow, quick] = augmented(z, W, read, hidden, W.length / hidden - z.length);
  return { attention, read, slow, quick, scores: slow.map((v, k) => v + quick[k]) };
};
