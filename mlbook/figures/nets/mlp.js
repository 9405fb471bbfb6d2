// Linear layers and multi-layer perceptrons, weights as one list in torch's order (W1 by rows, b1, W2, b2, ...), and
// gradient descent on such a network, by hand.

// W x + b, where W [outputs, inputs] stands in `weights` from `at` on, and b, if there is one, behind it.
export const linear = (weights, at, inputs, outputs, x, bias = true) => {
  const y = new Float64Array(outputs);
  for (let i = 0; i < outputs; i++) {
    let total = bias ? weights[at + inputs * outputs + i] : 0;
    for (let j = 0, row = at + i * inputs; j < inputs; j++) total += weights[row + j] * x[j];
    y[i] = total;
  }
  return y;
};

// The activations of every layer, x first; ReLU between the layers of `sizes`.
export const layers = (weights, sizes, x) => {
  const all = [x];
  for (let l = 0, at = 0; l + 1 < sizes.length; l++) {
    const y = linear(weights, at, sizes[l], sizes[l + 1], all[l]);
    if (l + 2 < sizes.length) for (let i = 0; i < y.length; i++) if (y[i] < 0) y[i] = 0;
    all.push(y);
    at += (sizes[l] + 1) * sizes[l + 1];
  }
  return all;
};

export const mlp = (weights, sizes, x) => layers(weights, sizes, x).at(-1);

// The gradient of the mean squared error at points [x, y], of one input and one output.
export const gradient = (weights, sizes, points) => {
  const g = new Float64Array(weights.length), last = sizes.length - 2;
  const starts = sizes.slice(1).reduce((at, out, l) => [...at, at[l] + (sizes[l] + 1) * out], [0]);
  for (const [x, y] of points) {
    const h = layers(weights, sizes, [x]);
    let d = /** @type {any} */ ([(2 * (h[last + 1][0] - y)) / points.length]); // after the layer, from the last one back
    for (let l = last; l >= 0; l--) {
      const inputs = sizes[l], below = new Float64Array(inputs);
      for (let i = 0, row = starts[l]; i < d.length; i++, row += inputs) {
        if (d[i] === 0) continue;
        g[starts[l] + inputs * d.length + i] += d[i];
        for (let j = 0; j < inputs; j++) {
          g[row + j] += d[i] * h[l][j];
          if (h[l][j] > 0) below[j] += d[i] * weights[row + j];
        }
      }
      d = below;
    }
  }
  return g;
};

// One step of gradient descent on the mean squared error.
export const descend = (weights, sizes, points, rate) => {
  const g = gradient(weights, sizes, points);
  return weights.map((v, i) => v - rate * g[i]);
};
