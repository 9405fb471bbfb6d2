// Convolutional layers and their gradients. Maps are one Float32Array, channel by channel, within a channel picture by
// picture: [channels][batch][side][side].
import { matmul } from "./matmul.js";

// Where pixels and the 3x3 patches around them hold the same numbers: f(pixel, place in the patches, how many).
const overlap = (channels, batch, side, f) => {
  const area = side * side, positions = batch * area;
  for (let c = 0; c < channels; c++) for (let tap = 0; tap < 9; tap++) {
    const dy = Math.floor(tap / 3) - 1, dx = (tap % 3) - 1, left = Math.max(0, -dx), n = side - Math.abs(dx);
    for (let p = 0; p < batch; p++) for (let i = Math.max(0, -dy); i < side - Math.max(0, dy); i++) {
      const row = p * area + i * side + left;
      f(c * positions + row + dy * side + dx, (9 * c + tap) * positions + row, n);
    }
  }
};

// The 3x3 patches around every pixel, zeros beyond the border: [9 channels][batch * side * side].
const patches = (x, channels, batch, side) => {
  const out = new Float32Array(9 * x.length);
  overlap(channels, batch, side, (pixel, patch, n) => {
    for (let j = 0; j < n; j++) out[patch + j] = x[pixel + j];
  });
  return out;
};

// The other way round: what all patches say about a pixel, added up.
const unpatched = (columns, channels, batch, side) => {
  const x = new Float32Array(columns.length / 9);
  overlap(channels, batch, side, (pixel, patch, n) => {
    for (let j = 0; j < n; j++) x[pixel + j] += columns[patch + j];
  });
  return x;
};

// A 3x3 convolution with a border of zeros; layer: { weight [out][in][3][3], bias [out] or none, out }.
export const convolve = ({ weight, bias, out }, x, batch, side) => {
  const positions = batch * side * side, channels = x.length / positions;
  const y = matmul(weight, patches(x, channels, batch, side), out, positions, 9 * channels);
  if (bias) for (let o = 0; o < out; o++) for (let i = o * positions; i < (o + 1) * positions; i++) y[i] += bias[o];
  return y;
};

// From the gradient dy by the outputs: those by the weights and, if `deeper`, by x.
export const convolveBack = ({ weight, out }, x, dy, batch, side, deeper = true) => {
  const positions = batch * side * side, channels = x.length / positions, k = 9 * channels;
  const dw = matmul(dy, patches(x, channels, batch, side), out, k, positions, "b");
  return { dw, dx: deeper ? unpatched(matmul(weight, dy, k, positions, out, "a"), channels, batch, side) : null };
};

// 2x2 max-pooling, which leaves out the last row and column of an odd side. `from` says where each number stood.
export const pool = (x, side) => {
  const half = side >> 1, maps = x.length / (side * side), y = new Float32Array(maps * half * half);
  const from = new Int32Array(y.length);
  for (let m = 0, at = 0; m < maps; m++) for (let i = 0; i < half; i++) for (let j = 0; j < half; j++, at++) {
    const corner = (m * side + 2 * i) * side + 2 * j;
    let best = x[corner + 1] > x[corner] ? corner + 1 : corner;
    if (x[corner + side] > x[best]) best = corner + side;
    if (x[corner + side + 1] > x[best]) best = corner + side + 1;
    y[at] = x[best];
    from[at] = best;
  }
  return { y, from };
};

// Mean and variance of every channel.
export const statistics = (x, channels) => {
  const n = x.length / channels, mean = new Float64Array(channels), variance = new Float64Array(channels);
  for (let c = 0; c < channels; c++) {
    for (let i = c * n; i < (c + 1) * n; i++) mean[c] += x[i] / n;
    for (let i = c * n; i < (c + 1) * n; i++) variance[c] += (x[i] - mean[c]) ** 2 / n;
  }
  return { mean, variance };
};

// Batch norm by the statistics that it is given, those of x itself if it is given none; norm: { gamma, beta }.
export const batchNorm = ({ gamma, beta }, x, { mean, variance } = statistics(x, gamma.length), epsilon = 1e-5) => {
  const n = x.length / gamma.length, y = new Float32Array(x.length);
  for (let c = 0; c < gamma.length; c++) {
    const scale = gamma[c] / Math.sqrt(variance[c] + epsilon), shift = beta[c] - mean[c] * scale;
    for (let i = c * n; i < (c + 1) * n; i++) y[i] = x[i] * scale + shift;
  }
  return y;
};

// The gradients of batch norm by the statistics of x itself.
export const batchNormBack = ({ gamma }, x, dy, epsilon = 1e-5) => {
  const n = x.length / gamma.length, { mean, variance } = statistics(x, gamma.length);
  const dx = new Float32Array(x.length), [dgamma, dbeta] = [0, 1].map(() => new Float32Array(gamma.length));
  for (let c = 0; c < gamma.length; c++) {
    const rate = 1 / Math.sqrt(variance[c] + epsilon);
    let straight = 0, along = 0;
    for (let i = c * n; i < (c + 1) * n; i++) {
      straight += dy[i];
      along += dy[i] * (x[i] - mean[c]) * rate;
    }
    for (let i = c * n; i < (c + 1) * n; i++)
      dx[i] = gamma[c] * rate * (dy[i] - straight / n - ((x[i] - mean[c]) * rate * along) / n);
    dgamma[c] = along;
    dbeta[c] = straight;
  }
  return { dx, dgamma, dbeta };
};

// A convolution that does what it did and the batch norm behind it did by running statistics.
export const folded = ({ weight, bias, out }, { gamma, beta }, { mean, variance }, epsilon = 1e-5) => {
  const each = weight.length / out, scale = gamma.map((g, o) => g / Math.sqrt(variance[o] + epsilon));
  return { out, weight: weight.map((w, i) => w * scale[Math.floor(i / each)]),
    bias: beta.map((b, o) => b + ((bias ? bias[o] : 0) - mean[o]) * scale[o]) };
};
