// Class means by cosine: the classifier of book/practice/pictures.ipynb, equation (1).

import { argmax, average, dot, softmax, unit } from "./vectors.js";

/** The prototype of a class: the mean of its features, each of length 1; of length 1 itself. */
export const prototype = (features) => unit(average(features.map((z) => Array.from(unit(z)))));

/** What a query gets from prototypes of length 1: cosines, their softmax times `sharp`, the best (-1 without any), its cosine. */
export const answer = (z, prototypes, sharp) => {
  const q = unit(z), cosines = prototypes.map((c) => dot(q, c));
  const best = cosines.length ? argmax(cosines) : -1;
  return { cosines, p: softmax(cosines, sharp), best, cosine: best < 0 ? 0 : cosines[best] };
};
