// A cart with a pole on a slope, and who drives it: the equations of mlbook.data.slopes, an LSTM, a linear law.
import { lstm, rows, silence } from "./lstm.js";
import { clamp, dot } from "./vectors.js";

const G = 9.81, CART = 1, HALF = 0.5, ROLLING = 0.1, HINGE = 0.01;
export const DT = 0.02, FALLEN = Math.PI / 3;

// The state [x, x', θ, θ'] one action later; task: slope in rad, mass in kg, strength in N.
export const step = ([x, v, angle, turn], action, [slope, m, strength]) => {
  const sin = Math.sin(angle), cos = Math.cos(angle), total = CART + m, arm = m * HALF;
  const push = strength * clamp(action, -1, 1) - ROLLING * v + arm * sin * turn * turn - total * G * Math.sin(slope);
  const lean = arm * G * Math.sin(angle - slope) - HINGE * turn, J = (4 / 3) * HALF * arm, across = arm * cos;
  const determinant = total * J - across * across;
  const speed = v + (DT * (J * push - across * lean)) / determinant;
  const spin = turn + (DT * (total * lean - across * push)) / determinant;
  return [x + DT * speed, speed, angle + DT * spin, spin];
};

// A driver is a function of the state that gives the action; its memory begins anew with each call of these.
// A policy from its state dict (see weights.js); without `memory` it forgets everything between two actions.
export const policy = (weights, memory) => {
  const values = (name) => Array.from(weights[name].values), hh = values("cell.bias_hh");
  const layer = { ih: rows(values("cell.weight_ih"), 5), hh: rows(values("cell.weight_hh"), hh.length / 4),
    bias: values("cell.bias_ih").map((b, i) => b + hh[i]) };
  const W = values("W.weight"), [b] = values("W.bias");
  const zero = /** @type {any} */ (silence(layer));
  return () => {
    let state = zero, u = 0;
    return (s) => {
      state = lstm(layer, [...s, memory ? u : 0], memory ? state : zero);
      u = Math.tanh(b + dot(W, state[0]));
      return u;
    };
  };
};

// u = -K s; a fifth gain is for the integral of x, which stands still while the motor gives all it has.
export const linear = (K) => () => {
  let integral = 0;
  return (s) => {
    const u = -dot(K.slice(0, 4), s) - (K[4] ?? 0) * integral;
    if (Math.abs(u) < 1) integral += DT * s[0];
    return clamp(u, -1, 1);
  };
};
