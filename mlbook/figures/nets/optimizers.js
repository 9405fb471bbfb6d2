// A quadratic in the plane, and rules that descend it: SGD, momentum, Adam, and a rule that was learned.
import { learnedStep, silence } from "./lstm.js";

// f = steep / 2 (p² + q² / long), p and q the coordinates along its axes, which are turned by so many degrees.
export const quadratic = (steep, long, turn) => {
  const a = (turn * Math.PI) / 180, k = [steep, steep / long];
  const axes = [[Math.cos(a), Math.sin(a)], [-Math.sin(a), Math.cos(a)]];
  const along = (z) => axes.map((e) => e[0] * z[0] + e[1] * z[1]);
  return {
    loss: (z) => along(z).reduce((total, v, i) => total + 0.5 * k[i] * v * v, 0),
    gradient: (z) => {
      const v = along(z);
      return [0, 1].map((j) => k[0] * v[0] * axes[0][j] + k[1] * v[1] * axes[1][j]);
    },
  };
};

// So many steps from `start`: the path and its losses, the start first. rule: "sgd", "momentum", "adam" or "learned".
export const descent = ({ loss, gradient }, start, rule, rate, steps, learned) => {
  const m = [0, 0], s = [0, 0], states = start.map(() => learned.layers.map(silence));
  const step = (g, j, t) => {
    if (rule === "learned") return learnedStep(learned, g, states[j]);
    if (rule === "sgd") return -rate * g;
    if (rule === "momentum") { m[j] = 0.9 * m[j] + g; return -rate * m[j]; }
    m[j] = 0.9 * m[j] + 0.1 * g;
    s[j] = 0.999 * s[j] + 0.001 * g * g;
    return -(rate * (m[j] / (1 - 0.9 ** t))) / (Math.sqrt(s[j] / (1 - 0.999 ** t)) + 1e-8);
  };
  const path = [[...start]];
  for (let t = 1; t <= steps; t++) {
    const z = path[t - 1], g = gradient(z);
    path.push(z.map((v, j) => v + step(g[j], j, t)));
  }
  return { path, loss: path.map(loss) };
};

// The rate, a power of ten between 10^-4 and 10, that ends lowest after so many steps.
export const bestRate = (f, start, rule, steps, learned) => {
  let best = 0, least = Infinity;
  for (let e = -4; e <= 1.0001; e += 0.05) {
    const end = descent(f, start, rule, 10 ** e, steps, learned).loss.at(-1);
    if (end < least) { least = end; best = 10 ** e; }
  }
  return best;
};
