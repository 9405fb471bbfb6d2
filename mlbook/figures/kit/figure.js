// What a figure stands on. How one is written (shrinkage.js is the shortest, reptile.js has all of it):
//
//   import { figure } from "./kit/figure.js";
//   import { slider, choice, button } from "./kit/controls.js";
//   export default { render({ model, el }) {
//     const data = model.get("data"), fig = figure(el, model, { k: 3, metric: "cosine" }), { state } = fig;
//     const bar = make("div.f-bar", {}, el), said = live(el);
//     slider(fig, bar, "shots", "k", { min: 1, max: 20 });               // bound to state.k
//     choice(fig, bar, "distance", [["cosine", "cosine"], ["l2", "Euclidean"]], "metric");
//     button(fig, bar, "More", () => { state.k += 1; });                  // draws again afterwards
//     return fig.start(() => { said.textContent = `${state.k} shots`; }); // draws, and returns the clean-up
//   } };
//
// The state is one table of numbers, words, truths, and lists of them; everything that is drawn follows from it and from the
// data. `fig.draw()` first calls the function given to `start`, then every control, handle and plot brings itself up to date;
// it is called after every action, when the width changes, and when the page turns light or dark. Listeners and observers
// on anything outside `el` are given to `fig.clean`, so that nothing outlives the figure. Styles: classes `f-...` in theme.js
// first; what is particular goes to `figure` as its last argument, its classes prefixed by two letters.
// Modules: imports on one line each at the top, exports as `export const|function|class`, no line longer than 130.

import { make, put, OWN_KEYS } from "./elements.js";
import { followTheme, STYLE } from "./theme.js";

const read = (start, text) => { // a property from the address, of the kind that it has at the start
  if (typeof start === "number") return Number.isFinite(Number(text)) && text !== "" ? Number(text) : start;
  if (typeof start === "boolean") return text === "true";
  if (typeof start === "string") return text;
  try { return JSON.parse(text); } catch { return start; }
};
const short = (key, v) => (typeof v === "number" ? Number(v.toPrecision(4)) : v);

/** The part of the address that says a state: the properties that differ from the start. */
export const toAddress = (id, start, state) => {
  const changed = Object.keys(start).filter((key) => JSON.stringify(state[key]) !== JSON.stringify(start[key]));
  const words = changed.map((key) => [key, typeof state[key] === "string" ? state[key] : JSON.stringify(state[key], short)]);
  return words.length ? `#${id}&${new URLSearchParams(words)}` : `#${id}`;
};

/** The properties that an address gives to the figure `id`, or null if it is about something else. */
export const fromAddress = (id, start, hash) => {
  const [own, ...rest] = hash.slice(1).split("&");
  if (!id || own !== id) return null;
  const given = [...new URLSearchParams(rest.join("&"))].filter(([key]) => key in start);
  return Object.fromEntries(given.map(([key, text]) => [key, read(start[key], text)]));
};

/** Empties `el` and gives it style, theme, state and clean-up.
 * @param {any} el @param {any} model @param {Record<string, any>} [start] the state at the start @param {string} [css] */
export const figure = (el, model, start = {}, css = "") => {
  const cleaners = [], followers = [];
  let main = () => {}, started = false, gone = false;
  el.replaceChildren();
  el.classList.add("mlbook-figure");
  put(el, OWN_KEYS);
  make("style", {}, el, STYLE + css);
  // JupyterLab takes the arrow keys for its cells, but not from an element that asks for its own
  const keep = ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true");
  el.addEventListener("focusin", keep);
  const site = model.get("site");
  const fig = {
    el, model, start: undefined,
    state: /** @type {Record<string, any>} */ (structuredClone(start)),
    /** Calls `f` whenever the figure is drawn, after its own drawing. */
    follow: (f) => { followers.push(f); },
    clean: (f) => { cleaners.push(f); },
    draw: () => {
      if (!started || gone) return;
      main();
      for (const f of followers) f();
    },
    /** Back to the start, but for the properties named. */
    reset: (...kept) => {
      for (const key of Object.keys(start)) if (!kept.includes(key)) fig.state[key] = structuredClone(start[key]);
    },
    destroy: () => {
      gone = true;
      for (const f of cleaners.splice(0)) f();
      el.removeEventListener("focusin", keep);
      el.replaceChildren();
    },
  };
  const arrive = () => { // at a state that the address names; one that cannot be drawn is the start's
    const given = site ? fromAddress(el.id, start, location.hash) : null;
    if (given) {
      fig.reset();
      Object.assign(fig.state, given);
      el.scrollIntoView();
    }
    try { fig.draw(); } catch (error) {
      if (!given) throw error;
      fig.reset();
      fig.draw();
    }
  };
  fig.start = (draw) => {
    main = draw;
    started = true;
    fig.clean(followTheme(el, () => { if (el.isConnected) fig.draw(); else fig.destroy(); }));
    arrive();
    if (site && el.id && Object.keys(start).length) share();
    return fig.destroy;
  };
  const share = () => {
    window.addEventListener("hashchange", arrive);
    fig.clean(() => window.removeEventListener("hashchange", arrive));
    const link = make("button.f-link", { title: "A link to the figure as it stands now", click: async () => {
      location.replace(toAddress(el.id, start, fig.state));
      link.textContent = "The link is in the address bar";
      try {
        await navigator.clipboard.writeText(location.href);
        link.textContent = "Copied";
      } catch { /* a page that may not write there */ }
      setTimeout(() => { link.textContent = "Copy link"; }, 2500);
    } }, el, "Copy link");
  };
  return fig;
};
