// Small mathematics on vectors, which are lists of numbers or typed arrays: what every network here is made of.

export const sum = (x) => x.reduce((a, b) => a + b, 0);

export const dot = (a, b) => {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i] * b[i];
  return total;
};

export const squaredDistance = (a, b) => {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += (a[i] - b[i]) ** 2;
  return total;
};

export const norm = (x) => Math.sqrt(dot(x, x));

// Of length 1; a vector of zeros stays one.
export const unit = (x) => {
  const length = norm(x) || 1;
  return x.map((v) => v / length);
};

export const average = (vectors) =>
  vectors[0].map((_, i) => vectors.reduce((total, v) => total + v[i], 0) / vectors.length);

export const median = (values) => {
  const v = [...values].sort((a, b) => a - b), m = v.length >> 1;
  return v.length % 2 ? v[m] : (v[m - 1] + v[m]) / 2;
};

export const argmax = (x) => x.indexOf(Math.max(...x));

export const clamp = (v, low, high) => Math.max(low, Math.min(high, v));

export const relu = (x) => x.map((v) => (v > 0 ? v : 0));

export const sigmoid = (x) => 1 / (1 + Math.exp(-x));

// log(1 + e^x), and x itself where the two are the same number.
export const softplus = (x) => (x > 30 ? x : Math.log1p(Math.exp(x)));

// Of scale times x; the largest is taken off first, so that nothing overflows.
export const softmax = (x, scale = 1) => {
  let top = -Infinity;
  for (const v of x) top = Math.max(top, scale * v);
  const e = Array.from(x, (v) => Math.exp(scale * v - top)), total = sum(e);
  return e.map((v) => v / total);
};

// Mean 0 and variance 1, then weight and bias of every component.
export const layerNorm = (x, weight, bias, epsilon = 1e-5) => {
  const mean = sum(x) / x.length;
  const spread = Math.sqrt(x.reduce((a, v) => a + (v - mean) ** 2, 0) / x.length + epsilon);
  return x.map((v, i) => ((v - mean) / spread) * weight[i] + bias[i]);
};
