// One compartment with first-order absorption: the curve, the error of what is measured, and the most probable curve.
import { sum } from "./vectors.js";

// mg/L after 5 mg/kg, t hours later, of a patient with the logarithms of CL, V and ka.
export const concentration = (t, logs) => {
  const [CL, V, ka] = logs.map(Math.exp), ke = CL / V, d = (ka - ke) * t;
  const ratio = Math.abs(d) < 1e-6 ? 1 : -Math.expm1(-d) / d;
  return ((5 * ka) / V) * t * Math.exp(-ke * t) * ratio;
};

export const deviation = (c) => Math.hypot(0.2, 0.143 * c);

// The logarithms of CL, V, ka that are most probable given samples [hours, mg/L], under independent normal `prior`s
// [mean, sd]: a search along one of them after the other, in steps that get smaller when none helps.
export const mostProbable = (samples, prior) => {
  const logs = (z) => z.map((v, i) => prior[i][0] + prior[i][1] * v);
  const f = (z) => sum(z.map((v) => (v * v) / 2)) + sum(samples.map(([t, y]) => {
    const c = concentration(t, logs(z)), sd = deviation(c);
    return 0.5 * ((y - c) / sd) ** 2 + Math.log(sd);
  }));
  let z = prior.map(() => 0), least = f(z), way = prior.map(() => 0);
  for (let step = 0.5; step > 1e-4;) {
    const before = z;
    for (let i = 0; i < z.length; i++) {
      for (const by of [step, -step]) {
        const next = z.map((v, j) => (j === i ? v + by : v)), value = f(next);
        if (value < least) { z = next; least = value; break; }
      }
    }
    way = z.map((v, i) => v - before[i]);
    if (way.every((v) => v === 0)) step /= 2;
    else { // as far again in the same direction
      const next = z.map((v, i) => v + way[i]), value = f(next);
      if (value < least) { z = next; least = value; }
    }
  }
  return logs(z);
};
