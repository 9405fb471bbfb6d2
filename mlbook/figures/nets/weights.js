// Numbers out of text: what figures and the lab are given.

// The bytes of base64.
export const bytes = (text) => {
  const raw = atob(text), out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
};

// Signed bytes times a scale for each of the first dimension's entries (of one scale, if there is one number).
export const quantised = (text, scale) => {
  const q = new Int8Array(bytes(text).buffer), scales = [scale].flat(), each = q.length / scales.length;
  return Float32Array.from(q, (v, i) => v * scales[Math.floor(i / each)]);
};

// Half-precision numbers, two bytes each, as single ones.
export const halves = (buffer) => {
  const half = new Uint16Array(buffer), out = new Float32Array(half.length);
  const power = Array.from({ length: 32 }, (_, e) => 2 ** (e - 25));
  for (let i = 0; i < half.length; i++) {
    const exponent = (half[i] >> 10) & 31, fraction = half[i] & 1023;
    let size = exponent ? power[exponent] * (1024 + fraction) : power[1] * fraction;
    if (exponent === 31) size = fraction ? NaN : Infinity;
    out[i] = half[i] & 0x8000 ? -size : size;
  }
  return out;
};

// A state dict, { name: { shape, values } }, from its names and shapes in order and all numbers in half precision.
export const unpacked = (index, text) => {
  const all = halves(bytes(text).buffer);
  let at = 0;
  return Object.fromEntries(index.map(([name, shape]) => {
    const size = shape.reduce((a, b) => a * b, 1);
    return [name, { shape, values: all.subarray(at, (at += size)) }];
  }));
};
