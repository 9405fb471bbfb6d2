// The memory of a MANN (Santoro et al., 2016), from the keys and gates of its controller.
import { norm, softmax, sum } from "./vectors.js";

// All steps of a sequence. k: [step][head][width], a: [step][head] gates in (0, 1), slots: rows of the memory, gamma:
// what is left of the usage after a step, scale: sharpness of reading. A step has, row by row, `before` (the usage that
// it finds), `least` used and `wiped` rows, `written` and `read` (weights, added up over heads), the `memory` after
// writing, `origin` (what of each row was written when), and `r`, what was read, head after head.
export const remember = ({ k, a, slots, gamma }, scale) => {
  const heads = k[0].length, width = k[0][0].length, steps = k.length;
  const zeros = (n) => new Array(n).fill(0), over = (list, i) => sum(list.map((w) => w[i]));
  let memory = Array.from({ length: slots }, () => zeros(width)), reading = a[0].map(() => zeros(slots));
  let usage = Array.from({ length: slots }, (_, i) => 1e-4 * i), origin = memory.map(() => zeros(steps));
  return k.map((keys, t) => {
    const before = usage, sorted = [...usage].sort((p, q) => p - q);
    const least = usage.map((u) => (u <= sorted[heads - 1] ? 1 : 0)), wiped = usage.map((u) => u <= sorted[0]);
    const writing = a[t].map((gate, h) => least.map((lu, i) => gate * reading[h][i] + (1 - gate) * lu));
    memory = memory.map((row, i) =>
      row.map((m, j) => (wiped[i] ? 0 : m) + sum(keys.map((key, h) => writing[h][i] * key[j]))));
    origin = origin.map((row, i) => row.map((o, s) => (s === t ? over(writing, i) : wiped[i] ? 0 : o)));
    reading = keys.map((key) => softmax(memory.map((row) => cosine(key, row)), scale));
    const r = reading.flatMap((w) => memory[0].map((_, j) => sum(w.map((v, i) => v * memory[i][j]))));
    usage = before.map((u, i) => gamma * u + over(reading, i) + over(writing, i));
    return { before, least, wiped, memory, origin, r,
      written: before.map((_, i) => over(writing, i)), read: before.map((_, i) => over(reading, i)) };
  });
};

// Of a key and a row of the memory, which may be empty.
const cosine = (key, row) => {
  let product = 0, square = 1e-6;
  for (let j = 0; j < row.length; j++) {
    product += row[j] * key[j];
    square += row[j] ** 2;
  }
  return product / (norm(key) * Math.sqrt(square));
};
