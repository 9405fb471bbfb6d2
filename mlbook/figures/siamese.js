(root, data) => {
  // Two drawings, chosen by the reader; their embeddings are compared component by component:
  // u = b + sum_j alpha_j |h1_j - h2_j|, p = sigmoid(u). data: {pictures, characters, h, alpha, b}.
  const { pictures, characters, h, alpha, b } = data, n = pictures.length, side = 28;
  const order = alpha.map((_, j) => j).sort((i, j) => alpha[i] - alpha[j]); // strongest first
  const blue = "var(--blue, #0072B2)", orange = "var(--orange, #D55E00)", green = "var(--green, #009E73)";
  const grey = "var(--grey, #6b7785)", pink = "var(--pink, #CC79A7)";
  let chosen = [0, 1], next = 0;

  // a picture is a string of hexadecimal digits, one a pixel; as a mask it takes the colour of the text
  const mask = (digits) => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d"), image = context.createImageData(side, side);
    for (let i = 0; i < side * side; i++) image.data[4 * i + 3] = 17 * parseInt(digits[i], 16);
    context.putImageData(image, 0, 0);
    return canvas.toDataURL();
  };
  const urls = pictures.map(mask);
  const drawing = (k) => {
    const url = `url("${urls[k]}") center / contain no-repeat`;
    return `<span class="sn-drawing" style='-webkit-mask: ${url}; mask: ${url}'></span>`;
  };
  const letter = (k) => "ABCDEFGH"[characters[k]];

  root.insertAdjacentHTML("beforeend", `
    <style>
      .sn-grid { display: grid; grid-template-columns: repeat(8, minmax(0, 1fr)); gap: 6px; max-width: 520px; }
      .sn-grid button { position: relative; padding: 3px; margin: 0; min-width: 0; background: none !important; color: inherit !important;
        border: 2px solid color-mix(in srgb, currentColor 22%, transparent); border-radius: 6px; cursor: pointer; }
      .sn-drawing { display: block; width: 100%; aspect-ratio: 1; background: currentColor; }
      .sn-grid button[data-slot="1"], .sn-one { border-color: ${blue} !important; box-shadow: 0 0 0 1px ${blue}; }
      .sn-grid button[data-slot="2"], .sn-two { border-color: ${orange} !important; box-shadow: 0 0 0 1px ${orange}; }
      .sn-row { display: flex; flex-wrap: wrap; gap: 10px 18px; align-items: center; margin: 12px 0 4px; }
      .sn-pair { flex: none; display: flex; gap: 8px; }
      .sn-pair > span { width: 74px; padding: 5px; border: 2px solid; border-radius: 8px; box-sizing: border-box; }
      .sn-row > svg { flex: 1 1 300px; min-width: 0; max-width: 460px; overflow: visible; }
      .mlbook-figure .sn-row text { font-size: 13px; fill: currentColor; }
    </style>
    <p class="caption" style="margin: 0 0 6px">Choose two drawings. Every four in a row are one character, drawn by four people.</p>
    <div class="sn-grid"></div>
    <div class="controls" style="margin-top: 10px">
      <button type="button" class="sn-same">A pair of one character</button>
      <button type="button" class="sn-different">A pair of two</button>
      <button type="button" class="sn-swap">Exchange the two</button>
    </div>
    <div class="sn-row"><div class="sn-pair"></div></div>
    <p class="caption sn-verdict" aria-live="polite"></p>`);
  const $ = (selector) => root.querySelector(selector);
  const buttons = pictures.map((_, k) => {
    const button = document.createElement("button");
    button.type = "button";
    button.innerHTML = drawing(k);
    button.onclick = () => {
      chosen[next] = k;
      next = 1 - next;
      show();
    };
    // an arrow key goes to the neighbour, and takes along what is chosen here
    button.onkeydown = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 8, ArrowUp: -8 }[event.key];
      if (!step) return;
      event.preventDefault();
      const to = (k + step + n) % n, slot = chosen.indexOf(k);
      if (slot >= 0) chosen[slot] = to;
      show();
      buttons[to].focus();
    };
    $(".sn-grid").append(button);
    return button;
  });
  const chart = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  chart.setAttribute("viewBox", "0 0 400 236");
  chart.setAttribute("role", "img");
  chart.setAttribute("aria-label", "Above, the differences of the 64 components; below, the logit falling from b by one contribution after another");
  $(".sn-row").append(chart);

  const show = () => {
    buttons.forEach((button, k) => {
      const slots = [0, 1].filter((s) => chosen[s] === k).map((s) => s + 1);
      button.dataset.slot = slots.join("");
      button.setAttribute("aria-pressed", String(slots.length > 0));
      button.setAttribute("aria-label", `Character ${letter(k)}, drawing ${1 + k % 4}` + (slots.length ? `, chosen as x${slots.join(" and x")}` : ""));
    });
    const [one, two] = chosen;
    $(".sn-pair").innerHTML = `<span class="sn-one">${drawing(one)}</span><span class="sn-two">${drawing(two)}</span>`;

    const gaps = order.map((j) => Math.abs(h[one][j] - h[two][j])), parts = order.map((j, i) => alpha[j] * gaps[i]);
    const u = parts.reduce((sum, part) => sum + part, b), p = 1 / (1 + Math.exp(-u));
    const width = 330 / alpha.length, x = (i) => 40 + width * i, most = 4;
    const bars = gaps.map((gap, i) => `<rect x="${x(i) + 0.6}" y="${72 - 50 * Math.min(1, gap / most)}" width="${width - 1.2}" height="${50 * Math.min(1, gap / most)}" fill="currentColor" opacity="0.75"/>`).join("");
    // the running sum, from b at the top of the axis down to u
    const low = Math.min(-2.5, u - 0.3), y = (v) => 100 + 120 * (b - v) / (b - low);
    let sum = b, steps = "";
    parts.forEach((part, i) => {
      const from = sum;
      sum += part;
      steps += `<rect x="${x(i)}" y="${Math.min(y(from), y(sum))}" width="${width}" height="${Math.max(0.6, Math.abs(y(sum) - y(from)))}" fill="${part > 0 ? pink : green}"/>
        <line x1="${x(i)}" x2="${x(i)}" y1="${y(b)}" y2="${y(from)}" stroke="${green}" stroke-width="0.4" opacity="0.5"/>`;
    });
    const colour = u > 0 ? blue : orange;
    chart.innerHTML = `
      <text x="40" y="13">|h₁ − h₂|, component by component</text>${bars}
      <line x1="40" x2="370" y1="72" y2="72" stroke="currentColor" opacity="0.5"/>
      <text x="34" y="${y(b) + 4}" text-anchor="end">b</text><text x="34" y="${y(0) + 4}" text-anchor="end">0</text>
      <line x1="40" x2="370" y1="${y(b)}" y2="${y(b)}" stroke="${grey}" stroke-dasharray="2 4"/>
      <line x1="40" x2="370" y1="${y(0)}" y2="${y(0)}" stroke="currentColor" stroke-dasharray="5 4"/>
      <text x="48" y="${y(0) - 5}" style="fill: ${blue}">same</text><text x="48" y="${y(0) + 15}" style="fill: ${orange}">different</text>
      ${steps}<circle cx="372" cy="${y(u)}" r="6" style="fill: ${colour}"/>
      <text x="382" y="${y(u) + 4}" style="fill: ${colour}; font-weight: 700">u</text>`;
    const truth = characters[one] === characters[two];
    const oneself = one === two ? "A drawing and itself: no difference at all, and p is as large as this b allows." :
      `It says ${u > 0 ? "the same" : "different"}, and is ${u > 0 === truth ? "right" : "wrong"}: they are ${truth ? "two drawings of one character" : "two characters"}.`;
    $(".sn-verdict").textContent = `u = ${b.toFixed(2)} − ${(b.toFixed(2) - u.toFixed(2)).toFixed(2)} = ${u.toFixed(2)}, p = ${p < 0.001 ? "0.000" : p.toFixed(3)}. ${oneself}`;
  };
  const draw = (same) => {
    const one = Math.floor(Math.random() * n);
    const others = [...Array(n).keys()].filter((k) => k !== one && (characters[k] === characters[one]) === same);
    chosen = [one, others[Math.floor(Math.random() * others.length)]];
    next = 0;
    show();
  };
  $(".sn-same").onclick = () => draw(true);
  $(".sn-different").onclick = () => draw(false);
  $(".sn-swap").onclick = () => { chosen.reverse(); show(); };
  show();
}
