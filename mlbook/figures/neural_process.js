// A neural process and MAML on the same few points: one reads them, the other takes steps of gradient descent on them.
// data: { dim, heads, h, a, g: weights of the neural process's three networks; sizes: [1, M, M, 1], maml: MAML's start;
//         rate, steps: of MAML at test }. Weights are lists in torch's order (W1, b1, W2, b2, W3, b3).
(root, data) => {
  const D = data.dim, M = data.sizes[1], HEADS = data.heads, MOST = 20, LOW = -5, HIGH = 5, GRID = 120;
  const BLUE = "var(--blue, var(--np-blue))", ORANGE = "var(--orange, var(--np-orange))";
  const TEN = [-4.6, -3.5, -2.9, -1.6, -0.7, 0.4, 1.1, 2.3, 3.6, 4.5];
  const PRESETS = [
    { name: "3 points", A: 3.4, phi: 0.9, xs: [-3.4, 0.3, 2.6] },
    { name: "10 points", A: 3.4, phi: 0.9, xs: TEN },
    { name: "half the range", A: 4.2, phi: 2.1, xs: [-4.8, -4.3, -3.7, -3.1, -2.7, -2.1, -1.6, -1.1, -0.6, -0.2] },
    { name: "1 point", A: 3.4, phi: 0.9, xs: [0.3] },
    { name: "amplitude 9", A: 9, phi: 0.9, xs: TEN },
    { name: "phase 1.5 π", A: 3.4, phi: 1.5 * Math.PI, xs: TEN },
  ];
  const state = { A: 0, phi: 0, points: [], bound: true, steps: data.steps, preset: 0 };
  const truth = (x) => state.A * Math.sin(x - state.phi);
  const grid = Array.from({ length: GRID + 1 }, (_, i) => LOW + ((HIGH - LOW) * i) / GRID);
  let width = 0, height = 0, top = 6;

  // ---- the neural process, in the order of the Python file
  const mlp = (weights, sizes, x) => {
    let at = 0;
    for (let l = 0; l + 1 < sizes.length; l++) {
      const [inputs, outputs] = [sizes[l], sizes[l + 1]], y = new Float64Array(outputs);
      for (let i = 0; i < outputs; i++) {
        let sum = weights[at + inputs * outputs + i];
        for (let j = 0, row = at + i * inputs; j < inputs; j++) sum += weights[row + j] * x[j];
        y[i] = l + 2 < sizes.length ? Math.max(0, sum) : sum;
      }
      at += inputs * outputs + outputs;
      x = y;
    }
    return x;
  };
  const asks = grid.map((x) => mlp(data.a, [1, D, D], [x])); // a(x) of the targets: the same for every task
  const predict = (points) => { // mean and standard deviation on the grid
    const r_i = points.map(([x, y]) => mlp(data.h, [2, D, D, D], [x, y]));
    const keys = points.map(([x]) => mlp(data.a, [1, D, D], [x]));
    const d = D / HEADS, r = new Float64Array(1 + D);
    return grid.map((x, n) => {
      r.fill(0);
      r[0] = x;
      for (let head = 0; head < HEADS; head++) {
        const dots = keys.map((k) => { let sum = 0; for (let j = head * d; j < (head + 1) * d; j++) sum += asks[n][j] * k[j]; return sum / Math.sqrt(d); });
        const best = Math.max(...dots), e = dots.map((v) => Math.exp(v - best)), total = e.reduce((a, b) => a + b, 0);
        e.forEach((v, i) => { for (let j = head * d; j < (head + 1) * d; j++) r[1 + j] += (v / total) * r_i[i][j]; });
      }
      const [mean, s] = mlp(data.g, [1 + D, D, D, 2], r);
      return [mean, 0.1 + 0.9 * (s > 30 ? s : Math.log1p(Math.exp(s)))];
    });
  };

  // ---- MAML: f(x) = W3 relu(W2 relu(W1 x + b1) + b2) + b3, all weights in one row, and its gradient by hand
  const B1 = M, W2 = 2 * M, B2 = W2 + M * M, W3 = B2 + M, B3 = W3 + M, h1 = new Float64Array(M), h2 = new Float64Array(M);
  const f = (w, x) => {
    for (let j = 0; j < M; j++) h1[j] = Math.max(0, w[j] * x + w[B1 + j]);
    let y = w[B3];
    for (let i = 0; i < M; i++) {
      let z = w[B2 + i];
      for (let j = 0, row = W2 + i * M; j < M; j++) z += w[row + j] * h1[j];
      h2[i] = Math.max(0, z);
      y += w[W3 + i] * h2[i];
    }
    return y;
  };
  const descend = (w, points) => { // one step down the gradient of the mean squared error
    const g = new Float64Array(w.length), d1 = new Float64Array(M);
    for (const [x, y] of points) {
      const e = (2 * (f(w, x) - y)) / points.length;
      d1.fill(0);
      g[B3] += e;
      for (let i = 0; i < M; i++) {
        g[W3 + i] += e * h2[i];
        if (h2[i] === 0) continue;
        const d2 = e * w[W3 + i], row = W2 + i * M;
        g[B2 + i] += d2;
        for (let j = 0; j < M; j++) { g[row + j] += d2 * h1[j]; d1[j] += d2 * w[row + j]; }
      }
      for (let j = 0; j < M; j++) if (h1[j] > 0) { g[j] += d1[j] * x; g[B1 + j] += d1[j]; }
    }
    return w.map((v, i) => v - data.rate * g[i]);
  };
  const adapted = (points) => {
    let w = Float64Array.from(data.maml);
    for (let k = 0; k < state.steps; k++) w = descend(w, points);
    return grid.map((x) => f(w, x));
  };

  // ---- building blocks
  const SVG = "http://www.w3.org/2000/svg", SVG_TAGS = new Set(["svg", "g", "path", "circle", "text"]);
  const make = (tag, attributes = {}, parent = null, text = null) => {
    const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== null) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };
  const clamp = (v, low, high) => Math.max(low, Math.min(high, v));
  const MARGIN = 24; // left of the plane, for the numbers of its axis
  const toX = (x) => MARGIN + ((x - LOW) / (HIGH - LOW)) * (width - MARGIN - 8);
  const toY = (y) => ((top - y) / (2 * top)) * height;
  const say = (v) => (!Number.isFinite(v) || v > 9999 ? "diverged" : v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v.toFixed(2));

  // ---- the page's parts
  root.classList.add("np");
  make("style", {}, root, `
    .np { --np-blue: #0068a3; --np-orange: #b85000; --np-ink: #1f2933; --np-paper: #ffffff; --np-soft: #56616d; --np-line: #d5d9de; --np-wash: #f4f5f6; }
    .np[data-dark] { --np-blue: #5fb0e5; --np-orange: #f0893c; --np-ink: #e4e1da; --np-paper: #14181d; --np-soft: #a9b0b7; --np-line: #3a434d; --np-wash: #20262d; }
    :where(.np) { color: var(--ink, var(--np-ink)); font: 14px/1.45 system-ui, sans-serif; max-width: 54rem; }
    .np .np-bar { display: flex; flex-wrap: wrap; gap: 0.4rem; align-items: center; margin: 0 0 0.7rem; }
    .np .np-row { display: flex; flex-wrap: wrap; gap: 0.9rem 1.2rem; align-items: flex-start; }
    .np .np-plane { flex: 1 1 330px; min-width: 0; border: 1px solid var(--line, var(--np-line)); border-radius: 8px; overflow: hidden; }
    .np .np-plane svg { display: block; width: 100%; user-select: none; -webkit-user-select: none; cursor: copy; }
    .np .np-panel { flex: 1 1 245px; min-width: 0; max-width: 420px; }
    .np .np-handle { cursor: grab; touch-action: none; outline: none !important; }
    .np .np-handle:active { cursor: grabbing; }
    .np .np-focus { fill: none; stroke: var(--ink, var(--np-ink)); stroke-width: 2; stroke-dasharray: 3 3; visibility: hidden; }
    .np .np-handle:focus-visible .np-focus { visibility: visible; }
    .np .np-soft { color: var(--soft, var(--np-soft)); }
    .np .np-table { display: grid; grid-template-columns: 1fr auto; gap: 0.15rem 0.8rem; margin: 0 0 0.3rem; font-variant-numeric: tabular-nums; }
    .np .np-table :nth-child(2n) { text-align: right; }
    .np .np-sliders { display: grid; grid-template-columns: auto 1fr 3.9em; gap: 0.25rem 0.6rem; align-items: center; margin-top: 0.6rem; }
    .np .np-sliders label { display: contents; }
    .np .np-sliders input { min-width: 5rem !important; width: 100%; }
    .np .np-sliders output { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
    :where(.np) button { font: inherit; color: inherit; background: var(--np-wash); border: 1px solid var(--np-line); border-radius: 6px; padding: 0.3rem 0.7rem; min-height: 2rem; cursor: pointer; }
    :where(.np) button[aria-pressed="true"] { background: var(--np-blue); color: var(--np-paper); border-color: var(--np-blue); }
    .np button { padding-inline: 0.65rem !important; }
    .np :is(button, input):disabled { opacity: 0.45; cursor: default; }
    .np .np-said { margin: 0.6rem 0 0; max-width: none; min-height: 2.9em; }
  `);
  const bar = make("div", { class: "np-bar", role: "group", "aria-label": "examples" }, root);
  const choose = (k) => {
    const { A, phi, xs } = PRESETS[k];
    Object.assign(state, { A, phi, bound: true, points: xs.map((x) => [x, A * Math.sin(x - phi)]), preset: k });
    draw();
  };
  const presets = PRESETS.map(({ name }, k) => {
    const button = make("button", { type: "button" }, bar, name);
    button.addEventListener("click", () => choose(k));
    button.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!move) return;
      event.preventDefault();
      const next = (k + move + PRESETS.length) % PRESETS.length;
      choose(next);
      presets[next].focus();
    });
    return button;
  });
  const row = make("div", { class: "np-row" }, root);
  const plane = make("div", { class: "np-plane" }, row);
  const svg = make("svg", { role: "group", "aria-label": "The points and both curves. Points can be moved by dragging or with the arrow keys, and removed with the Delete key." }, plane);
  const floor = make("g", { "pointer-events": "none" }, svg), curves = make("g", { "pointer-events": "none", class: "np-curves" }, svg), handles = make("g", {}, svg);
  const panel = make("div", { class: "np-panel" }, row);
  const table = make("div", { class: "np-table" }, panel);
  const cell = (text, style = "") => { make("span", style ? { style } : { class: "np-soft" }, table, text); return make("span", style ? {} : { class: "np-soft" }, table); };
  cell("on the whole curve").textContent = "squared error";
  const errors = [cell("neural process", `color: ${BLUE}; font-weight: 700`), cell("MAML", `color: ${ORANGE}; font-weight: 700`)];
  const covered = cell("of the curve within 2 σ"), spread = cell("σ, least to most");
  const sliders = make("div", { class: "np-sliders" }, panel);
  const slider = (label, name, attributes, get, set) => {
    const holder = make("label", {}, sliders);
    holder.insertAdjacentHTML("beforeend", `<span class="np-soft">${label}</span>`);
    const input = make("input", { type: "range", "aria-label": name, ...attributes }, holder), shown = make("output", {}, sliders);
    input.addEventListener("input", () => { set(Number(input.value)); draw(); });
    return { input, shown, get };
  };
  const follow = () => { if (state.bound) state.points = state.points.map(([x]) => [x, truth(x)]); state.preset = null; };
  const steps = slider("MAML’s steps", "inner steps of MAML", { min: 0, max: 10, step: 1 }, () => [state.steps, state.steps], (v) => { state.steps = v; });
  const amplitude = slider("amplitude <i>A</i>", "amplitude of the true curve", { min: 0.1, max: 10, step: 0.1 }, () => [state.A, state.A.toFixed(1)], (v) => { state.A = v; follow(); });
  const phase = slider("phase <i>φ</i>", "phase of the true curve", { min: 0, max: 6.25, step: 0.05 }, () => [state.phi, `${(state.phi / Math.PI).toFixed(2)} π`], (v) => { state.phi = v; follow(); });
  const kind = make("div", { class: "np-bar", role: "group", "aria-label": "points", style: "margin: 0.7rem 0 0" }, panel);
  const button = (text, action, label = null) => {
    const b = make("button", { type: "button", ...(label ? { "aria-label": label } : {}) }, kind, text);
    b.addEventListener("click", action);
    return b;
  };
  const onCurve = button("on curve", () => { state.bound = true; follow(); draw(); });
  const anywhere = button("free", () => { state.bound = false; state.preset = null; draw(); });
  const fewer = button("−", () => remove(state.points.length - 1), "remove a point");
  fewer.style.marginLeft = "auto";
  const more = button("+", () => { // in the middle of the widest gap
    const xs = [LOW, ...state.points.map((p) => p[0]), HIGH].sort((a, b) => a - b);
    let best = 0;
    xs.forEach((x, i) => { if (i && x - xs[i - 1] > xs[best + 1] - xs[best]) best = i - 1; });
    const x = (xs[best] + xs[best + 1]) / 2;
    add(x, truth(x));
  }, "add a point");
  const said = make("p", { class: "np-said", "aria-live": "polite" }, root);
  make("p", { class: "caption np-soft" }, root, "Drag a point, or press Tab and the arrow keys; a click beside the points adds one, the Delete key or a double click removes it; “free” lets points leave the curve. Blue: the neural process’s mean, and two of its standard deviations either way. Orange, dashed: MAML’s network after its steps. Dotted: the true curve. Both are computed here, with the weights that were trained above.");

  // ---- points that a hand can move
  const place = (k, x, y) => {
    x = clamp(x, LOW, HIGH);
    state.points[k] = [x, state.bound ? truth(x) : clamp(y, -top, top)];
    state.preset = null;
  };
  const add = (x, y) => {
    if (state.points.length >= MOST) return;
    state.points.push([0, 0]);
    place(state.points.length - 1, x, y);
    draw();
  };
  const remove = (k) => {
    if (state.points.length <= 1) return;
    state.points.splice(k, 1);
    state.preset = null;
    draw();
  };
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    return [LOW + (((event.clientX - box.left) / box.width) * width - MARGIN) / (width - MARGIN - 8) * (HIGH - LOW), top * (1 - (2 * (event.clientY - box.top)) / box.height)];
  };
  const knobs = Array.from({ length: MOST }, (_, k) => {
    const g = make("g", { class: "np-handle", tabindex: "0", role: "group", "aria-roledescription": "movable point" }, handles);
    make("circle", { r: 16, fill: "transparent" }, g);
    make("circle", { r: 6, "stroke-width": 2, style: "fill: var(--ink, var(--np-ink)); stroke: var(--paper, var(--np-paper))" }, g);
    make("circle", { r: 12, class: "np-focus" }, g);
    let held = false;
    g.addEventListener("pointerdown", (event) => {
      held = true;
      g.setPointerCapture(event.pointerId);
      event.preventDefault();
      g.focus({ preventScroll: true });
    });
    g.addEventListener("pointermove", (event) => { if (held) { place(k, ...at(event)); draw(); } });
    for (const end of ["pointerup", "pointercancel"]) g.addEventListener(end, () => { held = false; });
    g.addEventListener("click", (event) => event.stopPropagation());
    g.addEventListener("dblclick", (event) => { event.stopPropagation(); remove(k); });
    g.addEventListener("keydown", (event) => {
      if (event.key === "Delete" || event.key === "Backspace") {
        event.preventDefault();
        remove(k);
        knobs[Math.min(k, state.points.length - 1)].focus();
        return;
      }
      const move = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!move) return;
      event.preventDefault();
      const size = event.shiftKey ? 0.5 : 0.1, [x, y] = state.points[k];
      place(k, x + size * move[0], y + size * move[1]);
      draw();
    });
    return g;
  });
  svg.addEventListener("click", (event) => add(...at(event)));

  // ---- drawing
  const path = (ys) => "M" + ys.map((y, i) => `${toX(grid[i]).toFixed(1)} ${(Number.isFinite(y) ? clamp(toY(y), -1e4, 1e4) : -1e4).toFixed(1)}`).join("L");
  const draw = () => {
    if (!width) return;
    const { points } = state;
    top = Math.max(6.5, state.bound ? 1.2 * state.A : top);
    const process = predict(points), maml = adapted(points);
    floor.replaceChildren();
    const line = "stroke: var(--line-2, var(--np-line)); stroke-width: 1; fill: none";
    make("path", { d: `M${MARGIN} ${toY(0)}H${width}M${toX(0)} 0V${height - 18}`, style: line }, floor);
    const small = { "font-size": 12, style: "fill: var(--soft, var(--np-soft))" };
    for (const x of [-4, -2, 0, 2, 4]) {
      make("path", { d: `M${toX(x)} ${toY(0) - 3}v6`, style: line }, floor);
      make("text", { x: toX(x), y: height - 6, "text-anchor": "middle", ...small }, floor, String(x).replace("-", "−"));
    }
    const unit = top > 7 ? 5 : 2;
    for (const y of [-2 * unit, -unit, 0, unit, 2 * unit]) {
      if (Math.abs(y) > 0.85 * top) continue;
      make("path", { d: `M${toX(0) - 3} ${toY(y)}h6`, style: line }, floor);
      make("text", { x: MARGIN - 5, y: toY(y) + 4, "text-anchor": "end", ...small }, floor, String(y).replace("-", "−"));
    }
    curves.replaceChildren();
    const upper = process.map(([m, s]) => m + 2 * s), lower = process.map(([m, s]) => m - 2 * s);
    const back = grid.map((x, i) => `${toX(x).toFixed(1)} ${clamp(toY(lower[i]), -1e4, 1e4).toFixed(1)}`).reverse().join("L");
    make("path", { d: `${path(upper)}L${back}Z`, stroke: "none", style: `fill: ${BLUE}; opacity: 0.2` }, curves);
    if (state.bound) make("path", { d: path(grid.map(truth)), fill: "none", "stroke-dasharray": "1 6", "stroke-linecap": "round", style: "stroke: var(--ink, var(--np-ink)); stroke-width: 3; opacity: 0.75" }, curves);
    make("path", { d: path(maml), fill: "none", "stroke-linejoin": "round", "stroke-dasharray": "7 4", style: `stroke: ${ORANGE}; stroke-width: 2.6` }, curves);
    make("path", { d: path(process.map(([m]) => m)), fill: "none", "stroke-linejoin": "round", style: `stroke: ${BLUE}; stroke-width: 3` }, curves);
    const list = (values) => values.filter((_, i) => i % 30 === 0).map((v) => (Number.isFinite(v) ? v.toFixed(4) : "diverged")).join(", ");
    svg.dataset.curves = `mean: ${list(process.map((p) => p[0]))}; sigma: ${list(process.map((p) => p[1]))}; maml: ${list(maml)}`;
    knobs.forEach((g, k) => {
      const shown = k < points.length;
      g.style.display = shown ? "" : "none";
      g.setAttribute("tabindex", shown ? "0" : "-1");
      if (!shown) return;
      const [x, y] = points[k];
      g.setAttribute("transform", `translate(${toX(x).toFixed(1)} ${toY(y).toFixed(1)})`);
      g.setAttribute("aria-label", `point ${k + 1}, at ${x.toFixed(1)}, ${y.toFixed(1)}`);
    });

    // words and controls
    const error = (ys) => ys.reduce((sum, y, i) => sum + (y - truth(grid[i])) ** 2, 0) / grid.length;
    const [a, b] = [error(process.map((p) => p[0])), error(maml)], sigmas = process.map((p) => p[1]);
    const share = process.filter(([m, s], i) => Math.abs(truth(grid[i]) - m) < 2 * s).length / grid.length;
    errors.forEach((e, n) => { e.textContent = state.bound ? say([a, b][n]) : "–"; });
    covered.textContent = state.bound ? `${(100 * share).toFixed(0)} %` : "–";
    spread.textContent = `${say(Math.min(...sigmas))} to ${say(Math.max(...sigmas))}`;
    const given = `${points.length} point${points.length === 1 ? "" : "s"}`, outside = state.A > 5.001 || state.phi > Math.PI + 0.01;
    said.textContent = (state.bound ? `From ${given}: squared error ${say(a)} for the neural process, ${say(b)} for MAML after ${state.steps} step${state.steps === 1 ? "" : "s"}. ${(100 * share).toFixed(0)} % of the true curve lie within the band.` : `From ${given} off any sinusoid: σ from ${say(Math.min(...sigmas))} to ${say(Math.max(...sigmas))}.`) +
      (state.bound && outside ? ` Training had ${state.A > 5.001 ? "amplitudes up to 5" : "phases up to π"} only.` : "");
    presets.forEach((p, k) => p.setAttribute("aria-pressed", state.preset === k));
    onCurve.setAttribute("aria-pressed", state.bound);
    anywhere.setAttribute("aria-pressed", !state.bound);
    fewer.disabled = points.length <= 1;
    more.disabled = points.length >= MOST;
    for (const { input, shown, get } of [steps, amplitude, phase]) {
      const [value, text] = get();
      input.value = value;
      input.setAttribute("aria-valuetext", text);
      shown.textContent = text;
    }
    amplitude.input.disabled = phase.input.disabled = !state.bound;
  };

  // ---- light or dark: the site says so by its variables; elsewhere the page's own background, then the system
  const theme = () => {
    let dark = matchMedia("(prefers-color-scheme: dark)").matches;
    for (let node = root; node; node = node.parentElement) {
      const [r, g, b, alpha = 1] = (getComputedStyle(node).backgroundColor.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
      if (alpha > 0.5) { dark = 0.3 * r + 0.59 * g + 0.11 * b < 128; break; }
    }
    root.toggleAttribute("data-dark", dark);
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
  new MutationObserver(theme).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "theme", "class"] });
  new MutationObserver(theme).observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  const resize = () => {
    width = plane.clientWidth;
    if (!width) return;
    height = Math.round(width * (width < 420 ? 0.9 : 0.82));
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.style.height = `${height}px`;
    draw();
  };
  new ResizeObserver(resize).observe(plane);
  theme();
  choose(0);
  resize();
}
