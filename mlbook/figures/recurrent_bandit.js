// Two arms, to be pulled by the reader, and what four players would do in the reader's place: a trained recurrent
// agent, Thompson sampling, UCB1 and the Bayes-optimal policy.
// data: {pulls, hidden, ih, hh, bias: an LSTM's weights by rows in torch's order i, f, g, o, the two biases added;
//        W: the policy's weights and biases, table: number of the first table}

import { make, put, live, bar, tone, count } from "./kit/elements.js";
import { figure } from "./kit/figure.js";
import { button } from "./kit/controls.js";
import { plot } from "./kit/plot.js";
import { bayes, counts, deal, optimal, recurrentAgent, thompson, ucb } from "./nets/bandit.js";
import { rows } from "./nets/lstm.js";
import { generator } from "./nets/random.js";
import { sum } from "./nets/vectors.js";

const ARMS = ["left", "right"], TONES = ["blue", "orange"], CSS = `
.mlbook-figure .rb-arm { flex: 1 1 7rem; max-width: 11rem; color: var(--paper); border-color: transparent; }
.rb-count { margin-left: auto; }
.rb-players { display: grid; grid-template-columns: auto 1fr 3.3em; gap: 5px 8px; align-items: center; }
.rb-players .f-track { display: flex; } .rb-players .f-fill { border-radius: 0; flex: none; }`;
const percent = (v) => `${Math.round(100 * v)}\u00a0%`;

export default { render({ model, el }) {
  const data = model.get("data"), { pulls: P, hidden: H, bias } = data;
  const fig = figure(el, model, { table: data.table, pulls: [] }, CSS), { state } = fig, worths = bayes(P);
  const layer = { ih: rows(data.ih, 5), hh: rows(data.hh, H), bias };
  const agent = recurrentAgent(layer, rows(data.W.slice(0, 2 * H), H), data.W.slice(2 * H));
  /** @type {any[][]} */
  const PLAYERS = [["LSTM agent", agent], ["Thompson sampling", thompson], ["UCB1", ucb], ["Bayes-optimal", optimal(worths)]];
  el.classList.add("rb");
  let table;

  const history = (arms) => arms.map((arm, t) => ({ arm, pay: table.pays[t][arm] })); // state.pulls holds the arms alone
  const lost = (arms) => sum(arms.map((arm) => Math.max(...table.p) - table.p[arm]));
  const play = (arm) => { if (state.pulls.length < P) state.pulls = [...state.pulls, arm]; };
  const game = (player, random) => { // the regret of a player at this table; the agent takes its likeliest arm
    const arms = [];
    while (arms.length < P) {
      const right = player(history(arms)), chance = player === agent ? Number(right > 0.5) : right;
      arms.push(chance === 0.5 ? 0 : Number(random() < chance));
    }
    return lost(arms);
  };
  const regretOf = (player) => {
    const random = generator(state.table), games = player === thompson ? 100 : 1;
    return sum(Array.from({ length: games }, () => game(player, random))) / games;
  };

  const moves = make("div.f-bar", { role: "group", "aria-label": "your move" }, el);
  const levers = ARMS.map((name, arm) => button(fig, moves, `Pull ${name}`, () => play(arm), {
    class: "rb-arm", style: `background: var(--${TONES[arm]}-text)`, keydown: (event) => {
      const side = ["ArrowLeft", "ArrowRight"].indexOf(event.key);
      if (side < 0) return;
      event.preventDefault();
      play(side);
      fig.draw();
    },
  }));
  const back = button(fig, moves, "Take back", () => { state.pulls = state.pulls.slice(0, -1); });
  const hand = button(fig, moves, "Let the agent finish", () => {
    while (state.pulls.length < P) play(Number(agent(history(state.pulls)) > 0.5));
  });
  button(fig, moves, "Next table", () => { state.table += 1; state.pulls = []; });
  const round = make("output.rb-count", {}, moves);
  const row = make("div.f-row", {}, el), mine = make("div", {}, row), theirs = make("div", {}, row);
  make("p.f-head", {}, mine, "What you know about the two arms");
  const beliefs = plot(fig, mine, { x: [0, 1], y: [0, 1], height: 196, pad: [8, 10, 78, 10] });
  const title = make("p.f-head", {}, theirs), grid = make("div.rb-players", {}, theirs);
  const line = (name) => {
    const label = make("span", {}, grid, name), left = bar(grid, "blue");
    const right = make("div.f-fill", { style: "background: var(--orange)" }, left.track);
    return { label, left, right, number: make("span.f-number.rb-number", {}, grid) };
  };
  const lines = PLAYERS.map(([name]) => line(name)), own = line("you"), said = live(el, 3);

  const chart = (pulls, known, over) => { // Beta(1 + s, 1 + n - s) of either arm, and the pulls so far
    const xs = Array.from({ length: 101 }, (_, i) => Math.max(1e-12, Math.min(1 - 1e-12, i / 100)));
    const densities = known.map(({ n, s }) => {
      const y = xs.map((x) => Math.exp(s * Math.log(x) + (n - s) * Math.log(1 - x))), area = sum(y) / 100 - (y[0] + y[100]) / 200;
      return y.map((v) => v / area);
    });
    beliefs.y = [0, 1.06 * Math.max(3, ...densities.flat())];
    beliefs.clear();
    densities.forEach((y, arm) => {
      const points = [[0, 0], ...xs.map((x, i) => [x, y[i]]), [1, 0]];
      beliefs.fill(points, TONES[arm], 0.16);
      beliefs.line(points, TONES[arm]);
      if (over) beliefs.line(beliefs.y.map((v) => [table.p[arm], v]), TONES[arm], { dash: "4 4" });
    });
    beliefs.axes({ grid: false });
    ["pays never", "half the time", "always"].forEach((words, i) =>
      beliefs.text([i / 2, 0], words, { dy: 16, anchor: ["start", "middle", "end"][i] }));
    ARMS.forEach((name, arm) => beliefs.text([0, 0], name, { dy: 44 + 22 * arm, colour: `${TONES[arm]}-text`, weight: 700 }));
    const step = (beliefs.width - 62) / P, r = Math.min(5.2, step / 2 - 0.8);
    pulls.forEach(({ arm, pay }, t) => beliefs.dot([0, 0], r, pay ? TONES[arm] : "none", { ring: TONES[arm], width: 1.6,
      transform: `translate(${52 + step * (t + 0.5)} ${beliefs.Y(0) + 40 + 22 * arm})` }));
    put(beliefs.svg, { "aria-label": `${known.map(({ n, s }, arm) => `${ARMS[arm]}: ${s} of ${n} paid`).join("; ")}. ` +
      `Pulls: ${pulls.map(({ arm, pay }) => `${ARMS[arm]} ${pay ? "paid" : "nothing"}`).join(", ") || "none yet"}.` });
  };

  return fig.start(() => {
    table = deal(state.table, P);
    const pulls = history(state.pulls), n = pulls.length, over = n === P, yours = lost(state.pulls);
    round.value = over ? "table closed" : `pull ${n + 1} of ${P}`;
    back.disabled = !n;
    hand.disabled = over;
    for (const node of levers) put(node, { "aria-disabled": over });
    chart(pulls, counts(pulls), over);
    title.textContent = over ? "What each lost at this table (regret)" : "What they would pull in your place";
    const most = Math.max(0.5, P * Math.abs(table.p[0] - table.p[1])), regrets = over ? PLAYERS.map(([, f]) => regretOf(f)) : [];
    lines.forEach(({ left, right, number }, i) => {
      const [name, player] = PLAYERS[i], share = over ? regrets[i] / most : 1 - player(pulls), sure = Math.max(share, 1 - share);
      left.set(share);
      right.style.width = over ? "0" : `${100 * (1 - share)}%`;
      number.textContent = over ? regrets[i].toFixed(1) : share === 0.5 ? "either" : percent(sure);
      number.style.color = over || share === 0.5 ? "" : tone(`${TONES[Number(share < 0.5)]}-text`);
      put(number, { "data-share": share.toFixed(4), "data-name": name });
    });
    for (const node of [own.label, own.left.track, own.number]) node.style.visibility = over ? "visible" : "hidden";
    own.left.set(yours / most);
    own.number.textContent = yours.toFixed(1);

    let gave = "";
    if (n) {
      const before = worths(pulls.slice(0, -1)), { arm, pay } = pulls[n - 1], price = Math.max(...before) - before[arm];
      gave = `You pulled ${ARMS[arm]}: ${pay ? "it paid" : "nothing"}. ` +
        (price < 0.005 ? "No pull was better. " : `The other arm was worth ${price.toFixed(2)} wins more. `);
    }
    const [a, b] = worths(pulls), equal = Math.abs(a - b) < 0.005, better = Number(b > a), capital = ["Left", "Right"][better];
    said.textContent = gave + (over
      ? `Left pays ${percent(table.p[0])}, right ${percent(table.p[1])} of the time. Against pulling the better arm ${P} times ` +
        `you lost ${yours.toFixed(1)} wins, the agent with the same luck ${regrets[0].toFixed(1)}. ` +
        "(Thompson sampling: mean of 100 games.)"
      : `${equal ? "Both arms are worth" : `${capital} is worth`} ${Math.max(a, b).toFixed(2)} wins in the ` +
        `${count(P - n, "pull")} to come if all are played in the best way` +
        (equal ? "." : `, ${ARMS[1 - better]} ${Math.min(a, b).toFixed(2)}.`));
  });
} };
