// Numbers out of text: what figures and the lab are given.

// The bytes of base64.
export const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

// Signed bytes times a scale for each of the first dimension's entries (of one scale, if there is one number).
export const quantised = (text, scale) => {
  const q = new Int8Array(bytes(text).buffer), scales = [scale].flat(), each = q.length / scales.length;
  return Float32Array.from(q, (v, i) => v * scales[Math.floor(i / each)]);
};

// Half-precision numbers, two bytes each, as single ones.
export const halves = (buffer) => Float32Array.from(new Uint16Array(buffer), (h) => {
  const sign = h & 0x8000 ? -1 : 1, exponent = (h >> 10) & 31, fraction = h & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
});

// A state dict, { name: { shape, values } }, from its names and shapes in order and all numbers in half precision.
export const unpacked = (index, text) => {
  const all = halves(bytes(text).buffer);
  let at = 0;
  return Object.fromEntries(index.map(([name, shape]) => {
    const size = shape.reduce((a, b) => a * b, 1);
    return [name, { shape, values: all.subarray(at, (at += size)) }];
  }));
};
