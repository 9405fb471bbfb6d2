// Conv4, the network of the book's pictures: four blocks of 3x3 convolution, batch norm, 2x2 max-pooling and ReLU. With
// running statistics it embeds; with those of the batch, and a linear layer on top, it is what MAML adapts.
import { batchNorm, batchNormBack, convolve, convolveBack, pool } from "./conv.js";
import { relu, softmax } from "./vectors.js";
import { matmul } from "./matmul.js";

// Maps of `batch` pictures [1][batch][side][side] after so many blocks, the first `pools` of which halve them; the
// convolutions have their batch norm folded in. Gives the maps and their side.
export const blocks = (convolutions, x, batch, side = 28, pools = 4) => {
  convolutions.forEach((layer, i) => {
    x = convolve(layer, x, batch, side);
    if (i < pools) {
      x = pool(x, side).y;
      side >>= 1;
    }
    x = relu(x);
  });
  return { maps: x, side };
};

// One vector a picture, from maps [channels][batch][1][1] or larger.
export const flattened = (maps, batch) => {
  const channels = maps.length / batch;
  const vector = (p) => Float32Array.from({ length: channels }, (_, c) => maps[c * batch + p]);
  return Array.from({ length: batch }, (_, p) => vector(p));
};

// ---- the network that MAML adapts: { convs: [{ weight, out }, ...], norms: [{ gamma, beta }, ...],
// head: { weight, bias } }. A convolution's bias has no say in front of a batch norm.

// Scores [ways][batch] of pictures [1][batch][28][28] in each other's company, and what `back` wants to know.
export const forward = (net, x, batch) => {
  const kept = [];
  let side = 28;
  net.convs.forEach((conv, i) => {
    const z = convolve({ ...conv, bias: null }, x, batch, side), { y, from } = pool(batchNorm(net.norms[i], z), side);
    kept.push({ x, z, y, from, side });
    x = relu(y);
    side >>= 1;
  });
  const { weight, bias } = net.head, ways = bias.length, scores = matmul(weight, x, ways, batch, x.length / batch);
  return { scores: scores.map((v, i) => v + bias[Math.floor(i / batch)]), z: x, kept };
};

// The gradient of the mean cross-entropy by every weight, in the shape of the net.
export const gradient = (net, x, labels) => {
  const batch = labels.length, { scores, z, kept } = forward(net, x, batch), ways = net.head.bias.length;
  const dscores = new Float32Array(scores.length), units = z.length / batch;
  labels.forEach((y, p) => softmax(Array.from({ length: ways }, (_, k) => scores[k * batch + p]))
    .forEach((v, k) => { dscores[k * batch + p] = (v - (k === y ? 1 : 0)) / batch; }));
  const bias = net.head.bias.map((_, k) => dscores.subarray(k * batch, (k + 1) * batch).reduce((a, b) => a + b, 0));
  const head = { weight: matmul(dscores, z, ways, units, batch, "b"), bias }, convs = [], norms = [];
  let dx = matmul(net.head.weight, dscores, units, batch, ways, "a");
  for (let i = 3; i >= 0; i--) {
    const layer = kept[i], dy = new Float32Array(layer.z.length);
    layer.from.forEach((from, at) => { if (layer.y[at] > 0) dy[from] = dx[at]; });
    const norm = batchNormBack(net.norms[i], layer.z, dy);
    const { dw, dx: below } = convolveBack(net.convs[i], layer.x, norm.dx, batch, layer.side, i > 0);
    norms.unshift({ gamma: norm.dgamma, beta: norm.dbeta });
    convs.unshift({ weight: dw });
    dx = below;
  }
  return { convs, norms, head };
};

// A step of gradient descent: another net, this one stays as it is.
export const descend = (net, x, labels, rate) => {
  const g = gradient(net, x, labels), less = (w, dw) => w.map((v, i) => v - rate * dw[i]);
  return {
    convs: net.convs.map((conv, i) => ({ ...conv, weight: less(conv.weight, g.convs[i].weight) })),
    norms: net.norms.map((norm, i) =>
      ({ gamma: less(norm.gamma, g.norms[i].gamma), beta: less(norm.beta, g.norms[i].beta) })),
    head: { weight: less(net.head.weight, g.head.weight), bias: less(net.head.bias, g.head.bias) },
  };
};
