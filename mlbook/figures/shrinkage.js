// The learning algorithm F_lambda(D) = lambda * mean(D) + (1 - lambda) * m on tasks mu ~ N(m, tau^2), readings ~ N(mu, sigma^2):
// eight tasks on the left, its loss in closed form on the right. No data.

import { make, note, count } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, slider } from "./kit/controls.js";
import { plot, outline } from "./kit/plot.js";
import { generator, normal } from "./nets/random.js";
import { loss, best } from "./nets/shrinkage.js";
import { clamp, sum } from "./nets/vectors.js";

const M = 2, SIGMA = 2, SHOWN = 8;

export default { render({ model, el }) {
  const fig = figure(el, model, { lam: 1, k: 3, tau: 1, seed: 7 }), { state } = fig;
  const draws = (seed) => { // normal numbers: for each task its own and twenty for its readings
    const random = generator(seed);
    return Array.from({ length: SHOWN }, () => Array.from({ length: 21 }, () => normal(random)));
  };
  const at = () => ({ sigma: SIGMA, tau: state.tau, k: state.k });

  const bar = make("div.f-bar", {}, el);
  slider(fig, bar, "λ", "lam", { min: 0, max: 1, step: 0.01, show: (v) => v.toFixed(2) });
  slider(fig, bar, "readings <i>K</i>", "k", { min: 1, max: 20 });
  slider(fig, bar, "spread τ", "tau", { min: 0.1, max: 4, step: 0.1, show: (v) => v.toFixed(1) });
  button(fig, bar, "Set λ to λ*", () => { state.lam = best(at()); });
  button(fig, bar, "Eight other tasks", () => { state.seed += 1; });
  const row = make("div.f-row", { style: "--w: 290px" }, el);
  const tasks = plot(fig, row, { label: "Eight tasks with their readings, means, true values and shrunken estimates",
    x: [-6, 10], y: [SHOWN - 0.4, -0.6], height: 274, pad: [26, 10, 22, 10] });
  const curve = plot(fig, row, { label: "The loss of the learning algorithm against lambda", x: [0, 1], y: [4, 5], height: 274,
    pad: [36, 14, 48, 46] });
  const caption = note(el, "", true);

  return fig.start(() => {
    const { lam, k, tau } = state, star = best(at()), L = (l) => loss(l, at());
    tasks.clear();
    tasks.text([-6, -0.6], `eight tasks, ${count(k, "reading")} each`, { dy: -12 });
    tasks.line([[M, -0.6], [M, SHOWN - 0.4]], "grey", { dash: "4 4", width: 1 });
    tasks.text([M, SHOWN - 0.4], "m = 2", { dx: 4, dy: 16, colour: "grey" });
    let better = 0;
    draws(state.seed).forEach(([z, ...noise], i) => {
      const mu = M + tau * z, readings = noise.slice(0, k).map((e) => mu + SIGMA * e), on = (v) => [clamp(v, -6, 10), i];
      const mean = sum(readings) / k, f = lam * mean + (1 - lam) * M;
      better += Number(Math.abs(f - mu) < Math.abs(mean - mu) - 1e-9);
      tasks.line([[-6, i], [10, i]], "ink", { width: 1, opacity: 0.15 });
      for (const r of readings) tasks.dot(on(r), 3, "blue", { opacity: 0.55 });
      tasks.dot(on(mean), 6.5, "none", { ring: "blue", width: 2 });
      tasks.line([on(mean), on(f)], "green", { width: 2.5 });
      tasks.mark(on(f), outline("square", 5.5), "green");
      tasks.mark(on(mu), outline("cross", 6), "none", { ring: "orange", width: 2.5 });
    });

    // the axis is fixed by tau and K alone, so that moving lambda moves only the point
    const top = Math.max(L(0), L(1)), low = SIGMA ** 2, span = Math.max(top - low, 0.2);
    curve.clear();
    curve.y = [low, low + span];
    curve.axes({ x: [0, 0.5, 1], y: [low, [low + span, top.toFixed(1)]], yname: "loss L(F) over all tasks", grid: false });
    curve.text([0.75, low], "λ", { anchor: "middle", dy: 17 });
    curve.line([[star, L(star)], [star, low]], "green", { width: 1.5 });
    curve.line(Array.from({ length: 101 }, (_, i) => [i / 100, L(i / 100)]), "grey", { width: 2.5 });
    curve.dot([star, L(star)], 4, "green");
    const side = star > 0.8 ? { dx: -6, anchor: "end" } : { dx: 6 };
    curve.text([star, low], `λ* = ${star.toFixed(2)}`, { colour: "green", dy: -7, ...side });
    curve.mark([lam, L(lam)], outline("square", 7.5), "green");
    caption.textContent = "Dots: readings. Ring: their mean. Cross: the true μ. Square: the answer of F. " +
      `L(F) = ${L(lam).toFixed(2)}; the best is ${L(star).toFixed(2)}, the plain mean has ${L(1).toFixed(2)}. ` +
      `Of these eight tasks the square is closer to the truth than the ring in ${better}.`;
  });
} };
