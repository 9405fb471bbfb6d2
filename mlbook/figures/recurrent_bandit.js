// Two arms, to be pulled by the reader, and what four players would do in the reader's place: a trained recurrent
// agent, Thompson sampling, UCB1 and the Bayes-optimal policy.
// data: {pulls, hidden, ih, hh, bias: an LSTM's weights by rows in torch's order i, f, g, o, the two biases added;
//        W: the policy's weights and biases, table: number of the first table}
(root, data) => {
  const P = data.pulls, H = data.hidden, IN = 5, ARMS = ["left", "right"], TONES = ["blue", "orange"];
  const state = { table: data.table, pulls: [] };

  // ---- a table: both chances, and what each arm pays at each pull
  const numbers = (seed) => () => { // mulberry32
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
  const deal = (seed) => {
    const random = numbers(7919 * seed), p = [random(), random()];
    return { p, pays: Array.from({ length: P }, () => p.map((chance) => (random() < chance ? 1 : 0))) };
  };
  let table = deal(state.table);

  // ---- the recurrent agent: h_t = LSTM(s_t, a_{t-1}, r_{t-1}, d_{t-1}; h_{t-1}), π = softmax(W h_t)
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const start = () => ({ h: new Array(H).fill(0), c: new Array(H).fill(0) });
  const read = ({ h, c }, last) => {
    const seen = [0, 0, 0, 0, 0];
    if (last) { seen[1 + last.arm] = 1; seen[3] = last.pay; }
    const z = data.bias.map((b, row) => {
      for (let j = 0; j < IN; j++) b += data.ih[row * IN + j] * seen[j];
      for (let j = 0; j < H; j++) b += data.hh[row * H + j] * h[j];
      return b;
    });
    const next = c.map((v, j) => sigmoid(z[H + j]) * v + sigmoid(z[j]) * Math.tanh(z[2 * H + j]));
    return { h: next.map((v, j) => sigmoid(z[3 * H + j]) * Math.tanh(v)), c: next };
  };
  const logits = ({ h }) => [0, 1].map((a) => h.reduce((sum, v, j) => sum + data.W[a * H + j] * v, data.W[2 * H + a]));
  const agent = (pulls) => { // π(right)
    const [a, b] = logits(pulls.reduce(read, read(start(), null)));
    return sigmoid(b - a);
  };

  // ---- the classical players; n: pulls of an arm, s: wins
  const counts = (pulls) => [0, 1].map((arm) => {
    const own = pulls.filter((x) => x.arm === arm);
    return { n: own.length, s: own.reduce((sum, x) => sum + x.pay, 0) };
  });
  const values = new Map();
  const worth = (n1, s1, n2, s2) => { // wins to be expected from here on, by dynamic programming
    if (n1 + n2 >= P) return 0;
    const key = ((n1 * 64 + s1) * 64 + n2) * 64 + s2;
    if (!values.has(key)) values.set(key, Math.max(...arms(n1, s1, n2, s2)));
    return values.get(key);
  };
  const arms = (n1, s1, n2, s2) => {
    const q = (s1 + 1) / (n1 + 2), u = (s2 + 1) / (n2 + 2);
    return [q * (1 + worth(n1 + 1, s1 + 1, n2, s2)) + (1 - q) * worth(n1 + 1, s1, n2, s2),
      u * (1 + worth(n1, s1, n2 + 1, s2 + 1)) + (1 - u) * worth(n1, s1, n2 + 1, s2)];
  };
  const bayes = (pulls) => { const [a, b] = counts(pulls); return arms(a.n, a.s, b.n, b.s); };
  const optimal = (pulls) => { const [a, b] = bayes(pulls); return Math.abs(a - b) < 1e-9 ? 0.5 : Number(b > a); };
  const ucb = (pulls) => { // each arm once, then that of the highest mean + sqrt(2 ln t / n)
    if (pulls.length < 2) return pulls.length ? 1 - pulls[0].arm : 0.5;
    const [a, b] = counts(pulls).map(({ n, s }) => (n ? s / n + Math.sqrt((2 * Math.log(pulls.length)) / n) : Infinity));
    return a === b ? 0.5 : Number(b > a);
  };
  const logFactorial = [0];
  for (let i = 1; i < 2 * P + 8; i++) logFactorial.push(logFactorial[i - 1] + Math.log(i));
  const logBeta = (a, b) => logFactorial[a - 1] + logFactorial[b - 1] - logFactorial[a + b - 1];
  const thompson = (pulls) => { // the probability that a draw for the right arm is the larger: Beta(1 + s, 1 + n - s)
    const [{ n, s }, other] = counts(pulls), a = 1 + s, b = 1 + n - s, c = 1 + other.s, d = 1 + other.n - other.s;
    let sum = 0;
    for (let i = 0; i < c; i++) sum += Math.exp(logBeta(a + i, b + d) - Math.log(d + i) - logBeta(1 + i, d) - logBeta(a, b));
    return sum;
  };
  const PLAYERS = [["LSTM agent", agent], ["Thompson sampling", thompson], ["UCB1", ucb], ["Bayes-optimal", optimal]];
  const lost = (pulls) => pulls.reduce((sum, x) => sum + Math.max(...table.p) - table.p[x.arm], 0);
  const pull = (pulls, arm) => [...pulls, { arm, pay: table.pays[pulls.length][arm] }];
  const game = (player, random) => { // the regret of a player at this table; the agent takes its likeliest arm
    let pulls = [];
    while (pulls.length < P) {
      const right = player(pulls), chance = player === agent ? Number(right > 0.5) : right;
      pulls = pull(pulls, chance === 0.5 ? 0 : Number(random() < chance));
    }
    return lost(pulls);
  };
  const regretOf = (player) => {
    const random = numbers(state.table), games = player === thompson ? 100 : 1;
    return Array.from({ length: games }, () => game(player, random)).reduce((a, b) => a + b) / games;
  };

  // ---- the page's parts
  const SVG = "http://www.w3.org/2000/svg", SVG_TAGS = new Set(["svg", "path", "rect", "line", "text", "circle", "g"]);
  const make = (tag, attributes = {}, parent = null, text = null) => {
    const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== null) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };
  root.classList.add("rb");
  make("style", {}, root, `
    .rb { --rb-blue: var(--blue, #0072B2); --rb-orange: var(--orange, #D55E00); --rb-blue-text: var(--blue-text, #00639b); --rb-orange-text: var(--orange-text, #a84900); --rb-line: var(--line-2, #aab2bb); }
    :where(.rb) { font: 14px/1.45 system-ui, sans-serif; max-width: 46rem; }
    .rb .rb-bar { display: flex; flex-wrap: wrap; gap: 0.5rem; align-items: center; margin-bottom: 0.8rem; }
    :where(.rb) button { font: inherit; color: inherit; background: none; border: 1px solid var(--rb-line); border-radius: 6px; padding: 0.3rem 0.7rem; cursor: pointer; }
    .rb button:disabled { border-style: dashed; font-weight: 400; cursor: default; }
    .mlbook-figure.rb .rb-arm { flex: 1 1 7rem; max-width: 11rem; color: var(--paper, #fff); border-color: transparent; font-weight: 700; }
    .rb .rb-count { margin-left: auto; font-variant-numeric: tabular-nums; }
    .rb .rb-row { display: flex; flex-wrap: wrap; gap: 0.9rem 1.6rem; }
    .rb .rb-row > * { flex: 1 1 16rem; min-width: 0; }
    .rb .rb-name { font-weight: 600; margin: 0 0 0.2rem; }
    .mlbook-figure.rb svg { width: 100%; overflow: visible; }
    .mlbook-figure.rb svg text { font-size: 12.5px; }
    .rb .rb-players { display: grid; grid-template-columns: auto 1fr 3.3em; gap: 5px 8px; align-items: center; font-variant-numeric: tabular-nums; }
    .rb .rb-track { position: relative; height: 0.95rem; border-radius: 3px; overflow: hidden; background: color-mix(in srgb, currentColor 8%, transparent); }
    .rb .rb-left, .rb .rb-right { position: absolute; top: 0; bottom: 0; }
    .rb .rb-left { left: 0; background: var(--rb-blue); }
    .rb .rb-right { right: 0; background: var(--rb-orange); }
    .rb .rb-number { text-align: right; }
    .rb .rb-said { margin: 0.8rem 0 0; max-width: none; min-height: 4.4em; }
  `);

  const bar = make("div", { class: "rb-bar", role: "group", "aria-label": "your move" }, root);
  const button = (text, act, attributes = {}) => {
    const node = make("button", { type: "button", ...attributes }, bar, text);
    node.addEventListener("click", act);
    return node;
  };
  const play = (arm) => { if (state.pulls.length < P) { state.pulls = pull(state.pulls, arm); draw(); } };
  const levers = ARMS.map((name, arm) => {
    const node = button(`Pull ${name}`, () => play(arm), { class: "rb-arm", style: `background: var(--rb-${TONES[arm]}-text)` });
    node.addEventListener("keydown", (event) => {
      const side = { ArrowLeft: 0, ArrowRight: 1 }[event.key];
      if (side === undefined) return;
      event.preventDefault();
      play(side);
    });
    return node;
  });
  const back = button("Take back", () => { state.pulls = state.pulls.slice(0, -1); draw(); });
  const hand = button("Let the agent finish", () => { while (state.pulls.length < P) state.pulls = pull(state.pulls, Number(agent(state.pulls) > 0.5)); draw(); });
  button("Next table", () => { state.table += 1; table = deal(state.table); state.pulls = []; draw(); });
  const count = make("output", { class: "rb-count" }, bar);

  const row = make("div", { class: "rb-row" }, root), mine = make("div", {}, row), theirs = make("div", {}, row);
  make("p", { class: "rb-name" }, mine, "What you know about the two arms");
  const chart = make("svg", { viewBox: "0 0 320 196", role: "img" }, mine);
  const title = make("p", { class: "rb-name" }, theirs);
  const grid = make("div", { class: "rb-players" }, theirs);
  const lines = PLAYERS.map(([name, player]) => {
    make("span", {}, grid, name);
    const track = make("div", { class: "rb-track" }, grid);
    return { name, player, left: make("div", { class: "rb-left" }, track), right: make("div", { class: "rb-right" }, track), number: make("span", { class: "rb-number" }, grid) };
  });
  const own = [make("span", {}, grid, "you"), make("div", { class: "rb-track" }, grid), make("span", { class: "rb-number" }, grid)];
  const ownFill = make("div", { class: "rb-left" }, own[1]);
  const said = make("p", { class: "rb-said", "aria-live": "polite" }, root);

  // ---- drawing
  const density = (arm, known, over) => { // Beta(1 + s, 1 + n - s) as a path, 110 high where it is highest of all
    const points = Array.from({ length: 101 }, (_, i) => {
      const x = i / 100, y = over(known, x);
      return `${10 + 300 * x} ${(118 - y).toFixed(2)}`;
    });
    return `M10 118L${points.join("L")}L310 118Z`;
  };
  const drawChart = (known) => {
    chart.replaceChildren();
    const pdf = ({ n, s }, x) => Math.exp(s * Math.log(x || 1e-12) + (n - s) * Math.log(1 - x || 1e-12) - logBeta(1 + s, 1 + n - s));
    const top = Math.max(3, ...known.flatMap((k) => Array.from({ length: 101 }, (_, i) => pdf(k, i / 100))));
    known.forEach((k, arm) => {
      const tone = `var(--rb-${TONES[arm]})`;
      make("path", { d: density(arm, k, (known_, x) => (104 * pdf(known_, x)) / top), fill: tone, "fill-opacity": 0.16, stroke: tone, "stroke-width": 2 }, chart);
    });
    make("line", { x1: 10, x2: 310, y1: 118, y2: 118, stroke: "currentColor", "stroke-opacity": 0.5 }, chart);
    [0, 0.5, 1].forEach((x) => make("text", { x: 10 + 300 * x, y: 133, "text-anchor": ["start", "middle", "end"][2 * x] }, chart, ["pays never", "half the time", "always"][2 * x]));
    if (state.pulls.length === P) table.p.forEach((p, arm) => make("line", { x1: 10 + 300 * p, x2: 10 + 300 * p, y1: 8, y2: 118, stroke: `var(--rb-${TONES[arm]})`, "stroke-width": 2, "stroke-dasharray": "4 4" }, chart));
    const step = 262 / P;
    ARMS.forEach((name, arm) => make("text", { x: 10, y: 161 + 22 * arm, style: `fill: var(--rb-${TONES[arm]}-text)`, "font-weight": 700 }, chart, name));
    state.pulls.forEach(({ arm, pay }, t) => {
      const tone = `var(--rb-${TONES[arm]})`, r = Math.min(5.2, step / 2 - 0.8);
      make("circle", { cx: 52 + step * (t + 0.5), cy: 157 + 22 * arm, r, fill: pay ? tone : "none", stroke: tone, "stroke-width": 1.6 }, chart);
    });
    chart.setAttribute("aria-label", `${known.map(({ n, s }, arm) => `${ARMS[arm]}: ${s} of ${n} paid`).join("; ")}. ` +
      `Pulls: ${state.pulls.map(({ arm, pay }) => `${ARMS[arm]} ${pay ? "paid" : "nothing"}`).join(", ") || "none yet"}.`);
  };
  const draw = () => {
    const { pulls } = state, over = pulls.length === P, known = counts(pulls);
    count.textContent = over ? "table closed" : `pull ${pulls.length + 1} of ${P}`;
    back.disabled = !pulls.length;
    hand.disabled = over;
    levers.forEach((node) => node.setAttribute("aria-disabled", over));
    drawChart(known);
    title.textContent = over ? "What each lost at this table (regret)" : "What they would pull in your place";
    own.forEach((node) => { node.style.visibility = over ? "visible" : "hidden"; });
    const most = Math.max(0.5, P * Math.abs(table.p[0] - table.p[1]));
    const regrets = over ? PLAYERS.map(([, player]) => regretOf(player)) : [];
    lines.forEach(({ name, player, left, right, number }, i) => {
      const share = over ? regrets[i] / most : 1 - player(pulls);
      left.style.width = `${100 * share}%`;
      right.style.width = over ? "0" : `${100 * (1 - share)}%`;
      number.textContent = over ? regrets[i].toFixed(1) : share === 0.5 ? "either" : share >= 0.5 ? `${Math.round(100 * share)}\u00a0%` : `${Math.round(100 * (1 - share))}\u00a0%`;
      number.style.color = over || share === 0.5 ? "" : `var(--rb-${TONES[Number(share < 0.5)]}-text)`;
      number.dataset.share = share.toFixed(4);
      number.dataset.name = name;
    });
    const yours = lost(pulls);
    ownFill.style.width = `${(100 * yours) / most}%`;
    own[2].textContent = yours.toFixed(1);
    let gave = "";
    if (pulls.length) {
      const before = bayes(pulls.slice(0, -1)), { arm, pay } = pulls.at(-1), price = Math.max(...before) - before[arm];
      gave = `You pulled ${ARMS[arm]}: ${pay ? "it paid" : "nothing"}. ` + (price < 0.005 ? "No pull was better. " : `The other arm was worth ${price.toFixed(2)} wins more. `);
    }
    if (over) {
      said.textContent = gave + `Left pays ${Math.round(100 * table.p[0])}\u00a0%, right ${Math.round(100 * table.p[1])}\u00a0% of the time. Against pulling the better arm ${P} times you lost ${yours.toFixed(1)} wins, ` +
        `the agent with the same luck ${regrets[0].toFixed(1)}. (Thompson sampling: mean of 100 games.)`;
    } else {
      const [a, b] = bayes(pulls), better = Math.abs(a - b) < 0.005 ? "Both arms are worth" : `${a > b ? "Left" : "Right"} is worth`;
      said.textContent = gave + `${better} ${Math.max(a, b).toFixed(2)} wins in the ${P - pulls.length} pull${P - pulls.length > 1 ? "s" : ""} to come if all are played in the best way` +
        (Math.abs(a - b) < 0.005 ? "." : `, ${a > b ? "right" : "left"} ${Math.min(a, b).toFixed(2)}.`);
    }
  };
  draw();
}
