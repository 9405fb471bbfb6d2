// A Relation Network at work in the page: draw the query, and the trained network scores it against five classes.
// data: { support, query: base64 of 28x28 bytes each; layers: { name: { shape, scale, bias, weight } } }, batch norm
// folded into the weights, which are bytes times a scale for each output channel.
(root, data) => {
  const SIDE = 28, CELL = 8;
  const bytes = (text, Type = Uint8Array) => new Type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const picture = (text) => Float32Array.from(bytes(text), (v) => v / 255);
  const layer = ({ shape, scale, bias, weight }) => {
    const w = Float32Array.from(bytes(weight, Int8Array)), each = w.length / shape[0];
    for (let i = 0; i < w.length; i++) w[i] *= scale[Math.floor(i / each)];
    return { out: shape[0], inn: shape[1], w, bias: bias || new Array(shape[0]).fill(0) };
  };
  const net = Object.fromEntries(Object.entries(data.layers).map(([name, value]) => [name, layer(value)]));
  const supports = data.support.map(picture), queries = data.query.map(picture);

  // ---- the network: 3x3 convolutions with a border of zeros, 2x2 max-pooling, ReLU
  const convolve = ({ out, inn, w, bias }, x, n) => {
    const m = n + 2, padded = new Float32Array(inn * m * m), y = new Float32Array(out * n * n);
    for (let c = 0; c < inn; c++) for (let i = 0; i < n; i++) padded.set(x.subarray((c * n + i) * n, (c * n + i + 1) * n), (c * m + i + 1) * m + 1);
    for (let o = 0; o < out; o++) {
      const target = y.subarray(o * n * n, (o + 1) * n * n).fill(bias[o]);
      for (let c = 0; c < inn; c++) for (let tap = 0; tap < 9; tap++) {
        const weight = w[(o * inn + c) * 9 + tap], from = (c * m + Math.floor(tap / 3)) * m + (tap % 3);
        for (let i = 0, at = 0; i < n; i++) for (let j = 0, p = from + i * m; j < n; j++) target[at++] += weight * padded[p++];
      }
    }
    return y;
  };
  const relu = (x) => x.map((v) => (v > 0 ? v : 0));
  const pool = (x, n) => {
    const h = n >> 1, channels = x.length / (n * n), y = new Float32Array(channels * h * h);
    for (let c = 0; c < channels; c++) for (let i = 0; i < h; i++) for (let j = 0; j < h; j++) {
      const p = (c * n + 2 * i) * n + 2 * j;
      y[(c * h + i) * h + j] = Math.max(x[p], x[p + 1], x[p + n], x[p + n + 1]);
    }
    return y;
  };
  const linear = ({ out, inn, w, bias }, x) => Float32Array.from({ length: out }, (_, o) => {
    let sum = bias[o];
    for (let i = 0; i < inn; i++) sum += w[o * inn + i] * x[i];
    return sum;
  });
  const embed = (x) => {
    const one = relu(pool(convolve(net.f1, x, 28), 28)), two = relu(pool(convolve(net.f2, one, 14), 14));
    return relu(convolve(net.f4, relu(convolve(net.f3, two, 7)), 7));
  };
  const relate = (a, b) => {  // a and b: the maps of support and query after their halves of the first convolution
    const first = relu(pool(a.map((v, i) => v + b[i]), 7)), second = relu(pool(convolve(net.g2, first, 3), 3));
    const [logit] = linear(net.out, relu(linear(net.hidden, second)));
    return { first, second, score: 1 / (1 + Math.exp(-logit)) };
  };
  const classes = supports.map((x) => { const maps = embed(x); return { x, maps, half: convolve(net.s, maps, 7) }; });

  // ---- the page's parts
  root.classList.add("rl");
  root.insertAdjacentHTML("beforeend", `
    <style>
      .rl { --rl-blue: #0072B2; --rl-orange: #D55E00; --rl-green: #009E73; --rl-ink: #1f2933; --rl-soft: #56616d; --rl-line: #d5d9de; --rl-wash: #f4f5f6; --rl-paper: #ffffff; max-width: 46rem; }
      .rl[data-dark] { --rl-blue: #5fb0e5; --rl-orange: #f0893c; --rl-green: #2fc39a; --rl-ink: #e4e1da; --rl-soft: #a9b0b7; --rl-line: #3a434d; --rl-wash: #20262d; --rl-paper: #14181d; }
      :where(.rl) { color: var(--ink, var(--rl-ink)); font: 14px/1.45 system-ui, sans-serif; }
      .rl .rl-row { display: flex; flex-wrap: wrap; gap: 1rem 1.8rem; align-items: flex-start; }
      .rl .rl-left { flex: 0 1 230px; display: flex; flex-wrap: wrap; gap: 0 0.9rem; align-content: flex-start; }
      .rl .rl-frame { flex: 0 1 230px; }
      .rl .rl-tools { flex: 1 1 110px; }
      @media (max-width: 560px) { .rl .rl-left { flex: 1 1 100%; flex-wrap: nowrap; } .rl .rl-tools { padding-top: 1.3rem; } }
      .rl .rl-right { flex: 1 1 290px; min-width: 0; }
      .rl canvas { display: block; image-rendering: pixelated; }
      .rl .rl-pad { width: 100%; max-width: 230px; aspect-ratio: 1; height: auto; border: 2.5px solid var(--orange, var(--rl-orange)); border-radius: 8px; cursor: crosshair; touch-action: none; background: var(--paper, var(--rl-paper)); }
      .rl .rl-pad:focus-visible { outline: 3px solid var(--blue, var(--rl-blue)); outline-offset: 2px; }
      .rl .rl-head { margin: 0 0 0.35rem; font-size: 0.95rem; font-weight: 700; }
      .rl .rl-buttons { display: flex; flex-wrap: wrap; gap: 0.35rem; margin: 0.5rem 0 0; align-items: center; }
      .rl .rl-buttons button { padding: 0.25rem 0.6rem; min-width: 2.3rem; }
      .rl .rl-buttons .rl-thumb { padding: 2px; min-width: 0; min-height: 0; background: none; border-radius: 5px; }
      .rl .rl-thumb canvas { width: 34px; height: 34px; }
      .rl .rl-class { display: grid; grid-template-columns: 0.7em 46px 1fr 3.2em; gap: 0.7rem; align-items: center; width: 100%; padding: 3px 6px; margin: 0 0 2px; border: 1.5px solid transparent; border-radius: 8px; background: none; color: inherit; text-align: left; font: inherit; cursor: pointer; }
      .rl .rl-class:hover { border-color: var(--line-2, var(--rl-line)); }
      .rl .rl-class[aria-pressed="true"] { border-color: var(--blue, var(--rl-blue)); background: none; color: inherit; }
      .rl .rl-class canvas { width: 44px; height: 44px; border: 1.5px solid var(--blue, var(--rl-blue)); border-radius: 6px; }
      .rl .rl-track { height: 1.05rem; border-radius: 4px; background: var(--wash, var(--rl-wash)); box-shadow: inset 0 0 0 1px var(--line, var(--rl-line)); overflow: hidden; }
      .rl .rl-fill { display: block; height: 100%; background: var(--green, var(--rl-green)); }
      .rl .rl-score { font-variant-numeric: tabular-nums; text-align: right; }
      .rl .rl-inside { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 0.8rem; margin: 1rem 0 0; }
      .rl .rl-inside canvas { width: 100%; max-width: 165px; height: auto; }
      .rl .rl-inside span { display: block; margin: 0 0 0.25rem; font-size: 0.86rem; color: var(--soft, var(--rl-soft)); }
      :where(.rl) button { font: inherit; color: inherit; background: var(--rl-wash); border: 1px solid var(--rl-line); border-radius: 6px; padding: 0.3rem 0.7rem; min-height: 2rem; cursor: pointer; }
    </style>
    <div class="rl-row">
      <div class="rl-left">
        <div class="rl-frame"><div class="rl-head" style="color: var(--orange-text, var(--orange, var(--rl-orange)))">query</div>
        <canvas class="rl-pad" width="${SIDE * CELL}" height="${SIDE * CELL}" tabindex="0" role="img"></canvas></div>
        <div class="rl-tools">
        <div class="rl-buttons rl-thumbs" role="group" aria-label="queries from the test set"></div>
        <div class="rl-buttons" role="group" aria-label="change the query">
          <button type="button" data-do="clear">Clear</button><button type="button" data-do="pen" aria-pressed="true">Pen</button><button type="button" data-do="rubber" aria-pressed="false">Rubber</button>
        </div>
        <div class="rl-buttons" role="group" aria-label="move the query by one pixel">
          <button type="button" data-move="-1 0" aria-label="left">←</button><button type="button" data-move="1 0" aria-label="right">→</button><button type="button" data-move="0 -1" aria-label="up">↑</button><button type="button" data-move="0 1" aria-label="down">↓</button>
        </div>
        </div>
      </div>
      <div class="rl-right">
        <div class="rl-head">class and relation score</div>
        <div class="rl-classes"></div>
        <output aria-live="polite" style="display: block; margin: 0.5rem 0 0; font-weight: 400"></output>
      </div>
    </div>
    <div class="rl-inside">
      <div><span>64 maps of the query</span><canvas data-part="q"></canvas></div>
      <div><span>64 maps of class <b class="rl-k"></b></span><canvas data-part="s"></canvas></div>
      <div><span>the pair after block one</span><canvas data-part="first"></canvas></div>
      <div><span>and after block two</span><canvas data-part="second"></canvas></div>
    </div>
    <p class="caption">Draw into the orange frame with mouse, pen or finger, or take one of the queries below it and move it with the buttons or the arrow keys. The whole network, weights rounded to bytes, runs in the page. Choose a class to look inside its pair.</p>`);
  const $ = (selector) => root.querySelector(selector);
  const pad = $(".rl-pad"), context = pad.getContext("2d"), summary = $("output");

  // ---- colours: ink on paper, and tints for maps; the page may be light or dark
  let inks = {};
  const rgb = (names) => {
    const probe = document.createElement("span");
    probe.style.cssText = `color: ${names}; display: none`;
    root.append(probe);
    const numbers = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
    probe.remove();
    return numbers;
  };
  const paint = (canvas, values, w, h, colour, high = 1, floor = 0) => {  // values in 0..high as more or less opaque colour
    canvas.width = w;
    canvas.height = h;
    const image = canvas.getContext("2d").createImageData(w, h);
    values.forEach((v, i) => {
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = colour[c];
      image.data[4 * i + 3] = Number.isNaN(v) ? 0 : 255 * Math.min(1, floor + v / high);
    });
    canvas.getContext("2d").putImageData(image, 0, 0);
  };
  const mosaic = (maps, n) => {  // 64 maps of n x n in 8 rows, with gaps of one pixel for every five
    const gap = Math.max(1, Math.floor(n / 5)), size = 8 * (n + gap) - gap, sheet = new Float32Array(size * size).fill(NaN);
    for (let c = 0; c < 64; c++) for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) sheet[((c >> 3) * (n + gap) + i) * size + (c & 7) * (n + gap) + j] = maps[(c * n + i) * n + j];
    return [sheet, size];
  };

  // ---- state and drawing
  let query = queries[0].slice(), shown = 0, chosen = null, rubber = false;
  const thumbs = queries.map((x, k) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "rl-thumb";
    button.setAttribute("aria-label", `query ${k + 1}`);
    const canvas = document.createElement("canvas");
    button.append(canvas);
    button.addEventListener("click", () => { query = x.slice(); shown = k; chosen = null; update(); });
    $(".rl-thumbs").append(button);
    return { button, canvas };
  });
  const rows = classes.map((_, k) => {
    $(".rl-classes").insertAdjacentHTML("beforeend", `<button type="button" class="rl-class"><b>${k}</b><canvas></canvas><span class="rl-track"><span class="rl-fill"></span></span><span class="rl-score"></span></button>`);
    const button = $(".rl-classes").lastElementChild;
    button.addEventListener("click", () => { chosen = k; update(); });
    return { button, canvas: button.querySelector("canvas"), fill: button.querySelector(".rl-fill"), number: button.querySelector(".rl-score") };
  });
  let waiting = false;
  const update = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  };
  const draw = () => {
    const maps = embed(query), half = convolve(net.q, maps, 7), results = classes.map(({ half: s }) => relate(s, half));
    const scores = results.map((r) => r.score), best = scores.indexOf(Math.max(...scores)), k = chosen ?? best;
    const small = document.createElement("canvas");
    paint(small, query, SIDE, SIDE, inks.ink);
    context.clearRect(0, 0, pad.width, pad.height);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, pad.width, pad.height);
    rows.forEach(({ button, canvas, fill, number }, i) => {
      paint(canvas, classes[i].x, SIDE, SIDE, inks.ink);
      fill.style.width = `${(100 * scores[i]).toFixed(1)}%`;
      number.textContent = scores[i].toFixed(3);
      number.style.fontWeight = i === best ? 700 : 400;
      button.setAttribute("aria-pressed", i === k);
      button.setAttribute("aria-label", `class ${i}: relation score ${scores[i].toFixed(2)}`);
    });
    thumbs.forEach(({ button, canvas }, i) => {
      paint(canvas, queries[i], SIDE, SIDE, inks.ink);
      button.setAttribute("aria-pressed", i === shown);
    });
    const high = (x) => 0.7 * x.reduce((a, b) => Math.max(a, b), 1e-6), part = (name) => $(`[data-part="${name}"]`);
    const top = Math.max(high(maps), ...classes.map((c) => high(c.maps)));
    for (const [name, values, n, colour, limit] of [["q", maps, 7, inks.orange, top], ["s", classes[k].maps, 7, inks.blue, top],
      ["first", results[k].first, 3, inks.green, Math.max(...results.map((r) => high(r.first)))], ["second", results[k].second, 1, inks.green, Math.max(...results.map((r) => high(r.second)))]]) {
      const [sheet, size] = mosaic(values, n);
      paint(part(name), sheet, size, size, colour, limit, 0.06);
    }
    $(".rl-k").textContent = k;
    const total = scores.reduce((a, b) => a + b, 0);
    summary.textContent = scores[best] < 0.5 ? `None of the five is likely; the nearest is class ${best}. The scores add up to ${total.toFixed(2)}.` : `The answer: class ${best}. The scores add up to ${total.toFixed(2)}.`;
    pad.setAttribute("aria-label", `The query; arrow keys move it. Highest relation score: class ${best}, ${scores[best].toFixed(2)}.`);
  };

  // ---- pen and rubber: a soft round brush of about two pixels, as wide as the strokes of the data
  const touch = (x, y) => {
    const radius = rubber ? 2.2 : 0.95;
    for (let i = Math.max(0, Math.floor(y - 4)); i < Math.min(SIDE, y + 4); i++) for (let j = Math.max(0, Math.floor(x - 4)); j < Math.min(SIDE, x + 4); j++) {
      const cover = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(j + 0.5 - x, i + 0.5 - y))), at = i * SIDE + j;
      query[at] = rubber ? Math.min(query[at], 1 - cover) : Math.max(query[at], cover);
    }
  };
  let last = null;
  const where = (event) => { const box = pad.getBoundingClientRect(); return [(event.clientX - box.left) / box.width * SIDE, (event.clientY - box.top) / box.height * SIDE]; };
  const stroke = (event) => {
    const [x, y] = where(event), [x0, y0] = last || [x, y], steps = Math.max(1, Math.ceil(2 * Math.hypot(x - x0, y - y0)));
    for (let i = 0; i <= steps; i++) touch(x0 + (x - x0) * i / steps, y0 + (y - y0) * i / steps);
    last = [x, y];
    shown = -1;
    update();
  };
  pad.addEventListener("pointerdown", (event) => { pad.setPointerCapture(event.pointerId); event.preventDefault(); pad.focus({ preventScroll: true }); chosen = null; stroke(event); });
  pad.addEventListener("pointermove", (event) => { if (last) stroke(event); });
  for (const end of ["pointerup", "pointercancel"]) pad.addEventListener(end, () => { last = null; });
  const move = (dx, dy) => {
    const moved = new Float32Array(SIDE * SIDE);
    for (let i = 0; i < SIDE; i++) for (let j = 0; j < SIDE; j++) {
      const y = i - dy, x = j - dx;
      if (y >= 0 && y < SIDE && x >= 0 && x < SIDE) moved[i * SIDE + j] = query[y * SIDE + x];
    }
    query = moved;
    shown = -1;
    update();
  };
  pad.addEventListener("keydown", (event) => {
    const by = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!by) return;
    event.preventDefault();
    move(...by);
  });
  for (const button of root.querySelectorAll("[data-move]")) button.addEventListener("click", () => move(...button.dataset.move.split(" ").map(Number)));
  for (const button of root.querySelectorAll("[data-do]")) button.addEventListener("click", () => {
    if (button.dataset.do === "clear") { query = new Float32Array(SIDE * SIDE); shown = -1; chosen = null; rubber = false; } else rubber = button.dataset.do === "rubber";
    for (const other of root.querySelectorAll("[data-do][aria-pressed]")) other.setAttribute("aria-pressed", (other.dataset.do === "rubber") === rubber);
    update();
  });

  // ---- light or dark: the site says so by its variables; elsewhere the page's own background, then the system
  const theme = () => {
    let dark = matchMedia("(prefers-color-scheme: dark)").matches;
    for (let node = root; node; node = node.parentElement) {
      const [r, g, b, alpha = 1] = (getComputedStyle(node).backgroundColor.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
      if (alpha > 0.5) { dark = 0.3 * r + 0.59 * g + 0.11 * b < 128; break; }
    }
    root.toggleAttribute("data-dark", dark);
    inks = { ink: rgb("var(--ink, var(--rl-ink))"), blue: rgb("var(--blue, var(--rl-blue))"), orange: rgb("var(--orange, var(--rl-orange))"), green: rgb("var(--green, var(--rl-green))") };
    update();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
  new MutationObserver(theme).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "theme", "class"] });
  new MutationObserver(theme).observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  theme();
}
