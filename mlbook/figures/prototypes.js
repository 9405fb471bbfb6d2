// Prototypes in the plane: drag the support points, watch the class means, the regions and p(y | x) follow.
(root, data) => {
  const CLASSES = [
    { name: "A", colour: "var(--blue, var(--pn-blue))", shape: "circle" },
    { name: "B", colour: "var(--orange, var(--pn-orange))", shape: "square" },
    { name: "C", colour: "var(--green, var(--pn-green))", shape: "triangle" },
  ];
  const START = {
    query: [0.05, 0.35],
    support: [
      [[-0.95, 0.75], [-1.35, 1.95], [-2.3, 0.55], [-1.2, 0.1], [-2.35, 1.55]],
      [[1.15, 1.5], [2.35, 0.75], [2.05, 2.0], [2.6, 1.6], [1.3, 0.55]],
      [[0.75, -0.75], [-0.6, -1.5], [1.3, -1.9], [0.1, -2.0], [1.75, -1.15]],
    ],
    shots: 3, distance: "squared", scale: 1,
  };
  const MAX_SHOTS = 5, HALF_WIDTH = 3.2, DISTANCES = {
    squared: { label: "squared", formula: "d = |z − c|²" },
    euclidean: { label: "unsquared", formula: "d = |z − c|" },
    cosine: { label: "cosine", formula: "d = 1 − cos(z, c)" },
  };
  const SVG = "http://www.w3.org/2000/svg";
  let state = structuredClone({ ...START, ...(data || {}) });
  let width = 0, height = 0, halfHeight = 2.4;

  // ---- building blocks
  const make = (tag, attributes = {}, parent = null, text = null) => {
    const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== null) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };
  const SVG_TAGS = new Set(["svg", "g", "path", "circle", "line", "text", "rect"]);
  const toX = (x) => ((x + HALF_WIDTH) / (2 * HALF_WIDTH)) * width;
  const toY = (y) => ((halfHeight - y) / (2 * halfHeight)) * height;
  const clamp = (v, limit) => Math.max(-limit, Math.min(limit, v));
  const inside = ([x, y]) => [clamp(x, HALF_WIDTH - 0.12), clamp(y, halfHeight - 0.12)];
  const outline = (shape, r) => ({
    circle: `M${-r} 0A${r} ${r} 0 1 1 ${r} 0A${r} ${r} 0 1 1 ${-r} 0Z`,
    square: `M${-0.9 * r} ${-0.9 * r}H${0.9 * r}V${0.9 * r}H${-0.9 * r}Z`,
    triangle: `M0 ${-1.2 * r}L${1.1 * r} ${0.8 * r}H${-1.1 * r}Z`,
  })[shape];

  // ---- the mathematics: a prototype is a mean, p(y | x) a softmax of minus the distances
  const mean = (points) => [0, 1].map((i) => points.reduce((sum, p) => sum + p[i], 0) / points.length);
  const prototypes = () => state.support.map((points) => mean(points.slice(0, state.shots)));
  const distance = (z, c) => {
    const squared = (z[0] - c[0]) ** 2 + (z[1] - c[1]) ** 2;
    if (state.distance === "squared") return squared;
    if (state.distance === "euclidean") return Math.sqrt(squared);
    const lengths = Math.hypot(...z) * Math.hypot(...c);
    return lengths < 1e-9 ? 1 : 1 - (z[0] * c[0] + z[1] * c[1]) / lengths;
  };
  const softmax = (d) => {
    const nearest = Math.min(...d);
    const e = d.map((v) => Math.exp(-state.scale * (v - nearest)));
    const total = e.reduce((a, b) => a + b, 0);
    return e.map((v) => v / total);
  };

  // ---- the page's parts: the plane first, so that its points come first in the order of the keyboard
  root.classList.add("pn");
  make("style", {}, root, `
    .pn { --pn-blue: #0072B2; --pn-orange: #D55E00; --pn-green: #009E73; --pn-ink: #1f2933; --pn-paper: #ffffff; --pn-soft: #56616d; --pn-line: #d5d9de; --pn-wash: #f4f5f6; }
    .pn[data-dark] { --pn-blue: #5fb0e5; --pn-orange: #f0893c; --pn-green: #2fc39a; --pn-ink: #e4e1da; --pn-paper: #14181d; --pn-soft: #a9b0b7; --pn-line: #3a434d; --pn-wash: #20262d; }
    :where(.pn) { color: var(--ink, var(--pn-ink)); font: 14px/1.45 system-ui, sans-serif; max-width: 52rem; }
    .pn .pn-row { display: flex; flex-wrap: wrap; gap: 1rem 1.6rem; align-items: flex-start; }
    .pn .pn-plane { position: relative; flex: 1 1 330px; min-width: 0; border: 1px solid var(--line, var(--pn-line)); border-radius: 8px; overflow: hidden; }
    .pn .pn-plane canvas { position: absolute; inset: 0; width: 100%; height: 100%; }
    .pn .pn-plane svg { position: relative; display: block; width: 100%; user-select: none; -webkit-user-select: none; }
    .pn .pn-panel { flex: 1 1 225px; min-width: 0; }
    .pn .pn-handle { cursor: grab; touch-action: none; outline: none !important; }
    .pn .pn-handle:active { cursor: grabbing; }
    .pn .pn-focus { fill: none; stroke: var(--ink, var(--pn-ink)); stroke-width: 2; stroke-dasharray: 3 3; visibility: hidden; }
    .pn .pn-handle:focus-visible .pn-focus { visibility: visible; }
    .pn .pn-bars { display: grid; grid-template-columns: auto 1fr auto auto; gap: 0.45rem 0.6rem; align-items: center; margin: 0.15rem 0 0.55rem; }
    .pn .pn-track { height: 1.15rem; border-radius: 4px; background: var(--wash, var(--pn-wash)); box-shadow: inset 0 0 0 1px var(--line, var(--pn-line)); overflow: hidden; }
    .pn .pn-fill { height: 100%; border-radius: 4px; }
    .pn .pn-number { font-variant-numeric: tabular-nums; min-width: 2.7em; text-align: right; }
    .pn .pn-choice button { flex: 1 1 auto; }
    .pn .pn-soft { color: var(--soft, var(--pn-soft)); }
    .pn .pn-group { display: flex; flex-wrap: wrap; gap: 0.4rem; align-items: center; margin: 0.6rem 0 0; }
    .pn .pn-group > .pn-soft { flex: 0 0 3.2rem; }
    .pn .pn-group button { padding-inline: 0.7rem; }
    .pn .pn-group input { flex: 1 1 6rem; min-width: 5rem !important; }
    .pn output { display: inline-block; }
    :where(.pn) button { font: inherit; color: inherit; background: var(--pn-wash); border: 1px solid var(--pn-line); border-radius: 6px; padding: 0.3rem 0.75rem; min-height: 2rem; cursor: pointer; }
    :where(.pn) button[aria-pressed="true"] { background: var(--pn-blue); color: var(--pn-paper); border-color: var(--pn-blue); }
    .pn button:disabled { opacity: 0.4; cursor: default; }
  `);
  const row = make("div", { class: "pn-row" }, root);
  const plane = make("div", { class: "pn-plane" }, row);
  const canvas = make("canvas", { "aria-hidden": "true" }, plane);
  const svg = make("svg", { role: "group", "aria-label": "The plane of embeddings. Every point can be moved by dragging or with the arrow keys." }, plane);
  const floor = make("g", {}, svg), links = make("g", {}, svg), means = make("g", {}, svg), handles = make("g", {}, svg);

  const panel = make("div", { class: "pn-panel" }, row);
  const bars = make("div", { class: "pn-bars" }, panel);
  for (const [text, style] of [["", ""], ["the query’s class", ""], ["p(y | x)", "text-align: right"], ["d", "text-align: right"]]) make("span", { class: "pn-soft", style }, bars, text);
  const rows = CLASSES.map((c) => {
    make("span", { style: `color: ${c.colour}; font-weight: 700` }, bars, c.name);
    const track = make("div", { class: "pn-track" }, bars);
    return { fill: make("div", { class: "pn-fill", style: `background: ${c.colour}` }, track), number: make("span", { class: "pn-number" }, bars), far: make("span", { class: "pn-number pn-soft" }, bars) };
  });
  const summary = make("output", { "aria-live": "polite" }, panel);

  const group = (name) => {
    const g = make("div", { class: "pn-group", role: "group", "aria-label": name }, panel);
    make("span", { class: "pn-soft" }, g, name);
    return g;
  };
  const chosen = make("div", { class: "pn-group pn-choice", role: "group", "aria-label": "distance" }, panel);
  const buttons = Object.entries(DISTANCES).map(([key, { label }]) => {
    const button = make("button", { type: "button" }, chosen, label);
    button.addEventListener("click", () => { state.distance = key; draw(); });
    return [key, button];
  });
  const formula = make("div", { class: "pn-soft", style: "margin-top: 0.35rem" }, panel);
  const scaling = group("scale");
  const slider = make("input", { type: "range", min: "-1", max: "1", step: "0.05", "aria-label": "factor on the distance" }, scaling);
  const factor = make("output", {}, scaling);
  slider.addEventListener("input", () => { state.scale = 10 ** Number(slider.value); draw(); });
  const shots = group("shots");
  const fewer = make("button", { type: "button", "aria-label": "one shot fewer" }, shots, "−");
  const count = make("output", { style: "min-width: 1.2em; text-align: center", "aria-live": "polite" }, shots);
  const more = make("button", { type: "button", "aria-label": "one shot more" }, shots, "+");
  const reset = make("button", { type: "button", style: "margin-left: auto" }, shots, "Reset");
  fewer.addEventListener("click", () => { state.shots = Math.max(1, state.shots - 1); draw(); });
  more.addEventListener("click", () => { state.shots = Math.min(MAX_SHOTS, state.shots + 1); draw(); });
  reset.addEventListener("click", () => { state = structuredClone(START); draw(); });
  make("p", { class: "caption pn-soft" }, root, "Drag any point, or press Tab and the arrow keys; a click on the plane brings the query there. Small solid shapes are support examples, large rings their prototypes, the ? is the query. The stronger a colour, the surer the classifier.");

  // ---- points that a hand can move
  const handle = (label, get, set, paint) => {
    const g = make("g", { class: "pn-handle", tabindex: "0", role: "group", "aria-roledescription": "movable point" }, handles);
    make("circle", { r: 18, fill: "transparent" }, g);
    paint(g);
    make("circle", { r: 14, class: "pn-focus" }, g);
    const place = (event) => {
      const box = svg.getBoundingClientRect();
      set(inside([((event.clientX - box.left) / box.width * 2 - 1) * HALF_WIDTH, (1 - (event.clientY - box.top) / box.height * 2) * halfHeight]));
      draw();
    };
    let held = false;
    g.addEventListener("pointerdown", (event) => {
      held = true;
      g.setPointerCapture(event.pointerId);
      event.preventDefault();
      g.focus({ preventScroll: true });
    });
    g.addEventListener("pointermove", (event) => { if (held) place(event); });
    for (const end of ["pointerup", "pointercancel"]) g.addEventListener(end, () => { held = false; });
    g.addEventListener("click", (event) => event.stopPropagation());
    g.addEventListener("keydown", (event) => {
      const move = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!move) return;
      event.preventDefault();
      const step = event.shiftKey ? 0.4 : 0.1, [x, y] = get();
      set(inside([x + step * move[0], y + step * move[1]]));
      draw();
    });
    return { g, label, get };
  };
  const points = [];
  const query = handle("query point", () => state.query, (p) => { state.query = p; }, (g) => {
    make("circle", { r: 12, fill: "var(--paper, var(--pn-paper))", stroke: "var(--ink, var(--pn-ink))", "stroke-width": 2.2 }, g);
    make("text", { "text-anchor": "middle", y: 5.5, "font-size": 16, "font-weight": 700, style: "fill: var(--ink, var(--pn-ink)); pointer-events: none" }, g, "?");
  });
  CLASSES.forEach((c, k) => {
    for (let i = 0; i < MAX_SHOTS; i++) {
      points.push({ k, i, ...handle(`support example ${i + 1} of class ${c.name}`, () => state.support[k][i], (p) => { state.support[k][i] = p; }, (g) => {
        make("path", { d: outline(c.shape, 7), stroke: "var(--paper, var(--pn-paper))", "stroke-width": 1.5, style: `fill: ${c.colour}` }, g);
      }) });
    }
  });
  const rings = CLASSES.map((c) => {
    const g = make("g", { "pointer-events": "none" }, means);
    make("path", { d: outline(c.shape, 14), fill: "var(--paper, var(--pn-paper))", "fill-opacity": 0.75, "stroke-width": 3.2, "stroke-linejoin": "round", style: `stroke: ${c.colour}` }, g);
    make("text", { "text-anchor": "middle", y: c.shape === "triangle" ? 7 : 4.6, "font-size": 13, "font-weight": 700, style: `fill: ${c.colour}` }, g, c.name);
    return g;
  });
  plane.addEventListener("click", (event) => {
    const box = svg.getBoundingClientRect();
    state.query = inside([((event.clientX - box.left) / box.width * 2 - 1) * HALF_WIDTH, (1 - (event.clientY - box.top) / box.height * 2) * halfHeight]);
    draw();
  });

  // ---- drawing
  const rgb = (colour) => {
    const probe = make("span", { style: `color: ${colour}; display: none` }, root);
    const numbers = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
    probe.remove();
    return numbers;
  };
  let inks = CLASSES.map((c) => rgb(c.colour));

  const shade = (c) => {  // every pixel in the mixture of the classes' colours, stronger where one class is sure
    const w = Math.max(2, Math.round(width / 3)), h = Math.max(2, Math.round(height / 3));
    canvas.width = w;
    canvas.height = h;
    const picture = canvas.getContext("2d").createImageData(w, h);
    for (let j = 0, at = 0; j < h; j++) {
      const y = (1 - (2 * (j + 0.5)) / h) * halfHeight;
      for (let i = 0; i < w; i++, at += 4) {
        const z = [((2 * (i + 0.5)) / w - 1) * HALF_WIDTH, y];
        const p = softmax(c.map((prototype) => distance(z, prototype)));
        for (let channel = 0; channel < 3; channel++) picture.data[at + channel] = p.reduce((sum, v, k) => sum + v * inks[k][channel], 0);
        picture.data[at + 3] = 255 * (0.05 + 0.33 * (Math.max(...p) - 1 / 3) * 1.5);
      }
    }
    canvas.getContext("2d").putImageData(picture, 0, 0);
  };

  const borders = (c) => {  // between classes i and j: a straight line, kept where the third class is no nearer
    const cosine = state.distance === "cosine";
    const unit = cosine ? c.map((v) => { const l = Math.hypot(...v) || 1; return [v[0] / l, v[1] / l]; }) : c;
    const bias = unit.map((v) => (cosine ? 0 : -(v[0] ** 2 + v[1] ** 2) / 2));
    const line = (i, j) => [unit[i][0] - unit[j][0], unit[i][1] - unit[j][1], bias[i] - bias[j]];
    return [[0, 1, 2], [0, 2, 1], [1, 2, 0]].flatMap(([i, j, k]) => {
      const [a, b, e] = line(i, j), norm = a * a + b * b;
      if (norm < 1e-12) return [];
      const start = [(-e * a) / norm, (-e * b) / norm], along = [-b, a];
      let low = -1e4, high = 1e4;
      const cut = (p, q, r) => {  // keep t where p x + q y + r >= 0
        const slope = p * along[0] + q * along[1], value = p * start[0] + q * start[1] + r;
        if (Math.abs(slope) < 1e-12) { if (value < 0) high = -Infinity; } else if (slope > 0) low = Math.max(low, -value / slope); else high = Math.min(high, -value / slope);
      };
      cut(...line(i, k));
      cut(1, 0, HALF_WIDTH); cut(-1, 0, HALF_WIDTH); cut(0, 1, halfHeight); cut(0, -1, halfHeight);
      if (!(low < high)) return [];
      const end = (t) => `${toX(start[0] + t * along[0]).toFixed(1)} ${toY(start[1] + t * along[1]).toFixed(1)}`;
      return [`M${end(low)}L${end(high)}`];
    }).join("");
  };

  const draw = () => {
    if (!width) return;
    const c = prototypes(), d = c.map((v) => distance(state.query, v)), p = softmax(d), best = p.indexOf(Math.max(...p));
    const at = ([x, y]) => `translate(${toX(x).toFixed(1)} ${toY(y).toFixed(1)})`;
    shade(c);
    floor.replaceChildren();
    const axis = "stroke: var(--line-2, var(--pn-line)); stroke-width: 1";
    make("path", { d: `M0 ${toY(0)}H${width}M${toX(0)} 0V${height}`, style: axis }, floor);
    make("path", { d: borders(c), fill: "none", style: "stroke: var(--ink, var(--pn-ink)); stroke-width: 1.6; stroke-linecap: round; opacity: 0.75" }, floor);
    links.replaceChildren();
    c.forEach((v, k) => {
      const [x, y] = [toX(v[0]), toY(v[1])];
      for (const s of state.support[k].slice(0, state.shots)) make("line", { x1: x, y1: y, x2: toX(s[0]), y2: toY(s[1]), style: `stroke: ${CLASSES[k].colour}; stroke-width: 1.4; opacity: 0.6` }, links);
      make("line", { x1: x, y1: y, x2: toX(state.query[0]), y2: toY(state.query[1]), "stroke-dasharray": "1 6", "stroke-linecap": "round", style: `stroke: var(--ink, var(--pn-ink)); stroke-width: ${(1 + 3.5 * p[k]).toFixed(2)}; opacity: 0.8` }, links);
      rings[k].setAttribute("transform", at(v));
    });
    for (const point of points) {
      const shown = point.i < state.shots;
      point.g.style.display = shown ? "" : "none";
      point.g.setAttribute("tabindex", shown ? "0" : "-1");
    }
    for (const { g, label, get } of [query, ...points]) {
      const [x, y] = get();
      g.setAttribute("transform", at([x, y]));
      g.setAttribute("aria-label", `${label}, at ${x.toFixed(1)}, ${y.toFixed(1)}`);
    }
    rows.forEach(({ fill, number, far }, k) => {
      fill.style.width = `${(100 * p[k]).toFixed(1)}%`;
      number.textContent = p[k].toFixed(3);
      far.textContent = d[k].toFixed(2);
      number.style.fontWeight = k === best ? 700 : 400;
    });
    summary.textContent = `The answer: ${CLASSES[best].name}`;
    formula.textContent = DISTANCES[state.distance].formula;
    for (const [key, button] of buttons) button.setAttribute("aria-pressed", key === state.distance);
    count.textContent = state.shots;
    factor.textContent = `× ${state.scale.toPrecision(2)}`;
    slider.value = Math.log10(state.scale).toFixed(2);
    fewer.disabled = state.shots === 1;
    more.disabled = state.shots === MAX_SHOTS;
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
    width = plane.clientWidth;
    if (!width) return;
    height = Math.round(width * (width < 420 ? 0.92 : 0.78));
    halfHeight = (HALF_WIDTH * height) / width;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.style.height = `${height}px`;
    draw();
  };
  new ResizeObserver(resize).observe(plane);
  theme();
  resize();
}
