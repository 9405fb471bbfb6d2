// An in-context transformer, in the order of its Python file: support tokens read each other, queries read them.
import { layerNorm } from "./vectors.js";
import { attend } from "./attention.js";
import { linear } from "./mlp.js";

// By a series of positive terms, to the last digit.
export const erf = (x) => {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x, total = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(total); n++) total += term *= (2 * x * x) / (2 * n + 1);
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * total;
};

export const gelu = (x) => x.map((v) => (v / 2) * (1 + erf(v * Math.SQRT1_2)));

// A linear layer { weight, bias } of torch.
const apply = ({ weight, bias }, x) => {
  const y = linear(weight, 0, x.length, weight.length / x.length, x, false);
  return bias ? y.map((v, i) => v + bias[i]) : y;
};
const normal = ({ weight, bias }, x) => layerNorm(x, weight, bias);

// A token h after it has read the tokens s.
export const block = ({ norm1, norm2, match, value, out, up, down, heads }, h, s) => {
  const seen = s.map((token) => normal(norm1, token)), keys = seen.map((token) => apply(match, token));
  const read = attend(apply(match, normal(norm1, h)), keys, seen.map((token) => apply(value, token)), heads);
  const more = apply(out, read), after = Float64Array.from(h, (v, i) => v + more[i]);
  const last = apply(down, gelu(apply(up, normal(norm2, after))));
  return after.map((v, i) => v + last[i]);
};

// The support's tokens as each layer finds them, from normalised embeddings; example k is of class k.
export const read = ({ labels, blocks }, support) => {
  const memory = [support.map((z, k) => [...z, ...labels.slice(k * z.length, (k + 1) * z.length)])];
  for (const layer of blocks.slice(0, -1)) memory.push(memory.at(-1).map((h) => block(layer, h, memory.at(-1))));
  return memory;
};

// The logits of a normalised embedding that reads them; of all labels that there are vectors for.
export const answer = ({ blocks, norm, head }, memory, z) => {
  const q = blocks.reduce((h, layer, l) => block(layer, h, memory[l]), [...z, ...z.map(() => 0)]);
  return apply(head, normal(norm, q));
};
