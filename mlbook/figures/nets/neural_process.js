// A neural process with attention, in the order of its Python file.
import { softplus } from "./vectors.js";
import { attend } from "./attention.js";
import { mlp } from "./mlp.js";

// What a(x) of an input asks for; the same for every task.
export const asks = ({ a, dim }, x) => mlp(a, [1, dim, dim], [x]);

// Mean and standard deviation at every input of `grid`, from points [x, y]; `asked` are `asks` of the grid.
export const predict = ({ h, a, g, dim, heads }, points, grid, asked) => {
  const values = points.map((point) => mlp(h, [2, dim, dim, dim], point));
  const keys = points.map(([x]) => asks({ a, dim }, x));
  return grid.map((x, n) => {
    const [mean, s] = mlp(g, [1 + dim, dim, dim, 2], [x, ...attend(asked[n], keys, values, heads)]);
    return [mean, 0.1 + 0.9 * softplus(s)];
  });
};
