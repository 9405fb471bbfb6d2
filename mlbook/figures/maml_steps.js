(root, data) => {
  // Queries of one task, placed by their class probabilities, after each inner step; three choices of what adapts.
  // data: {support: 5 pictures, queries, y, rate, ways: [{name, p[step][query][class] in percent, loss[step]}]}
  const { support, queries, y, ways } = data, side = 28, last = ways[0].p.length - 1, n = queries.length;
  const COLOURS = [["blue", "#0072B2"], ["orange", "#D55E00"], ["green", "#009E73"], ["pink", "#b0588f"], ["grey", "#6b7785"]]
    .map(([name, value]) => `var(--${name}, ${value})`);
  const LETTERS = "ABCDE", HEIGHT = 92; // the stage is 100 wide
  const TILE = 7, CORNER = 11, RADIUS = 32, MIDDLE = [50, 49];
  const corners = support.map((_, k) => {
    const angle = -Math.PI / 2 + (2 * Math.PI * k) / 5;
    return [Math.cos(angle), Math.sin(angle)];
  });
  const framed = corners.map(([x, y]) => [MIDDLE[0] + (RADIUS + 12) * x, MIDDLE[1] + (RADIUS + 11) * y]);
  let step = 0, chosen = 0, timer = null;

  // a picture is a string of hexadecimal digits, one a pixel; as a mask it takes any colour
  const mask = (digits) => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d"), image = context.createImageData(side, side);
    for (let i = 0; i < side * side; i++) image.data[4 * i + 3] = 17 * parseInt(digits[i], 16);
    context.putImageData(image, 0, 0);
    return `url("${canvas.toDataURL()}") center / contain no-repeat`;
  };
  const drawing = (digits, k) => {
    const url = mask(digits);
    return `<span class="ms-ink" style='-webkit-mask: ${url}; mask: ${url}; background: ${COLOURS[k]}'></span>`;
  };

  // where the tiles go: the mean of the corners, weighted by probability, then pushed apart until none covers another
  const places = (p) => {
    const at = p.map((row, q) => {
      const total = row.reduce((a, b) => a + b, 0), spot = [...MIDDLE];
      row.forEach((share, k) => corners[k].forEach((c, i) => { spot[i] += (RADIUS * c * share) / total; }));
      return [spot[0] + 0.3 * Math.cos(2.4 * q), spot[1] + 0.3 * Math.sin(2.4 * q)];
    });
    const home = at.map((spot) => [...spot]);
    const apart = (p, q, gap) => { // the way out of an overlap
      const d = [p[0] - q[0], p[1] - q[1]], far = Math.hypot(...d) || 0.01;
      return far < gap ? d.map((v) => (v / far) * (gap - far)) : [0, 0];
    };
    for (let round = 0; round < 240; round++)
      for (let a = 0; a < n; a++)
        for (let i = 0; i < 2; i++) {
          for (let b = 0; b < n; b++) if (b !== a) at[a][i] += 0.4 * apart(at[a], at[b], 1.16 * TILE)[i];
          for (const frame of framed) at[a][i] += apart(at[a], frame, 0.66 * (TILE + CORNER))[i]; // these stay where they are
          if (round < 160) at[a][i] += 0.06 * (home[a][i] - at[a][i]);
        }
    return at;
  };
  const frames = ways.map((way) => way.p.map(places));
  const answer = (row) => row.indexOf(Math.max(...row));
  const right = ways.map((way) => way.p.map((p) => p.filter((row, q) => answer(row) === y[q]).length));

  root.insertAdjacentHTML("beforeend", `
    <style>
      .ms-row { display: flex; flex-wrap: wrap; gap: 10px 26px; align-items: center; }
      .ms-stage { position: relative; flex: 1 1 320px; min-width: 0; max-width: 470px; aspect-ratio: 100 / ${HEIGHT}; }
      .mlbook-figure .ms-stage > svg { position: absolute; inset: 0; width: 100%; height: 100%; max-width: none; }
      .ms-tile, .ms-corner { position: absolute; border-radius: 5px; transform: translate(-50%, -50%); aspect-ratio: 1; }
      .ms-tile { width: ${TILE}%; border: 1.5px solid color-mix(in srgb, currentColor 25%, transparent); background: var(--paper, transparent);
        transition: left 0.45s ease, top 0.45s ease; padding: 1px; }
      .ms-tile[data-wrong] { border: 2px dashed currentColor; }
      .ms-corner { width: ${CORNER}%; border: 2.5px solid; padding: 2px; background: var(--paper, transparent); }
      .ms-ink { display: block; width: 100%; height: 100%; }
      .ms-name { position: absolute; transform: translate(-50%, -50%); font-weight: 700; }
      .ms-chart { flex: 1 1 230px; min-width: 0; max-width: 330px; }
      .mlbook-figure .ms-chart text { font-size: 13px; fill: currentColor; }
      @media (prefers-reduced-motion: reduce) { .ms-tile { transition: none; } }
    </style>
    <div class="controls">
      <label>steps of α = ${data.rate} <input type="range" min="0" max="${last}" step="1" value="0"><output>0</output></label>
      <button type="button" class="ms-play">Play</button>
      ${ways.map((way, w) => `<button type="button" class="ms-way" data-way="${w}">${way.name}</button>`).join("")}
    </div>
    <div class="ms-row">
      <div class="ms-stage" role="img"></div>
      <svg class="ms-chart" viewBox="0 0 330 240" role="img" aria-label="Right answers against inner steps, a line for each choice of what adapts"></svg>
    </div>
    <p class="caption" aria-live="polite"></p>`);
  const $ = (selector) => root.querySelector(selector);
  const slider = $("input"), stage = $(".ms-stage"), chart = $(".ms-chart"), play = $(".ms-play");
  const top = (v) => (100 * v) / HEIGHT;

  const edge = corners.map(([x, y]) => `${MIDDLE[0] + RADIUS * x},${MIDDLE[1] + RADIUS * y}`).join(" ");
  stage.innerHTML = `<svg viewBox="0 0 100 ${HEIGHT}" aria-hidden="true"><polygon points="${edge}" fill="none" stroke="currentColor" stroke-opacity="0.25" stroke-width="0.5"/></svg>` +
    support.map((digits, k) => {
      const [x, yy] = framed[k];
      return `<span class="ms-corner" style="left: ${x}%; top: ${top(yy)}%; border-color: ${COLOURS[k]}">${drawing(digits, k)}</span>
        <span class="ms-name" style="left: ${Math.abs(x - 50) > 40 ? x : x + (x < 49 ? -8.2 : 8.2)}%; top: ${top(Math.abs(x - 50) > 40 ? yy - 8.4 : yy)}%; color: ${COLOURS[k]}">${LETTERS[k]}</span>`;
    }).join("") +
    queries.map((digits, q) => `<span class="ms-tile">${drawing(digits, y[q])}</span>`).join("");
  const tiles = [...stage.querySelectorAll(".ms-tile")];

  const X = (s) => 34 + (s / last) * 280, Y = (r) => 200 - (r / n) * 168;
  const LINES = ["var(--blue, #0072B2)", "var(--green, #009E73)", "var(--orange, #D55E00)"], DASHES = ["none", "7 4", "2 4"];

  const show = () => {
    const way = ways[chosen], p = way.p[step];
    slider.value = step;
    slider.nextElementSibling.value = step;
    root.querySelectorAll(".ms-way").forEach((b, w) => b.setAttribute("aria-pressed", w === chosen));
    tiles.forEach((tile, q) => {
      const [x, yy] = frames[chosen][step][q], k = answer(p[q]);
      tile.style.left = `${x}%`;
      tile.style.top = `${top(yy)}%`;
      tile.toggleAttribute("data-wrong", k !== y[q]);
      tile.title = `a drawing of ${LETTERS[y[q]]}; answer ${LETTERS[k]} with ${p[q][k]} %`;
    });
    const order = ways.map((_, w) => w).sort((a, b) => (a === chosen) - (b === chosen)); // the chosen one on top
    chart.innerHTML = `<text x="34" y="16">right answers of ${n}</text>
      ${[0, n / 5, n].map((r) => `<line x1="34" x2="314" y1="${Y(r)}" y2="${Y(r)}" stroke="currentColor" opacity="0.18"/><text x="28" y="${Y(r) + 4}" text-anchor="end">${r}</text>`).join("")}
      <text x="314" y="${Y(n / 5) - 5}" text-anchor="end" opacity="0.8">chance</text>
      ${[0, last / 2, last].map((s) => `<text x="${X(s)}" y="219" text-anchor="middle">${s}</text>`).join("")}
      <text x="174" y="236" text-anchor="middle">inner steps</text>
      ${order.map((w) => `<polyline points="${right[w].map((r, s) => `${X(s)},${Y(r)}`).join(" ")}" fill="none" stroke="${LINES[w]}" stroke-dasharray="${DASHES[w]}" stroke-width="${w === chosen ? 3.5 : 2}" opacity="${w === chosen ? 1 : 0.65}"/>`).join("")}
      <circle cx="${X(step)}" cy="${Y(right[chosen][step])}" r="6.5" fill="${LINES[chosen]}"/>
      ${ways.map((w, i) => `<line x1="150" x2="182" y1="${Y(n / 5) - 26 - 20 * (2 - i)}" y2="${Y(n / 5) - 26 - 20 * (2 - i)}" stroke="${LINES[i]}" stroke-dasharray="${DASHES[i]}" stroke-width="3"/><text x="190" y="${Y(n / 5) - 22 - 20 * (2 - i)}">${w.name}</text>`).join("")}`;
    const sentence = `After ${step} step${step === 1 ? "" : "s"}, ${way.name} adapting: ${right[chosen][step]} of ${n} queries right, support loss ${way.loss[step].toFixed(2)}.`;
    stage.setAttribute("aria-label", sentence);
    $(".caption").textContent = `${sentence} Framed in the corners: the support drawings. Inside: the queries, in the colour of their true class, each pulled to the corners as strongly as the network believes in them; a dashed frame marks a wrong answer.`;
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  };
  slider.oninput = () => { stop(); step = +slider.value; show(); };
  root.querySelectorAll(".ms-way").forEach((b) => { b.onclick = () => { chosen = +b.dataset.way; show(); }; });
  play.onclick = () => {
    if (timer) return stop();
    if (step === last) step = 0;
    show();
    play.textContent = "Pause";
    timer = setInterval(() => {
      if (step < last) step += 1;
      show();
      if (step === last) stop();
    }, 600);
  };
  show();
}
