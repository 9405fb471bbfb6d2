// Attention over a real support set: choose a query, move the scale; weights, mixture and bound follow.
// data: {size, support, query: base64 of 2-bit grey levels, support_y, query_y, cosines: [a row per query], scale}
(root, data) => {
  const side = data.size, perPicture = (side * side) / 4, S = data.support_y.length, Q = data.query_y.length;
  const ways = Math.max(...data.support_y) + 1, LOWEST = -1, HIGHEST = 2; // powers of ten of the scale
  let state = { query: 0, scale: data.scale };

  // ---- the mathematics: a softmax over the support set, its weights added up by class, and the best there could be
  const attention = (cosines, scale) => {
    const top = Math.max(...cosines), e = cosines.map((c) => Math.exp(scale * (c - top)));
    const total = e.reduce((a, b) => a + b, 0);
    return e.map((v) => v / total);
  };
  const mixture = (a) => Array.from({ length: ways }, (_, k) => a.reduce((sum, v, i) => sum + (data.support_y[i] === k ? v : 0), 0));
  const bound = (scale) => 1 / (1 + (ways - 1) * Math.exp(-scale)); // cosines after a ReLU are between 0 and 1

  // ---- pictures, as masks: ink in the colour of the text follows light and dark pages
  const make = (tag, attributes = {}, parent = null, text = null) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== null) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };
  const picture = (bits, index, parent) => {
    const bytes = Uint8Array.from(atob(bits), (c) => c.charCodeAt(0));
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d"), sheet = context.createImageData(side, side);
    for (let i = 0; i < side * side; i++) sheet.data[4 * i + 3] = 85 * ((bytes[index * perPicture + (i >> 2)] >> (2 * (i & 3))) & 3);
    context.putImageData(sheet, 0, 0);
    const ink = make("span", { class: "mt-ink" }, parent);
    ink.style.maskImage = ink.style.webkitMaskImage = `url(${canvas.toDataURL()})`;
    return ink;
  };

  // ---- the page's parts
  root.classList.add("mt");
  make("style", {}, root, `
    .mt { --mt-blue: var(--blue, #0072B2); --mt-orange: var(--orange, #D55E00); --mt-green: var(--green, #009E73); --mt-line: var(--line-2, #aab2bb); --tile: clamp(40px, 11vw, 52px); }
    :where(.mt) { font: 14px/1.45 system-ui, sans-serif; max-width: 46rem; }
    .mt .mt-head { font-weight: 600; margin: 0.7rem 0 0.35rem; max-width: none; }
    .mt .mt-ink { display: block; width: var(--tile); height: var(--tile); background: currentColor; -webkit-mask-size: 100% 100%; mask-size: 100% 100%; }
    .mt .mt-queries { display: flex; flex-wrap: wrap; gap: 6px; --tile: 38px; }
    .mlbook-figure.mt .mt-queries button { padding: 2px; min-height: 0; min-width: 0; line-height: 0; color: inherit; background: none; border: 1.5px solid var(--mt-line); border-radius: 7px; cursor: pointer; }
    .mlbook-figure.mt .mt-queries button[aria-pressed="true"] { border: 3px solid var(--mt-orange); padding: 0.5px; background: color-mix(in srgb, var(--mt-orange) 14%, transparent); }
    .mt .mt-grid { display: grid; grid-template-columns: auto auto minmax(70px, 1fr) 3.2em; gap: 5px 8px; align-items: center; }
    .mt .mt-class { font-weight: 700; }
    .mt .mt-support { display: flex; gap: 4px; }
    .mt .mt-example { position: relative; text-align: center; font-size: 12px; line-height: 1.25; font-variant-numeric: tabular-nums; }
    .mt .mt-tile { position: relative; border: 1.5px solid var(--mt-blue); border-radius: 6px; overflow: hidden; margin-bottom: 1px; }
    .mt .mt-tint { position: absolute; inset: 0; background: var(--mt-blue); }
    .mt .mt-tile .mt-ink { position: relative; }
    .mt .mt-track { position: relative; height: 1.25rem; border-radius: 4px; background: color-mix(in srgb, currentColor 7%, transparent); }
    .mt .mt-fill { height: 100%; border-radius: 4px; background: var(--mt-green); }
    .mt .mt-bound { position: absolute; top: -4px; bottom: -4px; width: 0; border-left: 2px dashed currentColor; }
    .mt .mt-number { text-align: right; font-variant-numeric: tabular-nums; }
    .mt .mt-scale { display: flex; flex-wrap: wrap; gap: 0.4rem 0.7rem; align-items: center; }
    .mt .mt-scale input { flex: 1 1 9rem; min-width: 8rem !important; }
    .mt .mt-scale output { min-width: 3.4em; font-variant-numeric: tabular-nums; }
    :where(.mt) button { font: inherit; color: inherit; background: none; border: 1px solid var(--mt-line); border-radius: 6px; padding: 0.25rem 0.7rem; cursor: pointer; }
    .mt .mt-said { margin: 0.7rem 0 0; max-width: none; min-height: 3em; }
  `);
  make("p", { class: "mt-head", style: "color: var(--orange-text, var(--mt-orange))" }, root, "Choose a query");
  const queries = make("div", { class: "mt-queries", role: "group", "aria-label": "queries" }, root);
  const buttons = data.query_y.map((y, q) => {
    const button = make("button", { type: "button", "aria-label": `query ${q + 1} of ${Q}, of class ${y}` }, queries);
    picture(data.query, q, button);
    button.addEventListener("click", () => { state.query = q; draw(); });
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      state.query = (q + step + Q) % Q;
      draw();
      buttons[state.query].focus();
    });
    return button;
  });

  const scaling = make("div", { class: "mt-scale", role: "group", "aria-label": "scale", style: "margin-top: 0.8rem" }, root);
  const label = make("label", { style: "display: contents" }, scaling);
  make("span", { style: "font-weight: 600" }, label, "Scale s");
  const slider = make("input", { type: "range", min: LOWEST, max: HIGHEST, step: 0.02 }, label);
  const shown = make("output", {}, scaling);
  for (const [text, value] of [["1, the paper’s", 1], [`${data.scale.toPrecision(3)}, learned`, data.scale]]) {
    make("button", { type: "button" }, scaling, text).addEventListener("click", () => { state.scale = value; draw(); });
  }
  slider.addEventListener("input", () => { state.scale = 10 ** Number(slider.value); draw(); });

  const head = make("p", { class: "mt-head" }, root);
  make("span", { style: "color: var(--blue-text, var(--mt-blue))" }, head, "Attention to the support set");
  head.append(", and ");
  make("span", { style: "color: var(--green-text, var(--mt-green))" }, head, "its sum by class");
  const grid = make("div", { class: "mt-grid" }, root), examples = [];
  const rows = Array.from({ length: ways }, (_, k) => {
    make("span", { class: "mt-class" }, grid, String(k));
    const support = make("div", { class: "mt-support" }, grid);
    data.support_y.forEach((y, i) => {
      if (y !== k) return;
      const example = make("div", { class: "mt-example" }, support), tile = make("div", { class: "mt-tile" }, example);
      const tint = make("div", { class: "mt-tint" }, tile);
      picture(data.support, i, tile);
      examples[i] = { tint, number: make("span", {}, example) };
    });
    const track = make("div", { class: "mt-track" }, grid);
    const fill = make("div", { class: "mt-fill" }, track), mark = make("div", { class: "mt-bound", title: "the largest probability that this scale allows" }, track);
    return { fill, mark, number: make("span", { class: "mt-number" }, grid) };
  });
  const said = make("p", { class: "mt-said", "aria-live": "polite" }, root);

  // ---- drawing
  const draw = () => {
    const a = attention(data.cosines[state.query], state.scale), p = mixture(a), best = p.indexOf(Math.max(...p));
    const most = bound(state.scale), truth = data.query_y[state.query];
    buttons.forEach((button, q) => button.setAttribute("aria-pressed", q === state.query));
    examples.forEach(({ tint, number }, i) => {
      tint.style.opacity = (0.04 + 0.6 * a[i]).toFixed(3);
      number.textContent = `${(100 * a[i]).toFixed(a[i] < 0.0995 ? 1 : 0)} %`;
      number.style.fontWeight = a[i] === Math.max(...a) ? 700 : 400;
    });
    rows.forEach(({ fill, mark, number }, k) => {
      fill.style.width = `${(100 * p[k]).toFixed(1)}%`;
      mark.style.left = `${(100 * most).toFixed(1)}%`;
      number.textContent = p[k].toFixed(3);
      number.style.fontWeight = k === best ? 700 : 400;
    });
    slider.value = Math.log10(state.scale).toFixed(2);
    slider.setAttribute("aria-valuetext", state.scale.toPrecision(2));
    shown.textContent = state.scale < 10 ? state.scale.toFixed(2) : state.scale.toFixed(1);
    said.textContent = `Answer: class ${best}, which is ${best === truth ? "right" : `wrong; it is class ${truth}`}. ` +
      `At this scale no answer among ${ways} classes can be surer than ${most.toFixed(3)} (the dashed marks).`;
  };
  draw();
}
