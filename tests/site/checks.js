// What the tests ask of an open page. Evaluated in the browser; returns a list of complaints.
() => {
  const problems = [];
  const article = document.querySelector("article.bd-article");
  const say = (what, element) => problems.push(
    `${what}: ${(element?.outerHTML ?? element ?? "").toString().replace(/\s+/g, " ").slice(0, 160)}`);

  // --- structure
  if (article.querySelectorAll("h1").length !== 1) problems.push("not exactly one h1");
  if (!document.documentElement.lang) problems.push("no language");

  // --- mathematics
  for (const math of article.querySelectorAll(".math"))
    if (!math.querySelector("mjx-container")) say("mathematics not typeset", math);
  for (const error of article.querySelectorAll("mjx-merror, [data-mjx-error]"))
    say(`MathJax error ${error.getAttribute("data-mjx-error") ?? ""}`, error);
  const text = article.cloneNode(true);
  text.querySelectorAll("pre, code, script, style, mjx-container, textarea, .mlbook-figure")
    .forEach(e => e.remove());
  const raw = text.textContent.match(/.{0,30}(\\\(|\\\[|\$\$|\\begin\{|\$[^$\s][^$\n]*\$|\{\{|:::).{0,40}/);
  if (raw) say("raw markup in the text", raw[0]);

  // --- pictures
  for (const img of article.querySelectorAll("img")) {
    if (!(img.getAttribute("alt") ?? "").trim()) say("picture without alternative text", img.src);
    if (!img.complete || img.naturalWidth === 0) say("picture that does not load", img.src);
  }

  // --- names for what one can press
  for (const control of document.querySelectorAll("main button, main a[href], main input, main select")) {
    if (!control.checkVisibility()) continue;
    const name = control.textContent.trim() || control.getAttribute("aria-label") || control.title ||
      control.labels?.[0]?.textContent.trim() || control.getAttribute("aria-labelledby") ||
      control.querySelector("img")?.alt || control.placeholder || control.getAttribute("data-tooltip");
    if (!name) say("control without a name", control);
  }

  // --- width: nothing but what has its own scroll box may leave the screen
  const width = innerWidth;
  if (document.documentElement.scrollWidth > width)
    problems.push(`scrolls sideways: ${document.documentElement.scrollWidth} > ${width}`);
  const scrolls = e => {
    for (let p = e.parentElement; p && p !== document.body; p = p.parentElement) {
      const style = getComputedStyle(p);
      if (/auto|scroll/.test(style.overflowX)) return true;
    }
    return false;
  };
  for (const e of article.querySelectorAll("*")) {
    if (e.closest("svg, mjx-container, .visually-hidden, .tooltip")) continue;
    const box = e.getBoundingClientRect();
    if (box.width > 1 && box.right > width + 1 && !scrolls(e)) say(`beyond the edge by ${box.right - width}`, e);
  }

  // --- tables: a figure stays on one line with its interval
  const cells = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  for (let node; (node = cells.nextNode());) {
    if (!node.parentElement.closest("td, th") || node.parentElement.closest("pre, .mlbook-figure")) continue;
    for (const figure of node.data.matchAll(/([+\-−]?[\d.,]*\d\s)?±\s[\d.,]*\d/g)) {
      const range = document.createRange();
      range.setStart(node, figure.index);
      range.setEnd(node, figure.index + figure[0].length);
      const lines = new Set([...range.getClientRects()].filter(r => r.width).map(r => Math.round(r.top)));
      if (lines.size > 1) say("a figure apart from its interval", figure[0]);
    }
  }

  // --- contrast (WCAG AA) of everything that is text
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const cache = new Map();
  const rgba = colour => {
    if (!cache.has(colour)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      cache.set(colour, [r, g, b, a / 255]);
    }
    return cache.get(colour);
  };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const light = c => {
    const [r, g, b] = c.slice(0, 3).map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = e => {
    const layers = [];
    for (; e; e = e.parentElement) {
      const c = rgba(getComputedStyle(e).backgroundColor);
      if (c[3] > 0) layers.unshift(c);
      if (c[3] === 1) break;
    }
    return layers.reduce((under, top) => over(top, under), rgba(getComputedStyle(document.body).backgroundColor));
  };
  const seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const e = node.parentElement;
    if (!node.data.trim() || seen.has(e) || e.closest("svg, mjx-container, script, style, noscript, .headerlink, button.copybtn, .skip-link, .tooltip")) continue;
    seen.add(e);
    if (!e.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const style = getComputedStyle(e), under = background(e);
    let opacity = 1;
    for (let p = e; p; p = p.parentElement) opacity *= getComputedStyle(p).opacity;
    const colour = rgba(style.color), ink = over([...colour.slice(0, 3), colour[3] * opacity], under);
    const [a, b] = [light(ink), light(under)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05), size = parseFloat(style.fontSize);
    const need = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    if (ratio < need - 0.01) say(`contrast ${ratio.toFixed(2)} < ${need}`, e);
  }
  return [...new Set(problems)];
}
