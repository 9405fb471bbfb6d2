(root, data) => {
  // Deals N-way K-shot episodes from real pictures and lets the reader answer the queries.
  // data: {size, samples, groups: [a name per class], bits: base64 of 2-bit grey levels, class by class}
  const side = data.size, classes = data.groups.length, queries = 10;
  const bytes = Uint8Array.from(atob(data.bits), (c) => c.charCodeAt(0));
  const perPicture = (side * side) / 4;

  // ---- pictures
  const levels = (c, s) => {
    const from = (c * data.samples + s) * perPicture, out = new Uint8Array(side * side);
    for (let i = 0; i < out.length; i++) out[i] = (bytes[from + (i >> 2)] >> (2 * (i & 3))) & 3;
    return out;
  };
  const urls = new Map();
  const url = (c, s) => {
    const key = c * data.samples + s;
    if (!urls.has(key)) {
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = side;
      const context = canvas.getContext("2d"), sheet = context.createImageData(side, side);
      levels(c, s).forEach((v, i) => { sheet.data[4 * i + 3] = 85 * v; });
      context.putImageData(sheet, 0, 0);
      urls.set(key, canvas.toDataURL());
    }
    return urls.get(key);
  };
  const make = (tag, className, text) => {
    const e = document.createElement(tag);
    if (className) e.className = className;
    if (text !== undefined) e.textContent = text;
    return e;
  };
  const picture = (c, s) => { // ink in the colour of the text, so that it follows light and dark pages
    const e = make("span", "es-ink");
    e.style.maskImage = e.style.webkitMaskImage = `url(${url(c, s)})`;
    return e;
  };
  const distance = (a, b) => a.reduce((sum, v, i) => sum + (v - b[i]) ** 2, 0);

  // ---- page
  root.insertAdjacentHTML("beforeend", `
    <style>
      .es { --tile: clamp(40px, 11vw, 62px); }
      .es .es-head { font-weight: 600; margin: 0.9rem 0 0.4rem; max-width: none; }
      .es .es-s { color: var(--blue, #0072B2); } .es .es-q { color: var(--orange, #D55E00); }
      .es code { font-size: 0.86em; }
      .es-support { display: flex; flex-wrap: wrap; gap: 8px; }
      .mlbook-figure.es .es-class { display: flex; align-items: center; gap: 2px; padding: 3px 5px; color: inherit; min-height: 0;
        background: color-mix(in srgb, var(--blue, #0072B2) 12%, transparent); border: 2px solid var(--blue, #0072B2); border-radius: 6px; }
      .mlbook-figure.es .es-class:not(:disabled):hover { background: color-mix(in srgb, var(--blue, #0072B2) 26%, transparent); }
      .mlbook-figure.es .es-class:disabled { cursor: default; }
      .es-class b { min-width: 1.1em; color: var(--blue, #0072B2); }
      .es-ink { display: inline-block; width: var(--tile); height: var(--tile); background: currentColor;
        -webkit-mask-size: 100% 100%; mask-size: 100% 100%; }
      .es-now { display: flex; gap: 14px; align-items: center; min-height: calc(1.6 * var(--tile) + 10px); }
      .es-now > .es-box { flex: none; border: 3px solid var(--orange, #D55E00); border-radius: 8px; line-height: 0; padding: 2px; }
      .es-now .es-ink { width: calc(1.6 * var(--tile)); height: calc(1.6 * var(--tile)); }
      .es-now p { margin: 0; }
      .es-done { display: flex; flex-wrap: wrap; gap: 6px; min-height: 62px; margin-top: 8px; }
      .es-done > span { width: 54px; white-space: nowrap; text-align: center; font-size: 12px; line-height: 1.35; border: 1.5px solid var(--line-2, #aab); border-radius: 5px; }
      .es-done > .es-no { border: 1.5px dashed var(--orange, #D55E00); }
      .es-done .es-ink { width: 34px; height: 34px; margin-top: 2px; }
      .es-score svg { width: 100%; max-width: 560px; height: auto; overflow: visible; }
      .es-score svg text { font-size: 13px; }
    </style>
    <div class="controls">
      <label>ways <i>N</i> <input type="range" class="es-n" min="2" max="8" value="5"><output></output></label>
      <label>shots <i>K</i> <input type="range" class="es-k" min="1" max="4" value="1"><output></output></label>
      <label>classes from <select><option value="all">all alphabets</option><option value="one">one alphabet</option></select></label>
      <button type="button" class="es-deal">Draw a new episode</button>
    </div>
    <p class="es-head es-s"></p><div class="es-support"></div>
    <p class="es-head es-q"></p><div class="es-now" aria-live="polite"></div>
    <div class="es-done"></div>
    <div class="es-score"></div>`);
  root.classList.add("es");
  const $ = (selector) => root.querySelector(selector);
  const n = $(".es-n"), k = $(".es-k"), source = $("select");

  // ---- one episode
  let state = 2026; // a fixed start: the first episode is the same for every reader
  const random = () => { // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const shuffled = (items) => {
    const a = [...items];
    for (let i = a.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [a[i], a[j]] = [a[j], a[i]];
    }
    return a;
  };
  let episode, tally;
  const forget = () => { tally = { asked: 0, you: 0, pixels: 0 }; };

  const deal = () => {
    const ways = +n.value, shots = +k.value, names = [...new Set(data.groups)];
    const only = source.value === "one" ? names[Math.floor(random() * names.length)] : null;
    const pool = [...Array(classes).keys()].filter((c) => only === null || data.groups[c] === only);
    const chosen = shuffled(pool).slice(0, ways); // distinct classes; their labels are their places
    const samples = chosen.map(() => shuffled(Array(data.samples).keys()));
    const support = chosen.flatMap((c, y) => samples[y].slice(0, shots).map((s) => ({ c, s, y })));
    const rest = chosen.flatMap((c, y) => samples[y].slice(shots).map((s) => ({ c, s, y }))); // disjoint from the support
    const query = shuffled(rest).slice(0, queries);
    for (const q of query) {
      const z = levels(q.c, q.s);
      const d = support.map((e) => distance(z, levels(e.c, e.s)));
      q.pixels = support[d.indexOf(Math.min(...d))].y;
    }
    episode = { ways, shots, support, query, only, at: 0 };
    draw();
  };

  const answer = (y) => {
    const q = episode.query[episode.at];
    if (!q) return;
    q.you = y;
    tally.asked += 1; tally.you += y === q.y; tally.pixels += q.pixels === q.y;
    episode.at += 1;
    progress();
  };

  // ---- drawing
  const draw = () => {
    n.nextElementSibling.value = n.value;
    k.nextElementSibling.value = k.value;
    const { ways, shots, support, only } = episode;
    $(".es-s").innerHTML = `Support set: ${ways} × ${shots} = ${ways * shots} pictures with their labels` +
      `${only ? `, all from ${only}` : ""} <code>support_x [1, ${ways * shots}, 1, ${side}, ${side}]</code>`;
    const box = $(".es-support");
    box.replaceChildren();
    for (let y = 0; y < ways; y++) {
      const button = make("button", "es-class");
      button.type = "button";
      button.setAttribute("aria-label", `answer ${y}`);
      button.append(make("b", "", y), ...support.filter((e) => e.y === y).map((e) => picture(e.c, e.s)));
      button.onclick = () => answer(y);
      box.append(button);
    }
    progress();
  };

  const progress = () => {
    const { query, at, ways } = episode, now = $(".es-now"), q = query[at], over = at === query.length;
    $(".es-q").innerHTML = `Query set: ${query.length} other pictures of the same classes <code>query_x [1, ${query.length}, 1, ${side}, ${side}]</code>`;
    now.replaceChildren();
    if (over) {
      now.append(make("p", "", "All answered. Draw a new episode: other classes, other labels; only you are the same."));
    } else {
      const box = make("span", "es-box");
      box.append(picture(q.c, q.s));
      const last = query[at - 1];
      const verdict = !last ? "" : last.you === last.y ? `Right, it was ${last.y}. ` : `No, it was ${last.y}. `;
      now.append(box, make("p", "", `${verdict}Query ${at + 1} of ${query.length}: which class is this? Choose above, or press 0 to ${ways - 1}.`));
    }
    const done = $(".es-done");
    done.replaceChildren(...query.slice(0, at).map((q) => {
      const e = make("span", q.you === q.y ? "" : "es-no");
      e.append(picture(q.c, q.s), make("br"), `${q.you === q.y ? "✓" : "✗"} ${q.you}${q.you === q.y ? "" : ` → ${q.y}`}`);
      return e;
    }));
    for (const b of root.querySelectorAll(".es-class")) b.disabled = over;
    score();
  };

  const wilson = (right, asked) => { // 95 % interval of a proportion
    const z = 1.96, p = right / asked, mid = (p + z * z / (2 * asked)) / (1 + z * z / asked);
    const half = z * Math.sqrt(p * (1 - p) / asked + z * z / (4 * asked * asked)) / (1 + z * z / asked);
    return [Math.max(0, mid - half), Math.min(1, mid + half)];
  };
  const score = () => {
    const x = (p) => 90 + 440 * p, chance = 1 / episode.ways, { asked, you, pixels } = tally;
    const row = (y, name, right, colour) => {
      if (!asked) return `<text x="0" y="${y + 4}">${name}</text>`;
      const p = right / asked, [low, high] = wilson(right, asked);
      return `<text x="0" y="${y + 4}">${name}</text><line x1="${x(low)}" x2="${x(high)}" y1="${y}" y2="${y}" stroke="${colour}" stroke-width="3" stroke-linecap="round"/>
        <circle cx="${x(p)}" cy="${y}" r="6" fill="${colour}"/>`;
    };
    const ticks = [0, 0.5, 1].map((p) => `<line x1="${x(p)}" x2="${x(p)}" y1="6" y2="62" stroke="currentColor" opacity="0.18"/><text x="${x(p)}" y="80" text-anchor="middle">${100 * p} %</text>`).join("");
    const percent = (right) => `${right} of ${asked}`;
    const wide = asked ? wilson(you, asked).map((p) => Math.round(100 * p)) : null;
    $(".es-score").innerHTML = `
      <p class="caption" style="margin-bottom:6px">${asked ? `You: ${percent(you)} right, 95 % interval ${wide[0]} to ${wide[1]} %. Nearest picture by pixels: ${percent(pixels)}. ` : "Your answers are counted here, beside those of the nearest picture by pixels. "}Chance: ${Math.round(100 * chance)} %.</p>
      <svg viewBox="0 0 560 86" role="img" aria-label="Accuracy of the reader and of the nearest neighbour on pixels with their 95 % intervals, and chance">
        ${ticks}<line x1="${x(chance)}" x2="${x(chance)}" y1="6" y2="62" stroke="var(--grey, #6b7785)" stroke-width="2" stroke-dasharray="4 4"/>
        <text x="${x(chance) + 5}" y="12" style="fill:var(--grey, #6b7785)">chance</text>
        ${row(26, "you", you, "var(--orange, #D55E00)")}${row(50, "pixels", pixels, "currentColor")}</svg>`;
  };

  n.oninput = k.oninput = source.onchange = () => { forget(); deal(); };
  $(".es-deal").onclick = deal;
  root.addEventListener("keydown", (event) => {
    const y = event.key.length === 1 ? "01234567".indexOf(event.key) : -1;
    if (y < 0 || y >= episode.ways || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    answer(y);
  });
  forget();
  deal();
}
