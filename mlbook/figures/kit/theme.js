// The colours of the book, light and dark, and the one test for which of the two a page is.

// As in book/assets/mlbook.css; in light, colours a shade darker than in pictures, so that words in them can be read.
export const LIGHT = {
  paper: "#fdfcf9", wash: "#f7f4ee", ink: "#1f2933", soft: "#56616d", line: "#e2dcd0", "line-2": "#c9c1b2",
  blue: "#0068a3", orange: "#b85000", green: "#007a59", pink: "#a64d7f", amber: "#e69f00", sky: "#56b4e9", grey: "#5a6673",
  "blue-text": "#00639b", "orange-text": "#a84900", "green-text": "#00694c", "pink-text": "#8f3b76",
  "amber-text": "#855c00", "sky-text": "#1a6690", "grey-text": "#56616d", // in figures alone
};
export const DARK = {
  paper: "#14181d", wash: "#1b2026", ink: "#e4e1da", soft: "#a9b0b7", line: "#2e353d", "line-2": "#4a535d",
  blue: "#5fb0e5", orange: "#f0893c", green: "#2fc39a", pink: "#e29cc4", amber: "#f2b632", sky: "#7cc8f4", grey: "#98a2ad",
  "blue-text": "#7cc0ec", "orange-text": "#f5a163", "green-text": "#6fcfae", "pink-text": "#e3a3cb",
  "amber-text": "#f2b632", "sky-text": "#7cc8f4", "grey-text": "#a9b0b7",
};

/** Whether the page around `el` is dark: as it says (the book's site and Colab on <html>, JupyterLab and VS Code on <body>),
 * else by the background behind `el`, else as the reader's system is. */
export const isDark = (el) => {
  const html = document.documentElement, { body } = document;
  const said = html.dataset.theme || html.getAttribute("theme");
  if (said === "dark" || said === "light") return said === "dark";
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
  const kind = body.className.match(/vscode-(high-contrast-light|high-contrast|dark|light)/);
  if (kind) return !kind[1].endsWith("light");
  for (let node = el; node; node = node.parentElement) {
    const [r, g, b, alpha = 1] = (getComputedStyle(node).backgroundColor.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
    if (alpha > 0.5) return 0.3 * r + 0.59 * g + 0.11 * b < 128;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches;
};

/** A palette's colour as [r, g, b], for canvases. */
export const rgb = (el, name) => {
  const hex = (el.hasAttribute("data-dark") ? DARK : LIGHT)[name];
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
};

/** Keeps `data-dark` of `el` true to the page and calls `changed` when it changes; returns the clean-up. */
export const followTheme = (el, changed) => {
  const look = () => {
    const dark = isDark(el), before = el.hasAttribute("data-dark");
    el.toggleAttribute("data-dark", dark);
    if (dark !== before) changed();
  };
  const system = matchMedia("(prefers-color-scheme: dark)"), watch = new MutationObserver(look);
  system.addEventListener("change", look);
  watch.observe(document.documentElement, { attributes: true });
  watch.observe(document.body, { attributes: true });
  look();
  return () => {
    system.removeEventListener("change", look);
    watch.disconnect();
  };
};

const variables = (palette) => Object.entries(palette).map(([name, value]) => `--${name}: ${value};`).join(" ");

// All that figures share of style. What is particular to one stands in its file.
export const STYLE = `
.mlbook-figure { ${variables(LIGHT)} }
.mlbook-figure[data-dark] { ${variables(DARK)} color-scheme: dark; }
.mlbook-figure { color: var(--ink); font: 14.4px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  max-width: 54rem; font-size-adjust: none; display: flow-root; }
.mlbook-figure * { box-sizing: border-box; }
.mlbook-figure svg, .mlbook-figure canvas { display: block; max-width: 100%; }
.mlbook-figure svg text { font-family: inherit; fill: currentColor; }
.mlbook-figure p { margin: 0; max-width: none; }
.mlbook-figure table { color: inherit; font: inherit; }
.mlbook-figure :is(button, select) { font: inherit; font-weight: 600; color: var(--ink); background: var(--wash); cursor: pointer;
  border: 1px solid var(--line-2); border-radius: 6px; padding: 0.3rem 0.75rem; min-height: 2.1rem; margin: 0; }
.mlbook-figure button:hover { border-color: var(--blue); }
.mlbook-figure button:disabled { color: var(--soft); background: none; border-style: dashed; cursor: default; }
.mlbook-figure button[aria-pressed="true"] { background: var(--blue-text); border-color: var(--blue-text); color: var(--paper); }
.mlbook-figure :is(button, input, select, canvas, a):focus-visible { outline: 3px solid var(--blue); outline-offset: 2px; }
.mlbook-figure input[type="range"] { accent-color: var(--blue); min-width: 5rem; min-height: 1.6rem; cursor: pointer; margin: 0; }
.mlbook-figure :is(output, .f-number) { font-variant-numeric: tabular-nums; }
.mlbook-figure output { color: var(--ink); font-weight: 600; min-width: 2.3em; white-space: nowrap; }
.mlbook-figure label { color: var(--soft); margin: 0; white-space: nowrap; }
.f-bar { display: flex; flex-wrap: wrap; gap: 0.45rem 0.9rem; align-items: center; margin: 0.45rem 0; }
.f-bar > label { display: inline-flex; align-items: center; gap: 0.5rem; }
.f-bar > label > input[type="range"] { flex: 1 1 7rem; width: 9rem; }
.f-sliders { display: grid; grid-template-columns: auto minmax(5rem, 1fr) auto; gap: 0.3rem 0.7rem; align-items: center; }
.f-sliders > label { display: contents; }
.f-sliders output { text-align: right; min-width: 3.4em; }
.f-choice { display: inline-flex; flex-wrap: wrap; gap: 0.35rem; align-items: center; }
.f-choice > span { color: var(--soft); margin-inline-end: 0.3rem; }
.f-row { display: flex; flex-wrap: wrap; gap: 0.8rem 1.5rem; align-items: flex-start; }
.f-row > * { flex: 1 1 var(--w, 260px); min-width: 0; }
.mlbook-figure .f-head { font-weight: 600; margin: 0.7rem 0 0.35rem; }
.mlbook-figure .f-said { margin: 0.7rem 0 0; }
.mlbook-figure .f-note { color: var(--soft); font-size: 0.95em; margin: 0.5rem 0 0; }
.f-soft { color: var(--soft); }
.f-number { text-align: right; }
.f-track { position: relative; height: 1rem; border-radius: 4px; overflow: hidden;
  background: color-mix(in srgb, currentColor 9%, transparent); }
.f-fill { height: 100%; width: 0; border-radius: 4px; }
.f-ink { display: block; width: var(--tile, 40px); aspect-ratio: 1; background: currentColor;
  -webkit-mask-size: 100% 100%; mask-size: 100% 100%; }
.f-tiles { display: flex; flex-wrap: wrap; gap: 5px; }
.mlbook-figure .f-tile { padding: 2px; min-height: 0; min-width: 0; line-height: 0; color: inherit; background: none;
  border: 1.5px solid var(--line-2); border-radius: 7px; }
.mlbook-figure .f-tile[aria-pressed="true"] { color: inherit; border-color: var(--orange); box-shadow: 0 0 0 1.5px var(--orange);
  background: color-mix(in srgb, var(--orange) 14%, transparent); }
.f-plot svg { width: 100%; user-select: none; -webkit-user-select: none; font-size: 12.5px; }
.f-framed { border: 1px solid var(--line-2); border-radius: 8px; overflow: hidden; position: relative; }
.f-framed > canvas { position: absolute; inset: 0; width: 100%; height: 100%; }
.f-framed > svg { position: relative; }
.f-handle { cursor: grab; touch-action: none; outline: none !important; }
.f-handle:active { cursor: grabbing; }
.f-focus { fill: none; stroke: var(--ink); stroke-width: 2; stroke-dasharray: 3 3; visibility: hidden; }
.f-handle:focus-visible .f-focus { visibility: visible; }
.f-pad { width: 100%; max-width: 232px; aspect-ratio: 1; touch-action: none; cursor: crosshair; image-rendering: pixelated;
  border: 2.5px solid var(--orange); border-radius: 8px; background: var(--paper); }
.mlbook-figure .f-link { float: right; font-size: 0.85em; font-weight: 400; padding: 0.1rem 0.6rem; min-height: 1.7rem;
  color: var(--soft); background: none; }
@media (prefers-reduced-motion: reduce) { .mlbook-figure * { transition: none !important; animation: none !important; } }
`;
