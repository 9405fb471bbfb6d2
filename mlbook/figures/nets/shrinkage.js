// The learning algorithm F_λ(D) = λ mean(D) + (1 - λ) m0 on tasks μ ~ N(m0, τ²) with K readings ~ N(μ, σ²).

// Its loss on a new reading, in closed form.
export const loss = (lambda, { sigma, tau, k }) =>
  sigma ** 2 + (lambda * sigma) ** 2 / k + ((1 - lambda) * tau) ** 2;

// The λ of the least loss.
export const best = ({ sigma, tau, k }) => tau ** 2 / (tau ** 2 + sigma ** 2 / k);

// The 95 % interval of a proportion (Wilson, 1927).
export const wilson = (right, asked) => {
  const z = 1.96, p = right / asked, more = 1 + (z * z) / asked, middle = (p + (z * z) / (2 * asked)) / more;
  const half = (z * Math.sqrt((p * (1 - p)) / asked + (z * z) / (4 * asked * asked))) / more;
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
};
