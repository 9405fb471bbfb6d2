// A HyperNetwork in the order of its Python file: the support set in, the weights of a classifier out.
import { average, dot, layerNorm, relu } from "./vectors.js";
import { linear, mlp } from "./mlp.js";

// The layer-normalised embedding of x by an MLP; norm: its weights, then its biases.
export const embedding = ({ embed, sizes, norm }, x) => {
  const D = sizes.at(-1);
  return layerNorm(mlp(embed, sizes, x), norm.slice(0, D), norm.slice(D));
};

// w_k and then b_k of every class, D + 1 numbers in a row, from embedded support examples [class][shot][D].
export const emit = ({ phi, rho, hidden }, support) => {
  const D = support[0][0].length;
  const own = support.map((some) => average(some.map((z) => relu(linear(phi, 0, D, hidden, z)))));
  const task = average(own);
  return own.map((r) => {
    const inner = relu(linear(rho, 0, 2 * hidden, hidden, [...r, ...task]));
    return linear(rho, (2 * hidden + 1) * hidden, hidden, D + 1, inner, false);
  });
};

// The scores of an embedded query by emitted weights.
export const scores = (emitted, z) => emitted.map((w) => dot(z, w) + w[z.length]);
