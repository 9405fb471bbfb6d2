// A trained rule, SGD, momentum and Adam on a quadratic in the plane: f = steep / 2 (p^2 + q^2 / long), p and q the
// coordinates along its axes, which are turned by an angle.
// data: { scale, p, steps, start: [x, y], steep, long, turn, rates: { sgd, momentum, adam }, layers: [{ x, h, b }, ...], g, b },
// where a layer has matrices x [4H][inputs] and h [4H][H] and the sum b [4H] of its biases, gates in torch's order i, f, g, o.
(root, data) => {
  const HALF_W = 3.2, HALF_H = 2.8, W = 640, H = 560, SHOWN = 2 * data.steps, FLOOR = 1e-9;
  const FIRST = { steep: data.steep, long: data.long, turn: data.turn, t: data.steps, ...data.rates };
  const RULES = [["sgd", "SGD", "grey"], ["momentum", "momentum", "blue"], ["adam", "Adam", "green"], ["learned", "learned rule", "orange"]];
  let state = { ...FIRST, start: [...data.start] }, runs = {}, timer = null;

  // ---- the mathematics: the quadratic, the four rules
  const axes = () => { const a = (state.turn * Math.PI) / 180; return [[Math.cos(a), Math.sin(a)], [-Math.sin(a), Math.cos(a)]]; };
  const curvature = () => [state.steep, state.steep / state.long];
  const along = (z) => axes().map((e) => e[0] * z[0] + e[1] * z[1]);
  const f = (z) => { const k = curvature(); return along(z).reduce((sum, v, i) => sum + 0.5 * k[i] * v * v, 0); };
  const gradient = (z) => { const k = curvature(), e = axes(), v = along(z); return [0, 1].map((j) => k[0] * v[0] * e[0][j] + k[1] * v[1] * e[1][j]); };

  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const dot = (row, x) => { let sum = 0; for (let i = 0; i < row.length; i++) sum += row[i] * x[i]; return sum; };
  const cell = (layer, x, [h, c]) => {  // one step of an LSTM layer
    const n = h.length, z = layer.b.map((b, r) => b + dot(layer.x[r], x) + dot(layer.h[r], h));
    const next = c.map((v, j) => sigmoid(z[n + j]) * v + sigmoid(z[j]) * Math.tanh(z[2 * n + j]));
    return [next.map((v, j) => sigmoid(z[3 * n + j]) * Math.tanh(v)), next];
  };
  const prep = (x) => (Math.abs(x) >= Math.exp(-data.p) ? [Math.log(Math.abs(x)) / data.p, Math.sign(x)] : [-1, Math.exp(data.p) * x]);
  const fresh = () => data.layers.map((layer) => [0, 1].map(() => new Array(layer.b.length / 4).fill(0)));
  const ask = (g, hidden) => {  // one coordinate: its gradient in, its step out; `hidden` is updated in place
    let x = prep(g);
    data.layers.forEach((layer, l) => { hidden[l] = cell(layer, x, hidden[l]); x = hidden[l][0]; });
    return data.scale * (data.b + dot(data.g, x));
  };
  const descend = (rule, rate, steps) => {
    let z = [...state.start];
    const path = [z], loss = [f(z)], m = [0, 0], s = [0, 0], hidden = [fresh(), fresh()];
    for (let t = 1; t <= steps; t++) {
      const g = gradient(z);
      z = z.map((v, j) => {
        if (rule === "learned") return v + ask(g[j], hidden[j]);
        if (rule === "sgd") return v - rate * g[j];
        if (rule === "momentum") { m[j] = 0.9 * m[j] + g[j]; return v - rate * m[j]; }
        m[j] = 0.9 * m[j] + 0.1 * g[j];
        s[j] = 0.999 * s[j] + 0.001 * g[j] * g[j];
        return v - (rate * (m[j] / (1 - 0.9 ** t))) / (Math.sqrt(s[j] / (1 - 0.999 ** t)) + 1e-8);
      });
      path.push(z);
      loss.push(f(z));
    }
    return { path, loss };
  };
  const solve = (which = RULES.map((r) => r[0])) => { for (const rule of which) runs[rule] = descend(rule, state[rule], SHOWN); };
  const tune = () => {  // each to the rate that is best after the trained number of steps from this very start
    for (const [rule] of RULES) {
      if (rule === "learned") continue;
      let least = Infinity;
      for (let e = -4; e <= 1.0001; e += 0.05) {
        const end = descend(rule, 10 ** e, data.steps).loss.at(-1);
        if (end < least) { least = end; state[rule] = 10 ** e; }
      }
    }
  };

  // ---- the page's parts
  root.classList.add("lo");
  const slider = (name, label, min, max, step) => `<label class="lo-group"><span class="lo-name">${label}</span><input type="range" data-set="${name}" min="${min}" max="${max}" step="${step}"><output></output></label>`;
  root.insertAdjacentHTML("beforeend", `
    <style>
      .lo { --lo-blue: #0072B2; --lo-orange: #D55E00; --lo-green: #009E73; --lo-grey: #6b7785; --lo-ink: #1f2933; --lo-soft: #56616d; --lo-line: #d5d9de; --lo-wash: #f4f5f6; --lo-paper: #ffffff; max-width: 52rem; }
      .lo[data-dark] { --lo-blue: #5fb0e5; --lo-orange: #f0893c; --lo-green: #2fc39a; --lo-grey: #9aa5b1; --lo-ink: #e4e1da; --lo-soft: #a9b0b7; --lo-line: #3a434d; --lo-wash: #20262d; --lo-paper: #14181d; }
      :where(.lo) { color: var(--ink, var(--lo-ink)); font: 14px/1.45 system-ui, sans-serif; }
      .lo .lo-row { display: flex; flex-wrap: wrap; gap: 0.9rem 1.5rem; align-items: flex-start; }
      .lo .lo-plane { flex: 1 1 330px; min-width: 0; border: 1px solid var(--line, var(--lo-line)); border-radius: 8px; overflow: hidden; }
      .lo .lo-plane svg { display: block; width: 100%; user-select: none; -webkit-user-select: none; }
      .lo .lo-panel { flex: 1 1 260px; min-width: 0; }
      .lo .lo-handle { cursor: grab; touch-action: none; outline: none !important; }
      .lo .lo-handle:active { cursor: grabbing; }
      .lo .lo-focus { fill: none; stroke: var(--ink, var(--lo-ink)); stroke-width: 2.5; stroke-dasharray: 4 4; visibility: hidden; }
      .lo .lo-handle:focus-visible .lo-focus { visibility: visible; }
      .lo .lo-group { display: flex; flex-wrap: wrap; gap: 0.4rem 0.5rem; align-items: center; margin: 0 0 0.45rem; }
      .lo .lo-group > .lo-name { flex: 0 0 7.4rem; white-space: nowrap; }
      .lo .lo-group button { padding: 0.25rem 0.55rem; }
      .lo .lo-group input[type="range"] { flex: 1 1 4rem; min-width: 4rem !important; }
      .lo .lo-group output { min-width: 3.2em; text-align: right; font-variant-numeric: tabular-nums; }
      .lo .lo-chart { display: block; width: 100%; overflow: visible; margin-top: 0.5rem; }
      .lo svg text { fill: var(--ink, var(--lo-ink)); }
      .lo .lo-soft { color: var(--soft, var(--lo-soft)); }
      :where(.lo) button { font: inherit; color: inherit; background: var(--lo-wash); border: 1px solid var(--lo-line); border-radius: 6px; padding: 0.3rem 0.75rem; min-height: 2rem; cursor: pointer; }
    </style>
    <div class="lo-row">
      <div class="lo-plane"><svg viewBox="0 0 ${W} ${H}" role="group" aria-label="The plane of parameters"><g class="lo-back"></g><g class="lo-front" pointer-events="none"></g>
        <g class="lo-handle" tabindex="0" role="group" aria-roledescription="movable point"><circle r="30" fill="transparent"/><circle class="lo-focus" r="19"/>
        <circle r="9" style="fill: var(--ink, var(--lo-ink)); stroke: var(--paper, var(--lo-paper)); stroke-width: 2.5"/>
        <text x="14" y="-12" font-size="23" font-style="italic" font-weight="700" style="paint-order: stroke; stroke: var(--paper, var(--lo-paper)); stroke-width: 5px; stroke-linejoin: round">θ<tspan font-size="17" dy="5">0</tspan></text></g></svg></div>
      <div class="lo-panel">
        <div class="lo-group"><button type="button" class="lo-play">Play</button><button type="button" class="lo-tune">Best rates here</button><button type="button" class="lo-again">Reset</button></div>
        ${slider("t", "step <i>t</i>", 0, SHOWN, 1)}
        ${slider("steep", "loss times", -2, 2, 0.05)}
        ${slider("long", "flatter way", 0, 2, 0.05)}
        ${slider("turn", "turned by", 0, 90, 5)}
        ${slider("sgd", "SGD, rate", -4, 1, 0.05)}
        ${slider("momentum", "momentum, rate", -4, 1, 0.05)}
        ${slider("adam", "Adam, rate", -4, 1, 0.05)}
        <svg class="lo-chart" viewBox="0 0 340 216" role="img"></svg>
      </div>
    </div>
    <p class="caption lo-soft lo-said" aria-live="polite"></p>`);
  const $ = (selector) => root.querySelector(selector), plane = $(".lo-plane svg"), handle = $(".lo-handle");
  const colour = (name) => `var(--${name}, var(--lo-${name}))`, ink = "var(--ink, var(--lo-ink))", line = "var(--line-2, var(--lo-line))", paper = "var(--paper, var(--lo-paper))";
  const X = (x) => ((x / HALF_W + 1) / 2) * W, Y = (y) => ((1 - y / HALF_H) / 2) * H;
  const clip = (v) => Math.max(-2000, Math.min(2000, v)), at = (z) => `${clip(X(z[0])).toFixed(1)} ${clip(Y(z[1])).toFixed(1)}`;
  const inside = ([x, y]) => [Math.max(-HALF_W + 0.1, Math.min(HALF_W - 0.1, x)), Math.max(-HALF_H + 0.1, Math.min(HALF_H - 0.1, y))];
  const unit = data.steep, LOG = new Set(["steep", "long", "sgd", "momentum", "adam"]);
  const short = (v) => (v >= 100 ? v.toFixed(0) : Number(v.toPrecision(2)).toString());
  const power = (v) => (Number.isFinite(v) ? v.toExponential(2) : "∞");
  const DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹", ten = (e) => (e === 0 ? "1" : e === 1 ? "10" : `10${e < 0 ? "⁻" : ""}${DIGITS[Math.abs(e)]}`);

  const draw = () => {
    const scaleX = W / 2 / HALF_W, scaleY = H / 2 / HALF_H;
    $(".lo-back").innerHTML = [0.4, 0.8, 1.2, 1.7, 2.3, 3, 4, 5.5, 8, 12, 18].map((r) =>
      `<ellipse rx="${(r * scaleX).toFixed(1)}" ry="${(r * Math.sqrt(state.long) * scaleY).toFixed(1)}" transform="translate(${W / 2} ${H / 2}) rotate(${-state.turn})" fill="none" style="stroke: ${line}; stroke-width: 1.3"/>`).join("") +
      `<path d="M${W / 2 - 9} ${H / 2}h18M${W / 2} ${H / 2 - 9}v18" style="stroke: ${ink}; stroke-width: 2"/>`;
    $(".lo-front").innerHTML = RULES.map(([rule, , name]) => {
      const path = runs[rule].path.slice(0, state.t + 1), wide = rule === "learned" ? 4 : 2.6;
      return `<path d="M${[...path, path.at(-1)].map(at).join("L")}" fill="none" style="stroke: ${colour(name)}; stroke-width: ${wide}; stroke-linejoin: round; opacity: 0.9"/>` +
        path.slice(1, 31).map((z) => `<circle cx="${clip(X(z[0])).toFixed(1)}" cy="${clip(Y(z[1])).toFixed(1)}" r="${wide}" style="fill: ${colour(name)}"/>`).join("") +
        `<circle cx="${clip(X(path.at(-1)[0])).toFixed(1)}" cy="${clip(Y(path.at(-1)[1])).toFixed(1)}" r="7" style="fill: ${paper}; stroke: ${colour(name)}; stroke-width: 3.5"/>`;
    }).join("");
    handle.setAttribute("transform", `translate(${X(state.start[0]).toFixed(1)} ${Y(state.start[1]).toFixed(1)})`);
    handle.setAttribute("aria-label", `start theta 0, at ${state.start[0].toFixed(2)}, ${state.start[1].toFixed(2)}; arrow keys move it`);
    for (const input of root.querySelectorAll("[data-set]")) {
      const name = input.dataset.set, value = name === "steep" ? state.steep / unit : state[name];
      input.value = LOG.has(name) ? Math.log10(value) : value;
      const words = name === "turn" ? `${value}°` : name === "t" ? `${value}` : name === "long" ? `${short(value)}×` : short(value);
      input.nextElementSibling.value = words;
      input.setAttribute("aria-valuetext", words);
    }
    $(".lo-play").textContent = timer ? "Pause" : "Play";

    // ---- the losses, on a logarithmic axis
    const values = RULES.flatMap(([rule]) => runs[rule].loss.map((v) => Math.min(Math.max(v, FLOOR), 1e4)));
    const low = Math.floor(Math.log10(Math.min(...values))), high = Math.max(low + 3, Math.ceil(Math.log10(Math.max(...values))));
    const cx = (t) => 38 + (t / SHOWN) * 208, cy = (v) => 186 - ((Math.log10(Math.min(Math.max(v, 10 ** low), 10 ** high)) - low) / (high - low)) * 168;
    let chart = `<rect x="${cx(data.steps)}" y="18" width="${cx(SHOWN) - cx(data.steps)}" height="168" style="fill: ${line}; opacity: 0.35"/>
      <text x="${cx(1.5 * data.steps)}" y="13" font-size="12" text-anchor="middle">longer than trained</text>`;
    for (let e = low; e <= high; e += high - low > 6 ? 3 : high - low > 3 ? 2 : 1) chart += `<line x1="38" x2="${cx(SHOWN)}" y1="${cy(10 ** e)}" y2="${cy(10 ** e)}" style="stroke: ${line}; stroke-width: 0.8"/><text x="33" y="${cy(10 ** e) + 4}" font-size="12" text-anchor="end">${ten(e)}</text>`;
    for (const t of [0, data.steps, SHOWN]) chart += `<text x="${cx(t)}" y="203" font-size="12" text-anchor="middle">${t}</text>`;
    chart += `<text x="${cx(data.steps / 2)}" y="203" font-size="12" text-anchor="middle">step</text><text x="38" y="13" font-size="12">loss</text>`;
    const names = RULES.map(([rule, label, name]) => ({ y: cy(runs[rule].loss.at(-1)), label: rule === "learned" ? "learned" : label, name })).sort((a, b) => a.y - b.y);
    names.forEach((n, i) => { if (i) n.y = Math.max(n.y, names[i - 1].y + 14); });
    const over = Math.max(0, names.at(-1).y - 186);
    chart += names.map((n) => `<text x="${cx(SHOWN) + 5}" y="${n.y - over + 4}" font-size="12" font-weight="700" style="fill: ${colour(n.name)}">${n.label}</text>`).join("");
    chart += RULES.map(([rule, , name]) => `<path d="M${runs[rule].loss.map((v, t) => `${cx(t).toFixed(1)} ${cy(Number.isFinite(v) ? v : 1e9).toFixed(1)}`).join("L")}" fill="none" style="stroke: ${colour(name)}; stroke-width: ${rule === "learned" ? 2.8 : 1.8}"/>`).join("");
    $(".lo-chart").innerHTML = chart + `<line x1="${cx(state.t)}" x2="${cx(state.t)}" y1="18" y2="186" stroke-dasharray="3 3" style="stroke: ${ink}; stroke-width: 1.2"/>`;
    const now = RULES.map(([rule, label]) => `${label} ${power(runs[rule].loss[state.t])}`).join("; ");
    $(".lo-chart").setAttribute("aria-label", `Loss after ${state.t} steps: ${now}`);
    const order = RULES.map(([rule, label]) => [runs[rule].loss[state.t], label]).sort((a, b) => a[0] - b[0]);
    $(".lo-said").textContent = state.t === 0
      ? "Drag the start, or focus it and use the arrow keys. Thin lines: where the loss is equal. Cross: its least point."
      : `After ${state.t} step${state.t > 1 ? "s" : ""}: ${now}. Lowest: ${order[0][1]}. Dots mark the first 30 steps of each path, rings where they are now.`;
  };

  // ---- controls
  const pause = () => { clearInterval(timer); timer = null; };
  const move = (z) => { state.start = inside(z); solve(); draw(); };
  for (const input of root.querySelectorAll("[data-set]")) {
    input.oninput = () => {
      const name = input.dataset.set, value = LOG.has(name) ? 10 ** Number(input.value) : Number(input.value);
      if (name === "t") pause();
      state[name] = name === "steep" ? unit * value : value;
      if (name !== "t") solve(name in data.rates ? [name] : undefined);
      draw();
    };
  }
  $(".lo-play").onclick = () => {
    if (timer) pause();
    else {
      if (state.t >= SHOWN) state.t = 0;
      else if (state.t === FIRST.t) state.t = 0;
      timer = setInterval(() => { if (!root.isConnected || state.t >= SHOWN) pause(); else state.t += 1; draw(); }, 90);
    }
    draw();
  };
  $(".lo-tune").onclick = () => { tune(); solve(); draw(); };
  $(".lo-again").onclick = () => { pause(); state = { ...FIRST, start: [...data.start] }; solve(); draw(); };
  const place = (event) => {
    const box = plane.getBoundingClientRect();
    move([((event.clientX - box.left) / box.width * 2 - 1) * HALF_W, (1 - (event.clientY - box.top) / box.height * 2) * HALF_H]);
  };
  let held = false;
  handle.addEventListener("pointerdown", (event) => { held = true; handle.setPointerCapture(event.pointerId); event.preventDefault(); handle.focus({ preventScroll: true }); });
  handle.addEventListener("pointermove", (event) => { if (held) place(event); });
  for (const end of ["pointerup", "pointercancel"]) handle.addEventListener(end, () => { held = false; });
  handle.addEventListener("click", (event) => event.stopPropagation());
  plane.addEventListener("click", place);
  handle.addEventListener("keydown", (event) => {
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key], far = event.shiftKey ? 0.4 : 0.1;
    if (!way) return;
    event.preventDefault();
    move([state.start[0] + far * way[0], state.start[1] + far * way[1]]);
  });

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
  theme();
  solve();
  draw();
}
