// A patient's blood is drawn when the reader says; a neural process and MAP say the rest of the curve.
// data: { dim, heads, weights: of the three networks h, a, g one after the other, in half precision; prior: mean and sd of log
//         CL, log V, log ka; unit: mg/L that y counts in; people: [{ name, dose, hours, measured }] }. Samples are mg/L after
//         `dose` mg/kg; a patient drawn here has the dose 5.

import { make, live, note, count } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button, choice, toggle } from "./kit/controls.js";
import { plot } from "./kit/plot.js";
import { asks, predict } from "./nets/neural_process.js";
import { concentration, deviation, mostProbable } from "./nets/patients.js";
import { generator, normal } from "./nets/random.js";
import { argmax, sum } from "./nets/vectors.js";
import { bytes, halves } from "./nets/weights.js";

const END = Math.log1p(26), STEPS = 100, GRID = Array.from({ length: STEPS + 1 }, (_, i) => (END * i) / STEPS);
const HOURS = [0.25, 0.5, 1, 2, 3.5, 5, 7, 9, 12, 24], Z = 1.6449;
const SETS = [["2", "at 2 h"], ["2 12", "at 2, 12 h"], ["2 12 0.5", "at 2, 12, ½ h"], ["first", "the first three"]];
const CSS = `
.pa-table { display: grid; grid-template-columns: 1fr auto auto; gap: 0.15rem 1rem; margin: 0.3rem 0 0.7rem; }
.pa-tubes { display: grid; grid-template-columns: repeat(5, minmax(0, 1fr)); gap: 0.35rem; }
.mlbook-figure .pa-tubes button { padding: 0.2rem 0; font-variant-numeric: tabular-nums; }`;
const say = (v) => (v === null ? "–" : v.toFixed(2));
const short = (t) => (t < 1 ? t.toFixed(2) : t < 10 ? t.toFixed(1) : t.toFixed(0));

// Which samples a set of hours names: the nearest to each that is not taken yet.
const picked = (hours, name) => (name === "first" ? [0, 1, 2] : name.split(" ").map(Number).reduce((chosen, t) =>
  [...chosen, argmax(hours.map((h, i) => (chosen.includes(i) ? -Infinity : -Math.abs(h - t))))], []));

export default { render({ model, el }) {
  const data = model.get("data"), { dim, heads, prior, unit } = data, all = halves(bytes(data.weights).buffer);
  const sizes = { h: 3 * dim + 2 * (dim + 1) * dim, a: 2 * dim + (dim + 1) * dim }; // of their weights; g has the rest
  const net = { dim, heads, h: all.subarray(0, sizes.h), a: all.subarray(sizes.h, sizes.h + sizes.a),
    g: all.subarray(sizes.h + sizes.a) };
  const start = { who: 0, seed: 1, drawn: picked(data.people[0].hours, "2"), set: "2", bands: false };
  const fig = figure(el, model, start, CSS), { state } = fig;
  const asked = GRID.map((x) => asks(net, x));

  const simulated = (seed) => {
    const random = generator(seed), logs = prior.map(([m, s]) => m + s * normal(random));
    const measured = HOURS.map((t) => concentration(t, logs)).map((c) => Math.max(0, c + deviation(c) * normal(random)));
    return { name: "simulated", dose: 5, hours: HOURS, measured, logs };
  };
  const patient = () => data.people[state.who] ?? simulated(state.seed);
  const take = (name) => { state.drawn = picked(patient().hours, name); };
  const switchTube = (k) => {
    state.drawn = state.drawn.includes(k) ? state.drawn.filter((i) => i !== k) : [...state.drawn, k];
    state.set = "";
  };

  const top = make("div.f-bar", {}, el);
  const options = [...data.people.map((p, i) => [i, p.name]), [data.people.length, "simulated"]];
  choice(fig, top, "patient", options, "who", { name: "patient", then: () => { if (state.set) take(state.set); } });
  const another = button(fig, top, "Another one", () => { state.seed += 1; }, { "aria-label": "another simulated patient" });
  fig.follow(() => { another.hidden = state.who < data.people.length; });
  choice(fig, make("div.f-bar", {}, el), "blood is drawn", SETS, "set", { name: "blood", then: take });

  const row = make("div.f-row", {}, el), left = make("div", { style: "--w: 330px; flex-grow: 1.7" }, row);
  const plane = plot(fig, left, { label: "Concentration in blood against hours: the samples, the network's curve and band, and " +
    "the most probable curve. The buttons beside it draw blood.", x: [0, END], y: [0, 12], height: 310, pad: [30, 8, 40, 30],
    xnameBelow: 17 });
  plane.svg.style.cursor = "pointer";
  plane.onClick(([x, y]) => {
    const { hours, measured } = patient();
    const away = hours.map((t, i) => Math.hypot(plane.X(Math.log1p(t)) - plane.X(x), plane.Y(measured[i]) - plane.Y(y)));
    const k = argmax(away.map((v) => -v));
    if (away[k] < 30) switchTube(k);
  });

  const right = make("div", { style: "--w: 240px; max-width: 420px" }, row);
  make("div.f-head", {}, right, "Draw blood after … hours");
  const tubes = make("div.pa-tubes", { role: "group", "aria-label": "hours at which blood is drawn" }, right);
  const buttons = HOURS.map((_, k) => button(fig, tubes, "", () => switchTube(k)));
  fig.follow(() => {
    const { hours } = patient();
    buttons.forEach((b, k) => {
      b.textContent = short(hours[k]);
      b.setAttribute("aria-pressed", String(state.drawn.includes(k)));
      b.setAttribute("aria-label", `blood after ${short(hours[k])} hours`);
    });
  });
  make("div.f-head", {}, right, "On the samples not drawn");
  const table = make("div.pa-table", {}, right);
  for (const word of ["", "error, mg/L", "in its band"]) make("span.f-soft", {}, table, word);
  const line = (name, colour) => {
    make("span", { style: `color: var(--${colour}); font-weight: 700` }, table, name);
    return [make("span.f-number", {}, table), make("span.f-number", {}, table)];
  };
  const cells = [line("network", "blue"), line("MAP", "orange")];
  toggle(fig, make("div.f-bar", {}, right), "MAP’s band", "bands");
  const said = live(el, 3);
  note(el, "Each ring is a sample that was measured; a click on it, or on its button, gives it to both methods, and it is " +
    "filled. Blue: the neural process’s mean and the band in which it expects 90 % of samples. Orange, dashed: the most " +
    "probable curve (MAP); its band knows of the assay’s error alone. Dotted: a patient in the middle of the prior, or, of a " +
    "simulated patient, the truth. Everything is computed here.");

  return fig.start(() => {
    const person = patient(), { hours, measured, dose } = person, scale = dose / 5;
    const given = state.drawn.filter((k) => k < hours.length), rest = hours.map((_, k) => k).filter((k) => !given.includes(k));
    const logs = mostProbable(given.map((k) => [hours[k], measured[k] / scale]), prior);
    const points = given.map((k) => [Math.log1p(hours[k]), measured[k] / scale / unit]);
    const at = (xs, what) => (points.length ? predict(net, points, xs, what).map((p) => p.map((v) => v * unit * scale)) : null);
    const process = at(GRID, asked), map = (x, of = logs) => scale * concentration(Math.expm1(x), of);
    const error = (c) => scale * deviation(c / scale);

    const most = Math.max(...measured, ...GRID.map((x) => map(x)), ...(process ?? []).map(([m, s]) => m + Z * s));
    plane.y = [0, Math.max(10, Math.ceil(most / 2) * 2)];
    plane.clear();
    plane.axes({ x: [0, 0.5, 1, 2, 4, 8, 12, 24].map((t) => [Math.log1p(t), t === 0.5 ? "½" : String(t)]),
      y: [0, 2, 4, 6, 8, 10, 12, 14, 16].filter((v) => v < plane.y[1] && (plane.y[1] < 13 || v % 4 === 0)),
      xname: "hours after the dose", yname: "mg/L in blood" });
    const middle = person.logs ?? prior.map(([m]) => m), edge = (ys) => GRID.map((x, i) => [x, Math.max(0, ys[i])]);
    plane.line(edge(GRID.map((x) => map(x, middle))), "ink",
      { width: 2.5, dash: "1 5", "stroke-linecap": "round", opacity: 0.6 });
    const curve = GRID.map((x) => map(x)), off = (by) => process.map(([m, s]) => m + by * s);
    if (state.bands) {
      const around = (by) => edge(curve.map((c) => c + by * error(c)));
      plane.fill([...around(Z), ...around(-Z).reverse()], "orange", 0.18);
    }
    if (process) {
      plane.fill([...edge(off(Z)), ...edge(off(-Z)).reverse()], "blue", 0.2);
      plane.line(edge(off(0)), "blue", { width: 3 });
    }
    plane.line(edge(curve), "orange", { width: 2.6, dash: "7 4" });
    for (const k of rest) plane.dot([Math.log1p(hours[k]), measured[k]], 5, "paper", { ring: "ink", width: 2 });
    for (const k of given) plane.dot([Math.log1p(hours[k]), measured[k]], 6.5, "ink", { ring: "paper", width: 2 });

    const list = (values) => values.filter((_, i) => i % 20 === 0).map((v) => v.toFixed(4)).join(", ");
    plane.svg.dataset.curves = (process ? `mean: ${list(off(0))}; sigma: ${list(process.map((p) => p[1]))}; ` : "") +
      `map: ${list(curve)}`;
    const xs = rest.map((k) => Math.log1p(hours[k])), there = at(xs, xs.map((x) => asks(net, x)));
    const score = (means, sds) => [
      Math.sqrt(sum(rest.map((k, i) => (measured[k] - means[i]) ** 2)) / rest.length),
      rest.filter((k, i) => Math.abs(measured[k] - means[i]) <= Z * sds[i]).length,
    ];
    const best = xs.map((x) => map(x));
    const scores = [there && rest.length ? score(there.map((p) => p[0]), there.map((p) => p[1])) : null,
      rest.length ? score(best, best.map(error)) : null];
    cells.forEach(([a, b], n) => {
      a.textContent = say(scores[n] && scores[n][0]);
      b.textContent = scores[n] ? `${scores[n][1]} of ${rest.length}` : "–";
    });
    const who = person.logs ? "This simulated patient" : `Person ${person.name}`, last = Math.max(...given.map((k) => hours[k]));
    said.textContent = !given.length ? `Nothing is drawn: MAP is the middle of the prior, and the network wants one sample.`
      : !rest.length ? "All samples are given; none is left to be foretold."
        : `${who}, ${count(given.length, "sample")}: the network is off by ${say(scores[0][0])} mg/L, MAP by ` +
          `${say(scores[1][0])}; ${scores[0][1]} of ${rest.length} other samples lie in the network’s band.` +
          (last < 3 ? " All blood was drawn early: how fast the drug is cleared can hardly be known from it." : "");
  });
} };
