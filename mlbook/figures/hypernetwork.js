// A trained HyperNetwork in the plane: drag the support points, and the weights that it emits move the borders.
// data: { dim, units, hidden, embed, norm, phi, rho: weights of each part in torch's order, as one list,
//         presets: { name: [[[x, y], ...] of A, of B, of C] } }
(root, data) => {
  const CLASSES = [
    { name: "A", colour: "var(--blue, var(--hn-blue))", shape: "circle" },
    { name: "B", colour: "var(--orange, var(--hn-orange))", shape: "square" },
    { name: "C", colour: "var(--green, var(--hn-green))", shape: "triangle" },
  ];
  const N = 3, D = data.dim, H = data.hidden, HALF_WIDTH = 3.4, MAX_SHOTS = 8, COLUMNS = 84;
  const NAMES = Object.keys(data.presets);
  const state = { support: [[], [], []], preset: 0, plain: true };
  let width = 0, height = 0, halfHeight = 2.6, rows = 0, grid = [];

  // ---- the mathematics, in the order of the Python file
  const linear = (weights, at, inputs, outputs, x, bias = true) => { // W [outputs, inputs] by rows, then b
    const y = new Float64Array(outputs);
    for (let i = 0; i < outputs; i++) {
      let sum = bias ? weights[at + inputs * outputs + i] : 0;
      for (let j = 0, row = at + i * inputs; j < inputs; j++) sum += weights[row + j] * x[j];
      y[i] = sum;
    }
    return y;
  };
  const relu = (x) => x.map((v) => Math.max(0, v));
  const f = (x) => { // the embedding, layer-normalised
    const U = data.units, z = linear(data.embed, 3 * U, U, D, relu(linear(data.embed, 0, 2, U, x)));
    const mean = z.reduce((a, b) => a + b, 0) / D;
    const spread = Math.sqrt(z.reduce((a, b) => a + (b - mean) ** 2, 0) / D + 1e-5);
    return z.map((v, i) => ((v - mean) / spread) * data.norm[i] + data.norm[D + i]);
  };
  const average = (vectors) => vectors[0].map((_, i) => vectors.reduce((sum, v) => sum + v[i], 0) / vectors.length);
  const emit = () => { // w_k and b_k of every class, D + 1 numbers in a row
    const r_k = state.support.map((points) => average(points.map((x) => relu(linear(data.phi, 0, D, H, f(x))))));
    const r = average(r_k);
    return r_k.map((own) => {
      const inner = relu(linear(data.rho, 0, 2 * H, H, [...own, ...r]));
      return linear(data.rho, 2 * H * H + H, H, D + 1, inner, false);
    });
  };
  const score = (w, z) => w.map((row) => { let s = row[D]; for (let j = 0; j < D; j++) s += row[j] * z[j]; return s; });
  const means = () => state.support.map((points) => average(points));
  const nearness = (c, [x, y]) => c.map((m) => -((x - m[0]) ** 2) - (y - m[1]) ** 2);
  const argmax = (s) => s.indexOf(Math.max(...s));

  // ---- building blocks
  const SVG = "http://www.w3.org/2000/svg", SVG_TAGS = new Set(["svg", "g", "path", "circle", "text", "rect"]);
  const make = (tag, attributes = {}, parent = null, text = null) => {
    const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== null) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };
  const toX = (x) => ((x + HALF_WIDTH) / (2 * HALF_WIDTH)) * width;
  const toY = (y) => ((halfHeight - y) / (2 * halfHeight)) * height;
  const clamp = (v, limit) => Math.max(-limit, Math.min(limit, v));
  const inside = ([x, y]) => [clamp(x, HALF_WIDTH - 0.1), clamp(y, halfHeight - 0.1)];
  const outline = (shape, r) => ({
    circle: `M${-r} 0A${r} ${r} 0 1 1 ${r} 0A${r} ${r} 0 1 1 ${-r} 0Z`,
    square: `M${-0.9 * r} ${-0.9 * r}H${0.9 * r}V${0.9 * r}H${-0.9 * r}Z`,
    triangle: `M0 ${-1.2 * r}L${1.1 * r} ${0.8 * r}H${-1.1 * r}Z`,
  })[shape];

  // ---- the page's parts
  root.classList.add("hn");
  make("style", {}, root, `
    .hn { --hn-blue: #0068a3; --hn-orange: #b85000; --hn-green: #007a59; --hn-ink: #1f2933; --hn-paper: #ffffff; --hn-soft: #56616d; --hn-line: #d5d9de; --hn-wash: #f4f5f6; }
    .hn[data-dark] { --hn-blue: #5fb0e5; --hn-orange: #f0893c; --hn-green: #2fc39a; --hn-ink: #e4e1da; --hn-paper: #14181d; --hn-soft: #a9b0b7; --hn-line: #3a434d; --hn-wash: #20262d; }
    :where(.hn) { color: var(--ink, var(--hn-ink)); font: 14px/1.45 system-ui, sans-serif; max-width: 54rem; }
    .hn .hn-bar { display: flex; flex-wrap: wrap; gap: 0.4rem; align-items: center; margin: 0 0 0.7rem; }
    .hn .hn-row { display: flex; flex-wrap: wrap; gap: 0.9rem 1.4rem; align-items: flex-start; }
    .hn .hn-plane { position: relative; flex: 1 1 330px; min-width: 0; border: 1px solid var(--line, var(--hn-line)); border-radius: 8px; overflow: hidden; }
    .hn .hn-plane canvas { position: absolute; inset: 0; width: 100%; height: 100%; }
    .hn .hn-plane svg { position: relative; display: block; width: 100%; user-select: none; -webkit-user-select: none; }
    .hn .hn-panel { flex: 1 1 255px; min-width: 0; max-width: 420px; }
    .hn .hn-handle { cursor: grab; touch-action: none; outline: none !important; }
    .hn .hn-handle:active { cursor: grabbing; }
    .hn .hn-focus { fill: none; stroke: var(--ink, var(--hn-ink)); stroke-width: 2; stroke-dasharray: 3 3; visibility: hidden; }
    .hn .hn-handle:focus-visible .hn-focus { visibility: visible; }
    .hn .hn-soft { color: var(--soft, var(--hn-soft)); }
    .hn .hn-weights { display: block; width: 100%; height: auto; margin: 0.3rem 0 0.2rem; }
    .mlbook-figure.hn .hn-weights text { font-size: 12.5px; }
    .hn .hn-line { display: grid; grid-template-columns: auto 1fr auto; gap: 0.3rem 0.6rem; align-items: center; margin: 0.6rem 0 0; }
    .hn .hn-line input { min-width: 5rem !important; width: 100%; }
    :where(.hn) button { font: inherit; color: inherit; background: var(--hn-wash); border: 1px solid var(--hn-line); border-radius: 6px; padding: 0.3rem 0.7rem; min-height: 2rem; cursor: pointer; }
    :where(.hn) button[aria-pressed="true"] { background: var(--hn-blue); color: var(--hn-paper); border-color: var(--hn-blue); }
    .hn button { padding-inline: 0.65rem !important; }
    .hn button:disabled { opacity: 0.45; cursor: default; }
    .hn .hn-said { margin: 0.7rem 0 0; min-height: 2.9em; }
  `);
  const bar = make("div", { class: "hn-bar", role: "group", "aria-label": "examples" }, root);
  const choose = (k) => {
    state.preset = k;
    state.support = structuredClone(data.presets[NAMES[k]]);
    turned = 0;
    draw();
  };
  const presets = NAMES.map((name, k) => {
    const button = make("button", { type: "button" }, bar, name);
    button.addEventListener("click", () => choose(k));
    button.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!move) return;
      event.preventDefault();
      const next = (k + move + NAMES.length) % NAMES.length;
      choose(next);
      presets[next].focus();
    });
    return button;
  });
  const row = make("div", { class: "hn-row" }, root);
  const plane = make("div", { class: "hn-plane" }, row);
  const canvas = make("canvas", { "aria-hidden": "true" }, plane);
  const svg = make("svg", { role: "group", "aria-label": "The plane of examples. Every support point can be moved by dragging or with the arrow keys." }, plane);
  const floor = make("g", { "pointer-events": "none" }, svg), handles = make("g", {}, svg);
  const panel = make("div", { class: "hn-panel" }, row);
  make("div", { class: "hn-soft" }, panel, "the emitted weights");
  const chart = make("svg", { class: "hn-weights", viewBox: "0 0 300 118", role: "img" }, panel);
  const turning = make("div", { class: "hn-line" }, panel);
  make("span", { class: "hn-soft" }, turning, "turn all");
  const turn = make("input", { type: "range", min: "-90", max: "90", step: "5", "aria-label": "turn the support set" }, turning);
  const angle = make("output", { style: "min-width: 3em; text-align: right" }, turning);
  let turned = 0;
  turn.addEventListener("input", () => {
    const by = ((Number(turn.value) - turned) * Math.PI) / 180, c = Math.cos(by), s = Math.sin(by);
    turned = Number(turn.value);
    state.support = state.support.map((points) => points.map(([x, y]) => [c * x - s * y, s * x + c * y]));
    state.preset = null;
    draw();
  });
  const shots = make("div", { class: "hn-bar", style: "margin: 0.6rem 0 0" }, panel);
  make("span", { class: "hn-soft" }, shots, "shots");
  const fewer = make("button", { type: "button", "aria-label": "one shot fewer" }, shots, "−");
  const count = make("output", { style: "min-width: 1.2em; text-align: center", "aria-live": "polite" }, shots);
  const more = make("button", { type: "button", "aria-label": "one shot more" }, shots, "+");
  fewer.addEventListener("click", () => { state.support.forEach((points) => points.pop()); state.preset = null; draw(); });
  more.addEventListener("click", () => { // mirrored through the class's mean, a little off
    state.support.forEach((points, k) => {
      const m = average(points), p = points[(7 * points.length) % points.length], i = points.length;
      points.push(inside([2 * m[0] - p[0] + 0.25 * Math.cos(2 * i + k), 2 * m[1] - p[1] + 0.25 * Math.sin(2 * i + k)]));
    });
    state.preset = null;
    draw();
  });
  const options = make("div", { class: "hn-bar", style: "margin: 0.6rem 0 0" }, panel);
  const swap = make("button", { type: "button" }, options, "Exchange A and B");
  swap.addEventListener("click", () => { const [a, b, c] = state.support; state.support = [b, a, c]; state.preset = null; draw(); });
  const plain = make("button", { type: "button" }, options, "Nearest mean");
  plain.addEventListener("click", () => { state.plain = !state.plain; draw(); });
  const said = make("p", { class: "hn-said", "aria-live": "polite" }, root);
  make("p", { class: "caption hn-soft" }, root, "Drag a support point, or press Tab and the arrow keys. Solid lines: where the generated classifier changes its answer; the stronger a colour, the surer it is. Dashed: where the nearest mean changes. One square is one emitted number, blue above zero, orange below; the last of each row is the bias.");

  // ---- points that a hand can move
  const points = CLASSES.flatMap((c, k) => Array.from({ length: MAX_SHOTS }, (_, i) => {
    const g = make("g", { class: "hn-handle", tabindex: "0", role: "group", "aria-roledescription": "movable point" }, handles);
    make("circle", { r: 17, fill: "transparent" }, g);
    make("path", { d: outline(c.shape, 7), stroke: "var(--paper, var(--hn-paper))", "stroke-width": 1.5, style: `fill: ${c.colour}` }, g);
    make("circle", { r: 13, class: "hn-focus" }, g);
    const place = (p) => { state.support[k][i] = inside(p); state.preset = null; draw(); };
    let held = false;
    g.addEventListener("pointerdown", (event) => {
      held = true;
      g.setPointerCapture(event.pointerId);
      event.preventDefault();
      g.focus({ preventScroll: true });
    });
    g.addEventListener("pointermove", (event) => {
      if (!held) return;
      const box = svg.getBoundingClientRect();
      place([((event.clientX - box.left) / box.width * 2 - 1) * HALF_WIDTH, (1 - (event.clientY - box.top) / box.height * 2) * halfHeight]);
    });
    for (const end of ["pointerup", "pointercancel"]) g.addEventListener(end, () => { held = false; });
    g.addEventListener("keydown", (event) => {
      const move = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!move) return;
      event.preventDefault();
      const step = event.shiftKey ? 0.4 : 0.1, [x, y] = state.support[k][i];
      place([x + step * move[0], y + step * move[1]]);
    });
    return { g, k, i, name: c.name };
  }));

  // ---- drawing
  const rgb = (colour) => {
    const probe = make("span", { style: `color: ${colour}; display: none` }, root);
    const numbers = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
    probe.remove();
    return numbers;
  };
  let inks = CLASSES.map((c) => rgb(c.colour));
  const lay = () => { // where the classifier is asked; its embeddings do not change with the support set
    rows = Math.round((COLUMNS * height) / width);
    grid = Array.from({ length: rows * COLUMNS }, (_, n) => {
      const x = [((2 * ((n % COLUMNS) + 0.5)) / COLUMNS - 1) * HALF_WIDTH, (1 - (2 * (Math.floor(n / COLUMNS) + 0.5)) / rows) * halfHeight];
      return { x, z: f(x) };
    });
  };
  const shade = (scores) => {
    canvas.width = COLUMNS;
    canvas.height = rows;
    const picture = canvas.getContext("2d").createImageData(COLUMNS, rows);
    scores.forEach((s, n) => {
      const top = Math.max(...s), e = s.map((v) => Math.exp(v - top)), total = e.reduce((a, b) => a + b, 0);
      for (let channel = 0; channel < 3; channel++) picture.data[4 * n + channel] = e.reduce((sum, v, k) => sum + (v / total) * inks[k][channel], 0);
      picture.data[4 * n + 3] = 255 * (0.05 + 0.5 * (1 / total - 1 / 3));
    });
    canvas.getContext("2d").putImageData(picture, 0, 0);
  };
  const borders = (scores) => { // marching squares around each class but the last two's common border, drawn once
    let d = "";
    const X = (i) => ((i + 0.5) / COLUMNS) * width, Y = (j) => ((j + 0.5) / rows) * height;
    for (let k = 0; k < N; k++) {
      const lead = scores.map((s) => s[k] - Math.max(...s.filter((_, other) => other !== k)));
      for (let j = 0; j + 1 < rows; j++) for (let i = 0; i + 1 < COLUMNS; i++) {
        const n = j * COLUMNS + i, corner = [[i, j, lead[n]], [i + 1, j, lead[n + 1]], [i + 1, j + 1, lead[n + COLUMNS + 1]], [i, j + 1, lead[n + COLUMNS]]];
        const cuts = [];
        corner.forEach(([x, y, v], e) => {
          const [x2, y2, v2] = corner[(e + 1) % 4];
          if (v > 0 !== v2 > 0) { const t = v / (v - v2); cuts.push(`${X(x + t * (x2 - x)).toFixed(1)} ${Y(y + t * (y2 - y)).toFixed(1)}`); }
        });
        for (let c = 0; c + 1 < cuts.length; c += 2) d += `M${cuts[c]}L${cuts[c + 1]}`;
      }
    }
    return d;
  };
  const straight = (c) => { // between means i and j, kept where the third is no nearer
    const bias = c.map((v) => -(v[0] ** 2 + v[1] ** 2) / 2), line = (i, j) => [c[i][0] - c[j][0], c[i][1] - c[j][1], bias[i] - bias[j]];
    return [[0, 1, 2], [0, 2, 1], [1, 2, 0]].map(([i, j, k]) => {
      const [a, b, e] = line(i, j), norm = a * a + b * b;
      if (norm < 1e-12) return "";
      const start = [(-e * a) / norm, (-e * b) / norm], along = [-b, a];
      let low = -1e4, high = 1e4;
      const cut = (p, q, r) => {
        const slope = p * along[0] + q * along[1], value = p * start[0] + q * start[1] + r;
        if (Math.abs(slope) < 1e-12) { if (value < 0) high = -Infinity; } else if (slope > 0) low = Math.max(low, -value / slope); else high = Math.min(high, -value / slope);
      };
      cut(...line(i, k));
      cut(1, 0, HALF_WIDTH); cut(-1, 0, HALF_WIDTH); cut(0, 1, halfHeight); cut(0, -1, halfHeight);
      const end = (t) => `${toX(start[0] + t * along[0]).toFixed(1)} ${toY(start[1] + t * along[1]).toFixed(1)}`;
      return low < high ? `M${end(low)}L${end(high)}` : "";
    }).join("");
  };
  const draw = () => {
    if (!width) return;
    const w = emit(), c = means(), scores = grid.map(({ z }) => score(w, z));
    shade(scores);
    floor.replaceChildren();
    make("path", { d: `M0 ${toY(0)}H${width}M${toX(0)} 0V${height}`, style: "stroke: var(--line-2, var(--hn-line)); stroke-width: 1" }, floor);
    if (state.plain) make("path", { d: straight(c), fill: "none", "stroke-dasharray": "7 5", style: "stroke: var(--ink, var(--hn-ink)); stroke-width: 1.3; opacity: 0.7" }, floor);
    make("path", { d: borders(scores), fill: "none", style: "stroke: var(--ink, var(--hn-ink)); stroke-width: 1.5; stroke-linecap: round" }, floor);

    for (const { g, k, i, name } of points) {
      const p = state.support[k][i];
      g.style.display = p ? "" : "none";
      g.setAttribute("tabindex", p ? "0" : "-1");
      if (!p) continue;
      g.setAttribute("transform", `translate(${toX(p[0]).toFixed(1)} ${toY(p[1]).toFixed(1)})`);
      g.setAttribute("aria-label", `support example ${i + 1} of class ${name}, at ${p[0].toFixed(1)}, ${p[1].toFixed(1)}`);
    }

    chart.replaceChildren();
    const size = 262 / (D + 1.6), biggest = Math.max(...w.flatMap((r) => [...r]).map(Math.abs), 1e-9);
    const label = { "text-anchor": "middle", style: "fill: var(--soft, var(--hn-soft))" };
    make("text", { x: 26 + (size * D) / 2, y: 11, ...label }, chart, "w");
    make("text", { x: 26 + size * (D + 1.1), y: 11, ...label }, chart, "b");
    w.forEach((r, k) => {
      const y = 20 + 32 * k;
      make("text", { x: 8, y: y + 17, "text-anchor": "middle", "font-weight": 700, style: `fill: ${CLASSES[k].colour}` }, chart, CLASSES[k].name);
      r.forEach((v, i) => make("rect", { x: (26 + size * (i < D ? i : D + 0.6)).toFixed(1), y, width: (size - 1.2).toFixed(1), height: 25, rx: 2,
        "fill-opacity": Math.min(1, Math.abs(v) / biggest).toFixed(2), "stroke-width": 0.7, style: `fill: ${v > 0 ? CLASSES[0].colour : CLASSES[1].colour}; stroke: var(--line-2, var(--hn-line))` }, chart));
    });
    chart.setAttribute("aria-label", "Emitted weights and biases. " + w.map((r, k) => `${CLASSES[k].name}: ${[...r].map((v) => v.toFixed(3)).join(", ")}`).join("; "));

    const all = state.support.flatMap((some, k) => some.map((x) => [x, k]));
    const right = all.filter(([x, k]) => argmax(score(w, f(x))) === k).length, near = all.filter(([x, k]) => argmax(nearness(c, x)) === k).length;
    const differ = grid.filter(({ x }, n) => argmax(nearness(c, x)) !== argmax(scores[n])).length / grid.length;
    said.textContent = `Of the ${all.length} support points the generated classifier gets ${right} right, the nearest mean ${near}. In ${(100 * differ).toFixed(0)} % of the plane they answer differently.`;
    const most = Math.max(...state.support.map((s) => s.length));
    count.textContent = most;
    fewer.disabled = Math.min(...state.support.map((s) => s.length)) <= 1;
    more.disabled = most >= MAX_SHOTS;
    presets.forEach((p, k) => p.setAttribute("aria-pressed", state.preset === k));
    plain.setAttribute("aria-pressed", state.plain);
    turn.value = turned;
    angle.textContent = `${turned}°`.replace("-", "−");
  };

  // ---- light or dark: the site says so by its variables; elsewhere the page's own background, then the system
  const theme = () => {
    let dark = matchMedia("(prefers-color-scheme: dark)").matches;
    for (let node = root; node; node = node.parentElement) {
      const [r, g, b, alpha = 1] = (getComputedStyle(node).backgroundColor.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
      if (alpha > 0.5) { dark = 0.3 * r + 0.59 * g + 0.11 * b < 128; break; }
    }
    root.toggleAttribute("data-dark", dark);
    inks = CLASSES.map((c) => rgb(c.colour));
    draw();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
  new MutationObserver(theme).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "theme", "class"] });
  new MutationObserver(theme).observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  const resize = () => {
    if (!plane.clientWidth || plane.clientWidth === width) return;
    width = plane.clientWidth;
    height = Math.round(width * (width < 420 ? 0.92 : 0.8));
    halfHeight = (HALF_WIDTH * height) / width;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.style.height = `${height}px`;
    lay();
    draw();
  };
  new ResizeObserver(resize).observe(plane);
  choose(0);
  theme();
  resize();
}
