// What the lab's worker does: it gets weights, then drawings, and sends each method's scores as soon as it has them.

import { method } from "../nets/methods.js";

/** The handler of messages. { name, index, text }: a method's weights. { id, support, query, step }: what is asked, of MAML
 * after so many steps; an answer is { id, name, scores, step, ms }. { id, ready } says that another question is welcome:
 * nothing is left to do, or only MAML's steps, which take longest. A question that comes in before takes the place of the
 * last, and weights that come are asked at once. */
export const serve = (post) => {
  const learned = new Map(), methods = new Map();
  let question = null, waiting = [];
  const answer = (name) => {
    const { id, support, query, step, key } = question, begin = performance.now();
    if (learned.get(name)?.key !== key) learned.set(name, { key, learner: methods.get(name)(support) });
    const scores = Array.from(learned.get(name).learner(query, step));
    post({ id, name, scores, step, ms: performance.now() - begin });
  };
  const go = () => { // one method at a time, so that messages are heard in between
    if (!question || !waiting.length) return;
    answer(waiting.shift());
    if (waiting.every((name) => name === "maml")) post({ id: question.id, ready: true });
    if (waiting.length) setTimeout(go);
  };
  return ({ data }) => {
    const idle = !waiting.length;
    if (data.name) {
      methods.set(data.name, method(data.name, data.index, data.text));
      if (question) waiting.push(data.name);
    } else {
      question = { ...data, key: data.support.map((x) => x.join("")).join() };
      waiting = [...methods.keys()].sort((a, b) => Number(a === "maml") - Number(b === "maml")); // the slowest comes last
    }
    if (idle) go();
  };
};
