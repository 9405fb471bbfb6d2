// Two-armed bandits: tables, and players that say with which probability they would pull the right arm, from the pulls
// so far, [{ arm: 0 or 1, pay: 0 or 1 }, ...].
import { generator } from "./random.js";
import { dot, sigmoid } from "./vectors.js";
import { lstm, silence } from "./lstm.js";

// Both chances, and what each arm pays at each pull.
export const deal = (seed, pulls) => {
  const random = generator(7919 * seed), p = [random(), random()];
  return { p, pays: Array.from({ length: pulls }, () => p.map((chance) => (random() < chance ? 1 : 0))) };
};

// n: pulls of an arm, s: wins.
export const counts = (pulls) => [0, 1].map((arm) => {
  const own = pulls.filter((x) => x.arm === arm);
  return { n: own.length, s: own.reduce((total, x) => total + x.pay, 0) };
});

// A recurrent agent: h_t = LSTM(s_t, a_{t-1}, r_{t-1}, d_{t-1}; h_{t-1}), π = softmax(W h_t + b).
export const recurrentAgent = (layer, W, b) => (pulls) => {
  const seen = [[0, 0, 0, 0, 0], ...pulls.map(({ arm, pay }) => [0, 1 - arm, arm, pay, 0])];
  const [h] = seen.reduce((state, x) => lstm(layer, x, state), silence(layer));
  return sigmoid(dot(W[1], h) + b[1] - dot(W[0], h) - b[0]);
};

// Each arm once, then that of the highest mean + sqrt(2 ln t / n).
export const ucb = (pulls) => {
  if (pulls.length < 2) return pulls.length ? 1 - pulls[0].arm : 0.5;
  const [a, b] = counts(pulls).map(({ n, s }) => (n ? s / n + Math.sqrt((2 * Math.log(pulls.length)) / n) : Infinity));
  return a === b ? 0.5 : Number(b > a);
};

// Thompson sampling: the probability that a draw for the right arm is the larger, of Beta(1 + s, 1 + n - s) each.
export const thompson = (pulls) => {
  const logFactorial = [0];
  for (let i = 1; i < 2 * pulls.length + 8; i++) logFactorial.push(logFactorial[i - 1] + Math.log(i));
  const logBeta = (a, b) => logFactorial[a - 1] + logFactorial[b - 1] - logFactorial[a + b - 1];
  const [[a, b], [c, d]] = counts(pulls).map(({ n, s }) => [1 + s, 1 + n - s]);
  let total = 0;
  for (let i = 0; i < c; i++)
    total += Math.exp(logBeta(a + i, b + d) - Math.log(d + i) - logBeta(1 + i, d) - logBeta(a, b));
  return total;
};

// What either arm is worth, in wins to be expected up to the last of P pulls when the rest is played in the best way:
// dynamic programming over counts, remembered from call to call.
export const bayes = (P) => {
  const known = new Map();
  const arms = (n1, s1, n2, s2) => {
    const q = (s1 + 1) / (n1 + 2), u = (s2 + 1) / (n2 + 2);
    return [q * (1 + worth(n1 + 1, s1 + 1, n2, s2)) + (1 - q) * worth(n1 + 1, s1, n2, s2),
      u * (1 + worth(n1, s1, n2 + 1, s2 + 1)) + (1 - u) * worth(n1, s1, n2 + 1, s2)];
  };
  const worth = (n1, s1, n2, s2) => {
    if (n1 + n2 >= P) return 0;
    const key = ((n1 * 64 + s1) * 64 + n2) * 64 + s2;
    if (!known.has(key)) known.set(key, Math.max(...arms(n1, s1, n2, s2)));
    return known.get(key);
  };
  return (pulls) => {
    const [a, b] = counts(pulls);
    return arms(a.n, a.s, b.n, b.s);
  };
};

// The player that pulls what is worth more.
export const optimal = (worths) => (pulls) => {
  const [a, b] = worths(pulls);
  return Math.abs(a - b) < 1e-9 ? 0.5 : Number(b > a);
};
