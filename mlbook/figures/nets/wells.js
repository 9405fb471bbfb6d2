// Losses over one parameter. A task's loss is a parabola, v + h / 2 (θ - m)², or the soft minimum of several.
import { clamp, softmax, sum } from "./vectors.js";

const SOFT = 0.06; // how round the edge between two parabolas is

const heights = (wells, x) => wells.map((w) => w.v + (w.h / 2) * (x - w.m) ** 2);

export const loss = (wells, x) => {
  const all = heights(wells, x), least = Math.min(...all);
  return least - (all.length > 1 ? SOFT * Math.log(sum(all.map((height) => Math.exp((least - height) / SOFT)))) : 0);
};

export const slope = (wells, x) => {
  const share = softmax(heights(wells, x), -1 / SOFT);
  return sum(wells.map((w, j) => share[j] * w.h * (x - w.m)));
};

// Where so many steps of a rate lead, the start first; what diverges stops at 99.
export const descent = (wells, x, rate, steps) => {
  const points = [x];
  for (let s = 0; s < steps; s++) points.push((x = clamp(x - rate * slope(wells, x), -99, 99)));
  return points;
};

// The least of f on a grid, to the last digit by thirds. Of several it is the one that is lowest in `first`; both
// `values` and `first` are on the grid.
export const minimum = (grid, f, values, first) => {
  const least = Math.min(...values), reach = grid[1] - grid[0];
  let at = values.indexOf(least);
  values.forEach((value, i) => { if (value <= least + 1e-6 && first[i] < first[at]) at = i; });
  let low = Math.max(grid[0], grid[at] - reach), high = Math.min(grid.at(-1), grid[at] + reach);
  for (let i = 0; i < 40; i++) {
    const a = low + (high - low) / 3, b = high - (high - low) / 3;
    if (f(a) <= f(b)) high = b; else low = a;
  }
  const fine = (low + high) / 2;
  return f(fine) < f(grid[at]) ? fine : grid[at];
};
