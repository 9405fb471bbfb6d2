// A step of an LSTM, and what the meta-learners among the LSTMs read: gradients, pre-processed.
import { dot, sigmoid } from "./vectors.js";

// One step of a layer: ih [4H][inputs] and hh [4H][H] by rows, bias [4H] the sum of both, gates in torch's order
// i, f, g, o. Gives the next [h, c].
export const lstm = ({ ih, hh, bias }, x, [h, c]) => {
  const H = h.length, z = Array.from(bias, (b, r) => b + dot(ih[r], x) + dot(hh[r], h));
  const next = c.map((v, j) => sigmoid(z[H + j]) * v + sigmoid(z[j]) * Math.tanh(z[2 * H + j]));
  return [next.map((v, j) => sigmoid(z[3 * H + j]) * Math.tanh(v)), next];
};

// The state before the first step.
export const silence = ({ bias }) => [0, 1].map(() => new Array(bias.length / 4).fill(0));

// A list as rows of `width` numbers.
export const rows = (list, width) =>
  Array.from({ length: list.length / width }, (_, r) => list.slice(r * width, (r + 1) * width));

// Size and sign of a number of any size (Andrychowicz et al., 2016, appendix A).
export const preprocessed = (x, p = 10) =>
  Math.abs(x) >= Math.exp(-p) ? [Math.log(Math.abs(x)) / p, Math.sign(x)] : [-1, Math.exp(p) * x];

// A learned optimizer's step for one coordinate: its gradient in, its step out; `state` has one [h, c] a layer and is
// brought up to date in place.
export const learnedStep = ({ layers, g, b, scale, p }, gradient, state) => {
  let x = preprocessed(gradient, p);
  layers.forEach((layer, l) => {
    state[l] = lstm(layer, x, state[l]);
    x = state[l][0];
  });
  return scale * (b + dot(g, x));
};

// The gates of an LSTM meta-learner (Ravi & Larochelle, 2017) for one weight along its steps: i, how much of the
// gradient it takes, f, how much of the weight it keeps. `inputs` has a list of five numbers a step, before which
// `heard` may lay a hand on what a gate is told; rule.i and rule.f have six weights and a bias each.
export const gates = (rule, inputs, heard = (x) => x) => {
  const logit = (w, x) => dot(x, w) + w[6];
  let i = 0, f = 0; // in step 1 the last gates are both zero
  return inputs.map((own) => {
    const seen = [...own, i];
    i = sigmoid(logit(rule.i, heard(seen)));
    f = sigmoid(logit(rule.f, heard([...own, f])));
    return { i, f, seen };
  });
};
