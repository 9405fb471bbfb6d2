// The losses of two tasks over one parameter: where joint pre-training ends, where MAML ends, and what the inner steps make of both.
(root, data) => {
  const PRESETS = {
    alike: {
      label: "equal bowls", alpha: 0.4, steps: 1,
      tasks: [[{ m: -1.6, v: 0, h: 1 }], [{ m: 1.6, v: 0, h: 1 }]],
    },
    steep: {
      label: "steep and flat", alpha: 0.4, steps: 1,
      tasks: [[{ m: -1.8, v: 0, h: 2.2 }], [{ m: 1.6, v: 0, h: 0.35 }]],
    },
    basin: {
      label: "tempting basin", alpha: 0.4, steps: 1,
      tasks: [[{ m: 1.3, v: 0, h: 2 }, { m: -2.15, v: 0.4, h: 0.3 }], [{ m: 2.9, v: 0, h: 2 }, { m: -1.75, v: 0.4, h: 0.3 }]],
    },
  };
  const SIDE = 4, TOP = 2.15, BOTTOM = -0.16, SOFT = 0.06, RISE = 0.45, FLAT = 0.15, SHARP = 6;
  const SVG = "http://www.w3.org/2000/svg", SVG_TAGS = new Set(["svg", "g", "path", "circle", "line", "text", "rect", "clipPath", "defs"]);
  const TASKS = [{ name: "A", colour: "var(--blue, var(--tr-blue))" }, { name: "B", colour: "var(--orange, var(--tr-orange))" }];
  const STARTS = [
    { name: "joint pre-training", short: "joint", colour: "var(--soft, var(--tr-soft))" },
    { name: "MAML", short: "MAML", colour: "var(--green, var(--tr-green))" },
  ];
  let chosen = (data && data.preset) || "basin", state = structuredClone(PRESETS[chosen]), width = 0;

  // ---- the mathematics. A task's loss is a parabola, or the soft minimum of two
  const loss = (wells, x) => {
    const heights = wells.map((w) => w.v + (w.h / 2) * (x - w.m) ** 2);
    if (heights.length === 1) return heights[0];
    const least = Math.min(...heights);
    return least - SOFT * Math.log(heights.reduce((sum, height) => sum + Math.exp((least - height) / SOFT), 0));
  };
  const gradient = (wells, x) => {
    const heights = wells.map((w) => w.v + (w.h / 2) * (x - w.m) ** 2), least = Math.min(...heights);
    const share = heights.map((height) => Math.exp((least - height) / SOFT)), total = share.reduce((a, b) => a + b, 0);
    return wells.reduce((sum, w, j) => sum + (share[j] / total) * w.h * (x - w.m), 0);
  };
  const path = (wells, x) => { // where S steps of rate alpha lead, the start first
    const points = [x];
    for (let s = 0; s < state.steps; s++) {
      x = Math.max(-99, Math.min(99, x - state.alpha * gradient(wells, x)));
      points.push(x);
    }
    return points;
  };
  const mean = (f) => (f(state.tasks[0]) + f(state.tasks[1])) / 2;
  const before = (x) => mean((wells) => loss(wells, x));
  const after = (x) => mean((wells) => loss(wells, path(wells, x).at(-1)));
  const grid = Array.from({ length: 801 }, (_, i) => -SIDE + (2 * SIDE * i) / 800);
  const minimum = (values, f, first) => { // of the lowest points of the grid the one that is lowest in `first`, then thirds
    const least = Math.min(...values);
    let at = values.indexOf(least);
    values.forEach((value, i) => { if (value <= least + 1e-6 && first[i] < first[at]) at = i; });
    const best = grid[at];
    let low = Math.max(-SIDE, best - 0.01), high = Math.min(SIDE, best + 0.01);
    for (let i = 0; i < 40; i++) {
      const a = low + (high - low) / 3, b = high - (high - low) / 3;
      if (f(a) <= f(b)) high = b; else low = a;
    }
    const fine = (low + high) / 2;
    return f(fine) < f(best) ? fine : best;
  };

  // ---- building blocks
  const make = (tag, attributes = {}, parent = null, text = null) => {
    const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== null) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };
  const clamp = (v, low, high) => Math.max(low, Math.min(high, v));
  const TALL = 250, GAP = 46, LOW = 130, LEFT = 34, RIGHT = 10, HEAD = 26, FOOT = 24;
  const top2 = HEAD + TALL + GAP, height = top2 + LOW + FOOT;
  const toX = (x) => LEFT + ((x + SIDE) / (2 * SIDE)) * (width - LEFT - RIGHT);
  const toY = (y) => HEAD + TALL - ((y - BOTTOM) / (TOP - BOTTOM)) * TALL;
  let ceiling = 1.5;
  const toY2 = (y) => top2 + LOW - (y / ceiling) * LOW;
  const square = (r) => `M${-r} ${-r}H${r}V${r}H${-r}Z`, diamond = (r) => `M0 ${-r}L${r} 0L0 ${r}L${-r} 0Z`;

  root.classList.add("tr");
  make("style", {}, root, `
    .tr { --tr-blue: #0072B2; --tr-orange: #D55E00; --tr-green: #009E73; --tr-ink: #1f2933; --tr-paper: #ffffff; --tr-soft: #56616d; --tr-line: #d5d9de; --tr-wash: #f4f5f6; }
    .tr[data-dark] { --tr-blue: #5fb0e5; --tr-orange: #f0893c; --tr-green: #2fc39a; --tr-ink: #e4e1da; --tr-paper: #14181d; --tr-soft: #a9b0b7; --tr-line: #3a434d; --tr-wash: #20262d; }
    :where(.tr) { color: var(--ink, var(--tr-ink)); font: 14px/1.45 system-ui, sans-serif; max-width: 52rem; }
    .tr .tr-bar { display: flex; flex-wrap: wrap; gap: 0.4rem 1.3rem; align-items: center; margin: 0.3rem 0; }
    .tr .tr-presets { display: flex; flex-wrap: wrap; gap: 0.4rem; }
    .tr .tr-plot svg { display: block; width: 100%; user-select: none; -webkit-user-select: none; overflow: visible; }
    .mlbook-figure.tr svg text, .tr svg text { font-size: 13px; fill: var(--ink, var(--tr-ink)); }
    .tr .tr-handle { cursor: grab; touch-action: none; outline: none !important; }
    .tr .tr-handle:active { cursor: grabbing; }
    .tr .tr-focus { fill: none; stroke: var(--ink, var(--tr-ink)); stroke-width: 2; stroke-dasharray: 3 3; visibility: hidden; }
    .tr .tr-handle:focus-visible .tr-focus { visibility: visible; }
    .tr .tr-soft { color: var(--soft, var(--tr-soft)); }
    .tr label { display: inline-flex; align-items: center; gap: 0.5rem; }
    .tr input[type="range"] { width: 9rem; min-width: 5rem; }
    .tr output { font-variant-numeric: tabular-nums; min-width: 2.2em; display: inline-block; }
    .tr .tr-steps { display: inline-flex; align-items: center; gap: 0.4rem; }
    .tr .tr-table { border-collapse: collapse; margin: 0.5rem 0 0.4rem; font-variant-numeric: tabular-nums; width: auto; display: table; }
    .tr .tr-table :is(th, td) { padding: 0.15rem 1.1rem 0.15rem 0; text-align: right; border: 0; background: none; font-weight: 400; }
    .tr .tr-table th:first-child { text-align: left; font-weight: 700; }
    .tr .tr-table tbody td:last-child { font-weight: 700; }
    .mlbook-figure.tr .tr-table svg, .tr .tr-table svg { display: inline-block; vertical-align: -2px; margin-right: 0.4rem; }
    .tr .tr-table th { white-space: nowrap; }
    @media (max-width: 480px) { .tr .tr-table :is(th, td) { padding-right: 0.7rem; } }
    :where(.tr) button { font: inherit; color: inherit; background: var(--tr-wash); border: 1px solid var(--tr-line); border-radius: 6px; padding: 0.3rem 0.75rem; min-height: 2rem; cursor: pointer; }
    :where(.tr) button[aria-pressed="true"] { background: var(--tr-blue); color: var(--tr-paper); border-color: var(--tr-blue); }
    .tr button:disabled { border-style: dashed; cursor: default; }
  `);
  const bar = make("div", { class: "tr-bar" }, root);
  const presets = make("div", { class: "tr-presets", role: "group", "aria-label": "shapes of the two losses" }, bar);
  const buttons = Object.entries(PRESETS).map(([key, preset]) => {
    const button = make("button", { type: "button" }, presets, preset.label);
    button.addEventListener("click", () => { chosen = key; state = structuredClone(preset); build(); draw(); });
    return [key, button];
  });
  const plot = make("div", { class: "tr-plot" }, root);
  const svg = make("svg", { role: "group", "aria-label": "Above, the losses of tasks A and B over the parameter theta; below, their mean before and after the inner steps. Every bowl can be moved by its bottom and widened by the ring on its side, by dragging or with the arrow keys." }, plot);
  const id = `${root.id || "tr"}-clip`, defs = make("defs", {}, svg);
  const clip = [make("rect", {}, make("clipPath", { id: `${id}-1` }, defs)), make("rect", {}, make("clipPath", { id: `${id}-2` }, defs))];
  const frame = make("g", {}, svg), curves = make("g", { "clip-path": `url(#${id}-1)` }, svg), lower = make("g", { "clip-path": `url(#${id}-2)` }, svg);
  const arrows = make("g", { "pointer-events": "none", "clip-path": `url(#${id}-1)` }, svg), marks = make("g", { "pointer-events": "none" }, svg), handles = make("g", {}, svg);

  const controls = make("div", { class: "tr-bar" }, root);
  const rate = make("label", {}, controls, "rate α");
  const slider = make("input", { type: "range", min: "0", max: "1", step: "0.02" }, rate), rateShown = make("output", {}, rate);
  slider.addEventListener("input", () => { state.alpha = Number(slider.value); draw(); });
  const stepper = make("div", { class: "tr-steps", role: "group", "aria-label": "inner steps" }, controls);
  make("span", {}, stepper, "steps S");
  const fewer = make("button", { type: "button", "aria-label": "one step fewer" }, stepper, "−");
  const count = make("output", { "aria-live": "polite", style: "min-width: 1.4em; text-align: center" }, stepper);
  const more = make("button", { type: "button", "aria-label": "one step more" }, stepper, "+");
  fewer.addEventListener("click", () => { state.steps = Math.max(1, state.steps - 1); draw(); });
  more.addEventListener("click", () => { state.steps = Math.min(10, state.steps + 1); draw(); });

  const table = make("table", { class: "tr-table" }, root);
  const headRow = make("tr", {}, make("thead", {}, table));
  const heads = ["start", "θ", "mean loss", ""].map((text) => make("th", { scope: "col" }, headRow, text));
  const body = make("tbody", {}, table);
  const names = [], rows = STARTS.map((start, k) => {
    const row = make("tr", {}, body), name = make("th", { scope: "row" }, row);
    const icon = make("svg", { width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true" }, name);
    make("path", { d: k ? diamond(6.5) : square(5), style: `fill: ${start.colour}` }, icon);
    names.push(make("span", {}, name));
    return [0, 1, 2].map(() => make("td", {}, row));
  });
  const caption = make("p", { class: "caption tr-soft", "aria-live": "polite" }, root);

  // ---- what a hand can move: the bottom of every bowl, and how wide it is
  let points = [];
  const handle = (label, get, set, nudge, paint, r) => {
    const g = make("g", { class: "tr-handle", tabindex: "0", role: "group", "aria-roledescription": "movable point" }, handles);
    make("circle", { r: 17, fill: "transparent" }, g);
    paint(g);
    make("circle", { r, class: "tr-focus" }, g);
    let held = false;
    g.addEventListener("pointerdown", (event) => { held = true; g.setPointerCapture(event.pointerId); event.preventDefault(); g.focus({ preventScroll: true }); });
    g.addEventListener("pointermove", (event) => {
      if (!held) return;
      const box = svg.getBoundingClientRect(), px = ((event.clientX - box.left) / box.width) * width, py = ((event.clientY - box.top) / box.height) * height;
      set(((px - LEFT) / (width - LEFT - RIGHT)) * 2 * SIDE - SIDE, BOTTOM + ((HEAD + TALL - py) / TALL) * (TOP - BOTTOM));
      draw();
    });
    for (const end of ["pointerup", "pointercancel"]) g.addEventListener(end, () => { held = false; });
    g.addEventListener("keydown", (event) => {
      const move = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!move) return;
      event.preventDefault();
      nudge(...move, event.shiftKey ? 4 : 1);
      draw();
    });
    points.push({ g, label, get });
  };
  const arm = (w) => Math.sqrt((2 * RISE) / w.h);
  const side = (w, i) => { // the ring of A on the left, that of B on the right, as long as it is on the picture
    const wish = i ? 1 : -1;
    return Math.abs(w.m + wish * arm(w)) > SIDE - 0.05 ? -wish : wish;
  };
  const build = () => {
    handles.replaceChildren();
    points = [];
    state.tasks.forEach((wells, i) => wells.forEach((w, j) => {
      const which = `${wells.length > 1 ? ["narrow", "wide"][j] + " " : ""}bowl of task ${TASKS[i].name}`;
      const widen = (a) => { w.h = clamp((2 * RISE) / a ** 2, FLAT, SHARP); };
      const place = (m, v) => { w.m = clamp(m, -SIDE + 0.1, SIDE - 0.1); w.v = clamp(v, 0, 1.6); };
      handle(() => `width of the ${which}, curvature ${w.h.toFixed(2)}`, () => [w.m + side(w, i) * arm(w), w.v + RISE],
        (x) => widen(Math.max(0.2, Math.abs(x - w.m))), (x, y, n) => widen(Math.max(0.2, arm(w) + 0.06 * n * (x * side(w, i) + y))),
        (g) => { make("circle", { r: 5.5, fill: "var(--paper, var(--tr-paper))", "stroke-width": 2.4, style: `stroke: ${TASKS[i].colour}` }, g); }, 10);
      handle(() => `bottom of the ${which}, at ${w.m.toFixed(2)}, loss ${w.v.toFixed(2)}`, () => [w.m, w.v], place,
        (x, y, n) => place(w.m + 0.1 * n * x, w.v + 0.05 * n * y),
        (g) => {
          make("circle", { r: 9, "stroke-width": 1.5, style: `fill: ${TASKS[i].colour}; stroke: var(--paper, var(--tr-paper))` }, g);
          make("text", { "text-anchor": "middle", y: 4.5, style: "fill: var(--paper, var(--tr-paper)); font-weight: 700; pointer-events: none" }, g, TASKS[i].name);
        }, 14);
    }));
  };

  // ---- drawing
  const line = (xs, f, scale) => xs.map((x, i) => `${i ? "L" : "M"}${toX(x).toFixed(1)} ${clamp(scale(f(x)), -400, 900).toFixed(1)}`).join("");
  const draw = () => {
    if (!width) return;
    const soft = "var(--soft, var(--tr-soft))", thin = "var(--line-2, var(--tr-line))";
    const J0 = grid.map(before), JS = grid.map(after);
    const joint = minimum(J0, before, J0), maml = minimum(JS, after, J0);
    const inner = JS.slice(100, 701), same = Math.max(...inner) - Math.min(...inner) < 1e-3;
    ceiling = clamp(1.6 * Math.max(before(joint), after(joint), before(maml)), 0.4, 2.5);
    const S = state.steps, word = S === 1 ? "one step" : `${S} steps`;

    frame.replaceChildren();
    for (const [y0, y1] of [[HEAD, HEAD + TALL], [top2, top2 + LOW]]) {
      make("line", { x1: LEFT, x2: width - RIGHT, y1, y2: y1, stroke: soft }, frame);
      for (const x of [-4, -2, 0, 2, 4]) make("line", { x1: toX(x), x2: toX(x), y1: y0, y2: y1, style: `stroke: ${thin}; stroke-width: 0.7` }, frame);
    }
    for (const x of [-4, -2, 0, 2, 4]) make("text", { x: toX(x), y: height - 6, "text-anchor": "middle", style: `fill: ${soft}` }, frame, String(x).replace("-", "−"));
    make("text", { x: toX(3), y: height - 6, "text-anchor": "middle", style: "font-style: italic" }, frame, "θ");
    make("text", { x: LEFT, y: HEAD - 10, style: "font-weight: 700" }, frame, "loss");
    make("text", { x: LEFT + 38, y: HEAD - 10, style: `fill: ${TASKS[0].colour}; font-weight: 700` }, frame, "task A");
    make("text", { x: LEFT + 92, y: HEAD - 10, style: `fill: ${TASKS[1].colour}; font-weight: 700` }, frame, "task B");
    for (const y of [0, 1, 2]) make("text", { x: LEFT - 6, y: toY(y) + 4, "text-anchor": "end", style: `fill: ${soft}` }, frame, y);
    const tick = ceiling > 1.2 ? 1 : ceiling > 0.6 ? 0.5 : 0.2;
    for (const y of [0, tick]) make("text", { x: LEFT - 6, y: toY2(y) + 4, "text-anchor": "end", style: `fill: ${soft}` }, frame, y);
    make("text", { x: LEFT, y: top2 - 10, style: "font-weight: 700" }, frame, "mean loss");
    make("text", { x: LEFT + 82, y: top2 - 10, style: `fill: ${STARTS[0].colour}` }, frame, "before");
    make("text", { x: LEFT + 133, y: top2 - 10, style: `fill: ${STARTS[1].colour}; font-weight: 700` }, frame, `after ${word}`);

    curves.replaceChildren();
    [joint, maml].forEach((x, k) => make("line", { x1: toX(x), x2: toX(x), y1: HEAD, y2: HEAD + TALL, "stroke-dasharray": k ? "none" : "5 4", style: `stroke: ${STARTS[k].colour}; stroke-width: 1.4; opacity: 0.7` }, curves));
    state.tasks.forEach((wells, i) => make("path", { d: line(grid, (x) => loss(wells, x), toY), fill: "none", style: `stroke: ${TASKS[i].colour}; stroke-width: 2.6` }, curves));

    lower.replaceChildren();
    make("path", { d: line(grid, before, toY2), fill: "none", "stroke-dasharray": "5 4", style: `stroke: ${STARTS[0].colour}; stroke-width: 2` }, lower);
    make("path", { d: line(grid, after, toY2), fill: "none", style: `stroke: ${STARTS[1].colour}; stroke-width: 2.6` }, lower);

    arrows.replaceChildren();
    marks.replaceChildren();
    const together = Math.abs(joint - maml) < 0.12;
    [joint, maml].forEach((x, k) => {
      const { colour } = STARTS[k];
      state.tasks.forEach((wells) => { // the inner steps, along the curve that they descend
        const walked = path(wells, x).map((t) => [toX(clamp(t, -2 * SIDE, 2 * SIDE)), clamp(toY(loss(wells, t)), -3000, HEAD + TALL)]);
        make("path", { d: `M${walked.map((p) => p.map((v) => v.toFixed(1)).join(" ")).join("L")}`, fill: "none", "stroke-linejoin": "round", "stroke-dasharray": k ? "none" : "5 3", style: `stroke: ${colour}; stroke-width: 2` }, arrows);
        const [end, last] = [walked.at(-1), walked.at(-2)], length = Math.hypot(end[0] - last[0], end[1] - last[1]);
        for (const p of walked.slice(1, -1)) make("circle", { cx: p[0], cy: p[1], r: 2.2, style: `fill: ${colour}` }, arrows);
        const turn = (Math.atan2(end[1] - last[1], end[0] - last[0]) * 180) / Math.PI;
        if (length > 3) make("path", { d: "M0 0L-9 -4.5L-9 4.5Z", transform: `translate(${end[0].toFixed(1)} ${end[1].toFixed(1)}) rotate(${turn.toFixed(1)})`, style: `fill: ${colour}` }, arrows);
        if (walked[0][1] > HEAD) make("path", { d: k ? diamond(6.5) : square(5), transform: `translate(${walked[0][0].toFixed(1)} ${walked[0][1].toFixed(1)})`, style: `fill: ${colour}; stroke: var(--paper, var(--tr-paper))` }, marks);
      });
      const y = clamp(toY2(k ? after(x) : before(x)), top2, top2 + LOW);
      make("path", { d: k ? diamond(8) : square(6), transform: `translate(${toX(x).toFixed(1)} ${y.toFixed(1)})`, style: `fill: ${colour}; stroke: var(--paper, var(--tr-paper))` }, marks);
      if (k === 0) { // how much better, or not, the inner steps make the pre-trained start
        const fell = clamp(toY2(after(x)), top2, top2 + LOW);
        make("path", { d: square(5), transform: `translate(${toX(x).toFixed(1)} ${fell.toFixed(1)})`, style: `fill: var(--paper, var(--tr-paper)); stroke: ${colour}; stroke-width: 2` }, marks);
      }
      if (!(together && k === 0)) make("text", { x: clamp(toX(x), LEFT + 26, width - RIGHT - 26), y: HEAD + TALL + 17, "text-anchor": "middle", style: `fill: ${colour}; font-weight: 700` }, marks, together ? "both" : STARTS[k].short);
    });
    for (const { g, label, get } of points) {
      const [x, y] = get();
      g.setAttribute("transform", `translate(${toX(clamp(x, -SIDE, SIDE)).toFixed(1)} ${toY(y).toFixed(1)})`);
      g.setAttribute("aria-label", label());
    }

    const number = (v, digits) => (Math.abs(v) > 50 ? "> 50" : v.toFixed(digits).replace("-", "−").replace(/^−(0\.?0*)$/, "$1"));
    heads[3].textContent = `after ${word}`;
    heads[2].textContent = width < 420 ? "loss" : "mean loss";
    names.forEach((name, k) => { name.textContent = width < 420 ? STARTS[k].short : STARTS[k].name; });
    [joint, maml].forEach((x, k) => [[x, 2], [before(x), 3], [after(x), 3]].forEach(([v, d], i) => { rows[k][i].textContent = number(v, d); }));
    const [a, b] = [after(joint), after(maml)];
    caption.textContent = same ? `With this rate ${word} solve${S === 1 ? "s" : ""} both tasks from anywhere: every start is as good as any other.`
      : together && a - b < 5e-3 ? `Both end at the same place: the mean of the losses has its minimum where the mean after ${word} has it.`
      : `Joint pre-training ends where the dashed curve is lowest, MAML where the green one is. ` +
        `MAML's start is ${before(maml) > before(joint) + 5e-4 ? "the worse one before" : "no worse before"} the inner steps (${number(before(maml), 3)} against ${number(before(joint), 3)}) and ${a > b + 5e-4 ? "the better one" : "no better"} after them (${number(b, 3)} against ${number(a, 3)}).`;
    for (const [key, button] of buttons) button.setAttribute("aria-pressed", key === chosen);
    slider.value = state.alpha;
    rateShown.textContent = state.alpha.toFixed(2);
    count.textContent = S;
    fewer.disabled = S === 1;
    more.disabled = S === 10;
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
    width = plot.clientWidth;
    if (!width) return;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.style.height = `${height}px`;
    const inside = { x: LEFT, width: Math.max(0, width - LEFT - RIGHT) };
    for (const [rect, y, h] of [[clip[0], HEAD, TALL], [clip[1], top2, LOW]]) for (const [name, value] of Object.entries({ ...inside, y, height: h })) rect.setAttribute(name, value);
    draw();
  };
  new ResizeObserver(resize).observe(plot);
  theme();
  build();
  resize();
}
