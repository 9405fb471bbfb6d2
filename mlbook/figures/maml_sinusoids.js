// Gradient descent on a few points, step by step, from MAML's initial network and from the pre-trained one.
// data: {sizes: [1, H, H, 1], rate, maml, pretrained: every weight in torch's order (W1, b1, W2, b2, W3, b3)}
(root, data) => {
  const H = data.sizes[1], STEPS = 10, MOST = 20, LOW = -5, HIGH = 5, GRID = 160;
  const NETS = [
    { key: "maml", name: "MAML", colour: "var(--blue, var(--ms-blue))", dash: "" },
    { key: "pretrained", name: "pre-trained", colour: "var(--orange, var(--ms-orange))", dash: "7 4" },
  ];
  const PRESETS = [
    { name: "10 points", A: 3.4, phi: 0.9, xs: [-4.6, -3.5, -2.9, -1.6, -0.7, 0.4, 1.1, 2.3, 3.6, 4.5] },
    { name: "3 points", A: 3.4, phi: 0.9, xs: [-3.4, 0.3, 2.6] },
    { name: "half the range", A: 4.2, phi: 2.1, xs: [-4.8, -4.3, -3.7, -3.1, -2.7, -2.1, -1.6, -1.1, -0.6, -0.2] },
    { name: "amplitude 9", A: 9, phi: 0.9, xs: [-4.6, -3.5, -2.9, -1.6, -0.7, 0.4, 1.1, 2.3, 3.6, 4.5] },
  ];
  const state = { A: 0, phi: 0, points: [], bound: true, step: 1, rate: data.rate };
  const truth = (x) => state.A * Math.sin(x - state.phi);
  const grid = Array.from({ length: GRID + 1 }, (_, i) => LOW + ((HIGH - LOW) * i) / GRID);
  let width = 0, height = 0, top = 6, timer = null;

  // ---- the mathematics: f(x) = W3 relu(W2 relu(W1 x + b1) + b2) + b3, all weights in one row
  const B1 = H, W2 = 2 * H, B2 = W2 + H * H, W3 = B2 + H, B3 = W3 + H;
  const h1 = new Float64Array(H), h2 = new Float64Array(H);
  const f = (w, x) => {
    for (let j = 0; j < H; j++) h1[j] = Math.max(0, w[j] * x + w[B1 + j]);
    let y = w[B3];
    for (let i = 0; i < H; i++) {
      let z = w[B2 + i];
      for (let j = 0, row = W2 + i * H; j < H; j++) z += w[row + j] * h1[j];
      h2[i] = Math.max(0, z);
      y += w[W3 + i] * h2[i];
    }
    return y;
  };
  const meanSquare = (w, points) => points.reduce((sum, [x, y]) => sum + (f(w, x) - y) ** 2, 0) / points.length;
  const descend = (w, points, rate) => { // one step down the gradient of the mean squared error, by hand
    const g = new Float64Array(w.length), d1 = new Float64Array(H);
    for (const [x, y] of points) {
      const e = (2 * (f(w, x) - y)) / points.length;
      d1.fill(0);
      g[B3] += e;
      for (let i = 0; i < H; i++) {
        g[W3 + i] += e * h2[i];
        if (h2[i] === 0) continue;
        const d2 = e * w[W3 + i], row = W2 + i * H;
        g[B2 + i] += d2;
        for (let j = 0; j < H; j++) { g[row + j] += d2 * h1[j]; d1[j] += d2 * w[row + j]; }
      }
      for (let j = 0; j < H; j++) if (h1[j] > 0) { g[j] += d1[j] * x; g[B1 + j] += d1[j]; }
    }
    return w.map((v, i) => v - rate * g[i]);
  };
  const descent = (start) => { // after 0, 1, ..., STEPS steps: the curve on the grid, the error on the points and on the curve
    const curves = [], onPoints = [], onCurve = [];
    for (let k = 0, w = Float64Array.from(start); k <= STEPS; k++) {
      const curve = grid.map((x) => f(w, x));
      curves.push(curve);
      onPoints.push(meanSquare(w, state.points));
      onCurve.push(curve.reduce((sum, y, i) => sum + (y - truth(grid[i])) ** 2, 0) / grid.length);
      if (k < STEPS) w = descend(w, state.points, state.rate);
    }
    return { curves, points: onPoints, curve: state.bound ? onCurve : null };
  };
  let runs = [], made = "";
  const compute = () => { // only when something has changed but the step that is shown
    const wanted = JSON.stringify([state.points, state.rate, state.bound, state.A, state.phi]);
    if (wanted !== made) runs = NETS.map(({ key }) => descent(data[key]));
    made = wanted;
  };

  // ---- building blocks
  const SVG = "http://www.w3.org/2000/svg", SVG_TAGS = new Set(["svg", "g", "path", "circle", "line", "text", "rect"]);
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
  root.classList.add("ms");
  make("style", {}, root, `
    .ms { --ms-blue: #0068a3; --ms-orange: #b85000; --ms-green: #007a59; --ms-ink: #1f2933; --ms-paper: #ffffff; --ms-soft: #56616d; --ms-line: #d5d9de; --ms-wash: #f4f5f6; }
    .ms[data-dark] { --ms-blue: #5fb0e5; --ms-orange: #f0893c; --ms-green: #2fc39a; --ms-ink: #e4e1da; --ms-paper: #14181d; --ms-soft: #a9b0b7; --ms-line: #3a434d; --ms-wash: #20262d; }
    :where(.ms) { color: var(--ink, var(--ms-ink)); font: 14px/1.45 system-ui, sans-serif; max-width: 54rem; }
    .ms .ms-bar { display: flex; flex-wrap: wrap; gap: 0.4rem; align-items: center; margin: 0 0 0.7rem; }
    .ms .ms-row { display: flex; flex-wrap: wrap; gap: 0.9rem 1.2rem; align-items: flex-start; }
    .ms .ms-left { flex: 1 1 320px; min-width: 0; }
    .ms .ms-plane { border: 1px solid var(--line, var(--ms-line)); border-radius: 8px; overflow: hidden; }
    .ms .ms-plane svg { display: block; width: 100%; user-select: none; -webkit-user-select: none; cursor: copy; }
    .ms .ms-panel { flex: 1 1 262px; min-width: 0; max-width: 420px; }
    .ms .ms-handle { cursor: grab; touch-action: none; outline: none !important; }
    .ms .ms-handle:active { cursor: grabbing; }
    .ms .ms-focus { fill: none; stroke: var(--ink, var(--ms-ink)); stroke-width: 2; stroke-dasharray: 3 3; visibility: hidden; }
    .ms .ms-handle:focus-visible .ms-focus { visibility: visible; }
    .ms .ms-soft { color: var(--soft, var(--ms-soft)); }
    .ms .ms-table { display: grid; grid-template-columns: 1fr auto auto; gap: 0.15rem 0.8rem; margin: 0 0 0.3rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
    .ms .ms-table :nth-child(3n), .ms .ms-table :nth-child(3n + 2) { text-align: right; }
    .ms .ms-count { min-width: 4em; padding-left: 0.3rem; font-variant-numeric: tabular-nums; }
    .ms .ms-sliders { display: grid; grid-template-columns: auto 1fr 3.9em; gap: 0.25rem 0.6rem; align-items: center; margin-top: 0.5rem; }
    .ms .ms-sliders label { display: contents; }
    .ms .ms-sliders input { min-width: 5rem !important; width: 100%; }
    .ms .ms-sliders output { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
    .ms .ms-chart { display: block; width: 100%; height: auto; overflow: visible; }
    .mlbook-figure.ms .ms-chart text { font-size: 12px; }
    :where(.ms) button { font: inherit; color: inherit; background: var(--ms-wash); border: 1px solid var(--ms-line); border-radius: 6px; padding: 0.3rem 0.7rem; min-height: 2rem; cursor: pointer; }
    :where(.ms) button[aria-pressed="true"] { background: var(--ms-blue); color: var(--ms-paper); border-color: var(--ms-blue); }
    .ms button { padding-inline: 0.65rem !important; }
    .ms :is(button, input):disabled { opacity: 0.45; cursor: default; }
    .ms .ms-said { margin: 0.6rem 0 0; max-width: none; min-height: 2.9em; }
  `);
  const bar = make("div", { class: "ms-bar", role: "group", "aria-label": "examples" }, root);
  const choose = (k) => {
    const { A, phi, xs } = PRESETS[k];
    stop();
    Object.assign(state, { A, phi, bound: true, rate: data.rate, points: xs.map((x) => [x, A * Math.sin(x - phi)]), preset: k });
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
  const row = make("div", { class: "ms-row" }, root);
  const left = make("div", { class: "ms-left" }, row);
  const plane = make("div", { class: "ms-plane" }, left);
  const svg = make("svg", { role: "group", "aria-label": "The points and the two curves. Points can be moved by dragging or with the arrow keys, and removed with the Delete key." }, plane);
  const floor = make("g", { "pointer-events": "none" }, svg), curves = make("g", { "pointer-events": "none" }, svg), handles = make("g", {}, svg);

  const panel = make("div", { class: "ms-panel" }, row);
  const steps = make("div", { class: "ms-bar", role: "group", "aria-label": "steps of gradient descent", style: "margin: 0.6rem 0 0" }, left);
  const button = (parent, text, action, label = null) => {
    const b = make("button", { type: "button", ...(label ? { "aria-label": label } : {}) }, parent, text);
    b.addEventListener("click", action);
    return b;
  };
  const stop = () => { clearInterval(timer); timer = null; };
  const back = button(steps, "Back", () => { stop(); state.step = Math.max(0, state.step - 1); draw(); }, "one step back");
  const forth = button(steps, "Step", () => { stop(); state.step = Math.min(STEPS, state.step + 1); draw(); }, "one step of gradient descent");
  const play = button(steps, "Play", () => {
    if (timer) { stop(); draw(); return; }
    state.step = 0;
    timer = setInterval(() => {
      if (!root.isConnected || state.step >= STEPS) { stop(); draw(); return; }
      state.step += 1;
      draw();
    }, 550);
    draw();
  });
  const count = make("output", { class: "ms-count" }, steps);
  const table = make("div", { class: "ms-table" }, panel);
  for (const text of ["error", "on points", "on curve"]) make("span", { class: "ms-soft" }, table, text);
  const rows = NETS.map(({ name, colour }) => {
    make("span", { style: `color: ${colour}; font-weight: 700` }, table, name);
    return [make("span", {}, table), make("span", {}, table)];
  });
  const chart = make("svg", { class: "ms-chart", viewBox: "0 0 300 150", role: "img" }, panel);

  const sliders = make("div", { class: "ms-sliders" }, panel);
  const slider = (label, name, attributes, get, set) => {
    const holder = make("label", {}, sliders);
    holder.insertAdjacentHTML("beforeend", `<span class="ms-soft">${label}</span>`);
    const input = make("input", { type: "range", "aria-label": name, ...attributes }, holder), shown = make("output", {}, sliders);
    input.addEventListener("input", () => { set(Number(input.value)); draw(); });
    return { input, shown, get };
  };
  const follow = () => { if (state.bound) state.points = state.points.map(([x]) => [x, truth(x)]); state.preset = null; };
  const rate = slider("rate <i>α</i>", "rate alpha", { min: -3, max: -1.3, step: 0.05 }, () => [Math.log10(state.rate), state.rate.toPrecision(2)],
    (v) => { state.rate = Math.abs(v - Math.log10(data.rate)) < 0.026 ? data.rate : 10 ** v; });
  const amplitude = slider("amplitude <i>A</i>", "amplitude of the true curve", { min: 0.1, max: 10, step: 0.1 }, () => [state.A, state.A.toFixed(1)], (v) => { state.A = v; follow(); });
  const phase = slider("phase <i>φ</i>", "phase of the true curve", { min: 0, max: 6.25, step: 0.05 }, () => [state.phi, `${(state.phi / Math.PI).toFixed(2)} π`], (v) => { state.phi = v; follow(); });
  const kind = make("div", { class: "ms-bar", role: "group", "aria-label": "points", style: "margin: 0.7rem 0 0" }, panel);
  const onCurve = button(kind, "on curve", () => { state.bound = true; follow(); draw(); });
  const anywhere = button(kind, "free", () => { state.bound = false; state.preset = null; draw(); });
  const fewer = button(kind, "−", () => remove(state.points.length - 1), "remove a point");
  fewer.style.marginLeft = "auto";
  const more = button(kind, "+", () => { // in the middle of the widest gap
    const xs = [LOW, ...state.points.map((p) => p[0]), HIGH].sort((a, b) => a - b);
    let best = 0;
    xs.forEach((x, i) => { if (i && x - xs[i - 1] > xs[best + 1] - xs[best]) best = i - 1; });
    const x = (xs[best] + xs[best + 1]) / 2;
    add(x, truth(x));
  }, "add a point");
  const said = make("p", { class: "ms-said", "aria-live": "polite" }, root);
  make("p", { class: "caption ms-soft" }, root, "Drag a point, or press Tab and the arrow keys; a click beside the points adds one, the Delete key or a double click removes it; “free” lets points leave the curve. Faint lines: the steps before. Dotted: the true curve. The error is the mean squared error. In the small chart broad lines are that on the whole curve, thin ones that on the points alone. Every step is computed here, from the weights that were trained above.");

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
    const g = make("g", { class: "ms-handle", tabindex: "0", role: "group", "aria-roledescription": "movable point" }, handles);
    make("circle", { r: 16, fill: "transparent" }, g);
    make("circle", { r: 6, "stroke-width": 2, style: "fill: var(--ink, var(--ms-ink)); stroke: var(--paper, var(--ms-paper))" }, g);
    make("circle", { r: 12, class: "ms-focus" }, g);
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
    const { step, points } = state;
    top = Math.max(6, state.bound ? 1.2 * state.A : top);
    compute();

    floor.replaceChildren();
    const line = "stroke: var(--line-2, var(--ms-line)); stroke-width: 1; fill: none";
    make("path", { d: `M${MARGIN} ${toY(0)}H${width}M${toX(0)} 0V${height - 18}`, style: line }, floor);
    const small = { "font-size": 12, style: "fill: var(--soft, var(--ms-soft))" };
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
    if (state.bound) make("path", { d: path(grid.map(truth)), fill: "none", "stroke-dasharray": "1 6", "stroke-linecap": "round", style: "stroke: var(--ink, var(--ms-ink)); stroke-width: 3; opacity: 0.75" }, curves);
    [1, 0].forEach((n) => {
      const { colour, dash } = NETS[n];
      for (let k = 0; k <= step; k++) {
        const now = k === step;
        make("path", { d: path(runs[n].curves[k]), fill: "none", "stroke-linejoin": "round", "stroke-dasharray": now ? dash : "", style: `stroke: ${colour}; stroke-width: ${now ? 3.2 : 1.3}; opacity: ${now ? 1 : 0.22 + (0.2 * (k + 1)) / (step + 1)}` }, curves);
      }
    });
    knobs.forEach((g, k) => {
      const shown = k < points.length;
      g.style.display = shown ? "" : "none";
      g.setAttribute("tabindex", shown ? "0" : "-1");
      if (!shown) return;
      const [x, y] = points[k];
      g.setAttribute("transform", `translate(${toX(x).toFixed(1)} ${toY(y).toFixed(1)})`);
      g.setAttribute("aria-label", `point ${k + 1}, at ${x.toFixed(1)}, ${y.toFixed(1)}`);
    });

    // the small chart: error against steps
    chart.replaceChildren();
    const lines = runs.flatMap((r) => [r.points, r.curve].filter(Boolean));
    const high = Math.max(...lines.map((l) => l[0]), 0.1) * 1.12;
    const X = (k) => 30 + (k / STEPS) * 262, Y = (v) => 122 - clamp(Number.isFinite(v) ? v / high : 2, 0, 1.06) * 108;
    make("path", { d: "M30 14V122H294", fill: "none", style: line }, chart);
    for (const k of [0, 5, 10]) make("text", { x: X(k), y: 139, "text-anchor": "middle", ...small }, chart, k);
    make("text", { x: X(7.5), y: 139, "text-anchor": "middle", ...small }, chart, "steps");
    const mark = high > 40 ? 20 : high > 20 ? 10 : high > 8 ? 5 : high > 3 ? 2 : high > 1.5 ? 1 : high > 0.5 ? 0.5 : 0.1;
    for (let v = 0; v < high; v += mark) if (Y(v) > 10 && v / mark < 5) make("text", { x: 25, y: Y(v) + 4, "text-anchor": "end", ...small }, chart, +v.toFixed(1));
    make("path", { d: `M${X(step)} 10V122`, "stroke-dasharray": "3 3", style: line }, chart);
    [1, 0].forEach((n) => {
      const { colour } = NETS[n], run = runs[n];
      const draft = (values) => "M" + values.map((v, k) => `${X(k).toFixed(1)} ${Y(v).toFixed(1)}`).join("L");
      make("path", { d: draft(run.points), fill: "none", style: `stroke: ${colour}; stroke-width: 1.2; opacity: 0.85` }, chart);
      if (run.curve) make("path", { d: draft(run.curve), fill: "none", style: `stroke: ${colour}; stroke-width: 2.6` }, chart);
      make("circle", { cx: X(step), cy: Y((run.curve || run.points)[step]), r: 4.5, style: `fill: ${colour}` }, chart);
    });
    const list = (values) => values.map((v) => (Number.isFinite(v) ? v.toPrecision(4) : "diverged")).join(", ");
    chart.setAttribute("aria-label", NETS.map(({ name }, n) => `${name}, error on the points after 0 to ${STEPS} steps: ${list(runs[n].points)}`).join("; "));

    // words and controls
    runs.forEach((run, n) => {
      rows[n][0].textContent = say(run.points[step]);
      rows[n][1].textContent = run.curve ? say(run.curve[step]) : "–";
    });
    const [a, b] = runs.map((r) => (r.curve || r.points)[step]), where = state.bound ? "whole curve" : "points";
    count.textContent = `step ${step}`;
    said.textContent = `After ${step} step${step === 1 ? "" : "s"} on ${points.length} point${points.length === 1 ? "" : "s"} the error on the ${where} is ${say(a)} from MAML’s start and ${say(b)} from the pre-trained one.` +
      (state.bound && state.A > 5 ? " Amplitudes in training went up to 5." : "") + (state.bound && state.phi > Math.PI + 0.01 ? " Phases in training went up to π." : "") +
      ([a, b].some((v) => !(v < 1e4)) ? " A rate this high overshoots." : "");
    back.disabled = step === 0;
    forth.disabled = step === STEPS;
    play.textContent = timer ? "Stop" : "Play";
    presets.forEach((p, k) => p.setAttribute("aria-pressed", state.preset === k));
    onCurve.setAttribute("aria-pressed", state.bound);
    anywhere.setAttribute("aria-pressed", !state.bound);
    fewer.disabled = points.length <= 1;
    more.disabled = points.length >= MOST;
    for (const { input, shown, get } of [rate, amplitude, phase]) {
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
