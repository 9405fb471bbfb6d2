// A memory, step by step: a recorded sequence, and the addressing computed again from the recorded keys and gates.
// data: {size, pictures: base64 of 2-bit grey levels, y: [label a step], ways, slots, gamma, scale,
//        k: [step][head][width], a: [step][head] gates in (0, 1), base: [step][class], U: [class][head * width]}
(root, data) => {
  const side = data.size, perPicture = (side * side) / 4, L = data.y.length, n = data.k[0].length, D = data.k[0][0].length;
  const N = data.slots, TONES = ["blue", "orange", "green", "pink"], tone = (c) => TONES[c % TONES.length];
  let state = { t: Math.min(6, L - 1), scale: data.scale }, steps = [];

  // ---- the mathematics, in the order of a step
  const sum = (list) => list.reduce((a, b) => a + b, 0), norm = (v, more = 0) => Math.sqrt(sum(v.map((x) => x * x)) + more);
  const softmax = (e) => { const top = Math.max(...e), p = e.map((v) => Math.exp(v - top)), all = sum(p); return p.map((v) => v / all); };
  const run = (scale) => {
    let memory = Array.from({ length: N }, () => new Array(D).fill(0)), read = data.a[0].map(() => new Array(N).fill(0));
    let usage = Array.from({ length: N }, (_, i) => 1e-4 * i), origin = Array.from({ length: N }, () => new Array(L).fill(0));
    return data.y.map((_, t) => {
      const k = data.k[t], a = data.a[t], sorted = [...usage].sort((p, q) => p - q), before = usage;
      const least = usage.map((u) => (u <= sorted[n - 1] ? 1 : 0)), wiped = usage.map((u) => u <= sorted[0]);
      const write = a.map((g, h) => least.map((lu, i) => g * read[h][i] + (1 - g) * lu));
      memory = memory.map((row, i) => row.map((m, j) => (wiped[i] ? 0 : m) + sum(k.map((key, h) => write[h][i] * key[j]))));
      origin = origin.map((row, i) => row.map((o, s) => (s === t ? sum(write.map((w) => w[i])) : wiped[i] ? 0 : o)));
      read = k.map((key) => softmax(memory.map((row) => (scale * sum(row.map((m, j) => m * key[j]))) / (norm(key) * norm(row, 1e-6)))));
      const r = read.flatMap((w) => Array.from({ length: D }, (_, j) => sum(w.map((v, i) => v * memory[i][j]))));
      usage = before.map((u, i) => data.gamma * u + sum(read.map((w) => w[i])) + sum(write.map((w) => w[i])));
      const p = softmax(data.base[t].map((b, c) => b + sum(r.map((v, j) => v * data.U[c][j]))));
      return { before, least, wiped, written: least.map((_, i) => sum(write.map((w) => w[i]))), memory, origin,
        read: least.map((_, i) => sum(read.map((w) => w[i])) / n), p, gate: sum(a) / n };
    });
  };

  // ---- the page's parts
  const make = (tag, attributes = {}, parent = null, text = null) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== null) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };
  const bytes = Uint8Array.from(atob(data.pictures), (c) => c.charCodeAt(0));
  const masks = data.y.map((_, index) => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d"), sheet = context.createImageData(side, side);
    for (let i = 0; i < side * side; i++) sheet.data[4 * i + 3] = 85 * ((bytes[index * perPicture + (i >> 2)] >> (2 * (i & 3))) & 3);
    context.putImageData(sheet, 0, 0);
    return `url(${canvas.toDataURL()})`;
  });
  const ink = (parent) => make("span", { class: "mn-ink", "aria-hidden": "true" }, parent);
  const show = (node, step) => { node.style.maskImage = node.style.webkitMaskImage = step < 0 ? "linear-gradient(transparent, transparent)" : masks[step]; };
  const text = (c) => `var(--mn-${tone(c)}-text)`, ordinal = (i) => ["1st", "2nd", "3rd"][i - 1] ?? `${i}th`;

  root.classList.add("mn");
  make("style", {}, root, `
    .mn { --mn-blue: var(--blue, #0072B2); --mn-orange: var(--orange, #D55E00); --mn-green: var(--green, #009E73); --mn-pink: var(--pink, #CC79A7); --mn-line: var(--line-2, #aab2bb); }
    .mn { --mn-blue-text: var(--blue-text, #00639b); --mn-orange-text: var(--orange-text, #a84900); --mn-green-text: var(--green-text, #00694c); --mn-pink-text: var(--pink-text, #8f3b76); }
    :where(.mn) { font: 14px/1.45 system-ui, sans-serif; max-width: 46rem; }
    .mn .mn-bar { display: flex; flex-wrap: wrap; gap: 0.5rem 0.8rem; align-items: center; }
    .mn .mn-bar input { flex: 1 1 9rem; min-width: 7rem !important; }
    .mn output { min-width: 2.6em; font-variant-numeric: tabular-nums; }
    .mn .mn-ink { display: block; background: currentColor; -webkit-mask-size: 100% 100%; mask-size: 100% 100%; }
    .mn .mn-film { display: flex; flex-wrap: wrap; gap: 4px; margin: 0.8rem 0 0.9rem; }
    .mlbook-figure.mn .mn-film button { padding: 1px 1px 0; min-height: 0; min-width: 0; background: none; border: 1.5px solid transparent; border-radius: 6px; font-size: 12px; line-height: 1.3; text-align: center; color: var(--ink, inherit); }
    .mlbook-figure.mn .mn-film button[aria-pressed="true"] { border-color: var(--mn-orange); background: color-mix(in srgb, var(--mn-orange) 14%, transparent); }
    .mn .mn-film .mn-ink { width: clamp(30px, 4.4vw, 33px); height: clamp(30px, 4.4vw, 33px); }
    .mn .mn-film button.mn-later .mn-ink { opacity: 0.35; }
    .mn .mn-flow { display: flex; flex-wrap: wrap; gap: 0.6rem 1.4rem; align-items: center; margin-bottom: 0.8rem; }
    .mn .mn-flow > * { display: flex; gap: 0.6rem; align-items: center; }
    .mn .mn-now { width: 58px; height: 58px; flex: none; }
    .mn .mn-answer { flex: 1 1 13rem; display: grid !important; grid-template-columns: auto 1fr 2.8em; gap: 3px 8px !important; font-variant-numeric: tabular-nums; }
    .mn .mn-track { height: 0.85rem; border-radius: 3px; background: color-mix(in srgb, currentColor 8%, transparent); overflow: hidden; }
    .mn .mn-fill { height: 100%; border-radius: 3px; }
    .mn .mn-memory { display: grid; grid-template-columns: 1.7em minmax(36px, 0.9fr) minmax(46px, 0.8fr) minmax(80px, 2.6fr) 2.4em minmax(52px, 1.5fr); column-gap: 7px; }
    .mn .mn-head, .mn .mn-row { display: grid; grid-column: 1 / -1; grid-template-columns: subgrid; align-items: center; }
    .mn .mn-head { font-size: 12px; line-height: 1.2; align-items: end; padding-bottom: 3px; color: var(--soft, inherit); }
    .mn .mn-row { height: 18px; font-size: 11px; font-variant-numeric: tabular-nums; border-top: 1px solid color-mix(in srgb, currentColor 9%, transparent); }
    .mn .mn-row .mn-ink { width: 17px; height: 17px; margin-inline: auto; }
    .mn .mn-row .mn-track { height: 10px; background: none; }
    .mn .mn-number { text-align: right; color: var(--soft, inherit); }
    .mn .mn-row.mn-wiped .mn-number { color: var(--mn-orange-text); font-weight: 700; }
    .mlbook-figure.mn canvas { width: 100%; height: 11px; image-rendering: pixelated; border-radius: 2px; }
    :where(.mn) button { font: inherit; color: inherit; background: none; border: 1px solid var(--mn-line); border-radius: 6px; padding: 0.25rem 0.7rem; cursor: pointer; }
    .mn .mn-said { margin: 0.8rem 0 0; max-width: none; min-height: 6em; }
  `);

  const bar = make("div", { class: "mn-bar" }, root), label = make("label", { style: "display: contents" }, bar);
  make("span", { style: "font-weight: 600" }, label, "Step t");
  const slider = make("input", { type: "range", min: 1, max: L, step: 1 }, label), shown = make("output", {}, bar);
  const go = (t) => { state.t = Math.max(0, Math.min(L - 1, t)); draw(); };
  slider.addEventListener("input", () => go(Number(slider.value) - 1));
  make("button", { type: "button" }, bar, "Back").addEventListener("click", () => go(state.t - 1));
  make("button", { type: "button" }, bar, "Next").addEventListener("click", () => go(state.t + 1));

  const film = make("div", { class: "mn-film", role: "group", "aria-label": "the sequence" }, root);
  const frames = data.y.map((y, t) => {
    const button = make("button", { type: "button", "aria-label": `step ${t + 1}, a picture of class ${y}` }, film);
    show(ink(button), t);
    const below = make("span", {}, button, String(y));
    below.style.color = text(y);
    below.style.fontWeight = 700;
    button.addEventListener("click", () => go(t));
    return button;
  });

  const flow = make("div", { class: "mn-flow" }, root), enters = make("div", {}, flow), now = ink(enters);
  now.classList.add("mn-now");
  const beside = make("span", {}, enters), answer = make("div", { class: "mn-answer", role: "group", "aria-label": "the answer" }, flow);
  const bars = Array.from({ length: data.ways }, (_, c) => {
    const name = make("span", {}, answer, String(c)), track = make("div", { class: "mn-track" }, answer), fill = make("div", { class: "mn-fill" }, track);
    name.style.color = text(c);
    fill.style.background = `var(--mn-${tone(c)})`;
    return { name, fill, number: make("span", { class: "mn-p", style: "text-align: right" }, answer) };
  });

  const table = make("div", { class: "mn-memory", role: "group", "aria-label": "the memory, a row a slot" }, root), head = make("div", { class: "mn-head" }, table);
  for (const [name, colour] of [["", ""], ["usage", "soft"], ["written", "mn-orange-text"], ["content", "soft"], ["from", "soft"], ["read", "mn-blue-text"]])
    make("span", colour ? { style: `color: var(--${colour})` } : {}, head, name);
  const rows = Array.from({ length: N }, (_, i) => {
    const row = make("div", { class: "mn-row", role: "img" }, table), number = make("span", { class: "mn-number" }, row, String(i + 1));
    const fill = (colour) => make("div", { class: "mn-fill", style: `background: var(--${colour})` }, make("div", { class: "mn-track" }, row));
    const usage = fill("grey, #6b7785"), written = fill("mn-orange"), canvas = make("canvas", { width: D, height: 1 }, row);
    return { row, number, usage, written, canvas, origin: ink(row), read: fill("mn-blue") };
  });
  const sharp = make("div", { class: "mn-bar", role: "group", "aria-label": "sharpness of reading", style: "margin-top: 0.8rem" }, root);
  make("span", {}, sharp, "Reading with");
  const choices = [[`s = ${data.scale.toFixed(1)}, learned`, data.scale], ["s = 1, the paper’s", 1]].map(([name, value]) => {
    const button = make("button", { type: "button" }, sharp, name);
    button.addEventListener("click", () => { state.scale = value; steps = run(value); draw(); });
    return [button, value];
  });
  const said = make("p", { class: "mn-said", "aria-live": "polite" }, root);

  // ---- drawing
  const draw = () => {
    const { t } = state, s = steps[t], y = data.y[t], nth = data.y.slice(0, t + 1).filter((c) => c === y).length;
    slider.value = t + 1;
    shown.textContent = `${t + 1} of ${L}`;
    frames.forEach((button, i) => { button.setAttribute("aria-pressed", i === t); button.classList.toggle("mn-later", i > t); });
    show(now, t);
    beside.replaceChildren("comes in beside ");
    const given = make("b", {}, beside, t ? `label ${data.y[t - 1]}` : "no label");
    if (t) given.style.color = text(data.y[t - 1]);
    beside.append(t ? ", that of the picture before" : ", for there was none before");
    const best = s.p.indexOf(Math.max(...s.p));
    bars.forEach(({ name, fill, number }, c) => {
      name.textContent = `${c === best ? "▸ " : ""}class ${c}`;
      name.style.fontWeight = c === best ? 700 : 400;
      fill.style.width = `${100 * s.p[c]}%`;
      number.textContent = s.p[c].toFixed(2);
    });
    const most = Math.max(...steps.flatMap((step) => step.before)), loud = Math.max(...steps.flatMap((step) => step.memory.flat().map(Math.abs)));
    const share = { new: 0, same: 0, other: 0 };
    rows.forEach(({ row, number, usage, written, canvas, origin, read }, i) => {
      row.classList.toggle("mn-wiped", s.wiped[i]);
      number.textContent = s.wiped[i] ? `×${i + 1}` : i + 1;
      usage.style.width = `${(100 * s.before[i]) / most}%`;
      written.style.width = `${100 * Math.min(1, s.written[i] / n)}%`;
      read.style.width = `${100 * s.read[i]}%`;
      const context = canvas.getContext("2d"), strip = context.createImageData(D, 1), all = sum(s.origin[i]);
      s.memory[i].forEach((m, j) => {
        const colour = m > 0 ? [0, 114, 178] : [213, 94, 0];
        strip.data.set([...colour, Math.min(255, (255 * Math.abs(m)) / loud)], 4 * j);
      });
      context.putImageData(strip, 0, 0);
      const from = s.origin[i].indexOf(Math.max(...s.origin[i]));
      show(origin, all > 0.05 ? from : -1);
      origin.style.color = text(data.y[from]);
      s.origin[i].forEach((o, step) => { if (all) share[step === t ? "new" : data.y[step] === y ? "same" : "other"] += (s.read[i] * o) / all; });
      row.setAttribute("aria-label", `row ${i + 1}${s.wiped[i] ? ", wiped" : ""}: usage ${s.before[i].toFixed(3)}, written ${s.written[i].toFixed(3)}, ` +
        `read ${s.read[i].toFixed(3)}${all > 0.05 ? `, from step ${from + 1}` : ""}`);
    });
    choices.forEach(([button, value]) => button.setAttribute("aria-pressed", value === state.scale));
    const percent = (v) => `${Math.round(100 * v)}\u00a0%`, lists = (flags) => flags.flatMap((f, i) => (f ? [i + 1] : [])).join(", ");
    said.textContent = `The ${ordinal(nth)} picture of class ${y}; the answer is ${best}, ${best === y ? "right" : "wrong"}. ` +
      `Least used ${n > 1 ? `are rows ${lists(s.least)}` : `is row ${lists(s.least)}`}; ${n > 1 ? `row ${lists(s.wiped)} is` : "it is"} wiped. ` +
      `Of the writing, ${percent(1 - s.gate)} goes there and ${percent(s.gate)} to the rows read a step ago. ` +
      `Of the reading, ${percent(share.new)} finds what was written just now, ${percent(share.same)} what earlier pictures of class ${y} left, ${percent(share.other)} what the others did.` +
      (state.scale === data.scale ? "" : " (Keys and gates stay those of the recorded run.)");
  };
  steps = run(state.scale);
  draw();
}
