// The product of two matrices, which is where a network's time goes. Tiles of 4 x 8 numbers are added up by a loop of
// WebAssembly, four numbers an instruction; where a browser does not know these, by the same loop in JavaScript.

// That loop as a module of WebAssembly, put together by hand: tile(a, b, y, stride, end), from a (4 numbers a step) and
// b (8 numbers a step) to y, whose four rows are `stride` apart. All are addresses in bytes; `end` is where a ends.
const program = () => {
  const A = 0, B = 1, Y = 2, STRIDE = 3, END = 4, TILE = 5, X = 13, W = 15; // the locals, by number
  const get = (n) => [0x20, n], set = (n) => [0x21, n], move = (n, by) => [...get(n), ...by, 0x6a, ...set(n)];
  const rows = [0, 1, 2, 3], halves = [0, 1], part = (r, h) => TILE + 2 * r + h;
  const read = (h) => [...get(B), 0xfd, 0, 4, 16 * h, ...set(X + h)]; // v128.load
  const multiply = [0xfd, 0xe6, 1], plus = [0xfd, 0xe4, 1];
  const add = (r, h) => [...get(part(r, h)), ...get(W), ...get(X + h), ...multiply, ...plus, ...set(part(r, h))];
  const row = (r) => [...get(A), 0xfd, 9, 2, 4 * r, ...set(W), ...halves.flatMap((h) => add(r, h))]; // load32_splat
  const again = [...get(A), 0x41, 16, 0x6a, 0x22, A, ...get(END), 0x49, 0x0d, 0]; // while a + 16 < end
  const write = (r, h) => [...get(Y), ...get(part(r, h)), 0xfd, 11, 4, 16 * h]; // v128.store
  const store = (r) => [...halves.flatMap((h) => write(r, h)), ...move(Y, get(STRIDE))];
  const loop = [0x03, 0x40, ...halves.flatMap(read), ...rows.flatMap(row), ...move(B, [0x41, 32]), ...again, 0x0b];
  const body = [1, 11, 0x7b, ...loop, ...rows.flatMap(store), 0x0b]; // with 11 locals of 128 bits
  const number = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...number(n >> 7)]);
  const sized = (list) => [...number(list.length), ...list];
  const section = (id, ...content) => [id, ...sized(content)], name = (s) => sized([...s].map((c) => c.charCodeAt(0)));
  return Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, 1, 0x60, 5, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0), // five addresses, nothing comes back
    ...section(2, 1, ...name("js"), ...name("memory"), 2, 0, 1), ...section(3, 1, 0),
    ...section(7, 1, ...name("tile"), 0, 0), ...section(10, 1, ...sized(body))]);
};

// The same loop on the same memory.
const scripted = (memory) => (a, b, y, stride, end) => {
  const m = new Float32Array(memory.buffer), tile = new Float64Array(32);
  for (let i = a >> 2, j = b >> 2; i < end >> 2; i += 4, j += 8)
    for (let r = 0; r < 4; r++) for (let h = 0; h < 8; h++) tile[8 * r + h] += m[i + r] * m[j + h];
  for (let r = 0; r < 4; r++) m.set(tile.subarray(8 * r, 8 * r + 8), (y + r * stride) >> 2);
};

let machine = null; // { memory, tile }, made on first use
const start = (plain) => {
  const memory = new WebAssembly.Memory({ initial: 64 }), code = program();
  if (plain || !WebAssembly.validate(code)) return { memory, tile: scripted(memory) };
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(code), { js: { memory } });
  return { memory, tile: exports.tile };
};

// For the tests: how the next products are worked out.
export const workPlainly = (plain) => { machine = start(plain); };

// Strips of `width` rows of the matrix [n][k], number after number along k, zeros where there is no row any more; the
// matrix has (i, j) at i * down + j * across.
const pack = (to, matrix, n, k, down, across, width) => {
  let at = 0;
  for (let i = 0; i < n; i += width) {
    const here = Math.min(width, n - i);
    for (let j = 0; j < k; j++, at += width) {
      for (let r = 0, from = i * down + j * across; r < here; r++, from += down) to[at + r] = matrix[from];
      for (let r = here; r < width; r++) to[at + r] = 0;
    }
  }
};

// a b as rows [m][n], of a [m][k] and b [k][n]; turned: "a" or "b" where that one is given as [k][m] or [n][k].
export const matmul = (a, b, m, n, k, turned = "") => {
  machine ??= start(false);
  const M = Math.ceil(m / 4), N = Math.ceil(n / 8), atB = 16 * M * k, atY = atB + 32 * N * k, size = atY + 128 * M * N;
  const missing = Math.ceil((size - machine.memory.buffer.byteLength) / 65536);
  if (missing > 0) machine.memory.grow(missing);
  const { buffer } = machine.memory, y = new Float32Array(m * n), stride = 32 * N;
  pack(new Float32Array(buffer, 0, 4 * M * k), a, m, k, ...(turned === "a" ? [1, m] : [k, 1]), 4);
  pack(new Float32Array(buffer, atB, 8 * N * k), b, n, k, ...(turned === "b" ? [k, 1] : [1, n]), 8);
  for (let j = 0; j < N; j++) for (let i = 0; i < M; i++)
    machine.tile(16 * i * k, atB + 32 * j * k, atY + 4 * i * stride + 32 * j, stride, 16 * (i + 1) * k);
  for (let r = 0; r < m; r++) y.set(new Float32Array(buffer, atY + r * stride, n), r * n);
  return y;
};
