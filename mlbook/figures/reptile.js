// Reptile in a plane: two tasks, each solved along a curve, pull the initial point phi by turns.
// data: { scenes: { name: [[p0, p1, p2], [p0, p1, p2]] }, steep: [a1, a2], rate, start }. Task i is solved where
// y = c_i(x) = p0 + p1 x + p2 x^2, and its loss is a_i (y - c_i(x))^2 / 2.
(root, data) => {
  const HALF_WIDTH = 3.2, HALF_HEIGHT = 2.4, W = 640, H = 480, K = [1, 2, 3, 5, 10, 30, Infinity], FALL = 60;
  const NAMES = Object.keys(data.scenes), SVG = "http://www.w3.org/2000/svg";
  const FIRST = { scene: NAMES[0], k: 5, epsilon: 0.5, batched: false, falls: false };
  let state = { ...FIRST, start: [...data.start] };
  let phi, trail, values, inner, turn, used = 0, timer = null, scene, least, level;

  // ---- the mathematics: losses, inner loop, nearest points
  const c = (p, x) => p[0] + p[1] * x + p[2] * x * x, slope = (p, x) => p[1] + 2 * p[2] * x;
  const nearest = (p, [x, y]) => {  // on a parabola: the best of 321 points, then Newton's method on the squared distance
    let best = 0, least = Infinity;
    for (let i = 0; i <= 320; i++) {
      const u = -8 + i * 0.05, d = (u - x) ** 2 + (c(p, u) - y) ** 2;
      if (d < least) { least = d; best = u; }
    }
    for (let i = 0; i < 8; i++) {
      const e = c(p, best) - y, s = slope(p, best), curvature = 1 + s * s + 2 * p[2] * e;
      if (curvature > 1e-3) best -= Math.max(-0.05, Math.min(0.05, (best - x + e * s) / curvature));
    }
    return [best, c(p, best)];
  };
  const distance = (p, z) => { const n = nearest(p, z); return Math.hypot(n[0] - z[0], n[1] - z[1]); };
  const objective = (z) => scene.reduce((sum, p) => sum + 0.25 * distance(p, z) ** 2, 0);  // the mean of D^2 / 2 over two tasks
  const train = (i, z) => {  // the inner loop: k steps on task i, or all the way to the nearest point
    const p = scene[i], path = [[...z]];
    if (K[state.k] === Infinity) return [...path, nearest(p, z)];
    for (let s = 0; s < K[state.k]; s++) {
      const [x, y] = path.at(-1), e = data.steep[i] * (y - c(p, x));
      path.push([x + data.rate * e * slope(p, x), y - data.rate * e]);
    }
    return path;
  };
  const epsilonNow = () => (state.falls ? state.epsilon * Math.max(0, 1 - (values.length - 1) / FALL) : state.epsilon);
  const meta = () => {  // one step of the outer loop
    const epsilon = (used = epsilonNow()), tasks = state.batched ? [0, 1] : [turn];
    inner = tasks.map((i) => ({ i, path: train(i, phi) }));
    for (const axis of [0, 1]) {
      const here = phi[axis];
      phi[axis] = here + epsilon * inner.reduce((sum, { path }) => sum + path.at(-1)[axis] - here, 0) / inner.length;
    }
    turn = 1 - turn;
    trail.push([...phi]);
    values.push(objective(phi));
  };
  const restart = () => { phi = [...state.start]; trail = [[...phi]]; values = [objective(phi)]; inner = []; turn = 0; };

  // ---- the page's parts
  root.classList.add("rt");
  root.insertAdjacentHTML("beforeend", `
    <style>
      .rt { --rt-blue: #0072B2; --rt-orange: #D55E00; --rt-green: #009E73; --rt-ink: #1f2933; --rt-soft: #56616d; --rt-line: #d5d9de; --rt-wash: #f4f5f6; --rt-paper: #ffffff; max-width: 52rem; }
      .rt[data-dark] { --rt-blue: #5fb0e5; --rt-orange: #f0893c; --rt-green: #2fc39a; --rt-ink: #e4e1da; --rt-soft: #a9b0b7; --rt-line: #3a434d; --rt-wash: #20262d; --rt-paper: #14181d; }
      :where(.rt) { color: var(--ink, var(--rt-ink)); font: 14px/1.45 system-ui, sans-serif; }
      .rt .rt-row { display: flex; flex-wrap: wrap; gap: 0.9rem 1.5rem; align-items: flex-start; }
      .rt .rt-plane { flex: 1 1 340px; min-width: 0; border: 1px solid var(--line, var(--rt-line)); border-radius: 8px; overflow: hidden; }
      .rt .rt-plane svg { display: block; width: 100%; user-select: none; -webkit-user-select: none; }
      .rt .rt-panel { flex: 1 1 230px; min-width: 0; }
      .rt .rt-handle { cursor: grab; touch-action: none; outline: none !important; }
      .rt .rt-handle:active { cursor: grabbing; }
      @media (prefers-reduced-motion: no-preference) { .rt .rt-walks { transition: transform 0.2s ease-out; } }
      .rt .rt-focus { fill: none; stroke: var(--ink, var(--rt-ink)); stroke-width: 2.5; stroke-dasharray: 4 4; visibility: hidden; }
      .rt .rt-handle:focus-visible .rt-focus { visibility: visible; }
      .rt .rt-group { display: flex; flex-wrap: wrap; gap: 0.4rem 0.5rem; align-items: center; margin: 0 0 0.55rem; }
      .rt .rt-group > .rt-name { flex: 0 0 6.3rem; white-space: nowrap; color: var(--soft, var(--rt-soft)); }
      .rt .rt-group button { padding: 0.25rem 0.55rem; }
      .rt .rt-group input[type="range"] { flex: 1 1 4rem; min-width: 4rem !important; }
      .rt .rt-group output { min-width: 2.3em; text-align: right; font-variant-numeric: tabular-nums; }
      .rt .rt-values { display: grid; grid-template-columns: 1fr auto; gap: 0.1rem 0.8rem; margin: 0.4rem 0 0.3rem; font-variant-numeric: tabular-nums; }
      .rt .rt-chart { display: block; width: 100%; max-width: 330px; overflow: visible; }
      .rt svg text { fill: var(--ink, var(--rt-ink)); }
      .rt .rt-soft { color: var(--soft, var(--rt-soft)); }
      :where(.rt) button { font: inherit; color: inherit; background: var(--rt-wash); border: 1px solid var(--rt-line); border-radius: 6px; padding: 0.3rem 0.75rem; min-height: 2rem; cursor: pointer; }
      :where(.rt) button[aria-pressed="true"] { background: var(--rt-blue); color: var(--rt-paper); border-color: var(--rt-blue); }
    </style>
    <div class="rt-row">
      <div class="rt-plane"><svg viewBox="0 0 ${W} ${H}" role="group" aria-label="The plane of parameters"><g class="rt-back"></g><g class="rt-front" pointer-events="none"></g>
        <g class="rt-handle" tabindex="0" role="group" aria-roledescription="movable point"><circle r="30" fill="transparent"/><circle class="rt-focus" r="19"/>
        <circle r="10" style="fill: var(--ink, var(--rt-ink)); stroke: var(--paper, var(--rt-paper)); stroke-width: 2.5"/>
        <text x="15" y="-12" font-size="24" font-style="italic" font-weight="700" style="paint-order: stroke; stroke: var(--paper, var(--rt-paper)); stroke-width: 5px; stroke-linejoin: round">φ</text></g></svg></div>
      <div class="rt-panel">
        <div class="rt-group"><button type="button" class="rt-step">Step</button><button type="button" class="rt-play">Play</button><button type="button" class="rt-again">Restart</button></div>
        <div class="rt-group" role="group" aria-label="tasks in a step"><button type="button" data-batched="">task by task</button><button type="button" data-batched="1">both at once</button></div>
        <label class="rt-group"><span class="rt-name">inner steps <i>k</i></span><input type="range" class="rt-k" min="0" max="${K.length - 1}" step="1"><output></output></label>
        <label class="rt-group"><span class="rt-name">outer rate ε</span><input type="range" class="rt-epsilon" min="0.05" max="1" step="0.05"><output></output></label>
        <label class="rt-group"><span class="rt-name"></span><span><input type="checkbox" class="rt-falls"> ε falls to 0 in ${FALL} steps</span></label>
        <div class="rt-group" role="group" aria-label="solution curves"><span class="rt-name" style="flex-basis: auto">curves</span>${NAMES.map((name) => `<button type="button" data-scene="${name}">${name}</button>`).join("")}</div>
        <div class="rt-values">
          <span style="color: var(--blue-text, var(--blue, var(--rt-blue)))">distance to W₁*</span><output class="rt-d1"></output>
          <span style="color: var(--orange-text, var(--orange, var(--rt-orange)))">distance to W₂*</span><output class="rt-d2"></output>
          <b>mean of ½ D²</b><b><output class="rt-value"></output></b>
          <span style="color: var(--green-text, var(--green, var(--rt-green)))">the least there is</span><output class="rt-least"></output>
        </div>
        <svg class="rt-chart" viewBox="0 0 330 96" role="img" aria-label="The mean of half the squared distance over the steps so far"></svg>
      </div>
    </div>
    <p class="caption rt-soft rt-said" aria-live="polite"></p>`);
  const $ = (selector) => root.querySelector(selector), plane = $(".rt-plane svg"), handle = $(".rt-handle");
  const blue = "var(--blue, var(--rt-blue))", orange = "var(--orange, var(--rt-orange))", green = "var(--green, var(--rt-green))";
  const ink = "var(--ink, var(--rt-ink))", paper = "var(--paper, var(--rt-paper))", line = "var(--line-2, var(--rt-line))", COLOURS = [blue, orange];
  const X = (x) => ((x / HALF_WIDTH + 1) / 2) * W, Y = (y) => ((1 - y / HALF_HEIGHT) / 2) * H, at = (z) => `${X(z[0]).toFixed(1)} ${Y(z[1]).toFixed(1)}`;
  const inside = ([x, y]) => [Math.max(-HALF_WIDTH + 0.1, Math.min(HALF_WIDTH - 0.1, x)), Math.max(-HALF_HEIGHT + 0.1, Math.min(HALF_HEIGHT - 0.1, y))];

  // ---- what changes with the curves only: level lines of the objective, its least point, the curves and their names
  const choose = (name) => {
    state.scene = name;
    scene = data.scenes[name];
    let z = [0, 0], reach = 1.5;
    while (reach > 1e-7) {  // compass search: the objective has no derivative on the curves
      const next = [[reach, 0], [-reach, 0], [0, reach], [0, -reach]].map(([dx, dy]) => [z[0] + dx, z[1] + dy]).find((n) => objective(n) < objective(z) - 1e-15);
      if (next) z = next; else reach /= 2;
    }
    least = z;
    level = objective(z);
    const nx = 64, ny = 48, grid = Array.from({ length: ny + 1 }, (_, j) => Array.from({ length: nx + 1 }, (_, i) => objective([(2 * i / nx - 1) * HALF_WIDTH, (1 - 2 * j / ny) * HALF_HEIGHT])));
    const contour = (v) => {  // marching squares: in every cell, the segments between crossed edges
      let d = "";
      for (let j = 0; j < ny; j++) for (let i = 0; i < nx; i++) {
        const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]], crossed = [];
        for (let e = 0; e < 4; e++) {
          const [a, b] = [corners[e], corners[(e + 1) % 4]], va = grid[a[1]][a[0]] - v, vb = grid[b[1]][b[0]] - v;
          if (va < 0 !== vb < 0) { const t = va / (va - vb); crossed.push(`${((a[0] + t * (b[0] - a[0])) / nx * W).toFixed(1)} ${((a[1] + t * (b[1] - a[1])) / ny * H).toFixed(1)}`); }
        }
        for (let e = 0; e + 1 < crossed.length; e += 2) d += `M${crossed[e]}L${crossed[e + 1]}`;
      }
      return `<path d="${d}" fill="none" style="stroke: ${line}; stroke-width: 1.3"/>`;
    };
    const curve = (p, i) => {
      const points = Array.from({ length: 129 }, (_, n) => { const x = (n / 64 - 1) * HALF_WIDTH; return at([x, c(p, x)]); });
      let x = -2.75;
      while (Math.abs(c(p, x)) > HALF_HEIGHT - 0.45) x += 0.05;
      const name = `<text x="${X(x).toFixed(0)}" y="${(Y(c(p, x)) + (i ? 34 : -16)).toFixed(0)}" font-size="22" font-weight="700" style="fill: ${COLOURS[i]}">W${"₁₂"[i]}*</text>`;
      return `<path d="M${points.join("L")}" fill="none" style="stroke: ${COLOURS[i]}; stroke-width: 4; stroke-linecap: round"/>${name}`;
    };
    $(".rt-back").innerHTML = [0.05, 0.15, 0.35, 0.7, 1.2, 1.9].map((v) => contour(level + v)).join("") + scene.map(curve).join("") +
      `<circle cx="${X(least[0]).toFixed(1)}" cy="${Y(least[1]).toFixed(1)}" r="15" fill="none" style="stroke: ${green}; stroke-width: 4"/>`;
    restart();
  };

  // ---- what changes with every step
  const draw = () => {
    const path = (points, style) => `<path d="M${points.map(at).join("L")}" fill="none" style="${style}"/>`;
    $(".rt-front").innerHTML = path(trail.length > 1 ? trail : [phi, phi], `stroke: ${ink}; stroke-width: 2.2; opacity: 0.65; stroke-linejoin: round`) +
      trail.slice(-40).map((z) => `<circle cx="${X(z[0]).toFixed(1)}" cy="${Y(z[1]).toFixed(1)}" r="3.2" style="fill: ${ink}; opacity: 0.75"/>`).join("") +
      inner.map(({ i, path: points }) => path(points, `stroke: ${COLOURS[i]}; stroke-width: 2.6; stroke-dasharray: 2 6; stroke-linecap: round`) +
        points.slice(1, -1).map((z) => `<circle cx="${X(z[0]).toFixed(1)}" cy="${Y(z[1]).toFixed(1)}" r="${points.length > 12 ? 2.4 : 3.6}" style="fill: ${COLOURS[i]}"/>`).join("") +
        `<circle cx="${X(points.at(-1)[0]).toFixed(1)}" cy="${Y(points.at(-1)[1]).toFixed(1)}" r="7.5" style="fill: ${paper}; stroke: ${COLOURS[i]}; stroke-width: 3"/>`).join("");
    handle.classList.toggle("rt-walks", values.length > 1);  // it glides when it steps, not under the hand
    handle.style.transform = `translate(${X(phi[0]).toFixed(1)}px, ${Y(phi[1]).toFixed(1)}px)`;
    handle.setAttribute("aria-label", `initial point phi, at ${phi[0].toFixed(2)}, ${phi[1].toFixed(2)}; arrow keys move it`);
    const [d1, d2] = scene.map((p) => distance(p, phi)), now = values.at(-1), n = values.length - 1;
    $(".rt-d1").value = d1.toFixed(3);
    $(".rt-d2").value = d2.toFixed(3);
    $(".rt-value").value = now.toFixed(3);
    $(".rt-least").value = level.toFixed(3);
    $(".rt-k").value = state.k;
    $(".rt-k").setAttribute("aria-valuetext", K[state.k] === Infinity ? "all the way to the nearest point" : K[state.k]);
    $(".rt-k").nextElementSibling.value = K[state.k] === Infinity ? "∞" : K[state.k];
    $(".rt-epsilon").value = state.epsilon;
    $(".rt-epsilon").nextElementSibling.value = epsilonNow().toFixed(2);
    $(".rt-falls").checked = state.falls;
    for (const b of root.querySelectorAll("[data-batched]")) b.setAttribute("aria-pressed", Boolean(b.dataset.batched) === state.batched);
    for (const b of root.querySelectorAll("[data-scene]")) b.setAttribute("aria-pressed", b.dataset.scene === state.scene);
    $(".rt-play").textContent = timer ? "Pause" : "Play";

    const shown = values.slice(-120), top = Math.max(...shown, 2 * level, 0.1), span = Math.max(20, shown.length - 1);
    const cx = (i) => 30 + (i / span) * 290, cy = (v) => 78 - (v / top) * 66;
    $(".rt-chart").innerHTML = `<line x1="30" x2="320" y1="78" y2="78" style="stroke: ${line}; stroke-width: 1"/>
      <line x1="30" x2="320" y1="${cy(level).toFixed(1)}" y2="${cy(level).toFixed(1)}" stroke-dasharray="5 4" style="stroke: ${green}; stroke-width: 2"/>
      <path d="M${shown.map((v, i) => `${cx(i).toFixed(1)} ${cy(v).toFixed(1)}`).join("L")}" fill="none" style="stroke: ${ink}; stroke-width: 2"/>
      <circle cx="${cx(shown.length - 1).toFixed(1)}" cy="${cy(now).toFixed(1)}" r="3.5" style="fill: ${ink}"/>
      <text x="26" y="82" font-size="12" text-anchor="end">0</text><text x="26" y="16" font-size="12" text-anchor="end">${top.toFixed(top < 1 ? 2 : 1)}</text><text x="320" y="94" font-size="12" text-anchor="end">step ${n}</text>`;
    const moved = inner.map(({ i }) => i + 1).join(" and ");
    $(".rt-said").textContent = n === 0
      ? "Drag φ, or focus it and press the arrow keys; then Step or Play. Lines: all parameters that solve task 1 and task 2. Ring: the point with the least mean of ½ D². Thin lines: where that mean is equal."
      : `Step ${n}: trained on task ${moved}, ${K[state.k] === Infinity ? "to the nearest solution" : `${K[state.k]} inner step${K[state.k] > 1 ? "s" : ""}`} (dotted), then φ moved the share ε = ${used.toFixed(2)} of the way. φ is ${Math.hypot(phi[0] - least[0], phi[1] - least[1]).toFixed(2)} from the ring.`;
  };

  // ---- controls
  const pause = () => { clearInterval(timer); timer = null; };
  const step = () => { meta(); if (values.length > 400 || (state.falls && values.length > FALL + 1)) pause(); draw(); };
  const move = (z) => { pause(); state.start = inside(z); restart(); draw(); };
  $(".rt-step").onclick = () => { pause(); step(); };
  $(".rt-play").onclick = () => { if (timer) pause(); else { if (state.falls && values.length > FALL) restart(); timer = setInterval(() => { if (root.isConnected) step(); else pause(); }, 260); step(); } draw(); };
  $(".rt-again").onclick = () => { pause(); restart(); draw(); };
  $(".rt-k").oninput = (event) => { state.k = Number(event.target.value); draw(); };
  $(".rt-epsilon").oninput = (event) => { state.epsilon = Number(event.target.value); draw(); };
  $(".rt-falls").onchange = (event) => { pause(); state.falls = event.target.checked; restart(); draw(); };
  for (const b of root.querySelectorAll("[data-batched]")) b.onclick = () => { state.batched = Boolean(b.dataset.batched); draw(); };
  for (const b of root.querySelectorAll("[data-scene]")) b.onclick = () => { pause(); choose(b.dataset.scene); draw(); };
  const place = (event) => {
    const box = plane.getBoundingClientRect();
    move([((event.clientX - box.left) / box.width * 2 - 1) * HALF_WIDTH, (1 - (event.clientY - box.top) / box.height * 2) * HALF_HEIGHT]);
  };
  let held = false;
  handle.addEventListener("pointerdown", (event) => { held = true; handle.setPointerCapture(event.pointerId); event.preventDefault(); handle.focus({ preventScroll: true }); });
  handle.addEventListener("pointermove", (event) => { if (held) place(event); });
  for (const end of ["pointerup", "pointercancel"]) handle.addEventListener(end, () => { held = false; });
  handle.addEventListener("click", (event) => event.stopPropagation());
  plane.addEventListener("click", place);
  handle.addEventListener("keydown", (event) => {
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key], far = event.shiftKey ? 0.4 : 0.1;
    if (event.key === "Enter") { event.preventDefault(); pause(); step(); }
    if (!way) return;
    event.preventDefault();
    move([phi[0] + far * way[0], phi[1] + far * way[1]]);
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
  choose(state.scene);
  draw();
}
