(root) => {
  // The learning algorithm F_lambda(D) = lambda * mean(D) + (1 - lambda) * m0 on tasks mu ~ N(m0, tau^2),
  // readings ~ N(mu, sigma^2): eight tasks on the left, its loss in closed form on the right.
  const m0 = 2, sigma = 2, shown = 8;
  let state = 7;
  const random = () => { // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
  let tasks;
  const draw = () => { tasks = Array.from({ length: shown }, () => ({ z: normal(), noise: Array.from({ length: 20 }, normal) })); };
  draw();

  root.insertAdjacentHTML("beforeend", `
    <style>
      .sk-panels { display: flex; flex-wrap: wrap; gap: 10px 22px; }
      .sk-panels > svg { flex: 1 1 290px; min-width: 0; width: 100%; max-width: 400px; overflow: visible; }
      .mlbook-figure .sk-panels text { font-size: 13px; }
    </style>
    <div class="controls">
      <label>λ <input type="range" class="sk-lam" min="0" max="1" step="0.01" value="1"><output></output></label>
      <label>readings <i>K</i> <input type="range" class="sk-k" min="1" max="20" value="3"><output></output></label>
      <label>spread τ <input type="range" class="sk-tau" min="0.1" max="4" step="0.1" value="1"><output></output></label>
      <button type="button" class="sk-best">Set λ to λ*</button>
      <button type="button" class="sk-new">Eight other tasks</button>
    </div>
    <div class="sk-panels"></div>
    <p class="caption" aria-live="polite"></p>`);
  const $ = (selector) => root.querySelector(selector);
  const lamInput = $(".sk-lam"), kInput = $(".sk-k"), tauInput = $(".sk-tau");
  const blue = "var(--blue, #0072B2)", green = "var(--green, #009E73)", orange = "var(--orange, #D55E00)", grey = "var(--grey, #6b7785)";

  const show = () => {
    const lam = +lamInput.value, k = +kInput.value, tau = +tauInput.value;
    const loss = (l) => sigma ** 2 + l * l * sigma ** 2 / k + (1 - l) ** 2 * tau ** 2;
    const star = tau ** 2 / (tau ** 2 + sigma ** 2 / k);
    lamInput.nextElementSibling.value = lam.toFixed(2);
    kInput.nextElementSibling.value = k;
    tauInput.nextElementSibling.value = tau.toFixed(1);

    const clip = (v) => Math.min(10, Math.max(-6, v)), x = (v) => 10 + (clip(v) + 6) / 16 * 360;
    let left = `<text x="10" y="14">eight tasks, ${k} reading${k > 1 ? "s" : ""} each</text>
      <line x1="${x(m0)}" x2="${x(m0)}" y1="26" y2="252" stroke="${grey}" stroke-dasharray="4 4"/><text x="${x(m0) + 4}" y="268" style="fill:${grey}">m = 2</text>`;
    let better = 0;
    tasks.forEach((task, i) => {
      const mu = m0 + tau * task.z, y = 40 + 28 * i, readings = task.noise.slice(0, k).map((e) => mu + sigma * e);
      const mean = readings.reduce((a, b) => a + b, 0) / k, f = lam * mean + (1 - lam) * m0;
      better += Math.abs(f - mu) < Math.abs(mean - mu) - 1e-9;
      left += `<line x1="10" x2="370" y1="${y}" y2="${y}" stroke="currentColor" opacity="0.15"/>` +
        readings.map((r) => `<circle cx="${x(r)}" cy="${y}" r="3" fill="${blue}" opacity="0.55"/>`).join("") +
        `<circle cx="${x(mean)}" cy="${y}" r="6.5" fill="none" stroke="${blue}" stroke-width="2"/>
         <line x1="${x(mean)}" x2="${x(f)}" y1="${y}" y2="${y}" stroke="${green}" stroke-width="2.5"/>
         <rect x="${x(f) - 5}" y="${y - 5}" width="10" height="10" fill="${green}"/>
         <path d="M${x(mu) - 6} ${y - 6}l12 12m0 -12l-12 12" stroke="${orange}" stroke-width="2.5"/>`;
    });

    // the axis is fixed by tau and K alone, so that moving lambda moves only the point
    const top = Math.max(loss(0), loss(1)), bottom = loss(star), span = Math.max(top - sigma ** 2, 0.2) * 1.12;
    const X = (l) => 46 + 320 * l, Y = (v) => 226 - (v - sigma ** 2) / span * 190;
    const curve = Array.from({ length: 101 }, (_, i) => `${X(i / 100)},${Y(loss(i / 100))}`).join(" ");
    const ticks = [0, 0.5, 1].map((l) => `<text x="${X(l)}" y="246" text-anchor="middle">${l}</text>`).join("");
    const right = `<text x="10" y="14">loss L(F) over all tasks</text>${ticks}<text x="${X(0.75)}" y="246" text-anchor="middle">λ</text>
      <line x1="46" x2="366" y1="226" y2="226" stroke="currentColor"/>
      <text x="40" y="230" text-anchor="end">${sigma ** 2}</text><text x="40" y="${Y(top) + 4}" text-anchor="end">${top.toFixed(1)}</text>
      <line x1="${X(star)}" x2="${X(star)}" y1="${Y(bottom)}" y2="226" stroke="${green}" stroke-width="1.5"/>
      <polyline points="${curve}" fill="none" stroke="${grey}" stroke-width="2.5"/>
      <circle cx="${X(star)}" cy="${Y(bottom)}" r="4" fill="${green}"/>
      <text x="${X(star) + (star > 0.8 ? -6 : 6)}" y="219" text-anchor="${star > 0.8 ? "end" : "start"}" style="fill:${green}">λ* = ${star.toFixed(2)}</text>
      <rect x="${X(lam) - 7}" y="${Y(loss(lam)) - 7}" width="14" height="14" fill="${green}"/>`;
    $(".sk-panels").innerHTML = `<svg viewBox="0 0 380 274" role="img" aria-label="Eight tasks with their readings, means, true values and shrunken estimates">${left}</svg>
      <svg viewBox="0 0 380 274" role="img" aria-label="The loss of the learning algorithm against lambda">${right}</svg>`;
    $(".caption").textContent = `Dots: readings. Ring: their mean. Cross: the true μ. Square: the answer of F. ` +
      `L(F) = ${loss(lam).toFixed(2)}; the best is ${loss(star).toFixed(2)}, the plain mean has ${loss(1).toFixed(2)}. ` +
      `Of these eight tasks the square is closer to the truth than the ring in ${better}.`;
  };
  lamInput.oninput = kInput.oninput = tauInput.oninput = show;
  $(".sk-new").onclick = () => { draw(); show(); };
  $(".sk-best").onclick = () => {
    const k = +kInput.value, tau = +tauInput.value;
    lamInput.value = tau ** 2 / (tau ** 2 + sigma ** 2 / k);
    show();
  };
  show();
}
