// A trained Meta Network on a real task: one query, the attention over the support's keys, the fast weights that it
// mixes, and the scores; dials for how much of the fast weights is used, and whose memory is read.
// data: { size, support, query: pictures as base64 of 2-bit grey levels, query_y, hidden, and tensors { shape, scale, bits:
// base64 of signed bytes }: z [N, D], z_query [n, D], Q and W (both layers, flat), fast [P], memory and other [N, P'] }.
// Support example i is of class i.
(root, data) => {
  const side = data.size, perPicture = (side * side) / 4, n = data.query_y.length, H = data.hidden;
  const tensor = ({ shape, scale, bits }) => {
    const bytes = new Int8Array(Uint8Array.from(atob(bits), (c) => c.charCodeAt(0)).buffer), length = shape.at(-1);
    const row = (i) => Float64Array.from(bytes.subarray(i * length, (i + 1) * length), (v) => v * scale);
    return shape.length === 1 ? row(0) : Array.from({ length: shape[0] }, (_, i) => row(i));
  };
  const [z, zQuery, Q, W, fastQ, memory, other] = ["z", "z_query", "Q", "W", "fast", "memory", "other"].map((k) => tensor(data[k]));
  const N = z.length, D = z[0].length, R = Q.length / H - D;
  const START = { query: 0, embedding: 1, base: 1, sharpness: 1, memory: "own" };
  const DIALS = {
    sharpness: ["sharpness of the attention", "softmax(s · cosine); the method has s = 1", 8, 0.1],
    base: ["fast part of b", "W* of the query, times this; 1 is the method, 0 leaves W alone", 2, 0.05],
    embedding: ["fast part of u", "Q*, times this; 1 is the method, 0 leaves Q alone", 2, 0.05],
  };
  const MEMORIES = { own: "of this task", other: "of another task", moved: "of the wrong labels" };
  let state = { ...START };

  // ---- the mathematics: layers with slow and fast weights, attention over keys, fast weights mixed by it
  const times = (w, from, rows, x) => Float64Array.from({ length: rows }, (_, r) => {
    let sum = 0;
    for (let c = 0; c < x.length; c++) sum += w[from + r * x.length + c] * x[c];
    return sum;
  });
  const augmented = (x, slow, fast, out) => {
    const a = times(slow, 0, H, x), b = times(fast, 0, H, x), h = a.map((v, i) => Math.max(v, 0) + Math.max(b[i], 0));
    return [times(slow, H * x.length, out, h), times(fast, H * x.length, out, h)]; // by slow weights, by fast ones
  };
  const unit = (v) => { const length = Math.hypot(...v) || 1; return v.map((x) => x / length); };
  const dot = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0);
  const softmax = (x) => {
    const top = Math.max(...x), e = Array.from(x, (v) => Math.exp(v - top)), total = e.reduce((a, b) => a + b, 0);
    return e.map((v) => v / total);
  };
  const represent = (x, fast) => { const [slow, quick] = augmented(x, Q, fast, R); return unit(slow.map((v, i) => v + quick[i])); };
  const answer = () => {
    const fast = fastQ.map((v) => v * state.embedding), keys = z.map((x) => represent(x, fast));
    const rows = { own: (i) => memory[i], other: (i) => other[i], moved: (i) => memory[(i + 1) % N] }[state.memory];
    return zQuery.map((x) => {
      const r = represent(x, fast), a = softmax(keys.map((key) => state.sharpness * dot(key, r)));
      const read = new Float64Array(W.length);
      a.forEach((v, i) => { const m = rows(i); for (let j = 0; j < read.length; j++) read[j] += state.base * v * m[j]; });
      const [slow, quick] = augmented(x, W, read, N), scores = slow.map((v, k) => v + quick[k]);
      return { a, read, slow, quick, scores, p: softmax(scores), best: scores.indexOf(Math.max(...scores)) };
    });
  };

  // ---- parts of the page; pictures are masks, so that ink in the colour of the text follows light and dark pages
  const make = (tag, attributes = {}, parent = null, text = null) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== null) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };
  const picture = (bits, index, parent) => {
    const bytes = Uint8Array.from(atob(bits), (c) => c.charCodeAt(0)), canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d"), sheet = context.createImageData(side, side);
    for (let i = 0; i < side * side; i++) sheet.data[4 * i + 3] = 85 * ((bytes[index * perPicture + (i >> 2)] >> (2 * (i & 3))) & 3);
    context.putImageData(sheet, 0, 0);
    const ink = make("span", { class: "mn-ink" }, parent);
    ink.style.maskImage = ink.style.webkitMaskImage = `url(${canvas.toDataURL()})`;
  };
  root.classList.add("mn");
  make("style", {}, root, `
    .mn { --mn-blue: var(--blue, #0072B2); --mn-orange: var(--orange, #D55E00); --mn-green: var(--green, #009E73); --mn-grey: var(--grey, #6b7785); --mn-line: var(--line-2, #aab2bb); }
    :where(.mn) { font: 14px/1.45 system-ui, sans-serif; max-width: 46rem; }
    .mn .mn-head { font-weight: 600; margin: 0.7rem 0 0.35rem; max-width: none; }
    .mn .mn-ink { display: block; width: var(--tile); height: var(--tile); background: currentColor; -webkit-mask-size: 100% 100%; mask-size: 100% 100%; }
    .mn .mn-queries { display: flex; flex-wrap: wrap; gap: 5px; --tile: 34px; }
    .mlbook-figure.mn .mn-queries button { padding: 2px; min-height: 0; min-width: 0; line-height: 0; color: inherit; background: none; border: 1.5px solid var(--mn-line); border-radius: 7px; cursor: pointer; position: relative; }
    .mlbook-figure.mn .mn-queries button[aria-pressed="true"] { border: 3px solid var(--mn-orange); padding: 0.5px; background: color-mix(in srgb, var(--mn-orange) 14%, transparent); }
    .mn .mn-queries button::after { content: ""; position: absolute; right: -1px; bottom: -1px; width: 9px; height: 9px; border-radius: 50%; }
    .mn .mn-queries button.mn-wrong::after { background: var(--mn-orange); }
    .mn .mn-grid { display: grid; grid-template-columns: auto minmax(48px, 0.8fr) minmax(84px, 1.15fr) minmax(84px, 1.3fr) 2.6em; gap: 6px 12px; align-items: center; --tile: 40px; }
    .mn .mn-grid > .mn-title { font-size: 12.5px; line-height: 1.25; font-weight: 600; align-self: end; }
    .mn .mn-tile { border: 1.5px solid var(--mn-blue); border-radius: 6px; width: max-content; }
    .mn .mn-example { display: flex; gap: 7px; align-items: center; font-weight: 700; }
    .mn .mn-bar { display: flex; align-items: center; gap: 5px; font-size: 12.5px; font-variant-numeric: tabular-nums; }
    .mn .mn-bar > span { height: 18px; border-radius: 3px; background: var(--mn-blue); flex: none; }
    .mlbook-figure.mn canvas.mn-row { width: 100%; height: 24px; image-rendering: pixelated; border-radius: 3px; }
    .mn .mn-parts { position: relative; height: 30px; border-inline-start: 0; background: linear-gradient(var(--mn-line), var(--mn-line)) 50% 0 / 1.5px 100% no-repeat; }
    .mn .mn-parts > span { position: absolute; height: 12px; border-radius: 2px; }
    .mn .mn-slow { top: 2px; background: var(--mn-grey); } .mn .mn-fast { top: 16px; background: var(--mn-orange); }
    .mn .mn-number { text-align: right; font-variant-numeric: tabular-nums; }
    .mn .mn-dials { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 0.4rem 1.2rem; margin-top: 0.9rem; }
    .mn .mn-dials label { display: grid; grid-template-columns: 1fr auto; gap: 0 0.5rem; }
    .mn .mn-dials input { grid-column: 1 / 3; width: 100%; min-width: 0 !important; }
    .mn .mn-value { color: var(--ink, currentColor); font-weight: 600; font-variant-numeric: tabular-nums; }
    .mn .mn-choice { display: flex; flex-wrap: wrap; gap: 0.4rem; align-items: center; margin-top: 0.6rem; }
    .mn .mn-choice > span { font-weight: 600; margin-inline-end: 0.3rem; }
    :where(.mn) button { font: inherit; color: inherit; background: none; border: 1px solid var(--mn-line); border-radius: 6px; padding: 0.25rem 0.7rem; cursor: pointer; }
    :where(.mn) button[aria-pressed="true"] { background: var(--mn-blue); color: #fff; }
    .mn .mn-said { margin: 0.8rem 0 0; max-width: none; min-height: 4.4em; }
    .mn .mn-grid > * { min-width: 0; }
    @media (max-width: 480px) { .mn .mn-grid { gap: 6px 5px; --tile: 28px; padding-inline-end: 4px; grid-template-columns: 48px minmax(40px, 0.75fr) minmax(40px, 1fr) minmax(40px, 1fr) 2.7em; } .mn .mn-example { gap: 4px; } .mn .mn-grid > .mn-title { font-size: 11px; } }
  `);
  make("p", { class: "mn-head", style: "color: var(--orange-text, var(--mn-orange))" }, root, "Choose a query");
  const queries = make("div", { class: "mn-queries", role: "group", "aria-label": "queries" }, root);
  const buttons = data.query_y.map((y, q) => {
    const button = make("button", { type: "button" }, queries);
    picture(data.query, q, button);
    button.addEventListener("click", () => { state.query = q; draw(); });
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      state.query = (q + step + n) % n;
      draw();
      buttons[state.query].focus();
    });
    return button;
  });

  const grid = make("div", { class: "mn-grid", role: "img", style: "margin-top: 0.9rem" }, root);
  for (const title of ["support", "attention", "last layer of W*, row by row", "score by slow and fast weights", "p"])
    make("span", { class: "mn-title", ...(title === "p" ? { style: "text-align: right" } : {}) }, grid, title);
  const rows = Array.from({ length: N }, (_, k) => {
    const example = make("div", { class: "mn-example" }, grid);
    example.append(String(k));
    picture(data.support, k, make("div", { class: "mn-tile" }, example));
    const bar = make("div", { class: "mn-bar" }, grid), fill = make("span", {}, bar), share = document.createTextNode("");
    bar.append(share);
    const canvas = make("canvas", { class: "mn-row", width: H, height: 1 }, grid), parts = make("div", { class: "mn-parts" }, grid);
    return { fill, share, canvas, slow: make("span", { class: "mn-slow" }, parts), quick: make("span", { class: "mn-fast" }, parts), p: make("span", { class: "mn-number" }, grid) };
  });

  const dials = make("div", { class: "mn-dials" }, root), inputs = {};
  for (const [name, [label, title, max, step]] of Object.entries(DIALS)) {
    const box = make("label", { title }, dials);
    make("span", {}, box, label);
    const shown = make("span", { class: "mn-value" }, box), input = make("input", { type: "range", min: 0, max, step, "aria-label": label }, box);
    input.addEventListener("input", () => { state[name] = Number(input.value); draw(); });
    inputs[name] = { input, shown };
  }
  const choice = make("div", { class: "mn-choice", role: "group", "aria-label": "memory" }, root);
  make("span", {}, choice, "Memory");
  const memories = Object.entries(MEMORIES).map(([key, label]) => {
    const button = make("button", { type: "button" }, choice, label);
    button.addEventListener("click", () => { state.memory = key; draw(); });
    return [key, button];
  });
  make("button", { type: "button", style: "margin-left: auto" }, choice, "Reset").addEventListener("click", () => { state = { ...START, query: state.query }; draw(); });
  const said = make("p", { class: "mn-said", "aria-live": "polite" }, root);

  // ---- drawing
  const strip = (canvas, values, top) => {
    const context = canvas.getContext("2d"), pixels = context.createImageData(H, 1);
    values.forEach((v, j) => {
      const [r, g, b] = v < 0 ? [230, 110, 20] : [40, 140, 215]; // orange below zero, blue above
      pixels.data.set([r, g, b, Math.round(255 * Math.min(1, Math.abs(v) / top))], 4 * j);
    });
    context.putImageData(pixels, 0, 0);
  };
  const mean = (x) => x.reduce((a, b) => a + b, 0) / x.length;
  const draw = () => {
    const all = answer(), now = all[state.query], truth = data.query_y[state.query], first = H * D;
    const right = all.filter(({ best }, q) => best === data.query_y[q]).length;
    const slow = now.slow.map((v) => v - mean(now.slow)), quick = now.quick.map((v) => v - mean(now.quick)); // softmax sees no more
    const wide = Math.max(2, ...slow.map(Math.abs), ...quick.map(Math.abs)), last = now.read.subarray(first);
    buttons.forEach((button, q) => {
      button.setAttribute("aria-pressed", q === state.query);
      button.classList.toggle("mn-wrong", all[q].best !== data.query_y[q]);
      button.setAttribute("aria-label", `query ${q + 1} of ${n}, of class ${data.query_y[q]}, answered ${all[q].best}`);
    });
    const place = (span, v) => {
      span.style.left = `${50 + Math.min(0, (48 * v) / wide)}%`;
      span.style.width = `${Math.max(0.8, (48 * Math.abs(v)) / wide)}%`;
    };
    rows.forEach(({ fill, share, canvas, slow: s, quick: f, p }, k) => {
      fill.style.width = `calc((100% - 2.6em) * ${now.a[k].toFixed(3)})`;
      share.textContent = `${Math.round(100 * now.a[k])} %`;
      strip(canvas, last.subarray(k * H, (k + 1) * H), 1);
      place(s, slow[k]);
      place(f, quick[k]);
      p.textContent = now.p[k].toFixed(2);
      p.style.fontWeight = k === now.best ? 700 : 400;
    });
    for (const [name, { input, shown }] of Object.entries(inputs)) {
      input.value = state[name];
      shown.textContent = state[name].toFixed(name === "sharpness" ? 1 : 2);
    }
    memories.forEach(([key, button]) => button.setAttribute("aria-pressed", key === state.memory));
    grid.setAttribute("aria-label", `attention: ${now.a.map((v) => v.toFixed(4)).join(", ")}; scores: ${Array.from(now.scores, (v) => v.toFixed(4)).join(", ")}`);
    said.textContent = `Answer: class ${now.best}, which is ${now.best === truth ? "right" : `wrong; it is class ${truth}`}. ` +
      `The example looked at most is that of class ${now.a.indexOf(Math.max(...now.a))}. ` +
      `With these settings ${right} of the ${n} queries are answered rightly (a dot marks those that are not). ` +
      `Grey and orange bars: what slow and fast weights add to each score, from the mean over the classes. Strips: orange below zero, blue above.`;
  };
  draw();
}
