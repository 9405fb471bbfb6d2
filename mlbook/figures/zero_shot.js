(root, data) => {
  // The reader composes a description; the trained network's g turns it into a prototype, here in the page, and
  // pictures are ranked by their cosine with it.
  // data: {letters, cases, marks: [names], hidden, dim, scale: [for each of the arrays below],
  //        script, case, letter, mark: int8 rows of the first layer, bias1, weight2 [dim, hidden], bias2,
  //        pictures: [{name, case, letter, marks, seen}], z: int8 [pictures, dim], side, bits: 2-bit grey levels}
  const raw = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const numbers = (key) => Float32Array.from(new Int8Array(raw(data[key]).buffer), (v) => v * data.scale[key]);
  const W = Object.fromEntries(["script", "case", "letter", "mark", "bias1", "weight2", "bias2", "z"].map((k) => [k, numbers(k)]));
  const { hidden, dim, side } = data, bytes = raw(data.bits), shown = 10;
  const make = (tag, className, parent, text) => {
    const e = document.createElement(tag);
    if (className) e.className = className;
    if (text !== undefined) e.textContent = text;
    parent?.append(e);
    return e;
  };

  // ---- pictures, as masks for the colour of the ink
  const urls = data.pictures.map((_, i) => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d"), sheet = context.createImageData(side, side), from = (i * side * side) / 4;
    for (let k = 0; k < side * side; k++) sheet.data[4 * k + 3] = 85 * ((bytes[from + (k >> 2)] >> (2 * (k & 3))) & 3);
    context.putImageData(sheet, 0, 0);
    return canvas.toDataURL();
  });
  const lengths = data.pictures.map((_, i) => Math.hypot(...W.z.subarray(i * dim, (i + 1) * dim)));

  // ---- g: the sum of the rows of the parts, ReLU, a second layer, unit length
  const prototype = () => {
    const h = W.bias1.slice();
    const add = (key, row) => { for (let j = 0; j < hidden; j++) h[j] += W[key][row * hidden + j]; };
    add("script", 0);
    add("case", state.case);
    add("letter", state.letter);
    state.marks.forEach((m) => add("mark", m));
    const c = W.bias2.slice();
    for (let d = 0; d < dim; d++) for (let j = 0; j < hidden; j++) if (h[j] > 0) c[d] += W.weight2[d * hidden + j] * h[j];
    const length = Math.hypot(...c);
    return c.map((v) => v / length);
  };

  // ---- the page
  root.classList.add("zs");
  root.insertAdjacentHTML("beforeend", `
    <style>
      .zs .zs-row { display: flex; flex-wrap: wrap; gap: 5px; align-items: center; margin: 0.45rem 0; }
      .zs .zs-row > span { flex: 0 0 3.4rem; color: var(--soft, #56616d); }
      .mlbook-figure.zs .zs-row button { min-width: 2.2rem; padding: 0.2rem 0.5rem; min-height: 2.1rem; font-size: 0.82rem; font-weight: 500; }
      .zs .zs-says { margin: 0.8rem 0 0.5rem; min-height: 4.2em; max-width: none; }
      .zs .zs-says b { font-size: 1.02rem; }
      .zs .zs-best { display: grid; grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); gap: 8px; list-style: none; padding: 0; margin: 0; }
      .zs .zs-best li { margin: 0; padding: 5px; border: 2px solid var(--blue, #0072B2); border-radius: 7px; font-size: 11.5px; line-height: 1.3; }
      .zs .zs-best li.zs-new { border-color: var(--orange, #D55E00); }
      .zs .zs-best li.zs-hit { background: color-mix(in srgb, var(--green, #009E73) 20%, transparent); }
      .zs .zs-ink { display: block; width: 56px; height: 56px; margin: 0 auto 3px; background: currentColor; -webkit-mask-size: 100% 100%; mask-size: 100% 100%; }
      .zs .zs-track { height: 5px; border-radius: 3px; background: color-mix(in srgb, currentColor 14%, transparent); margin: 3px 0; }
      .zs .zs-fill { height: 100%; border-radius: 3px; background: var(--green, #009E73); }
      .zs .zs-seen { color: var(--blue, #0072B2); font-weight: 700; } .zs .zs-unseen { color: var(--orange, #D55E00); font-weight: 700; }
    </style>`);
  const lower = (text) => text.toLowerCase();
  let state = { case: 1, letter: data.letters.indexOf("O"), marks: new Set([data.marks.indexOf("HORN")]) };
  const buttons = [];
  const group = (title, names, on, click) => {
    const row = make("div", "zs-row", root);
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", title);
    make("span", "", row, title);
    names.forEach((name, i) => {
      const b = make("button", "", row, name);
      b.type = "button";
      b.addEventListener("click", () => { click(i); draw(); });
      buttons.push(() => b.setAttribute("aria-pressed", String(on(i))));
    });
    return row;
  };
  group("letter", data.letters, (i) => state.letter === i, (i) => { state.letter = i; });
  group("case", data.cases, (i) => state.case === i, (i) => { state.case = i; });
  group("marks", data.marks.map(lower), (i) => state.marks.has(i), (i) => {
    if (!state.marks.delete(i)) state.marks.add(i);
  });
  const says = make("p", "zs-says", root);
  says.setAttribute("aria-live", "polite");
  const best = make("ol", "zs-best", root);
  best.setAttribute("aria-label", "the pictures most like the description, best first");
  const note = make("p", "caption", root);
  note.append("The ", String(data.pictures.length), " pictures are of small and capital Latin letters, one a class, none of them trained on. In a ");
  make("span", "zs-seen", note, "blue");
  note.append(" frame: classes whose other pictures were trained on. In ");
  make("span", "zs-unseen", note, "orange");
  note.append(": combinations never seen. Shaded: what the description says. Below each picture, the cosine of its embedding with the prototype.");

  const draw = () => {
    buttons.forEach((paint) => paint());
    const marks = [...state.marks].map((m) => data.marks[m]).sort();
    const c = prototype();
    const same = (p) => p.case === data.cases[state.case] && p.letter === data.letters[state.letter] && p.marks.join() === marks.join();
    const ranked = data.pictures.map((p, i) => {
      let dot = 0;
      for (let d = 0; d < dim; d++) dot += c[d] * W.z[i * dim + d];
      return { ...p, i, cosine: dot / lengths[i], hit: same(p) };
    }).sort((a, b) => b.cosine - a.cosine);
    const rank = ranked.findIndex((p) => p.hit), found = ranked[rank];
    says.replaceChildren();
    make("b", "", says, ["Latin", data.cases[state.case], "letter", data.letters[state.letter], ...(marks.length ? ["with", marks.map(lower).join(" and ")] : [])].join(" "));
    make("br", "", says);
    if (!found) says.append("No such letter among these pictures: the network can only look for something like it.");
    else {
      make("span", found.seen ? "zs-seen" : "zs-unseen", says, found.seen ? "A class of training." : "A combination that training never showed.");
      says.append(rank ? ` Its picture comes ${rank + 1}${["th", "st", "nd", "rd"][(rank + 1) % 100 > 10 && (rank + 1) % 100 < 14 ? 0 : (rank + 1) % 10] || "th"} of ${ranked.length}.` : ` Its picture comes first of ${ranked.length}.`);
    }
    best.replaceChildren();
    ranked.slice(0, shown).forEach((p) => {
      const li = make("li", `${p.seen ? "" : "zs-new"} ${p.hit ? "zs-hit" : ""}`, best);
      const ink = make("span", "zs-ink", li);
      ink.style.maskImage = ink.style.webkitMaskImage = `url(${urls[p.i]})`;
      make("div", "zs-fill", make("div", "zs-track", li)).style.width = `${(100 * Math.max(0, p.cosine)).toFixed(0)}%`;
      make("div", "", li, `${p.cosine.toFixed(2)}  ${p.case} ${p.letter}${p.marks.length ? `, ${p.marks.map(lower).join(", ")}` : ""}`);
    });
  };
  draw();
}
