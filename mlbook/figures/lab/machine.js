// The lab's engine room: files that come as classic scripts, since nothing can be fetched on a page from disk, and a worker
// that is made from their text.

/** Where the site keeps the lab's files. */
const folder = () => `${document.documentElement.dataset.content_root ?? ""}_static/lab/`;

/** One of them; its script hands its content to `window.mlbookLab`. @returns {Promise<any>} */
export const loaded = (name) => new Promise((resolve, reject) => {
  const script = document.createElement("script"), table = /** @type {any} */ (window).mlbookLab ??= {};
  let content = null;
  for (const kind of ["program", "sets"]) table[kind] ??= (text) => { table.last = text; };
  table.weights ??= (own, index, text) => { table.last = { name: own, index, text }; };
  script.src = `${folder()}${name}.js`;
  script.onload = () => {
    content = table.last; // a script's load event comes right after it has run
    script.remove();
    resolve(content);
  };
  script.onerror = () => reject(new Error(`${script.src} cannot be read`));
  document.head.append(script);
});

/** A worker with methods. `answered(message)` is called with every message, `progress(n)` when n methods are there.
 * `ask(support, query, step)` while it works waits; of several the last is asked. Pictures are lists of 784 numbers in 0..1;
 * MAML answers after so many steps. */
export const machine = (names, { answered, progress = (done) => done }) => {
  let worker = null, busy = false, wanted = null, id = 0;
  const send = () => {
    if (!worker || busy || !wanted) return;
    worker.postMessage({ id: ++id, ...wanted });
    wanted = null;
    busy = true;
  };
  const start = async () => {
    const url = URL.createObjectURL(new Blob([await loaded("worker")], { type: "text/javascript" }));
    worker = new Worker(url);
    worker.onmessage = ({ data }) => {
      if (data.ready) busy = false;
      else answered(data);
      send();
    };
    for (const [done, name] of names.entries()) {
      worker.postMessage(name === "pixels" ? { name, index: [], text: "" } : await loaded(name));
      progress(done + 1);
      send();
    }
  };
  return {
    started: start(),
    ask: (support, query, step = 0) => { wanted = { support, query, step }; send(); },
    end: () => worker?.terminate(),
  };
};
