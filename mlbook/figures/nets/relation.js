// A Relation Network: feature maps of two pictures in, how related they are out. Batch norm is folded into the weights.
import { convolve, pool } from "./conv.js";
import { blocks } from "./conv4.js";
import { relu, sigmoid } from "./vectors.js";
import { linear } from "./mlp.js";

// The maps [64][7][7] of one picture of 28x28; net: { f1, f2, f3, f4, s, q, g2, hidden, out }.
export const embed = (net, x) => blocks([net.f1, net.f2, net.f3, net.f4], x, 1, 28, 2).maps;

// A map's half of the first convolution of a pair, net.s for a class and net.q for a query.
export const half = (layer, maps, side = 7) => convolve(layer, maps, 1, side);

// The score in [0, 1] of both halves added up, and the maps on the way.
export const relate = ({ g2, hidden, out }, a, b, side = 7) => {
  const first = relu(pool(a.map((v, i) => v + b[i]), side).y);
  const second = relu(pool(convolve(g2, first, 1, side >> 1), side >> 1).y);
  const layer = ({ weight, bias }, x) => linear(weight, 0, x.length, bias.length, x, false).map((v, i) => v + bias[i]);
  const [logit] = layer(out, relu(layer(hidden, second)));
  return { first, second, score: sigmoid(logit) };
};
