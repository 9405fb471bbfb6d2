// The host of a figure that stands in a page without a kernel: a model over the data that came with the page, in anywidget's
// interface. Where a kernel is, anywidget is the host.

/** What anywidget gives to a figure, over a plain table. */
export const modelOf = (table) => {
  const listeners = new Map(), of = (event) => listeners.get(event) ?? listeners.set(event, new Set()).get(event);
  return {
    get: (key) => table[key],
    set: (key, value) => {
      table[key] = value;
      for (const event of [`change:${key}`, "change"]) for (const f of [...of(event)]) f();
    },
    save_changes: () => {},
    on: (event, f) => { of(event).add(f); },
    off: (event, f) => { of(event).delete(f); },
  };
};

/** Brings the element to life; the sentence in it goes. Where a page holds the same output twice, each has its own. */
export const host = (figure, id, data, site = false) => {
  const beside = document.currentScript?.previousElementSibling;
  const el = beside?.id === id ? beside : document.getElementById(id);
  if (!el) return;
  const words = [...el.childNodes];
  try {
    figure.render({ model: modelOf({ data, site }), el });
  } catch (error) {
    el.replaceChildren(...words);
    throw error;
  }
};

/** On the book's site all figures come in one file: starts those that the page has asked for, and those that it will. */
export const hostAll = (figures) => {
  const start = ([name, id, data]) => {
    try { host(figures[name], id, data, true); } catch (error) { reportError(error); }
  };
  const waiting = /** @type {any} */ (window).mlbookFigures ?? [];
  /** @type {any} */ (window).mlbookFigures = { ...figures, push: start };
  waiting.forEach(start);
};
