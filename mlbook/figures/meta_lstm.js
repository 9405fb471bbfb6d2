// The gates of a trained LSTM meta-learner along one recorded adaptation, computed here from its fourteen numbers.
// data: { rule: { i, f: six weights and a bias each, for [size ∇, sign ∇, size L, sign L, θ, last gate] }, L: [T],
// layers: { name: { g: [T][n], theta: [T][n] } }, sgd, adam: rates of the two others }.
(root, data) => {
  const NAMES = Object.keys(data.layers), T = data.L.length, START = { t: 0, scale: 0, off: {} };
  const HEARS = { gradient: [0, 1], loss: [2, 3], weight: [4], "last gate": [5] };
  const COLORS = ["blue", "orange", "green", "pink", "amber", "sky"];
  const HEX = { blue: "#0072B2", orange: "#D55E00", green: "#009E73", pink: "#CC79A7", amber: "#E69F00", sky: "#56B4E9" };
  let state = { ...START, off: {} };

  // ---- the mathematics: pre-processing with p = 10, and two gates for every weight
  const sigmoid = (x) => 1 / (1 + Math.exp(-x)), P = Math.exp(10);
  const prep = (x) => (Math.abs(x) >= 1 / P ? [Math.log(Math.abs(x)) / 10, Math.sign(x)] : [-1, P * x]);
  const logit = (w, x) => x.reduce((sum, v, k) => sum + w[k] * v, w[6]);
  const inputs = (t, g, theta, factor) => [...prep(factor * g), ...prep(factor * data.L[t]), theta];
  const walk = (factor, off) => NAMES.map((name) => { // gates of every weight at every step; off: inputs that are not seen
    const { g, theta } = data.layers[name];
    return g[0].map((_, n) => {
      let i = 0, f = 0;
      return g.map((row, t) => {
        const own = inputs(t, row[n], theta[t][n], factor);
        const heard = (last) => [...own, last].map((v, k) => (off?.has(k) ? means[k] : v));
        const seen = [...own, i]; // in step 1 the last gates are both zero
        i = sigmoid(logit(data.rule.i, heard(i)));
        f = sigmoid(logit(data.rule.f, heard(f)));
        return { i, f, g: Math.abs(factor * row[n]), seen };
      });
    });
  });
  const average = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const median = (values) => {
    const v = [...values].sort((a, b) => a - b), m = v.length >> 1;
    return v.length % 2 ? v[m] : (v[m - 1] + v[m]) / 2;
  };
  const plain = walk(1, null), first = plain.flat().map((steps) => steps[0].seen); // what a gate must not see stays as it is
  const means = Array.from({ length: 6 }, (_, k) => average(first.map((seen) => seen[k]))); // on average in step 1
  const compute = () => {
    const off = new Set(Object.keys(HEARS).filter((k) => state.off[k]).flatMap((k) => HEARS[k]));
    return walk(10 ** state.scale, off);
  };

  // ---- the page's parts
  const make = (tag, attributes = {}, parent = null, text = null) => {
    const node = tag === "svg" || parent?.ownerSVGElement !== undefined ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== null) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };
  const color = (k) => `var(--${COLORS[k % 6]}, ${HEX[COLORS[k % 6]]})`;
  root.classList.add("ml");
  make("style", {}, root, `
    :where(.ml) { font: 14px/1.45 system-ui, sans-serif; max-width: 46rem; }
    .ml .ml-row { display: flex; flex-wrap: wrap; gap: 0.6rem 1.6rem; align-items: flex-start; }
    .ml .ml-chart { flex: 1 1 330px; min-width: 0; max-width: 430px; }
    .mlbook-figure.ml .ml-chart svg { width: 100%; }
    .ml svg text { font-size: 13px; fill: currentColor; }
    .ml .ml-bars { flex: 1 1 230px; min-width: 0; display: grid; grid-template-columns: auto 1fr 1fr; gap: 5px 10px; align-items: center; font-variant-numeric: tabular-nums; }
    .ml .ml-bars > b { font-size: 12.5px; line-height: 1.25; align-self: end; }
    .ml .ml-name { white-space: nowrap; } .ml .ml-name > i { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-inline-end: 6px; }
    .ml .ml-bar { position: relative; height: 20px; background: color-mix(in srgb, currentColor 9%, transparent); border-radius: 3px; }
    .ml .ml-bar > span { position: absolute; inset: 0 auto 0 0; border-radius: 3px; opacity: 0.55; }
    .ml .ml-bar > em { position: absolute; inset: 0 5px 0 auto; font-style: normal; font-size: 12.5px; line-height: 20px; }
    .ml .ml-choice { display: flex; flex-wrap: wrap; gap: 0.4rem; align-items: center; margin-top: 0.7rem; }
    .ml .ml-choice > span { font-weight: 600; margin-inline-end: 0.3rem; }
    :where(.ml) button { font: inherit; color: inherit; background: none; border: 1px solid #8a929b; border-radius: 6px; padding: 0.25rem 0.7rem; cursor: pointer; }
    :where(.ml) button[aria-pressed="true"] { background: #0072B2; color: #fff; }
    .ml .ml-said { margin: 0.8rem 0 0; max-width: none; min-height: 5.8em; }
  `);
  const controls = make("div", { class: "controls" }, root);
  const slider = (label, min, max, step) => {
    const box = make("label", {}, controls, label), input = make("input", { type: "range", min, max, step, "aria-label": label }, box);
    return { input, output: make("output", {}, box) };
  };
  const time = slider("step", 1, T, 1), scale = slider("loss times", -2, 2, 0.25);
  const row = make("div", { class: "ml-row" }, root), chart = make("div", { class: "ml-chart" }, row);
  const W = 410, H = 310, LEFT = 44, RIGHT = 16, TOP = 12, BOTTOM = 44;
  const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "rate of each weight against the size of its gradient" }, chart);
  const bars = make("div", { class: "ml-bars", role: "img" }, row);
  for (const title of ["median", "input gate, the rate", "forgotten, 1\u2212f"]) make("b", {}, bars, title);
  const lines = NAMES.map((name, k) => {
    const label = make("span", { class: "ml-name" }, bars);
    make("i", { style: `background: ${color(k)}` }, label);
    label.append(name);
    return [0, 1].map(() => {
      const bar = make("div", { class: "ml-bar" }, bars);
      return { fill: make("span", { style: `background: ${color(k)}` }, bar), number: make("em", {}, bar) };
    });
  });
  const choice = make("div", { class: "ml-choice", role: "group", "aria-label": "what the gates see" }, root);
  make("span", {}, choice, "The gates see");
  const switches = Object.keys(HEARS).map((key) => {
    const button = make("button", { type: "button" }, choice, key);
    button.addEventListener("click", () => { state.off[key] = !state.off[key]; draw(); });
    return [key, button];
  });
  make("button", { type: "button", style: "margin-left: auto" }, choice, "Reset").addEventListener("click", () => { state = { ...START, off: {} }; draw(); });
  const said = make("p", { class: "ml-said", "aria-live": "polite" }, root);
  time.input.addEventListener("input", () => { state.t = Number(time.input.value) - 1; draw(); });
  scale.input.addEventListener("input", () => { state.scale = Number(scale.input.value); draw(); });

  // ---- drawing: both axes logarithmic; what lies outside is put on the edge
  const X = [-10, 2], Y = [-2.5, 0.15];
  const clip = (v, [a, b]) => Math.min(b, Math.max(a, v));
  const px = (v) => LEFT + ((clip(v, X) - X[0]) / (X[1] - X[0])) * (W - LEFT - RIGHT);
  const py = (v) => TOP + ((Y[1] - clip(v, Y)) / (Y[1] - Y[0])) * (H - TOP - BOTTOM);
  const raised = (k) => "10" + String(k).replace("-", "⁻").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);
  const short = (v) => (v >= 0.095 ? v.toFixed(2) : v >= 0.001 ? v.toFixed(3) : v.toExponential(1));
  const word = (v) => (v && (v < 1e-3 || v >= 1e4) ? v.toExponential(1) : String(Number(v.toPrecision(2))));
  const axes = () => {
    svg.replaceChildren();
    for (let k = X[0]; k <= X[1]; k += 2) {
      make("line", { x1: px(k), x2: px(k), y1: TOP, y2: H - BOTTOM, stroke: "currentColor", opacity: 0.13 }, svg);
      make("text", { x: px(k), y: H - BOTTOM + 18, "text-anchor": "middle" }, svg, raised(k));
    }
    for (const [k, text] of [[0, "1"], [-1, "0.1"], [-2, "0.01"]]) {
      make("line", { x1: LEFT, x2: W - RIGHT, y1: py(k), y2: py(k), stroke: "currentColor", opacity: 0.13 }, svg);
      make("text", { x: LEFT - 6, y: py(k) + 4.5, "text-anchor": "end" }, svg, text);
    }
    make("text", { x: (W + LEFT) / 2, y: H - 6, "text-anchor": "middle" }, svg, "size of the gradient");
    const rate = Math.log10(data.sgd), a = Math.log10(data.adam);
    make("line", { x1: LEFT, x2: W - RIGHT, y1: py(rate), y2: py(rate), stroke: "currentColor", "stroke-width": 1.5 }, svg);
    make("text", { x: LEFT + 6, y: py(rate) - 6 }, svg, "SGD");
    if (state.t) return; // later steps of Adam depend on its own history
    make("line", { x1: px(a - Y[1]), y1: py(Y[1]), x2: px(Math.min(X[1], a - Y[0])), y2: py(a - Math.min(X[1], a - Y[0])), stroke: "currentColor", "stroke-width": 1.5, "stroke-dasharray": "6 4" }, svg);
    make("text", { x: px(a + 2.1) - 8, y: py(-2.1) + 5, "text-anchor": "end" }, svg, "Adam");
  };
  const draw = () => {
    const { t } = state, now = compute(), factor = 10 ** state.scale;
    axes();
    now.forEach((weights, k) => weights.forEach((steps) => {
      const { i, g } = steps[t];
      make("circle", { cx: px(Math.log10(g || 1e-30)).toFixed(1), cy: py(Math.log10(i)).toFixed(1), r: 2.6, fill: color(k), opacity: 0.75 }, svg);
    }));
    const gates = now.map((weights) => [median(weights.map((s) => s[t].i)), median(weights.map((s) => 1 - s[t].f))]);
    gates.forEach((pair, k) => pair.forEach((v, which) => {
      lines[k][which].fill.style.width = `${(100 * (which ? Math.min(1, v / 0.2) : v)).toFixed(1)}%`;
      lines[k][which].number.textContent = which ? `${(100 * v).toFixed(1)} %` : short(v);
    }));
    time.input.value = t + 1;
    time.output.textContent = `${t + 1} of ${T}`;
    scale.input.value = state.scale;
    scale.output.textContent = word(factor);
    switches.forEach(([key, button]) => button.setAttribute("aria-pressed", !state.off[key]));
    bars.setAttribute("aria-label", NAMES.map((name, k) => `${name}: rate ${gates[k][0].toFixed(4)}, forgotten ${gates[k][1].toFixed(4)}`).join("; "));
    const flat = now.flat().map((steps) => steps[t]), before = plain.flat().map((steps) => steps[t]);
    const ratio = median(flat.map(({ i, g }, n) => (before[n].g ? (i * g) / (before[n].i * before[n].g) : 1)));
    const rates = flat.map(({ i }) => i);
    const deaf = Object.keys(HEARS).filter((k) => state.off[k]);
    said.textContent = `Step ${t + 1}: the support loss is ${word(factor * data.L[t])}, and rates go from ${short(Math.min(...rates))} to ${short(Math.max(...rates))}. ` +
      (deaf.length || state.scale ? `Against the rule as it is, the median step is ${word(ratio)} times as long` + (state.scale ? `; one of SGD would be ${word(factor)} times as long, one of Adam as long as before. ` : ". ") : "") +
      (deaf.length ? `What the gates do not see (${deaf.join(", ")}) stays for them as it is in step 1 on average. ` : "") +
      (deaf.length || state.scale ? "Gradients and weights are those of the recorded run." : "A dot is a weight; the level line is SGD" + (t ? "." : ", the falling one Adam's first step."));
  };
  draw();
}
