// Tasks that are solved along a parabola y = p0 + p1 x + p2 x² (Reptile's picture), with the loss a (y - p(x))² / 2.

export const height = (p, x) => p[0] + p[1] * x + p[2] * x * x;

// The nearest point of the parabola: the best of 321 points, then Newton's method on the squared distance.
export const nearest = (p, [x, y]) => {
  const slope = (u) => p[1] + 2 * p[2] * u;
  let best = 0, least = Infinity;
  for (let i = 0; i <= 320; i++) {
    const u = -8 + i * 0.05, d = (u - x) ** 2 + (height(p, u) - y) ** 2;
    if (d < least) { least = d; best = u; }
  }
  for (let i = 0; i < 8; i++) {
    const e = height(p, best) - y, s = slope(best), curvature = 1 + s * s + 2 * p[2] * e;
    if (curvature > 1e-3) best -= Math.max(-0.05, Math.min(0.05, (best - x + e * s) / curvature));
  }
  return [best, height(p, best)];
};

export const distance = (p, z) => {
  const n = nearest(p, z);
  return Math.hypot(n[0] - z[0], n[1] - z[1]);
};

// Reptile's objective: the mean over tasks of half the squared distance.
export const objective = (tasks, z) =>
  tasks.reduce((total, p) => total + distance(p, z) ** 2 / 2, 0) / tasks.length;

// The inner loop: k steps of gradient descent on one task, or, for Infinity, straight to the nearest point. The start
// comes first.
export const inner = (p, steep, z, rate, k) => {
  const path = [[...z]];
  if (k === Infinity) return [...path, nearest(p, z)];
  for (let s = 0; s < k; s++) {
    const [x, y] = path[s], e = steep * (y - height(p, x));
    path.push([x + rate * e * (p[1] + 2 * p[2] * x), y - rate * e]);
  }
  return path;
};

// The outer step: from z the share epsilon of the way to the mean of where the inner loops ended.
export const outer = (z, ends, epsilon) =>
  z.map((here, axis) => here + (epsilon * ends.reduce((total, end) => total + end[axis] - here, 0)) / ends.length);

// The least point of a function of the plane that need not have a derivative: compass search.
export const lowest = (f, z = [0, 0]) => {
  for (let reach = 1.5; reach > 1e-7;) {
    const here = z, next = [[reach, 0], [-reach, 0], [0, reach], [0, -reach]]
      .map(([dx, dy]) => [here[0] + dx, here[1] + dy]).find((n) => f(n) < f(here) - 1e-15);
    if (next) z = next; else reach /= 2;
  }
  return z;
};
