// A pad to draw on, with mouse, pen, finger or keys. What is drawn becomes a picture like Omniglot's: 28 x 28, strokes bright
// on dark, and thinned from a larger sheet by a Lanczos filter, as the data set is.

import { make, put } from "./elements.js";
import { clamp } from "../nets/vectors.js";
import { button } from "./controls.js";
import { rgb } from "./theme.js";

const FINE = 8, PEN = 0.78, RUBBER = 2; // sheet pixels a pixel; half the width of a stroke in pixels: of Omniglot (ink over edge)
const MOVES = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const lanczos = (x) => {
  if (Math.abs(x) < 1e-9) return 1;
  return Math.abs(x) < 3 ? (3 * Math.sin(Math.PI * x) * Math.sin((Math.PI * x) / 3)) / (Math.PI * x) ** 2 : 0;
};

/** How much of each of side x side pixels a stroke covers, 0..1. @param {number[][]} points in pixels @param {number} radius */
export const cover = (points, radius, side = 28) => {
  const n = side * FINE, canvas = document.createElement("canvas");
  canvas.width = canvas.height = n;
  const c = canvas.getContext("2d", { willReadFrequently: true });
  c.lineCap = c.lineJoin = "round";
  c.lineWidth = 2 * radius * FINE;
  c.beginPath();
  c.moveTo(points[0][0] * FINE, points[0][1] * FINE - 0.01); // a dot, too, has a length
  for (const [x, y] of points) c.lineTo(x * FINE, y * FINE);
  c.stroke();
  const { data } = c.getImageData(0, 0, n, n), weights = [];
  for (let k = -3 * FINE; k < 4 * FINE; k++) weights.push(lanczos((k + 0.5) / FINE - 0.5) / FINE);
  const thin = (from, across, down) => { // along one axis
    const out = new Float32Array(side * down);
    for (let r = 0; r < down; r++) for (let i = 0; i < side; i++) {
      let sum = 0;
      for (let w = 0; w < weights.length; w++) {
        const at = (i - 3) * FINE + w;
        if (at >= 0 && at < n) sum += weights[w] * from(across ? r * n + at : at * side + r);
      }
      out[across ? r * side + i : i * side + r] = sum;
    }
    return out;
  };
  const rows = thin((k) => data[4 * k + 3] / 255, true, n);
  return thin((k) => rows[k], false, side).map((v) => clamp(v, 0, 1));
};

/** The pad. Read `picture` (0..1, by rows), call `set(picture)`; `changed()` is called after every stroke's every point. Keys:
 * arrows move the pen's tip, space sets it down and lifts it, Backspace takes the last stroke back, Delete clears. */
export const pad = (fig, parent, { side = 28, label = "drawing pad", changed = () => {} } = {}) => {
  const canvas = make("canvas.f-pad", { width: side * FINE, height: side * FINE, tabindex: 0, role: "img" }, parent);
  const earlier = [];
  let stroke = null, base = null, tip = [side / 2, side / 2], down = false, keyed = false;
  const self = {
    canvas, label, rubber: false, picture: new Float32Array(side * side),
    get empty() { return self.picture.every((v) => v === 0); },
    /** Another picture, which can be taken back. */
    set: (picture) => {
      earlier.push(self.picture);
      self.picture = Float32Array.from(picture);
      stroke = null;
      changed();
      fig.draw();
    },
    undo: () => {
      self.picture = earlier.pop() ?? self.picture;
      stroke = null;
      changed();
      fig.draw();
    },
    clear: () => self.set(new Float32Array(side * side)),
    move: (dx, dy) => self.set(self.picture.map((_, k) => {
      const x = (k % side) - dx, y = Math.floor(k / side) - dy;
      return x >= 0 && x < side && y >= 0 && y < side ? self.picture[y * side + x] : 0;
    })),
    /** Undo and Clear, and with `rubber` pen and rubber. */
    buttons: (box, { rubber = false } = {}) => {
      const undo = button(fig, box, "Undo", self.undo), clear = button(fig, box, "Clear", self.clear);
      fig.follow(() => { undo.disabled = !earlier.length; clear.disabled = self.empty; });
      if (!rubber) return;
      for (const on of [false, true]) {
        const node = button(fig, box, on ? "Rubber" : "Pen", () => { self.rubber = on; });
        fig.follow(() => put(node, { "aria-pressed": self.rubber === on }));
      }
    },
  };
  const begin = (point) => {
    earlier.push(base = self.picture);
    stroke = [point];
  };
  const extend = (point) => { // the picture before the stroke, and the stroke over it
    stroke.push(point);
    const c = cover(stroke, self.rubber ? RUBBER : PEN, side);
    self.picture = base.map((v, k) => (self.rubber ? Math.min(v, 1 - c[k]) : Math.max(v, c[k])));
    changed();
    fig.draw();
  };
  const where = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * side, ((event.clientY - box.top) / box.height) * side];
  };
  put(canvas, {
    pointerdown: (event) => {
      event.preventDefault();
      canvas.setPointerCapture(event.pointerId);
      canvas.focus({ preventScroll: true });
      keyed = down = false;
      begin(where(event));
      extend(where(event));
    },
    pointermove: (event) => {
      if (!stroke || keyed) return;
      const all = event.getCoalescedEvents?.() ?? [];
      stroke.push(...all.slice(0, -1).map(where));
      extend(where(event));
    },
    pointerup: () => { stroke = null; },
    pointercancel: () => { stroke = null; },
    blur: () => { keyed = down = false; fig.draw(); },
    keydown: (event) => {
      const move = MOVES[event.key], far = event.shiftKey ? 4 : 1;
      if (event.key === " " || event.key === "Enter") {
        down = !down;
        if (down) { begin([...tip]); extend([...tip]); } else stroke = null;
      } else if (event.key === "Backspace") { down = false; self.undo(); }
      else if (event.key === "Delete") { down = false; self.clear(); }
      else if (move) {
        tip = tip.map((v, i) => clamp(v + far * move[i], 0.5, side - 0.5));
        if (down && stroke) extend([...tip]);
      } else return;
      event.preventDefault();
      keyed = true;
      fig.draw();
    },
  });
  fig.follow(() => {
    const colour = rgb(fig.el, "ink"), c = canvas.getContext("2d");
    c.clearRect(0, 0, canvas.width, canvas.height);
    self.picture.forEach((v, k) => {
      c.fillStyle = `rgba(${colour}, ${v})`;
      if (v > 0.004) c.fillRect((k % side) * FINE, Math.floor(k / side) * FINE, FINE, FINE);
    });
    if (keyed) { // where the pen's tip is
      c.strokeStyle = `rgb(${rgb(fig.el, down ? "orange" : "blue")})`;
      c.lineWidth = 3;
      c.strokeRect((tip[0] - 0.9) * FINE, (tip[1] - 0.9) * FINE, 1.8 * FINE, 1.8 * FINE);
    }
    const pen = keyed ? `, pen ${down ? "down" : "up"} at ${Math.floor(tip[0])}, ${Math.floor(tip[1])}` : "";
    put(canvas, { "aria-label": self.label + pen });
  });
  return self;
};
